//! What is watched of every part: a measure each, the alarm that it raises, and its words.

use serde::{Deserialize, Serialize};

use crate::verdict::Suspect;

/// One number of a part that has a control chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// 5 % quantile of brightness, logarithm.
    Dark,
    /// Median of brightness, logarithm.
    Middle,
    /// 95 % quantile of brightness, logarithm.
    Bright,
    /// See [`super::Features::sharpness`].
    Sharpness,
    /// How far to the right the picture is moved, share of its width.
    Across,
    /// How far down the picture is moved, share of its height.
    Down,
    /// See [`super::Features::noise`].
    Noise,
    /// See [`super::Offset::likeness`].
    Likeness,
    /// The part statistic: the highest threshold at which the recipe would still find a defect.
    Statistic,
    /// The image score.
    Score,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Dark,
        Self::Middle,
        Self::Bright,
        Self::Sharpness,
        Self::Across,
        Self::Down,
        Self::Noise,
        Self::Likeness,
        Self::Statistic,
        Self::Score,
    ];

    /// The alarm it raises.
    pub fn suspect(self) -> Suspect {
        match self {
            Self::Dark | Self::Middle | Self::Bright => Suspect::Light,
            Self::Sharpness => Suspect::Focus,
            Self::Across | Self::Down => Suspect::Position,
            Self::Noise | Self::Likeness | Self::Statistic | Self::Score => Suspect::Drift,
        }
    }

    /// Whether it says something of the picture only where the part passes: a defect is high on the map and unlike the
    /// mean, and a wave of bad parts is no change of the picture.
    pub fn of_passing_parts(self) -> bool {
        matches!(self, Self::Likeness | Self::Statistic | Self::Score)
    }

    /// The least that counts as one deviation: good parts that are more alike than this are not held to it, since no model
    /// notices.
    pub fn least(self) -> f32 {
        match self {
            // 1 %
            Self::Dark | Self::Middle | Self::Bright => 0.01,
            // 3 %; a defocus of one pixel is 40 % and more
            Self::Sharpness | Self::Noise => 0.03,
            // a tenth of a reduced pixel
            Self::Across | Self::Down => 0.0015,
            Self::Likeness => 0.01,
            Self::Statistic | Self::Score => 0.005,
        }
    }

    /// A change in words; `by` in the measure's own unit.
    pub fn change(self, by: f32) -> String {
        let (up, size) = (by > 0.0, by.abs());
        let percent = (by.exp_m1() * 100.0).abs();
        let side = |name, [more, less]: [&str; 2]| {
            format!("the picture lies {:.1} % of its {name} further {}", size * 100.0, if up { more } else { less })
        };
        let factor = |name| format!("{name} is {percent:.0} % {}", if up { "higher" } else { "lower" });
        let step = |name| format!("{name} is {size:.3} {}", if up { "higher" } else { "lower" });
        match self {
            Self::Dark => factor("the brightness of the darkest parts of the picture (5 % quantile)"),
            Self::Middle => factor("the median brightness"),
            Self::Bright => factor("the brightness of the brightest parts of the picture (95 % quantile)"),
            Self::Sharpness => factor("sharpness"),
            Self::Across => side("width", ["to the right", "to the left"]),
            Self::Down => side("height", ["down", "up"]),
            Self::Noise => factor("noise"),
            Self::Likeness => step("the likeness to the mean good picture"),
            Self::Statistic => step("the statistic of passing parts"),
            Self::Score => step("the score of passing parts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_units_that_somebody_can_check() {
        assert_eq!(Measure::Middle.change((0.85f32).ln()), "the median brightness is 15 % lower");
        assert_eq!(Measure::Across.change(-0.02), "the picture lies 2.0 % of its width further to the left");
        assert_eq!(Measure::Statistic.change(0.1), "the statistic of passing parts is 0.100 higher");
    }
}
