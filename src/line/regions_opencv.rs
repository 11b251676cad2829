//! Connected regions and their borders with OpenCV.

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Point, Rect, Scalar, Vector};
use opencv::imgproc::{
    CC_STAT_AREA, CC_STAT_HEIGHT, CC_STAT_LEFT, CC_STAT_TOP, CC_STAT_WIDTH, CHAIN_APPROX_SIMPLE, RETR_EXTERNAL,
    connected_components_with_stats, find_contours,
};

use super::exceeding::{Exceeding, Region, RegionError};

const EIGHT_CONNECTED: i32 = 8;

/// The 8-connected regions with at least `min_area` pixels.
pub fn regions(exceeding: &Exceeding, min_area: usize) -> Result<Vec<Region>, RegionError> {
    find(exceeding, min_area).map_err(|error| RegionError { step: "OpenCV, regions", reason: error.to_string() })
}

fn find(exceeding: &Exceeding, min_area: usize) -> opencv::Result<Vec<Region>> {
    let (width, height) = (exceeding.width, exceeding.height);
    let bits = Mat::new_rows_cols_with_data(height as i32, width as i32, &exceeding.bits)?;
    let (mut labels, mut stats, mut centroids) = (Mat::default(), Mat::default(), Mat::default());
    let count = connected_components_with_stats(
        &bits,
        &mut labels,
        &mut stats,
        &mut centroids,
        EIGHT_CONNECTED,
        opencv::core::CV_32S,
    )?;
    let mut regions = Vec::new();
    // Label 0 is what does not exceed.
    for label in 1..count {
        let stat = |column| stats.at_2d::<i32>(label, column).copied();
        let area = stat(CC_STAT_AREA)? as usize;
        if area < min_area {
            continue;
        }
        let bounds = Rect::new(stat(CC_STAT_LEFT)?, stat(CC_STAT_TOP)?, stat(CC_STAT_WIDTH)?, stat(CC_STAT_HEIGHT)?);
        let (peak, mean) = values(exceeding, &labels, label, bounds)?;
        regions.push(Region {
            bounds: [bounds.x, bounds.y, bounds.width, bounds.height].map(|v| v as usize),
            area,
            centroid: [*centroids.at_2d::<f64>(label, 0)?, *centroids.at_2d::<f64>(label, 1)?],
            peak,
            mean,
            contour: contour(&labels, label, bounds)?,
        });
    }
    Ok(regions)
}

fn values(exceeding: &Exceeding, labels: &Mat, label: i32, bounds: Rect) -> opencv::Result<(f32, f32)> {
    let (mut sum, mut count, mut peak) = (0.0, 0u32, f32::NEG_INFINITY);
    for y in bounds.y..bounds.y + bounds.height {
        let row = labels.at_row::<i32>(y)?;
        let row_values = &exceeding.values[y as usize * exceeding.width..];
        for x in bounds.x as usize..(bounds.x + bounds.width) as usize {
            if row[x] == label {
                sum += f64::from(row_values[x]);
                count += 1;
                peak = peak.max(row_values[x]);
            }
        }
    }
    Ok((peak, (sum / f64::from(count)) as f32))
}

/// The border is looked for in the region alone: over the whole picture `RETR_EXTERNAL` would leave out a region that
/// lies in the hole of another.
fn contour(labels: &Mat, label: i32, bounds: Rect) -> opencv::Result<Vec<[usize; 2]>> {
    let mut alone = Mat::default();
    let same = Scalar::all(f64::from(label));
    opencv::core::in_range(&labels.roi(bounds)?, &same, &same, &mut alone)?;
    let mut contours = Vector::<Vector<Point>>::new();
    find_contours(&alone, &mut contours, RETR_EXTERNAL, CHAIN_APPROX_SIMPLE, Point::new(bounds.x, bounds.y))?;
    Ok(contours.get(0)?.iter().map(|point| [point.x as usize, point.y as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::super::exceeding::{Mask, exceeding};
    use super::super::regions_plain;
    use super::*;
    use crate::anomaly::AnomalyMap;
    use proptest::prelude::*;

    fn by_place(mut regions: Vec<Region>) -> Vec<Region> {
        for region in &mut regions {
            region.contour.sort_unstable();
        }
        regions.sort_by(|a, b| a.bounds.cmp(&b.bounds).then(a.area.cmp(&b.area)).then(a.contour.cmp(&b.contour)));
        regions
    }

    proptest! {
        #[test]
        fn opencv_and_plain_rust_agree(
            size in 2usize..24, width in 1u32..90, height in 1u32..70, threshold in 0.2f32..0.95,
            seed in proptest::collection::vec(0.0f32..1.0, 24 * 24), min_area in 0usize..12,
        ) {
            let map = AnomalyMap::new(size, seed[..size * size].to_vec());
            let triangle = vec![[0.0, 0.0], [width as f32, 1.0], [width as f32 / 2.0, height as f32]];
            for polygons in [vec![], vec![triangle]] {
                let Some(bits) = exceeding(&map, &Mask::new(width, height, &polygons), threshold) else { continue };
                let ours = by_place(regions_plain::regions(&bits, min_area).expect("plain"));
                let theirs = by_place(regions(&bits, min_area).expect("OpenCV"));
                prop_assert_eq!(ours.len(), theirs.len());
                for (a, b) in ours.iter().zip(&theirs) {
                    prop_assert_eq!((a.bounds, a.area, a.peak), (b.bounds, b.area, b.peak));
                    prop_assert_eq!(&a.contour, &b.contour);
                    prop_assert!((a.mean - b.mean).abs() < 1e-6);
                    for axis in 0..2 {
                        prop_assert!((a.centroid[axis] - b.centroid[axis]).abs() < 1e-3);
                    }
                }
            }
        }
    }
}
