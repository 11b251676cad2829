//! The defects of an event as a picture: white where the line has outlined one.

use serde::Deserialize;
use serde_json::Value;

use super::error::ArchiveError;
use super::picture;
use crate::verdict::Defect;

/// What of an event is needed for it.
#[derive(Deserialize)]
struct Outlined {
    frame: Option<Size>,
    defects: Vec<Defect>,
}

#[derive(Deserialize)]
struct Size {
    width: u32,
    height: u32,
}

/// As PNG, 8-bit grey, of the frame's size; `None` where the event has no defects.
pub(super) fn mask(event: &Value) -> Result<Option<Vec<u8>>, ArchiveError> {
    let Ok(Outlined { frame: Some(size), defects }) = Outlined::deserialize(event) else { return Ok(None) };
    if defects.is_empty() {
        return Ok(None);
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let mut bits = vec![0_u8; width * height];
    for defect in &defects {
        let [x, y, w, h] = defect.bounds;
        let corners = match defect.polygon.as_slice() {
            // The message was too long for its polygons.
            [] => vec![[x, y], [x + w.max(1) - 1, y], [x + w.max(1) - 1, y + h.max(1) - 1], [x, y + h.max(1) - 1]],
            corners => corners.to_vec(),
        };
        fill(&mut bits, (width, height), &corners);
    }
    picture::grey_png(size.width, size.height, &bits).map(Some)
}

/// The pixels of an outer border, corner to corner, and those inside of it.
fn fill(bits: &mut [u8], (width, height): (usize, usize), corners: &[[u32; 2]]) {
    let mut white = |x: f64, y: usize| {
        if x >= 0.0 && (x as usize) < width && y < height {
            bits[y * width + x as usize] = 255;
        }
    };
    let edges = || corners.iter().zip(corners.iter().cycle().skip(1));
    for (a, b) in edges() {
        let (dx, dy) = (f64::from(b[0]) - f64::from(a[0]), f64::from(b[1]) - f64::from(a[1]));
        let steps = dx.abs().max(dy.abs()).max(1.0) as usize;
        for step in 0..=steps {
            let share = step as f64 / steps as f64;
            white((f64::from(a[0]) + share * dx).round(), (f64::from(a[1]) + share * dy).round() as usize);
        }
    }
    let rows = corners.iter().map(|corner| corner[1]);
    let (Some(top), Some(bottom)) = (rows.clone().min(), rows.max()) else { return };
    for y in top..=bottom.min(height.saturating_sub(1) as u32) {
        let mut crossings: Vec<f64> = edges()
            .filter(|(a, b)| (a[1] <= y) != (b[1] <= y))
            .map(|(a, b)| {
                let share = (f64::from(y) - f64::from(a[1])) / (f64::from(b[1]) - f64::from(a[1]));
                f64::from(a[0]) + share * (f64::from(b[0]) - f64::from(a[0]))
            })
            .collect();
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let mut x = pair[0].ceil();
            while x <= pair[1].floor() {
                white(x, y as usize);
                x += 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_filled_with_its_border() {
        let mut bits = vec![0; 6 * 5];
        fill(&mut bits, (6, 5), &[[1, 1], [4, 1], [4, 3], [1, 3]]);
        let rows: Vec<usize> = bits.chunks(6).map(|row| row.iter().filter(|bit| **bit > 0).count()).collect();
        assert_eq!(rows, [0, 4, 4, 4, 0]);
        let mut one = vec![0; 4];
        fill(&mut one, (2, 2), &[[1, 0]]);
        assert_eq!(one, [0, 255, 0, 0]);
    }
}
