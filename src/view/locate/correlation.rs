//! Normalised correlation on a coarse level finds a part, alignment on finer ones tells its place to a fraction of a pixel.

use opencv::core::{Mat, MatTraitConst, Point, Rect, Size, no_array};
use opencv::imgproc::{TM_CCOEFF_NORMED, match_template_def};

use super::level::{Level, Motion, Template};
use super::spec::{LocateError, LocateSpec, Pose};
use crate::frame::Image;

/// The finest level that is aligned has templates of at most so many values along a side: finer says no more.
const FINEST: u32 = 240;
/// The coarsest has at least so many along the shorter one.
const COARSEST: u32 = 20;
/// Candidates of the coarse level that are looked at more closely.
const CANDIDATES: usize = 3;
/// Steps of alignment at most, on the coarse and middle levels and on the finest.
const STEPS: (usize, usize) = (8, 10);
/// Beyond what was allowed a part may be found by so much, for it lies no less well there.
const TOLERANCE: (f64, f64) = (1.0, 0.25);

/// A template on every level.
pub struct Correlation {
    /// Middle of the rectangle.
    middle: (f64, f64),
    window: Rect,
    shift: f64,
    turn: f64,
    least_score: f64,
    /// How often the picture is halved for the finest level.
    halvings: u32,
    /// From the finest to the coarsest.
    templates: Vec<Template>,
    /// The template of the coarsest level as it looks when the part is turned, with the angles in radians.
    turned: Vec<(f64, Mat)>,
}

fn failed(step: &'static str) -> impl Fn(opencv::Error) -> LocateError {
    move |error| LocateError::OpenCv { step, reason: error.to_string() }
}

impl Correlation {
    /// Learns the template of a spec that has been checked.
    pub fn new(spec: &LocateSpec) -> Result<Self, LocateError> {
        let [x, y, width, height] = spec.rectangle;
        let middle = (f64::from(x) + 0.5 * f64::from(width), f64::from(y) + 0.5 * f64::from(height));
        let mut halvings = 0;
        while (width.max(height) >> halvings) > FINEST && (width.min(height) >> (halvings + 1)) >= COARSEST {
            halvings += 1;
        }
        let mut levels = 1;
        while (width.min(height) >> (halvings + levels)) >= COARSEST {
            levels += 1;
        }
        let turn = f64::from(spec.turn_degrees).to_radians();
        let window = window(spec, halvings + levels - 1);
        let still = Motion { x: middle.0, y: middle.1, radians: 0.0 };
        let size = |level: u32| Size::new((width >> (halvings + level)) as i32, (height >> (halvings + level)) as i32);
        let flat = || LocateError::Flat { x, y, width, height };

        let pyramid = pyramid(&spec.picture, window, halvings, levels).map_err(failed("the taught picture"))?;
        let template = |(level, size): (&Level, Size)| {
            Template::of(level, still, size).map_err(failed("the template"))?.ok_or_else(flat)
        };
        let templates: Vec<Template> =
            pyramid.iter().zip((0..levels).map(size)).map(template).collect::<Result<_, _>>()?;
        let coarse = pyramid.last().ok_or_else(flat)?;
        let coarse_size = size(levels - 1);
        // A step of one value at the template's corners.
        let reach = 0.5 * f64::from(coarse_size.width).hypot(f64::from(coarse_size.height));
        let each_way = (turn * reach).ceil() as i32;
        let turned = (-each_way..=each_way)
            .map(|step| {
                let radians = if each_way == 0 { 0.0 } else { turn * f64::from(step) / f64::from(each_way) };
                Ok((radians, coarse.under(Motion { radians: -radians, ..still }, coarse_size)?))
            })
            .collect::<opencv::Result<_>>()
            .map_err(failed("turning the template"))?;
        Ok(Self {
            middle,
            window,
            shift: f64::from(spec.shift_px),
            turn,
            least_score: f64::from(spec.least_score),
            halvings,
            templates,
            turned,
        })
    }

    /// See [`super::Locator::find`], which has looked at the frame's size.
    pub fn find(&self, image: &Image) -> Result<Option<Pose>, LocateError> {
        let levels = self.templates.len() as u32;
        let pyramid = pyramid(image, self.window, self.halvings, levels).map_err(failed("shrinking the frame"))?;
        let found = self.search(&pyramid).map_err(failed("correlation"))?;
        Ok(found.filter(|(motion, score)| self.allows(*motion, *score)).map(|(motion, score)| Pose {
            dx: (motion.x - self.middle.0) as f32,
            dy: (motion.y - self.middle.1) as f32,
            degrees: motion.radians.to_degrees() as f32,
            score: score as f32,
        }))
    }

    fn allows(&self, motion: Motion, score: f64) -> bool {
        let far = (motion.x - self.middle.0).abs().max((motion.y - self.middle.1).abs());
        far <= self.shift + TOLERANCE.0
            && motion.radians.abs() <= self.turn + TOLERANCE.1.to_radians()
            && score >= self.least_score
    }

    fn search(&self, pyramid: &[Level]) -> opencv::Result<Option<(Motion, f64)>> {
        let Some((coarse, template)) = pyramid.last().zip(self.templates.last()) else { return Ok(None) };
        let mut best: Option<(Motion, f64)> = None;
        for start in self.candidates(coarse)? {
            let motion = template.align(coarse, start, STEPS.0)?;
            let score = template.score(&coarse.under(motion, template.size())?)?;
            if best.is_none_or(|(_, most)| score > most) {
                best = Some((motion, score));
            }
        }
        let Some((mut motion, mut score)) = best else { return Ok(None) };
        for (at, (level, template)) in pyramid.iter().zip(&self.templates).enumerate().rev().skip(1) {
            motion = template.align(level, motion, if at == 0 { STEPS.1 } else { STEPS.0 })?;
            if at == 0 {
                score = template.score(&level.under(motion, template.size())?)?;
            }
        }
        Ok(Some((motion, score)))
    }

    /// The best places of the best angles on the coarse level.
    fn candidates(&self, coarse: &Level) -> opencv::Result<Vec<Motion>> {
        let mut found = Vec::with_capacity(self.turned.len());
        for (radians, template) in &self.turned {
            let mut scores = Mat::default();
            match_template_def(&coarse.values, template, &mut scores, TM_CCOEFF_NORMED)?;
            let (mut most, mut place) = (0.0, Point::default());
            opencv::core::min_max_loc(&scores, None, Some(&mut most), None, Some(&mut place), &no_array())?;
            let middle = |from: i32, size: i32| f64::from(from) + 0.5 * f64::from(size - 1);
            let (x, y) = coarse.place(middle(place.x, template.cols()), middle(place.y, template.rows()));
            found.push((most, Motion { x, y, radians: *radians }));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.truncate(CANDIDATES);
        Ok(found.into_iter().map(|(_, motion)| motion).collect())
    }
}

/// The window of the frame in which the part can lie, with sides that can be halved so often.
fn window(spec: &LocateSpec, halvings: u32) -> Rect {
    let [x, y, width, height] = spec.rectangle;
    let sin = f64::from(spec.turn_degrees).to_radians().sin();
    // Corners of a turned rectangle reach further, and alignment looks a few values beyond.
    let reach = |other: u32| spec.shift_px + (0.5 * f64::from(other) * sin).ceil() as u32 + (2 << halvings);
    let side = |from: u32, size: u32, reach: u32, all: u32| {
        let first = from.saturating_sub(reach);
        let last = (from + size + reach).min(all);
        let multiple = 1 << halvings;
        (first as i32, ((last - first) / multiple * multiple) as i32)
    };
    let (left, columns) = side(x, width, reach(height), spec.picture.width);
    let (top, rows) = side(y, height, reach(width), spec.picture.height);
    Rect::new(left, top, columns, rows)
}

/// From the finest level to the coarsest.
fn pyramid(image: &Image, window: Rect, halvings: u32, levels: u32) -> opencv::Result<Vec<Level>> {
    let mut pyramid = vec![Level::of(image, window, halvings)?];
    for at in 1..levels as usize {
        let next = pyramid[at - 1].halved()?;
        pyramid.push(next);
    }
    Ok(pyramid)
}
