//! Where the anomaly map, brought to the size of the captured frame, exceeds the threshold: the defects.

#[cfg(feature = "opencv")]
use super::regions_opencv as region_finder;
#[cfg(not(feature = "opencv"))]
use super::regions_plain as region_finder;
use crate::anomaly::AnomalyMap;
use crate::verdict::Defect;

pub use super::exceeding::{Exceeding, Mask, Region, RegionError, exceeding};

/// At most so many defects are listed, largest peaks first: a useless map must not make a message that no broker takes.
/// The verdict counts all of them.
pub const MAX_LISTED: usize = 100;
/// Corners listed per defect: enough to draw it, and a bound for the events that wait for a lost broker.
const MAX_CORNERS: usize = 256;

/// The regions at or above `threshold` with at least `min_area` pixels, largest peak first, in pixels of the captured
/// frame. `mask` gives the frame's size.
pub fn defects(map: &AnomalyMap, mask: &Mask, threshold: f32, min_area: u32) -> Result<Vec<Defect>, RegionError> {
    let Some(exceeding) = exceeding(map, mask, threshold) else { return Ok(Vec::new()) };

    let mut regions = region_finder::regions(&exceeding, min_area as usize)?;
    regions.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    if regions.len() > MAX_LISTED {
        tracing::warn!(regions = regions.len(), listed = MAX_LISTED, "more defects than an event lists");
        regions.truncate(MAX_LISTED);
    }
    let top = exceeding.top;
    let defect = |region: Region| {
        let [x, y, width, height] = region.bounds.map(|v| v as u32);
        Defect {
            bounds: [x, y + top as u32, width, height],
            area_px: region.area as u32,
            centroid: [region.centroid[0] as f32, (region.centroid[1] + top as f64) as f32],
            peak: region.peak,
            mean: region.mean,
            polygon: thinned(&region.contour).map(|[x, y]| [x as u32, (y + top) as u32]).collect(),
        }
    };
    Ok(regions.into_iter().map(defect).collect())
}

/// At most [`MAX_CORNERS`] corners, evenly along the border.
fn thinned(contour: &[[usize; 2]]) -> impl Iterator<Item = [usize; 2]> {
    contour.iter().step_by(contour.len().div_ceil(MAX_CORNERS).max(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(size: usize, hot: &[(usize, usize, f32)]) -> AnomalyMap {
        let mut values = vec![0.0; size * size];
        hot.iter().for_each(|&(x, y, value)| values[y * size + x] = value);
        AnomalyMap::new(size, values)
    }

    #[test]
    fn nothing_above_the_threshold_is_no_defect() {
        let found = defects(&map(8, &[(3, 3, 0.49)]), &Mask::new(640, 480, &[]), 0.5, 0).expect("found");
        assert_eq!(found, []);
    }

    #[test]
    fn a_value_at_the_threshold_counts() {
        let found = defects(&map(4, &[(1, 2, 0.5)]), &Mask::new(4, 4, &[]), 0.5, 1).expect("found");
        let expected = Defect {
            bounds: [1, 2, 1, 1],
            area_px: 1,
            centroid: [1.0, 2.0],
            peak: 0.5,
            mean: 0.5,
            polygon: vec![[1, 2]],
        };
        assert_eq!(found, [expected]);
    }

    /// By hand: a 2×2 map scaled to 4×4 has weights 1, 0.75, 0.25, 0 along each axis.
    #[test]
    fn the_map_is_scaled_with_half_pixel_centres() {
        let found = defects(&map(2, &[(0, 0, 1.0)]), &Mask::new(4, 4, &[]), 0.5, 1).expect("found");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].bounds, found[0].area_px, found[0].peak), ([0, 0, 2, 2], 4, 1.0));
        assert!((found[0].mean - (1.0 + 0.75 + 0.75 + 0.5625) / 4.0).abs() < 1e-6);
        assert_eq!(found[0].centroid, [0.5, 0.5]);
        let mut corners = found[0].polygon.clone();
        corners.sort_unstable();
        assert_eq!(corners, [[0, 0], [0, 1], [1, 0], [1, 1]]);
    }

    #[test]
    fn small_regions_do_not_count_and_peaks_are_sorted() {
        let spots = map(8, &[(1, 1, 0.6), (2, 1, 0.6), (5, 1, 0.9), (5, 2, 0.7), (1, 6, 0.99)]);
        let found = defects(&spots, &Mask::new(8, 8, &[]), 0.5, 2).expect("found");
        assert_eq!(found.iter().map(|defect| defect.peak).collect::<Vec<_>>(), [0.9, 0.6]);
    }

    #[test]
    fn touching_corners_are_one_region() {
        let found = defects(&map(4, &[(1, 1, 1.0), (2, 2, 1.0)]), &Mask::new(4, 4, &[]), 0.5, 1).expect("found");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].area_px, 2);
    }

    #[test]
    fn only_pixels_inside_a_polygon_count() {
        let triangle = vec![[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]];
        // Centres strictly above the diagonal x + y = 4: rows of 4, 3, 2, 1 minus those on the edge itself.
        let mask = Mask::new(8, 8, &[triangle]);
        assert_eq!(mask.pixels(), 6);
        let square = Mask::new(8, 8, &[vec![[2.0, 1.0], [5.0, 1.0], [5.0, 3.0], [2.0, 3.0]]]);
        assert_eq!(square.pixels(), 6);
        let spots = map(8, &[(2, 1, 1.0), (6, 6, 1.0)]);
        let found = defects(&spots, &square, 0.5, 1).expect("found");
        assert_eq!(found.iter().map(|defect| defect.bounds).collect::<Vec<_>>(), [[2, 1, 1, 1]]);
        assert_eq!(defects(&map(8, &[(6, 6, 1.0)]), &square, 0.5, 1).expect("found"), []);
    }
}
