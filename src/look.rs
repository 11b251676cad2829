//! One frame through the engine as a camera looks at it: its view, in tiles where there are some, with the memory's word, laid back
//! over the captured frame.

use std::time::{Duration, Instant};

use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::engine::{Engine, EngineError, Tiles, nothing_comes};
use crate::frame::Frame;
use crate::memory::{Memory, MemoryError};
use crate::verdict::TileCount;
use crate::view::{Mosaic, Rect, Stitched, TileLayout, Transform, ViewError, ViewSpec, cut, laid_back};

/// How much the newest frame counts in the time that a tile is known to take.
const NEWEST: f64 = 0.3;
/// What is left of that time with every frame that is not begun: what was slow once is tried again.
const FORGOTTEN: f64 = 0.9;

/// A camera's way of looking, made for the frames that come.
///
/// While a frame of tiles is looked at, its anomaly map is in memory, 4 bytes for each pixel of the area they cover, and of the rows of
/// tiles that overlap there (mostly two) 12 bytes (with a memory 16) for each value of a tile's map, or pixel of the tile where these are fewer.
pub struct Looker {
    spec: ViewSpec,
    laid: Option<Laid>,
    per_tile: Option<Duration>,
}

/// A view of frames of one size.
struct Laid {
    regions: Vec<Vec<[f32; 2]>>,
    transform: Transform,
    tiles: Option<TileLayout>,
}

impl Laid {
    fn count(&self) -> Option<TileCount> {
        let tiles = self.tiles.as_ref()?;
        Some(TileCount { looked_at: tiles.tiles().len(), of: tiles.without_regions() })
    }
}

/// What a look at a frame depends on besides the frame.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The recipe's regions of interest: polygons in pixels of the captured frame.
    pub regions: &'a [Vec<[f32; 2]>],
    /// What good parts look like. The engine must hand out its tokens.
    pub memory: Option<&'a Memory>,
    /// When nobody needs the answer any more.
    pub until: Option<Instant>,
    /// Whether somebody still waits for it; `None` is always.
    pub wanted: Option<&'a dyn Fn() -> bool>,
}

/// A frame got no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The view does not fit the frame.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The memory does not fit.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The tiles take longer than there is time.
    #[error(
        "{tiles} tiles of {} ms take longer than the {} ms that are left until the deadline; choose larger tiles, a smaller \
         crop or smaller regions, or a longer deadline_ms", per_tile.as_millis(), left.as_millis()
    )]
    Overrun {
        /// As many as are to be looked at.
        tiles: usize,
        /// Measured.
        per_tile: Duration,
        /// Until the deadline.
        left: Duration,
    },
    /// Nobody waits any more.
    #[error("nobody waits for the frame any more")]
    Unwanted,
}

/// Hears of every picture that the engine has seen, before the memory joins: its answer, and the size of the captured frame.
pub type Seen<'a> = &'a mut dyn FnMut(&Prediction, (u32, u32));

impl Looker {
    /// Looks as `spec` says.
    pub fn new(spec: ViewSpec) -> Self {
        Self { spec, laid: None, per_tile: None }
    }

    /// What was asked for.
    pub fn spec(&self) -> &ViewSpec {
        &self.spec
    }

    /// How long a tile takes, as far as is known.
    pub fn per_tile(&self) -> Option<Duration> {
        self.per_tile
    }

    /// How many tiles frames of this size have under these regions; `None` without tiles.
    pub fn tiles(&mut self, size: (u32, u32), regions: &[Vec<[f32; 2]>]) -> Result<Option<TileCount>, ViewError> {
        Ok(self.lay(size, regions)?.count())
    }

    /// How many the frame had that was looked at last.
    pub fn tile_count(&self) -> Option<TileCount> {
        self.laid.as_ref()?.count()
    }

    /// The view of frames of this size; kept until size or regions change.
    fn lay(&mut self, size: (u32, u32), regions: &[Vec<[f32; 2]>]) -> Result<&Laid, ViewError> {
        let fits = |laid: &Laid| laid.transform.captured_size() == size && laid.regions == regions;
        let laid = match self.laid.take().filter(fits) {
            Some(laid) => laid,
            None => {
                let transform = Transform::new(&self.spec, size)?;
                let lay = |spec| TileLayout::new(&spec, transform.view_size(), &seen(regions, &transform));
                let tiles = self.spec.tiles.map(lay).transpose()?;
                Laid { regions: regions.to_vec(), transform, tiles }
            }
        };
        Ok(self.laid.insert(laid))
    }

    /// The frame as the engine is to see it, where it is not cut into tiles. The same frame without a view.
    pub fn cut(&mut self, frame: &Frame) -> Result<Frame, ViewError> {
        if self.spec.is_captured() {
            return Ok(frame.clone());
        }
        let Laid { transform, .. } = self.lay((frame.image.width, frame.image.height), &[])?;
        let image = cut(&frame.image, transform, Rect::whole(transform.view_size()));
        Ok(Frame { image, ..frame.clone() })
    }

    /// The answer about what [`Self::cut`] gave, laid back over the captured frame.
    pub fn back(&mut self, answer: Prediction, size: (u32, u32)) -> Result<Prediction, ViewError> {
        if self.spec.is_captured() {
            return Ok(answer);
        }
        let begin = Instant::now();
        let Laid { transform, .. } = self.lay(size, &[])?;
        let map = laid_back(answer.map, transform, Rect::whole(transform.view_size()));
        let times = StageTimes { postprocess: answer.times.postprocess + begin.elapsed(), ..answer.times };
        Ok(Prediction { map, times, ..answer })
    }

    /// Looks at a frame, however it is to be looked at. `seen` hears of every answer of the engine alone.
    pub fn look<'a>(
        &mut self,
        engine: &mut dyn Engine,
        frame: &'a Frame,
        asked: Asked<'a>,
        mut seen: Option<Seen<'a>>,
    ) -> Result<Prediction, LookError> {
        let size = (frame.image.width, frame.image.height);
        if let Some(memory) = asked.memory {
            memory.about().fits_view(&self.spec)?;
        }
        if self.spec.tiles.is_some() {
            return self.look_at_tiles(engine, frame, asked, seen);
        }
        let view = self.cut(frame)?;
        let answers = engine.infer_until(&[&view], &[asked.until], &nothing_comes)?;
        let answer = answers.into_iter().next().ok_or_else(|| no_answer(engine))??;
        if let Some(seen) = &mut seen {
            seen(&answer, size);
        }
        let joined = match asked.memory {
            Some(memory) => memory.look(answer, size)?,
            None => answer,
        };
        Ok(self.back(joined, size)?)
    }

    fn look_at_tiles<'a>(
        &mut self,
        engine: &mut dyn Engine,
        frame: &'a Frame,
        asked: Asked<'a>,
        seen: Option<Seen<'a>>,
    ) -> Result<Prediction, LookError> {
        let begin = Instant::now();
        self.lay((frame.image.width, frame.image.height), asked.regions)?;
        let Some(laid) = self.laid.take() else { return Err(LookError::Unwanted) };
        let looked = self.stitched(engine, frame, &laid, asked, seen);
        let count = laid.tiles.as_ref().map_or(1, |tiles| tiles.tiles().len());
        self.laid = Some(laid);
        let looked = looked?;
        let newest = begin.elapsed() / count as u32;
        self.per_tile = Some(match self.per_tile {
            Some(known) => known.mul_f64(1.0 - NEWEST) + newest.mul_f64(NEWEST),
            None => newest,
        });
        Ok(looked)
    }

    fn stitched(
        &mut self,
        engine: &mut dyn Engine,
        frame: &Frame,
        laid: &Laid,
        asked: Asked<'_>,
        seen: Option<Seen<'_>>,
    ) -> Result<Prediction, LookError> {
        let begin = Instant::now();
        let share = engine.info().top_k as f64 / (engine.info().image_size as f64).powi(2);
        let Laid { transform, tiles: Some(layout), .. } = laid else { return Err(LookError::Unwanted) };
        let count = layout.tiles().len();
        if let (Some(until), Some(per_tile)) = (asked.until, self.per_tile) {
            let left = until.saturating_duration_since(begin);
            if per_tile * count as u32 > left {
                self.per_tile = Some(per_tile.mul_f64(FORGOTTEN));
                return Err(LookError::Overrun { tiles: count, per_tile, left });
            }
        }
        engine.hand_out_paths(true);
        let mut stitch = Stitch {
            frame,
            transform,
            layout,
            asked,
            seen,
            mosaic: Mosaic::new(layout, share),
            above: f32::NEG_INFINITY,
            times: StageTimes::default(),
            done: 0,
            error: None,
        };
        let looked = engine.infer_tiles(&mut stitch);
        engine.hand_out_paths(false);
        looked?;
        let Stitch { mosaic, above, times, done, error, .. } = stitch;
        if let Some(error) = error {
            return Err(error.into());
        }
        if done < count {
            return Err(LookError::Unwanted);
        }
        let inferred = Instant::now();
        let Stitched { map, score } = mosaic.finish();
        let score = asked.memory.map_or(score, |memory| memory.fusion().join_score(score, above));
        let area = layout.area();
        let map = AnomalyMap::sized(area.width as usize, area.height as usize, map);
        let map = laid_back(map, transform, area);
        let inference = (inferred - begin).saturating_sub(times.preprocess + times.postprocess);
        let times = StageTimes { inference, postprocess: times.postprocess + inferred.elapsed(), ..times };
        Ok(Prediction { map, score, times, tokens: None })
    }
}

fn no_answer(engine: &dyn Engine) -> EngineError {
    let reason = "no prediction for a frame".into();
    EngineError::Runtime { engine: engine.info().engine, step: "inference", reason }
}

/// Regions as the view shows them: along a lens their sides are followed.
fn seen(regions: &[Vec<[f32; 2]>], transform: &Transform) -> Vec<Vec<[f64; 2]>> {
    let steps = if transform.lens().is_some() { 32 } else { 1 };
    let follow = |polygon: &Vec<[f32; 2]>| {
        let corner = |i: usize| polygon[i % polygon.len()].map(f64::from);
        let side = |i: usize| {
            let (a, b) = (corner(i), corner(i + 1));
            (0..steps).map(move |step| {
                let t = f64::from(step) / f64::from(steps);
                [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
            })
        };
        (0..polygon.len()).flat_map(side).filter_map(|point| transform.to_view(point)).collect()
    };
    regions.iter().map(follow).collect()
}

/// Cuts the tiles of one frame and puts their answers together.
struct Stitch<'a, 's> {
    frame: &'a Frame,
    transform: &'a Transform,
    layout: &'a TileLayout,
    asked: Asked<'a>,
    seen: Option<Seen<'s>>,
    mosaic: Mosaic<'a>,
    /// The most that the memory has found in any tile.
    above: f32,
    times: StageTimes,
    done: usize,
    error: Option<MemoryError>,
}

impl Tiles for Stitch<'_, '_> {
    fn count(&self) -> usize {
        self.layout.tiles().len()
    }

    fn cut(&mut self, at: usize) -> Frame {
        let begin = Instant::now();
        let image = cut(&self.frame.image, self.transform, self.layout.tiles()[at]);
        self.times.preprocess += begin.elapsed();
        Frame { image, ..self.frame.clone() }
    }

    fn take(&mut self, at: usize, answer: Prediction) {
        let size = (self.frame.image.width, self.frame.image.height);
        if let Some(seen) = &mut self.seen {
            seen(&answer, size);
        }
        self.times.preprocess += answer.times.preprocess;
        self.times.postprocess += answer.times.postprocess;
        let begin = Instant::now();
        // An engine that keeps both paths to itself lets the map stand for them.
        let alone = answer.map.clone();
        let map = match self.asked.memory.map(|memory| memory.look_at_tile(answer, size)) {
            None => alone.clone(),
            Some(Ok((joined, above))) => {
                self.above = self.above.max(above);
                joined.map
            }
            Some(Err(error)) => {
                self.error.get_or_insert(error);
                return;
            }
        };
        self.mosaic.add(at, map, alone);
        self.done += 1;
        self.times.postprocess += begin.elapsed();
    }

    fn until(&self) -> Option<Instant> {
        self.asked.until
    }

    fn wanted(&self) -> bool {
        self.error.is_none()
            && self.asked.until.is_none_or(|until| Instant::now() < until)
            && self.asked.wanted.is_none_or(|wanted| wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::engine::{EngineChoice, EngineInfo, Precision};
    use crate::frame::{Image, PixelFormat};
    use crate::view::{Flip, Rotate, TileSpec};

    /// Sees in each picture its own brightness: 255 is an anomaly of 1.
    struct Brightness {
        info: EngineInfo,
        seen: usize,
        pause: Duration,
    }

    impl Brightness {
        fn new() -> Self {
            let (model, sha256) = ("brightness".into(), String::new());
            let (engine, precision) = (EngineChoice::Reference, Precision::Fp32);
            let info =
                EngineInfo { model, sha256, engine, precision, max_batch: 4, image_size: 32, sigma: 1.0, top_k: 10 };
            Self { info, seen: 0, pause: Duration::ZERO }
        }
    }

    impl Engine for Brightness {
        fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
            self.info.check_batch(frames.len())?;
            self.seen += frames.len();
            std::thread::sleep(self.pause);
            let look = |frame: &&Frame| {
                let image = &frame.image;
                let at = |i: usize, of: u32| (i as u32 * of + of / 2) / 32;
                let value =
                    |i: usize| f32::from(image.rgb_at(at(i % 32, image.width), at(i / 32, image.height))[0]) / 255.0;
                let map = AnomalyMap::new(32, (0..32 * 32).map(value).collect());
                Prediction { map, score: 0.0, times: StageTimes::default(), tokens: None }
            };
            Ok(frames.iter().map(look).collect())
        }

        fn info(&self) -> &EngineInfo {
            &self.info
        }
    }

    fn frame(width: u32, height: u32, bright: [u32; 4]) -> Frame {
        let [left, top, columns, rows] = bright;
        let inside = |x: u32, y: u32| (left..left + columns).contains(&x) && (top..top + rows).contains(&y);
        let data = (0..height).flat_map(|y| (0..width).map(move |x| if inside(x, y) { 255 } else { 0 })).collect();
        Frame::alone("test", SystemClock.now(), Image::new(width, height, PixelFormat::Gray8, data).expect("fits"))
    }

    fn tiles(size_px: u32) -> Option<TileSpec> {
        Some(TileSpec::Size { size_px, overlap: 0.25 })
    }

    #[test]
    fn a_spot_is_found_where_it_was_captured_however_it_is_looked_at() {
        let frame = frame(200, 150, [120, 60, 9, 5]);
        for crop in [None, Some([60, 30, 120, 96])] {
            for rotate in [Rotate::None, Rotate::Quarter, Rotate::Half, Rotate::ThreeQuarters] {
                for flip in [Flip::None, Flip::Horizontal, Flip::Vertical] {
                    let spec = ViewSpec { crop, rotate, flip, undistort: None, tiles: tiles(32) };
                    let mut looker = Looker::new(spec);
                    let answer = looker.look(&mut Brightness::new(), &frame, Asked::default(), None).expect("looked");
                    let [left, top, columns, _] = answer.map.place_in((200, 150));
                    for (i, &value) in answer.map.values().iter().enumerate() {
                        let (x, y) = (left + i as u32 % columns, top + i as u32 / columns);
                        let bright = (120..129).contains(&x) && (60..65).contains(&y);
                        assert!((value - f32::from(u8::from(bright))).abs() < 1e-5, "{x} {y} {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_without_regions_are_not_looked_at_and_the_score_is_of_what_was() {
        let frame = frame(320, 320, [0, 0, 40, 40]);
        let mut engine = Brightness::new();
        let mut looker = Looker::new(ViewSpec { tiles: tiles(64), ..ViewSpec::default() });
        let whole = looker.look(&mut engine, &frame, Asked::default(), None).expect("looked");
        assert_eq!(engine.seen, 49);
        // A hundredth of all pixels counts, and more than that are bright.
        assert!((whole.score - 2.0).abs() < 1e-5, "{}", whole.score);
        let region = vec![vec![[200.0, 200.0], [300.0, 200.0], [300.0, 300.0], [200.0, 300.0]]];
        let asked = Asked { regions: &region, ..Asked::default() };
        let part = looker.look(&mut engine, &frame, asked, None).expect("looked");
        // Tiles are laid over the region: two of 64 pixels that share 16 reach over its 100 pixels.
        assert_eq!((engine.seen - 49, part.score, part.map.place()), (4, 0.0, Some([200, 200, 100, 100])));
        let count = looker.tiles((320, 320), &region).expect("fits");
        assert_eq!(count, Some(TileCount { looked_at: 4, of: 49 }));
    }

    #[test]
    fn what_cannot_be_done_in_time_is_not_begun() {
        let frame = frame(320, 320, [0, 0, 40, 40]);
        let mut engine = Brightness { pause: Duration::from_millis(8), ..Brightness::new() };
        let mut looker = Looker::new(ViewSpec { tiles: tiles(64), ..ViewSpec::default() });
        looker.look(&mut engine, &frame, Asked::default(), None).expect("looked");
        let seen = engine.seen;
        let until = Some(Instant::now() + Duration::from_millis(20));
        let late = looker.look(&mut engine, &frame, Asked { until, ..Asked::default() }, None).expect_err("late");
        assert!(matches!(late, LookError::Overrun { tiles: 49, .. }) && engine.seen == seen, "{late}");
        // Whoever gives up meanwhile stops the rest.
        let asked = Asked { wanted: Some(&|| false), ..Asked::default() };
        assert!(matches!(looker.look(&mut engine, &frame, asked, None), Err(LookError::Unwanted)));
        assert_eq!(engine.seen, seen);
        let until = Some(Instant::now() + Duration::from_secs(60));
        looker.look(&mut engine, &frame, Asked { until, ..Asked::default() }, None).expect("there is time");
    }

    #[test]
    fn without_view_the_engine_sees_the_frame_itself() {
        let frame = frame(40, 30, [3, 3, 2, 2]);
        let mut looker = Looker::new(ViewSpec::default());
        assert!(looker.cut(&frame).expect("whole").image.is_same(&frame.image));
        let answer = looker.look(&mut Brightness::new(), &frame, Asked::default(), None).expect("looked");
        assert_eq!((answer.map.place(), answer.map.size()), (None, 32));
    }
}
