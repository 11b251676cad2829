//! Regions of interest as people draw them: simple polygons, and what is wrong with the others.

/// What is wrong with a polygon by itself, if anything.
pub fn polygon_mistake(corners: &[[f32; 2]]) -> Option<String> {
    if corners.len() < 3 {
        return Some(format!("has {} corners; a polygon needs at least 3", corners.len()));
    }
    if let Some([x, y]) = corners.iter().find(|corner| corner.iter().any(|v| !v.is_finite() || *v < 0.0)) {
        return Some(format!("has the corner [{x}, {y}]; coordinates are pixels from 0 on"));
    }
    let side = |i: usize| (corners[i], corners[(i + 1) % corners.len()]);
    for a in 0..corners.len() {
        for b in a + 1..corners.len() {
            let neighbours = b == a + 1 || (a == 0 && b == corners.len() - 1);
            if !neighbours && cross(side(a), side(b)) {
                return Some(format!(
                    "crosses itself: side {a} and side {b} meet; list the corners in order around it"
                ));
            }
        }
    }
    let doubled: f32 = (0..corners.len()).map(side).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    (doubled == 0.0).then(|| "has no area; its corners lie on one line".to_owned())
}

type Segment = ([f32; 2], [f32; 2]);

fn cross((a, b): Segment, (c, d): Segment) -> bool {
    let turn = |p: [f32; 2], q: [f32; 2], r: [f32; 2]| {
        let [px, py] = p.map(f64::from);
        let ([qx, qy], [rx, ry]) = (q.map(f64::from), r.map(f64::from));
        (qx - px) * (ry - py) - (qy - py) * (rx - px)
    };
    let within = |p: [f32; 2], q: [f32; 2], r: [f32; 2]| {
        (0..2).all(|axis| r[axis] >= p[axis].min(q[axis]) && r[axis] <= p[axis].max(q[axis]))
    };
    let (t1, t2, t3, t4) = (turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b));
    (t1 * t2 < 0.0 && t3 * t4 < 0.0)
        || (t1 == 0.0 && within(a, b, c))
        || (t2 == 0.0 && within(a, b, d))
        || (t3 == 0.0 && within(c, d, a))
        || (t4 == 0.0 && within(c, d, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_are_simple() {
        let square = [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]];
        assert_eq!(polygon_mistake(&square), None);
        let bow = [[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]];
        assert!(polygon_mistake(&bow).expect("crosses").starts_with("crosses itself: side 0 and side 2"));
        assert!(polygon_mistake(&square[..2]).expect("two").contains("2 corners"));
        assert!(polygon_mistake(&[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]).expect("flat").contains("no area"));
        assert!(polygon_mistake(&[[0.0, 0.0], [f32::NAN, 1.0], [2.0, 0.0]]).is_some());
    }
}
