//! What makes a promise hollow: a picture that counts twice, parts unlike the rest, statistics that say nothing.

use std::collections::HashMap;
use std::fmt;

use super::part::{Part, distance};

/// Two pictures are nearly the same below this share of the usual distance to the most similar picture, …
const NEAR_SHARE: f32 = 0.15;
/// … when that is above the noise of thumbnails, grey levels; parts that all lie alike are told apart by nothing else.
const NEAR_NOISE: f32 = 0.05;
/// Robust standard deviations from where on a part is unlike the rest.
const UNLIKE: f32 = 6.0;
/// Fewer have no rest to be unlike.
const FEWEST_FOR_A_REST: usize = 8;
/// A normal distribution's standard deviation in its median absolute deviations.
const DEVIATIONS: f32 = 1.4826;
/// Pictures of each kind that are named; the rest is counted.
pub const MOST_NAMED: usize = 20;

/// Something a person should look at.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The very same picture: it counts once.
    Same {
        /// It counts.
        first: String,
        /// It does not.
        second: String,
    },
    /// Pictures that differ less than two parts do: probably one part. Both count.
    NearlySame {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// Difference of their thumbnails, grey levels.
        distance: f32,
        /// The usual one between a picture and its most similar other.
        usual: f32,
    },
    /// A part whose value lies far from the others'. It counts.
    Unlike {
        /// Which.
        picture: String,
        /// What is other.
        what: &'static str,
        /// Robust standard deviations from the median.
        deviations: f32,
    },
    /// Pictures that the memory was made of, too: they do not count.
    Remembered {
        /// How many.
        count: usize,
        /// Which memory.
        memory: String,
    },
    /// More than are named.
    More {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same { first, second } => {
                write!(f, "{second} is the very picture {first}: it counts once; a promise needs different parts")
            }
            Self::NearlySame { first, second, distance, usual } => write!(
                f,
                "{second} is nearly the picture {first} (they differ by {distance:.2} grey levels, others by {usual:.2}): \
                 both count; take one away if they show one part"
            ),
            Self::Unlike { picture, what, deviations } => write!(
                f,
                "{picture} is unlike the rest ({what}, {deviations:.1} deviations from the median): it counts; look at it, \
                 and take it away if it is no good part"
            ),
            Self::Remembered { count, memory } => write!(
                f,
                "{count} good pictures have made the memory {memory} and do not count: they are nearer to it than parts to come; \
                 give others, or make memory and thresholds of the same pictures with --learn FILE.memory"
            ),
            Self::More { count } => write!(f, "{count} more such pictures"),
        }
    }
}

/// The parts that count, and what a person should look at.
pub fn look_at(parts: &[Part]) -> (Vec<&Part>, Vec<Warning>) {
    let (counted, same) = without_copies(parts);
    let mut warnings = named(same);
    warnings.extend(named(nearly_same(&counted)));
    warnings.extend(named(unlike(&counted)));
    (counted, warnings)
}

fn named(mut warnings: Vec<Warning>) -> Vec<Warning> {
    if warnings.len() > MOST_NAMED {
        let count = warnings.len() - MOST_NAMED;
        warnings.truncate(MOST_NAMED);
        warnings.push(Warning::More { count });
    }
    warnings
}

fn without_copies(parts: &[Part]) -> (Vec<&Part>, Vec<Warning>) {
    let mut seen: HashMap<[u8; 32], &Part> = HashMap::new();
    let (mut counted, mut copies) = (Vec::new(), Vec::new());
    for part in parts {
        match seen.get(&part.look.sha256) {
            Some(first) => {
                copies.push(Warning::Same { first: first.picture.clone(), second: part.picture.clone() });
            }
            None => {
                seen.insert(part.look.sha256, part);
                counted.push(part);
            }
        }
    }
    (counted, copies)
}

fn nearly_same(parts: &[&Part]) -> Vec<Warning> {
    if parts.len() < FEWEST_FOR_A_REST {
        return Vec::new();
    }
    let nearest: Vec<(f32, usize)> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let others = parts.iter().enumerate().filter(|(other, _)| *other != at);
            let distances = others.map(|(other, that)| (part.look.distance(&that.look), other));
            distances.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f32::INFINITY, at))
        })
        .collect();
    let usual = median(nearest.iter().map(|(distance, _)| *distance).collect());
    let near = |(at, &(distance, other)): (usize, &(f32, usize))| {
        // Each pair once.
        let once = nearest[other].1 != at || other < at;
        (usual > NEAR_NOISE && distance < NEAR_SHARE * usual && once).then(|| Warning::NearlySame {
            first: parts[other].picture.clone(),
            second: parts[at].picture.clone(),
            distance,
            usual,
        })
    };
    nearest.iter().enumerate().filter_map(near).collect()
}

fn unlike(parts: &[&Part]) -> Vec<Warning> {
    if parts.len() < FEWEST_FOR_A_REST {
        return Vec::new();
    }
    let cells = parts[0].look.thumbnail.len();
    let middle: Vec<f32> =
        (0..cells).map(|cell| median(parts.iter().map(|part| part.look.thumbnail[cell]).collect())).collect();
    let of = |what, values: Vec<f32>| {
        let deviations = deviations(&values);
        let unlike = move |(part, deviations): (&&Part, f32)| {
            (deviations > UNLIKE).then(|| Warning::Unlike { picture: part.picture.clone(), what, deviations })
        };
        parts.iter().zip(deviations).filter_map(unlike).collect::<Vec<_>>()
    };
    let mut all = of("defect statistic", parts.iter().map(|part| part.statistics.defect).collect());
    all.extend(of("image score", parts.iter().map(|part| part.statistics.score).collect()));
    let looks = parts.iter().map(|part| distance(&part.look.thumbnail, &middle)).collect();
    all.extend(of("its picture", looks));
    all
}

/// How many robust standard deviations each value lies from the median; 0 where the values do not vary or are infinite.
fn deviations(values: &[f32]) -> Vec<f32> {
    let middle = median(values.to_vec());
    let away: Vec<f32> = values.iter().map(|value| (value - middle).abs()).collect();
    let mut scale = DEVIATIONS * median(away.clone());
    if scale == 0.0 {
        // More than half are equal (Iglewicz and Hoaglin 1993 use the mean then).
        scale = 1.2533 * away.iter().sum::<f32>() / away.len() as f32;
    }
    let deviation = |value: &f32| (value - middle) / scale;
    values.iter().map(deviation).map(|z| if z.is_finite() { z } else { 0.0 }).collect()
}

/// NaN of nothing.
fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return f32::NAN;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::part::Look;
    use crate::dice::Dice;
    use crate::line::recipe::Statistics;

    fn parts(count: usize) -> Vec<Part> {
        let part = |at: usize| {
            let mut dice = Dice::new(3, [at as u64, 0, 0]);
            let thumbnail = (0..256).map(|_| 100.0 + 8.0 * dice.normal() as f32).collect();
            let statistics = Statistics { defect: 0.2 + 0.02 * dice.unit(), score: 0.4 + 0.1 * dice.unit() };
            let mut sha256 = [0; 32];
            sha256[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Part { picture: format!("{at}.png"), statistics, look: Look { sha256, thumbnail }, features: None }
        };
        (0..count).map(part).collect()
    }

    #[test]
    fn parts_as_they_should_be_raise_nothing() {
        let parts = parts(60);
        let (counted, warnings) = look_at(&parts);
        assert_eq!((counted.len(), warnings), (60, vec![]));
    }

    #[test]
    fn the_same_picture_counts_once_and_a_near_one_is_named() {
        let mut parts = parts(20);
        parts[7].look.sha256 = parts[3].look.sha256;
        parts[12].look.thumbnail = parts[5].look.thumbnail.iter().map(|value| value + 0.3).collect();
        let (counted, warnings) = look_at(&parts);
        assert_eq!(counted.len(), 19);
        let said: Vec<String> = warnings.iter().map(Warning::to_string).collect();
        assert!(said[0].starts_with("7.png is the very picture 3.png: it counts once"), "{said:?}");
        assert!(said[1].starts_with("12.png is nearly the picture 5.png (they differ by 0.30 grey levels"), "{said:?}");
        assert_eq!(said.len(), 2, "{said:?}");
    }

    #[test]
    fn a_part_unlike_the_rest_is_named_and_counts() {
        let mut parts = parts(30);
        parts[4].statistics.defect = 0.9;
        parts[9].look.thumbnail[17..80].fill(0.0);
        let (counted, warnings) = look_at(&parts);
        assert_eq!(counted.len(), 30);
        let said: Vec<String> = warnings.iter().map(Warning::to_string).collect();
        assert!(said[0].starts_with("4.png is unlike the rest (defect statistic, "), "{said:?}");
        assert!(said[1].starts_with("9.png is unlike the rest (its picture, "), "{said:?}");
        assert_eq!(said.len(), 2, "{said:?}");
    }

    #[test]
    fn many_are_counted_not_named() {
        let mut parts = parts(60);
        let first = parts[0].look.sha256;
        parts[1..51].iter_mut().for_each(|part| part.look.sha256 = first);
        let (_, warnings) = look_at(&parts);
        assert_eq!(warnings.len(), MOST_NAMED + 1);
        assert_eq!(warnings[MOST_NAMED], Warning::More { count: 30 });
    }

    #[test]
    fn values_that_do_not_vary_have_no_deviations() {
        assert_eq!(deviations(&[f32::NEG_INFINITY; 9]), [0.0; 9]);
        assert_eq!(deviations(&[1.0; 9]), [0.0; 9]);
    }
}
