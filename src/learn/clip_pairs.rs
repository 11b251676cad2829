//! Pictures with captions, as `vcp-line synth` writes them, and the views of them that CLIP learns from.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::LearnError;
use super::captions::{CAPTIONS_FILE, CaptionLine, PairsError, Shown, Vocabulary, read_list};
use super::patch_contrast::PatchTruth;
use super::tiles::TilePlan;
use crate::dice::Dice;
use crate::frame::{Image, PixelFormat};
use crate::vcp_clip::preprocess::Preprocessor;

/// Share of the mask's pixels from which a view shows the defect; with fewer, but some, it is ambiguous and not used.
const SHOWN: f32 = 0.25;
/// Share of a patch from which on it is damaged; with less, but some, it is ambiguous.
const DAMAGED: f32 = 1.0 / 16.0;
/// Share of a defective picture's windows that are laid over the defect.
const AIMED: f32 = 0.6;
/// Windows tried before an ambiguous view is replaced by the whole picture.
const TRIES: usize = 6;
/// Window sides are multiples of this, so that the tables for resizing are few.
const WINDOW_STEP: usize = 8;

/// A folder of pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairSource {
    /// With [`CAPTIONS_FILE`] and what that names.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The tiles that become pictures of their own, if not the whole ones do.
    pub tiles: Option<TilePlan>,
}

struct Pair {
    class: usize,
    /// side² × 3, red green blue.
    rgb: Vec<u8>,
    /// side² values, 0 outside of the defect; empty for a good product.
    mask: Vec<u8>,
    /// Pixels in the mask.
    area: usize,
    caption: usize,
    good_caption: usize,
}

/// All pairs, in memory.
pub struct Pairs {
    side: usize,
    pairs: Vec<Pair>,
    /// Pictures of each class, as indices into `pairs`.
    classes: Vec<Vec<usize>>,
    captions: Vec<Vec<u32>>,
    /// Of the lines in use and their pictures.
    sha256: String,
}

/// What a batch is made of.
pub struct Views {
    /// Normalised pictures, 3 × size × size each.
    pub pixels: Vec<f32>,
    /// Caption of each, an index into [`Pairs::captions`].
    pub captions: Vec<usize>,
    /// What the patches of each show, where that is asked for.
    pub patches: Vec<PatchTruth>,
}

/// How views are cut.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ViewRule {
    /// Side of a view, pixels: the input size CLIP learns at.
    pub size: usize,
    /// Smallest window that becomes a view, pixels of the working size.
    pub smallest: usize,
    /// Classes in one batch.
    pub classes: usize,
    /// Per channel, see [`crate::vcp_clip::Constants`].
    pub mean: [f32; 3],
    /// Per channel.
    pub std: [f32; 3],
    /// Side of the patches whose truth is asked for, pixels of a view; a divisor of its size.
    pub patch: Option<usize>,
}

impl Pairs {
    /// Reads the pictures that the lists of `sources` name, resized to `side`; `classes` empty takes all, `seed` draws the good
    /// tiles.
    pub fn open(sources: &[PairSource], classes: &[String], side: usize, seed: u64) -> Result<Self, LearnError> {
        let mut seen = Vec::new();
        let mut hasher = Sha256::new();
        let mut lists = Vec::new();
        for PairSource { folder, tiles } in sources {
            let path = folder.join(CAPTIONS_FILE);
            let lines = read_list(&path, &mut seen)?;
            let lines = lines.into_iter().filter(|(_, line)| classes.is_empty() || classes.contains(&line.class));
            let (texts, lines): (Vec<String>, Vec<CaptionLine>) = lines.unzip();
            for text in texts {
                hasher.update(text);
                hasher.update("\n");
            }
            if lines.is_empty() || classes.iter().any(|class| !seen.contains(class)) {
                return Err(PairsError::Empty { path, classes: seen }.into());
            }
            lists.push((path, folder, tiles.as_ref(), lines));
        }
        let mut vocabulary = Vocabulary::default();
        let mut pairs = Vec::new();
        for (path, folder, tiles, lines) in lists {
            let indices: Vec<[usize; 2]> = lines
                .iter()
                .map(|line| Ok([vocabulary.index(&path, &line.caption)?, vocabulary.index(&path, &line.good_caption)?]))
                .collect::<Result<_, PairsError>>()?;
            let class = |line: &CaptionLine| seen.iter().position(|class| *class == line.class).unwrap_or_default();
            let load = |(number, (line, captions)): (usize, (&CaptionLine, [usize; 2]))| {
                let pictures = match tiles {
                    None => vec![line.whole(folder, side)?],
                    Some(plan) => line.pieces(folder, side, plan, seed, number as u64)?,
                };
                let pair = |shown| Pair::new(class(line), shown, captions);
                Ok(pictures.into_iter().map(pair).collect::<Vec<_>>())
            };
            let read = lines.par_iter().zip(indices).enumerate().map(load).collect::<Result<Vec<_>, LearnError>>()?;
            pairs.extend(read.into_iter().flatten());
        }
        let of = |class| pairs.iter().zip(0..).filter(|(pair, _)| pair.class == class).map(|(_, at)| at).collect();
        let classes = (0..seen.len()).map(of).filter(|pictures: &Vec<usize>| !pictures.is_empty()).collect();
        for pair in &pairs {
            hasher.update(&pair.rgb);
            hasher.update(&pair.mask);
        }
        let sha256 = hex::encode(hasher.finalize());
        Ok(Self { side, pairs, classes, captions: vocabulary.captions, sha256 })
    }

    /// Pictures.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Never true of what [`Self::open`] gave.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// SHA-256 of the lines in use (names of files, masks and captions) and of the pictures at the working size, in
    /// hexadecimal.
    pub fn identity(&self) -> &str {
        &self.sha256
    }

    /// Every caption once, as token ids from start to end.
    pub fn captions(&self) -> &[Vec<u32>] {
        &self.captions
    }

    /// Views for one step: the same for the same `seed` and `step`, whatever was drawn before. They come from a few
    /// classes only, so that telling the captions of a batch apart takes more than knowing the product.
    pub fn views(&self, rule: &ViewRule, seed: u64, step: u64, count: usize) -> Views {
        let area = 3 * rule.size * rule.size;
        let mut dice = Dice::new(seed, [2, step, 0]);
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        let few = rule.classes.clamp(1, order.len());
        for at in 0..few {
            let other = at + dice.below(order.len() - at);
            order.swap(at, other);
        }
        let mut pixels = vec![0.0; count * area];
        let seen: Vec<(usize, Option<PatchTruth>)> = pixels
            .par_chunks_exact_mut(area)
            .enumerate()
            .map(|(item, out)| {
                let mut dice = Dice::new(seed, [1, step, item as u64]);
                let class = &self.classes[order[item % few]];
                let pair = &self.pairs[class[dice.below(class.len())]];
                self.view(pair, rule, &mut dice, out)
            })
            .collect();
        let captions = seen.iter().map(|(caption, _)| *caption).collect();
        Views { pixels, captions, patches: seen.into_iter().filter_map(|(_, patches)| patches).collect() }
    }

    /// Cuts a window, turns and lights it anew, writes it to `out` and says which caption is true of it, and of its patches.
    fn view(&self, pair: &Pair, rule: &ViewRule, dice: &mut Dice, out: &mut [f32]) -> (usize, Option<PatchTruth>) {
        let side = self.side;
        let mut window = (0, 0, side);
        let mut shows = pair.area > 0;
        for _ in 0..TRIES {
            let steps = (side - rule.smallest) / WINDOW_STEP + 1;
            let length = rule.smallest + WINDOW_STEP * dice.below(steps);
            let room = side - length + 1;
            let (mut x, mut y) = (dice.below(room), dice.below(room));
            if pair.area > 0 && dice.chance(AIMED) {
                let [at_x, at_y] = pair.defect_pixel(side, dice.below(pair.area));
                let around = |at: usize, back: usize| at.saturating_sub(back).min(room - 1);
                (x, y) = (around(at_x, dice.below(length)), around(at_y, dice.below(length)));
            }
            let inside = pair.defect_pixels(side, x, y, length) as f32;
            if inside == 0.0 || inside >= SHOWN * pair.area as f32 {
                window = (x, y, length);
                shows = inside > 0.0;
                break;
            }
        }
        let (x0, y0, length) = window;
        let (mirror, turn) = (dice.chance(0.5), dice.below(4));
        let (gain, offset) = (dice.between(0.85, 1.15), dice.between(-12.0, 12.0));
        let mut bytes = Vec::with_capacity(length * length * 3);
        let mut damaged = Vec::with_capacity(length * length);
        for y in 0..length {
            for x in 0..length {
                let x = if mirror { length - 1 - x } else { x };
                let (x, y) = match turn {
                    0 => (x, y),
                    1 => (length - 1 - y, x),
                    2 => (length - 1 - x, length - 1 - y),
                    _ => (y, length - 1 - x),
                };
                let at = (y0 + y) * side + x0 + x;
                bytes.extend(pair.rgb[3 * at..3 * at + 3].iter().map(|&v| (f32::from(v) * gain + offset) as u8));
                damaged.push(pair.mask.get(at).is_some_and(|&value| value >= 128));
            }
        }
        let side = length as u32;
        let image = Image::new(side, side, PixelFormat::Rgb8, bytes).expect("a window has length² × 3 bytes");
        Preprocessor::new(rule.size, rule.mean, rule.std).run(&image, out);
        let caption = if shows { pair.caption } else { pair.good_caption };
        let patches = rule.patch.map(|patch| PatchTruth {
            captions: [pair.good_caption, self.damaged_caption(pair, dice)],
            damaged: patch_truth(&damaged, length, rule.size / patch),
        });
        (caption, patches)
    }

    /// The caption of the pair's defect; for a good one that of another product of the class, or its own where all are good: that
    /// teaches nothing.
    fn damaged_caption(&self, pair: &Pair, dice: &mut Dice) -> usize {
        if pair.area > 0 {
            return pair.caption;
        }
        let same = self.classes.iter().find(|pictures| self.pairs[pictures[0]].class == pair.class);
        let damaged = |at: &&usize| self.pairs[**at].area > 0;
        let count = same.map_or(0, |pictures| pictures.iter().filter(damaged).count());
        if count == 0 {
            return pair.good_caption;
        }
        let which = dice.below(count);
        let found = same.and_then(|pictures| pictures.iter().filter(damaged).nth(which));
        found.map_or(pair.good_caption, |&at| self.pairs[at].caption)
    }
}

impl Pair {
    /// Of a picture of side² × 3 and its mask of side² values, empty for a good one.
    fn new(class: usize, Shown { rgb, mask }: Shown, [caption, good_caption]: [usize; 2]) -> Self {
        let area = mask.iter().filter(|&&value| value >= 128).count();
        // What shows no defect is not called damaged.
        let caption = if area == 0 { good_caption } else { caption };
        Self { class, rgb, mask, area, caption, good_caption }
    }

    /// Column and row of a pixel of the mask, the `which`-th from the top.
    fn defect_pixel(&self, side: usize, which: usize) -> [usize; 2] {
        let at = self.mask.iter().zip(0..).filter(|(value, _)| **value >= 128).nth(which).map_or(0, |(_, at)| at);
        [at % side, at / side]
    }

    fn defect_pixels(&self, side: usize, x: usize, y: usize, length: usize) -> usize {
        if self.area == 0 {
            return 0;
        }
        let rows = self.mask.chunks_exact(side).skip(y).take(length);
        rows.map(|row| row[x..x + length].iter().filter(|&&value| value >= 128).count()).sum()
    }
}

/// Of `grid`² patches of a window of `length`² pixels: whether they are damaged.
fn patch_truth(damaged: &[bool], length: usize, grid: usize) -> Vec<Option<bool>> {
    let truth = |place: usize| {
        let span = |at: usize| at * length / grid..((at + 1) * length / grid).max(at * length / grid + 1);
        let (rows, columns) = (span(place / grid), span(place % grid));
        let area = rows.len() * columns.len();
        let marked = rows.flat_map(|y| &damaged[y * length + columns.start..y * length + columns.end]);
        match marked.filter(|marked| **marked).count() {
            0 => Some(false),
            count if count as f32 >= DAMAGED * area as f32 => Some(true),
            _ => None,
        }
    };
    (0..grid * grid).map(truth).collect()
}
