//! Parts in large frames, moved and turned as on a belt, with at most one defect of a size in pixels.

use std::sync::Arc;

use rayon::prelude::*;

use super::backdrop::Backdrop;
use super::belt::{Belt, Frame, Ground};
use super::blank::Blank;
use super::caption;
use super::catalogue::make;
use super::class::Class;
use super::colour::{Rgb, blend, gain, times};
use super::defect::{Defect, DefectKind};
use super::field::{Point, at};
use super::flaw::sized::{self, Spot};
use super::lens;
use super::scene::{Scene, View, Window};
use super::stage::{Pose, Stage};
use crate::dice::Dice;

/// Smallest and largest side of a frame, pixels.
pub const FRAME_SIDES: std::ops::RangeInclusive<u32> = 256..=8192;

/// One unit of the stage, in smaller sides of the frame: a round part is 0.45 to 0.65 of it across.
const UNIT: f32 = 0.3;
/// What a region shows around the product's own unit: its shadow, in units of the stage.
const AROUND: f32 = 0.22;
/// How far outlines reach, in units of the product.
const REACH: f32 = 1.16;
/// A part is moved by at most this share of the frame's smaller side, so that all of it stays in the frame.
const FARTHEST: f32 = 0.1;
/// Pixels over which the border of a part's region passes into the belt.
const SEAM: f32 = 8.0;

/// How differently the parts on a belt lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    /// Largest shift from the middle of the frame along either axis, pixels; at most a tenth of the frame's smaller side.
    pub shift_px: f32,
    /// Largest turn either way, degrees.
    pub turn_degrees: f32,
}

/// A defect asked for, with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizedDefect {
    /// What.
    pub defect: Defect,
    /// Diameter of the circle that has as many pixels as the defect's mask.
    pub size_px: f32,
}

/// A frame to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameRequest {
    /// What is produced; a surface comes as plates.
    pub class: Class,
    /// Pixels across; sides outside [`FRAME_SIDES`] are taken as the nearer end.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Which of the class's products, and under which light, lens and on which belt.
    pub product: u64,
    /// Which part: how it lies, the sensor's noise, and where its defect is.
    pub part: u64,
    /// What is wrong with it.
    pub defect: Option<SizedDefect>,
    /// How it may lie.
    pub motion: Motion,
}

/// Where the part lies. Places count from the upper left corner of the frame, so that the middle of the first pixel is at 0.5, 0.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartPlace {
    /// Origin of the part, pixels.
    pub centre: [f32; 2],
    /// Its distance from the middle of the frame, pixels.
    pub shift: [f32; 2],
    /// By how much it is turned, clockwise on the picture.
    pub turn_degrees: f32,
    /// The smallest box that holds it without its shadow: left, top, width, height in pixels.
    pub bounds: [u32; 4],
}

/// Where a connected piece of a defect's mask lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefectPlace {
    /// What it is.
    pub kind: DefectKind,
    /// Left, top, width, height in pixels.
    pub bounds: [u32; 4],
    /// Pixels of the mask.
    pub area_px: u32,
    /// Diameter of the circle with that area.
    pub size_px: f32,
}

/// A frame with its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameSample {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// width × height × 3, row by row.
    pub rgb: Vec<u8>,
    /// width × height, 0 or 255, as [`super::Sample::mask`].
    pub mask: Vec<u8>,
    /// A sentence that is true of the part and says "good" or "damaged".
    pub caption: String,
    /// Where the part lies.
    pub part: PartPlace,
    /// The connected pieces of the mask, largest first; nearly always one.
    pub defects: Vec<DefectPlace>,
}

/// Makes a frame.
pub fn render_frame(request: &FrameRequest) -> FrameSample {
    let side = |pixels: u32| pixels.clamp(*FRAME_SIDES.start(), *FRAME_SIDES.end()) as usize;
    let (width, height) = (side(request.width), side(request.height));
    let frame = Frame { width, height, unit: UNIT * width.min(height) as f32 };
    let class = request.class;
    let (stage, turn_degrees) = stage(request, frame);
    let shift = stage.pose.centre * frame.unit;
    let centre = [0.5 * width as f32 + shift.x, 0.5 * height as f32 + shift.y];
    let word = stage.product.look().word;

    let window = region(frame, centre, stage.pose.scale);
    let stage = Arc::new(stage);
    let middle = frame.point(0.5 * (window.x0 + window.x1) as f32, 0.5 * (window.y0 + window.y1) as f32);
    let size = window.width();
    let scene = Scene::new(stage.clone(), size, View { middle, half: 0.5 * size as f32 / frame.unit });
    let good = scene.shade(&scene.planes, scene.whole());
    // Focus blurs by so many pixels, whatever the size of the sensor.
    let sigma = stage.camera.blur * 256.0;
    let mut picture = lens::blur(&good, size, size, sigma);
    let mut mask = vec![0; size * size];
    if let Some(SizedDefect { defect, size_px }) = request.defect
        && let Some(change) =
            sized::draw(&scene, defect, size_px, sigma, [class.name(), defect.kind.name()], request.part)
    {
        super::lay_on(&mut picture, &mut mask, size, sigma, change);
    }
    let kind = request.defect.map(|wanted| wanted.defect.kind);
    let place = |spot: Spot| DefectPlace {
        kind: kind.unwrap_or(DefectKind::Scratch),
        bounds: moved(spot.bounds, window),
        area_px: spot.area,
        size_px: sized::diameter(spot.area),
    };
    let mut whole_mask = vec![0; width * height];
    for (y, row) in mask.chunks_exact(size).enumerate() {
        let from = (window.y0 + y) * width + window.x0;
        whole_mask[from..from + size].copy_from_slice(row);
    }
    FrameSample {
        width: width as u32,
        height: height as u32,
        rgb: expose(&stage, frame, &picture, window),
        mask: whole_mask,
        caption: caption::caption(class, word, kind, &mut Dice::labelled(&["caption", class.name()], request.part)),
        part: PartPlace { centre, shift: [shift.x, shift.y], turn_degrees, bounds: moved(bounds(&scene), window) },
        defects: sized::spots(&mask, size).into_iter().map(place).collect(),
    }
}

/// The part on its belt, and by how many degrees it is turned.
fn stage(request: &FrameRequest, frame: Frame) -> (Stage, f32) {
    let class = request.class;
    let mut dice = Dice::labelled(&["frame product", class.name()], request.product);
    let mut stage = Stage::new(class, &mut dice);
    if class.is_surface() {
        // The same dice fall alike: it is the very surface.
        let surface = make(class, &mut Dice::labelled(&["frame product", class.name()], request.product));
        stage.product = Arc::new(Blank::new(surface, &mut dice));
        stage.surface = false;
    }
    let backdrop = Backdrop::new(&mut dice);
    let mut dice = Dice::labelled(&["frame part", class.name()], request.part);
    let farthest = request.motion.shift_px.clamp(0.0, FARTHEST * frame.width.min(frame.height) as f32);
    let shift = at(dice.between(-farthest, farthest), dice.between(-farthest, farthest));
    let most = request.motion.turn_degrees.clamp(0.0, 180.0);
    let turn_degrees = dice.between(-most, most);
    let scale = if class.is_surface() { 0.9 } else { stage.pose.scale.min(1.06) };
    stage.pose = Pose { centre: shift * (1.0 / frame.unit), way: Point::angle(turn_degrees / 360.0), scale };
    let run = at(dice.between(-20.0, 20.0), dice.between(-2.0, 2.0));
    stage.ground = Ground::Belt(Belt::new(&backdrop, frame, run));
    stage.camera.seed = dice.seed();
    // Light falls off over the frame as it does over a picture of the part alone.
    let ratio = frame.unit / (0.5 * frame.width.max(frame.height) as f32);
    stage.light.slope = stage.light.slope * ratio;
    stage.light.vignette *= ratio * ratio;
    (stage, turn_degrees)
}

/// The square of the frame that holds the part and its shadow.
fn region(frame: Frame, centre: [f32; 2], scale: f32) -> Window {
    let most = frame.width.min(frame.height);
    let half = ((REACH * scale + AROUND) * frame.unit) as usize;
    let size = (2 * half).min(most);
    let from = |centre: f32, side: usize| ((centre as usize).saturating_sub(size / 2)).min(side - size);
    let (x0, y0) = (from(centre[0], frame.width), from(centre[1], frame.height));
    Window { x0, y0, x1: x0 + size, y1: y0 + size }
}

/// Box of the pixels that the part covers by at least half: left, top, width, height.
fn bounds(scene: &Scene) -> [u32; 4] {
    let covered = scene.cover.iter().map(|&cover| cover >= 0.5);
    sized::bounds(covered, scene.size)
}

fn moved([x, y, width, height]: [u32; 4], window: Window) -> [u32; 4] {
    [x + window.x0 as u32, y + window.y0 as u32, width, height]
}

/// The picture of the part's region within its belt, as the sensor writes it.
fn expose(stage: &Stage, frame: Frame, picture: &[Rgb], window: Window) -> Vec<u8> {
    let mut rgb = vec![0; frame.width * frame.height * 3];
    rgb.par_chunks_mut(frame.width * 3).enumerate().for_each(|(y, row)| {
        let down = (window.y0..window.y1).contains(&y);
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let inside = down && (window.x0..window.x1).contains(&x);
            let near = if inside {
                let across = (x - window.x0).min(window.x1 - 1 - x);
                ((across.min(y - window.y0).min(window.y1 - 1 - y)) as f32 / SEAM).min(1.0)
            } else {
                0.0
            };
            let belt = || {
                let p = frame.point(x as f32 + 0.5, y as f32 + 0.5);
                times(gain(stage.ground.colour(p), stage.light.fall(p)), stage.light.tint)
            };
            let part = || picture[(y - window.y0) * window.width() + x - window.x0];
            let colour = match near {
                1.0 => part(),
                0.0 => belt(),
                share => blend(belt(), part(), share),
            };
            pixel.copy_from_slice(&lens::expose_pixel(colour, x, y, &stage.camera));
        }
    });
    rgb
}
