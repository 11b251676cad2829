//! A map with its truth, and what makes it impossible to measure.

/// A map with its truth.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Columns of map and mask.
    pub width: usize,
    /// Values, row by row; larger is more anomalous.
    pub map: &'a [f32],
    /// True where anomalous, as long as `map`.
    pub mask: &'a [bool],
}

/// Maps or scores that cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// Nothing was given.
    #[error("there is no picture to measure")]
    Empty,
    /// Maps, masks or labels do not belong together.
    #[error("picture {picture}: {values} values and {labels} labels in rows of {width}")]
    Shape {
        /// Which one, from 0.
        picture: usize,
        /// Number of map values.
        values: usize,
        /// Number of mask pixels.
        labels: usize,
        /// Columns.
        width: usize,
    },
    /// A value that cannot be compared.
    #[error("picture {picture} holds a value that is no finite number; check model and precision")]
    NotFinite {
        /// Which one, from 0.
        picture: usize,
    },
}

/// Errors when there is nothing to measure, or something that has no order.
pub(super) fn check(pictures: &[Labelled<'_>]) -> Result<(), MetricsError> {
    if pictures.is_empty() {
        return Err(MetricsError::Empty);
    }
    for (picture, &Labelled { width, map, mask }) in pictures.iter().enumerate() {
        if map.len() != mask.len() || map.is_empty() || width == 0 || map.len() % width != 0 {
            return Err(MetricsError::Shape { picture, values: map.len(), labels: mask.len(), width });
        }
        if !map.iter().all(|value| value.is_finite()) {
            return Err(MetricsError::NotFinite { picture });
        }
    }
    Ok(())
}
