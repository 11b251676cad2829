//! What the vision tower says about every patch of one picture: the tokens that its tapped blocks hand out, and what a memory
//! of such tokens is for a card that compares them where they are.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// F_ℓ of one picture for every tapped layer ℓ: N×Cv numbers each, patches row by row of the G×G grid. Cheap to clone.
///
/// An engine on a graphics card leaves them there until somebody asks for them.
#[derive(Clone)]
pub struct PatchTokens {
    grid: usize,
    width: usize,
    layers: usize,
    values: Arc<Values>,
}

struct Values {
    here: OnceLock<Vec<Vec<f32>>>,
    elsewhere: Option<Box<dyn FetchTokens>>,
}

/// Tokens that lie on a graphics card. Implemented by the TensorRT engine and by tests.
pub trait FetchTokens: Send + Sync {
    /// N×Cv numbers per tapped layer; no layer when they cannot be fetched. The fetcher logs why.
    fn fetch(&self) -> Vec<Vec<f32>>;
}

impl PatchTokens {
    /// Takes N×`width` numbers per tapped layer, N = `grid`².
    ///
    /// # Panics
    /// When a layer has another length: engines hand these out, users do not.
    pub fn new(grid: usize, width: usize, taps: Vec<Vec<f32>>) -> Self {
        assert!(taps.iter().all(|tap| tap.len() == grid * grid * width), "tokens of {grid}x{grid} patches");
        let layers = taps.len();
        Self { grid, width, layers, values: Arc::new(Values { here: taps.into(), elsewhere: None }) }
    }

    /// Tokens of `layers` tapped layers that are fetched when they are asked for.
    pub fn elsewhere(grid: usize, width: usize, layers: usize, tokens: Box<dyn FetchTokens>) -> Self {
        let values = Values { here: OnceLock::new(), elsewhere: Some(tokens) };
        Self { grid, width, layers, values: Arc::new(values) }
    }

    /// G, patches along one side.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// Cv, numbers of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// L, tapped layers. Costs no fetch.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// N×Cv numbers per tapped layer; no layer at all when they were lost with the card. May wait for a copy from it, once.
    pub fn taps(&self) -> &[Vec<f32>] {
        self.values.here.get_or_init(|| {
            let taps = self.values.elsewhere.as_ref().map(|tokens| tokens.fetch()).unwrap_or_default();
            let length = self.grid * self.grid * self.width;
            let whole = taps.len() == self.layers && taps.iter().all(|tap| tap.len() == length);
            if whole { taps } else { Vec::new() }
        })
    }

    /// Whether anybody else holds these tokens, and could still ask for them.
    pub fn is_held_elsewhere(&self) -> bool {
        Arc::strong_count(&self.values) > 1
    }
}

impl fmt::Debug for PatchTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { grid, width, layers, .. } = self;
        write!(f, "PatchTokens({layers} of {grid}x{grid} with {width} numbers)")
    }
}

/// A memory as a card takes it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Names its tokens and numbers: what has the same is the same.
    pub id: &'a str,
    /// Per tapped layer rows of length 1, each number a half.
    pub taps: &'a [Vec<f32>],
    /// Cv, numbers of a row.
    pub width: usize,
    /// How its distances become part of the answer.
    pub joining: Joining<'a>,
}

/// What good parts have decided about a memory's distances: how they become a map, and how that joins the model's.
/// `memory::fusion` explains the formula.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// Mean distance of good parts per tapped layer.
    pub means: &'a [f32],
    /// Standard deviation of the Gaussian over the memory's map, pixels of the model's input.
    pub sigma: f32,
    /// The middle of good parts' maps.
    pub middle: f32,
    /// How far their peaks are above it.
    pub reach: f32,
    /// So many times as far above the middle a distance says nothing.
    pub neutral: f32,
    /// What lies below this is no better than what lies at it.
    pub floor: f32,
    /// Pixels of the memory's map whose mean is its peak.
    pub top: usize,
    /// Exponent of the memory's odds in the map; they count to the power of four times it.
    pub map_exponent: f32,
    /// Height of what the memory alone finds.
    pub alone: f32,
    /// Exponent of the memory's odds in the score.
    pub score_exponent: f32,
    /// Share of the memory's own score.
    pub own: f32,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>, Vec<Vec<f32>>);

    impl FetchTokens for Counted {
        fn fetch(&self) -> Vec<Vec<f32>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1.clone()
        }
    }

    #[test]
    fn tokens_elsewhere_are_fetched_once_and_only_when_asked_for() {
        let fetched = Arc::new(AtomicUsize::new(0));
        let there = vec![vec![1.0; 8], vec![2.0; 8]];
        let tokens = PatchTokens::elsewhere(2, 2, 2, Box::new(Counted(Arc::clone(&fetched), there.clone())));
        let other = tokens.clone();
        assert_eq!((tokens.grid(), tokens.width(), tokens.layers()), (2, 2, 2));
        assert!(tokens.is_held_elsewhere() && fetched.load(Ordering::Relaxed) == 0);
        assert_eq!((other.taps(), tokens.taps()), (&there[..], &there[..]));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        drop(other);
        assert!(!tokens.is_held_elsewhere());
        // Half of them would be taken for another model's.
        let lost = PatchTokens::elsewhere(2, 2, 2, Box::new(Counted(fetched, there[..1].to_vec())));
        assert!(lost.taps().is_empty() && lost.layers() == 2);
    }
}
