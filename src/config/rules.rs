//! The rules a single value must follow, each with the sentence that says what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;

use super::problem::Report;
use super::raw::Key;

/// A key within its section, for messages.
pub struct Rules<'a> {
    /// The section, such as `mqtt` or `camera 'top'`.
    pub section: String,
    /// Where mistakes go.
    pub report: &'a mut Report,
}

impl Rules<'_> {
    /// Adds a mistake about `key`.
    pub fn wrong<T>(&mut self, value: Option<&Spanned<T>>, key: &str, message: String) {
        let key = if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) };
        self.report.add(value.map(|value| value.span().start), &key, message);
    }

    /// The value, or a mistake with what to write.
    pub fn required<T: Clone>(&mut self, value: &Key<T>, key: &str, what: &str) -> Option<T> {
        if value.is_none() {
            self.wrong::<T>(None, key, format!("missing; {what}"));
        }
        value.as_ref().map(|value| value.get_ref().clone())
    }

    /// The value or its default, within the bounds; NaN is within none.
    pub fn bounded<T: Copy + PartialOrd + Display>(
        &mut self,
        value: &Key<T>,
        key: &str,
        default: T,
        allowed: RangeInclusive<T>,
        unit: &str,
    ) -> T {
        self.bounded_option(value, key, allowed, unit).unwrap_or(default)
    }

    /// Like [`Rules::bounded`] for a key without default.
    pub fn bounded_option<T: Copy + PartialOrd + Display>(
        &mut self,
        value: &Key<T>,
        key: &str,
        allowed: RangeInclusive<T>,
        unit: &str,
    ) -> Option<T> {
        let found = *value.as_ref()?.get_ref();
        if allowed.contains(&found) {
            return Some(found);
        }
        let (low, high) = allowed.into_inner();
        self.wrong(value.as_ref(), key, format!("{found} is out of range; allowed: {low} to {high}{unit}"));
        None
    }

    /// The value when it is made of letters, digits, `_` and `-`.
    pub fn name(&mut self, value: &Key<String>, key: &str, what: &str) -> Option<String> {
        let name = self.required(value, key, what)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            let message = format!("\"{name}\" is no name; allowed: letters, digits, '_' and '-', at least one");
            self.wrong(value.as_ref(), key, message);
            return None;
        }
        Some(name)
    }
}

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
