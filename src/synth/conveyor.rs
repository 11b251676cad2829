//! A conveyor of products: what the part behind every trigger is, known before it is made.

use super::{Class, Defect, DefectKind, FrameRequest, Motion, Request, SizedDefect};
use crate::dice::Dice;

/// What comes along.
#[derive(Clone, Debug, PartialEq)]
pub struct Conveyor {
    /// Products, which take turns; at least one.
    pub classes: Vec<Class>,
    /// Kinds of defects that may come; at least one.
    pub kinds: Vec<DefectKind>,
    /// Share of defective parts, 0 … 1, spread evenly; of `pool` pictures one or two more or fewer may be defective.
    pub defective: f64,
    /// Easiest and hardest defect, 0 obvious … 1 barely visible.
    pub difficulty: (f32, f32),
    /// Side of the pictures, pixels.
    pub size: u32,
    /// Different pictures; after the last one they come again. At least one.
    pub pool: u32,
    /// Other numbers give other parts.
    pub seed: u64,
    /// The parts lie in large frames, moved and turned, in place of filling a square picture.
    pub frames: Option<ConveyorFrames>,
}

/// Large frames of a conveyor's parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConveyorFrames {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Smallest and largest defect: diameter in pixels of the circle with as many pixels as its mask.
    pub defect_px: (f32, f32),
    /// How the parts may lie.
    pub motion: Motion,
    /// All parts of a class are one product; otherwise each is another.
    pub one_product: bool,
}

/// The golden ratio's fraction: its multiples fill 0 … 1 evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Conveyor {
    /// The picture of the part behind a trigger; triggers count from 1.
    pub fn part(&self, trigger: u64) -> Request {
        let index = trigger.saturating_sub(1) % u64::from(self.pool.max(1));
        let offset = f64::from(Dice::labelled(&["conveyor"], self.seed).unit());
        let mut dice = Dice::labelled(&["conveyor", &index.to_string()], self.seed);
        let defective = (offset + index as f64 * GOLDEN).fract() < self.defective;
        let kind = dice.below(self.kinds.len().max(1));
        let difficulty = dice.between(self.difficulty.0, self.difficulty.1);
        let defect = self.kinds.get(kind).filter(|_| defective).map(|&kind| Defect { kind, difficulty });
        let class = self.classes.get((index % self.classes.len().max(1) as u64) as usize).copied();
        Request { class: class.unwrap_or(Class::Ring), size: self.size, defect, seed: u64::from(dice.seed()) }
    }

    /// The frame of that part, where parts lie in large frames.
    pub fn frame(&self, trigger: u64) -> Option<FrameRequest> {
        let frames = self.frames?;
        let Request { class, defect, seed, .. } = self.part(trigger);
        let (low, high) = frames.defect_px;
        let share = Dice::labelled(&["conveyor defect"], seed).unit();
        let sized = |defect| SizedDefect { defect, size_px: low * libm::powf(high / low, share) };
        Some(FrameRequest {
            class,
            width: frames.width,
            height: frames.height,
            product: if frames.one_product { self.seed } else { seed },
            part: seed,
            defect: defect.map(sized),
            motion: frames.motion,
        })
    }
}
