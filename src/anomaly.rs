//! What an engine says about a frame: a score for every pixel and one for the whole picture.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::tokens::{Known, PatchTokens};

/// Anomaly per pixel, row by row: 0 is normal, 1 is anomalous; raw, uncalibrated. What an engine answers with is square, as the
/// model's input; what tiles were stitched to is not.
///
/// A map lies over the whole frame, or over the rectangle of it that was looked at: [`Self::place`].
///
/// An engine on a graphics card leaves the values there until somebody asks for them; the peak is known at once.
#[derive(Clone)]
pub struct AnomalyMap {
    width: usize,
    height: usize,
    peak: f32,
    place: Option<[u32; 4]>,
    paths: Option<Arc<[Vec<f32>; 2]>>,
    values: Arc<Values>,
}

struct Values {
    here: OnceLock<Vec<f32>>,
    elsewhere: Option<Box<dyn Fetch>>,
}

/// Values of a map that lie on a graphics card. Implemented by the TensorRT engine and by tests.
pub trait Fetch: Send + Sync {
    /// The values, row by row; what cannot be fetched is not a number, in every pixel. The fetcher logs why.
    fn fetch(&self) -> Vec<f32>;
    /// This map and its image score joined with what a memory says about the picture's tokens, where all of them are. `None`
    /// where that cannot be done; one who could and failed logs why.
    fn join(&self, _memory: &Known<'_>) -> Option<(AnomalyMap, f32)> {
        None
    }
}

impl AnomalyMap {
    /// Takes `size × size` values.
    ///
    /// # Panics
    /// When `values` has another length: engines build maps, users do not.
    pub fn new(size: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), size * size, "an anomaly map is square");
        Self::sized(size, size, values)
    }

    /// Takes `width × height` values.
    ///
    /// # Panics
    /// When `values` has another length.
    pub fn sized(width: usize, height: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), width * height, "an anomaly map of {width}x{height}");
        let peak = peak(&values);
        let values = Arc::new(Values { here: values.into(), elsewhere: None });
        Self { width, height, peak, place: None, paths: None, values }
    }

    /// A square map whose values are fetched when they are asked for; `peak` is the largest of them, NaN when one is.
    pub fn elsewhere(size: usize, peak: f32, values: Box<dyn Fetch>) -> Self {
        let values = Arc::new(Values { here: OnceLock::new(), elsewhere: Some(values) });
        Self { width: size, height: size, peak, place: None, paths: None, values }
    }

    /// The same map with the two that were blended into it, raw and new path, of the same size.
    pub fn with_paths(self, paths: [Vec<f32>; 2]) -> Self {
        Self { paths: Some(Arc::new(paths)), ..self }
    }

    /// The two maps that were blended into this one, before smoothing, where the engine was asked for them.
    pub fn paths(&self) -> Option<&[Vec<f32>; 2]> {
        self.paths.as_deref()
    }

    /// The same map over the rectangle `[x, y, width, height]` of the captured frame, and without its paths; `None` is the whole
    /// frame.
    pub fn over(self, place: Option<[u32; 4]>) -> Self {
        Self { place, paths: None, ..self }
    }

    /// The rectangle of the captured frame that the map lies over, `[x, y, width, height]`; `None` is the whole frame.
    pub fn place(&self) -> Option<[u32; 4]> {
        self.place
    }

    /// [`Self::place`] in a frame of this size.
    pub fn place_in(&self, (width, height): (u32, u32)) -> [u32; 4] {
        self.place.unwrap_or([0, 0, width, height])
    }

    /// Side length S of a square map; the columns of another.
    pub fn size(&self) -> usize {
        self.width
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The largest value; NaN or infinite when any value is no finite number. Costs no fetch.
    pub fn peak(&self) -> f32 {
        self.peak
    }

    /// The values, row by row. May wait for a copy from the graphics card, once.
    pub fn values(&self) -> &[f32] {
        let count = self.width * self.height;
        self.values.here.get_or_init(|| {
            let fetched = self.values.elsewhere.as_ref().map(|values| values.fetch()).unwrap_or_default();
            if fetched.len() == count { fetched } else { vec![f32::NAN; count] }
        })
    }

    /// The map and the image score with what a memory says, when the card that this map lies on can tell; its tokens must be
    /// there still.
    pub fn joined(&self, memory: &Known<'_>) -> Option<(Self, f32)> {
        self.values.elsewhere.as_ref()?.join(memory)
    }

    /// Whether the values are here: asking for them costs no fetch.
    pub fn is_here(&self) -> bool {
        self.values.here.get().is_some()
    }

    /// Whether anybody else holds this map, and could still ask for its values.
    pub fn is_held_elsewhere(&self) -> bool {
        Arc::strong_count(&self.values) > 1
    }
}

impl PartialEq for AnomalyMap {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, self.place) == (other.width, other.height, other.place)
            && self.values() == other.values()
    }
}

impl fmt::Debug for AnomalyMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnomalyMap({}x{}, peak {})", self.width, self.height, self.peak)
    }
}

/// The largest value; one that is not finite, if there is any.
fn peak(values: &[f32]) -> f32 {
    // So many side by side that the loop becomes vector code.
    const LANES: usize = 32;
    let (mut largest, mut odd) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            // 0 for what is finite, and nothing else ever becomes finite again.
            odd[lane] += chunk[lane] * 0.0;
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    let finite = odd.iter().all(|odd| *odd == 0.0) && rest.iter().all(|value| value.is_finite());
    let strange = if finite { None } else { values.iter().copied().find(|value| !value.is_finite()) };
    strange.unwrap_or_else(|| largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max))
}

/// Where the time of one inference went. For a batch, each frame carries its share of the batch's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Resize and normalisation.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Post-VCP, map fusion and score.
    pub postprocess: Duration,
}

/// An engine's answer for one frame.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The blended and smoothed map.
    pub map: AnomalyMap,
    /// Image score in raw model units: 0 … 2, the sum of two top-k means.
    pub score: f32,
    /// Where the time went.
    pub times: StageTimes,
    /// What a memory compares, when the engine was asked for it.
    pub tokens: Option<PatchTokens>,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>);

    impl Fetch for Counted {
        fn fetch(&self) -> Vec<f32> {
            self.0.fetch_add(1, Ordering::Relaxed);
            vec![0.25, 0.5, 0.0, 0.125]
        }
    }

    #[test]
    fn values_elsewhere_are_fetched_once_and_only_when_asked_for() {
        let fetched = Arc::new(AtomicUsize::new(0));
        let map = AnomalyMap::elsewhere(2, 0.5, Box::new(Counted(Arc::clone(&fetched))));
        let other = map.clone();
        assert!(map.is_held_elsewhere());
        assert_eq!((map.peak(), map.size(), fetched.load(Ordering::Relaxed)), (0.5, 2, 0));
        assert_eq!(other.values(), [0.25, 0.5, 0.0, 0.125]);
        assert_eq!(map, AnomalyMap::new(2, vec![0.25, 0.5, 0.0, 0.125]));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        drop(other);
        assert!(!map.is_held_elsewhere());
    }

    #[test]
    fn the_peak_shows_what_is_no_number() {
        assert_eq!(AnomalyMap::new(2, vec![0.0, 0.5, -1.0, 0.25]).peak(), 0.5);
        assert!(AnomalyMap::new(2, vec![0.0, f32::NAN, 0.0, 1.0]).peak().is_nan());
        assert_eq!(AnomalyMap::new(2, vec![0.0, f32::NEG_INFINITY, 0.0, 1.0]).peak(), f32::NEG_INFINITY);
        for at in [0, 31, 32, 40, 63, 64, 80] {
            let with =
                |value: f32| AnomalyMap::new(9, (0..81).map(|i| if i == at { value } else { 0.25 }).collect()).peak();
            assert!(with(0.5) == 0.5 && with(-0.5) == 0.25 && with(f32::NAN).is_nan(), "{at}");
            assert_eq!([with(f32::INFINITY), with(f32::NEG_INFINITY)], [f32::INFINITY, f32::NEG_INFINITY]);
        }
    }
}
