//! What goes into each layer while the network looks at the pictures.

use std::collections::HashMap;

/// Rows of a layer's input that scales are chosen by; more say no more and need memory.
const MOST_ROWS: usize = 384;

/// What went into one layer.
pub(super) struct Layer {
    /// Largest absolute value of each channel over all pictures.
    pub largest: Vec<f32>,
    /// Some rows, one after the other.
    pub rows: Vec<f32>,
}

/// What went into all layers.
pub(super) struct Seen {
    layers: HashMap<String, Layer>,
    pictures: usize,
}

impl Seen {
    pub fn new(pictures: usize) -> Self {
        Self { layers: HashMap::new(), pictures: pictures.max(1) }
    }

    /// One picture's. Of its rows as many are kept as every picture may have; the last ones are the most unusual.
    pub fn add(&mut self, layer: &str, largest: &[f32], rows: &[f32]) {
        let columns = largest.len();
        let kept =
            self.layers.entry(layer.to_owned()).or_insert_with(|| Layer { largest: vec![0.0; columns], rows: vec![] });
        kept.largest.iter_mut().zip(largest).for_each(|(most, &new)| *most = most.max(new));
        let most = (MOST_ROWS / self.pictures).clamp(1, rows.len() / columns.max(1)) * columns;
        kept.rows.extend_from_slice(&rows[rows.len() - most..]);
    }

    /// Takes what was seen of a layer out.
    pub fn take(&mut self, layer: &str) -> Option<Layer> {
        self.layers.remove(layer)
    }
}
