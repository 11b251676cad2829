//! Pictures with captions, as `vcp-line synth` writes them, and the views of them that CLIP learns from.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::LearnError;
use super::captions::{CAPTIONS_FILE, CaptionLine, CaptionList, PairsError, Vocabulary, read_list};
use super::patch_contrast::PatchTruth;
use super::tiles::TilePlan;
use crate::dataset::{Item, Mask};
use crate::dice::Dice;
use crate::frame::{Image, PixelFormat};
use crate::source::image_file;
use crate::vcp_clip::preprocess::{Preprocessor, resize_to_rgb};

/// Share of a picture's mask from which a view shows the defect; with fewer, but some, it is ambiguous and not used. Of a tile it
/// is what lies in that.
const SHOWN: f32 = 0.25;
/// Share of a patch from which on it is damaged; with less, but some, it is ambiguous. A scratch of a few pixels covers no more.
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
    /// side² values, 0 outside of the defect; empty for a good product or tile.
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
            let CaptionList { lines, classes: found } = read_list(&path)?;
            let new = found.iter().filter(|class| !seen.contains(*class)).cloned().collect::<Vec<String>>();
            seen.extend(new);
            let lines = lines.into_iter().filter(|(_, line)| classes.is_empty() || classes.contains(&line.class));
            let (texts, lines): (Vec<String>, Vec<CaptionLine>) = lines.unzip();
            for text in texts {
                hasher.update(text);
                hasher.update("\n");
            }
            if lines.is_empty() {
                return Err(PairsError::Empty { path, classes: found }.into());
            }
            lists.push((path, folder, tiles.as_ref(), lines));
        }
        if let Some((path, ..)) = lists.first().filter(|_| classes.iter().any(|class| !seen.contains(class))) {
            return Err(PairsError::Empty { path: path.clone(), classes: seen }.into());
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
                    None => vec![Shown::whole(line, folder, side)?],
                    Some(plan) => Shown::pieces(line, folder, side, plan, seed, number as u64)?,
                };
                let pair = |shown| Pair::new(class(line), shown, captions);
                Ok(pictures.into_iter().map(pair).collect::<Vec<_>>())
            };
            let read = lines.par_iter().zip(indices).enumerate().map(load).collect::<Result<Vec<_>, LearnError>>()?;
            pairs.extend(read.into_iter().flatten());
        }
        if pairs.is_empty() {
            let reason =
                "--tiles leaves nothing to learn from: take --good-tiles from 1 on, or pictures with larger defects";
            return Err(LearnError::Settings(reason.to_owned()));
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
        let patches = rule.patch.map(|patch| {
            let grid = rule.size / patch;
            match self.damaged_caption(pair, dice) {
                Some(other) => {
                    PatchTruth { captions: [pair.good_caption, other], damaged: patch_truth(&damaged, length, grid) }
                }
                None => PatchTruth { captions: [pair.good_caption; 2], damaged: vec![None; grid * grid] },
            }
        });
        (caption, patches)
    }

    /// The caption of the pair's defect; for a good one that of another product of the class, if any is damaged.
    fn damaged_caption(&self, pair: &Pair, dice: &mut Dice) -> Option<usize> {
        let other = |caption: usize| (caption != pair.good_caption).then_some(caption);
        if pair.area > 0 {
            return other(pair.caption);
        }
        let same = self.classes.iter().find(|pictures| self.pairs[pictures[0]].class == pair.class)?;
        let damaged: Vec<usize> = same.iter().copied().filter(|&at| self.pairs[at].area > 0).collect();
        if damaged.is_empty() {
            return None;
        }
        other(self.pairs[damaged[dice.below(damaged.len())]].caption)
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

/// What a line or a tile of it shows.
struct Shown {
    /// side² × 3, red green blue.
    rgb: Vec<u8>,
    /// side² values, from 128 on within the defect; empty for a good product or tile.
    mask: Vec<u8>,
}

impl Shown {
    /// A line's picture at this side, and its mask.
    fn whole(line: &CaptionLine, folder: &Path, side: usize) -> Result<Self, PairsError> {
        let picture = load(&folder.join(&line.image))?;
        let mask = match &line.mask {
            Some(mask) => grey(&resize_to_rgb(&load(&folder.join(mask))?, side)),
            None => Vec::new(),
        };
        Ok(Self { rgb: resize_to_rgb(&picture, side), mask })
    }

    /// A line's tiles at this side, and their masks.
    fn pieces(
        line: &CaptionLine,
        folder: &Path,
        side: usize,
        plan: &TilePlan,
        seed: u64,
        number: u64,
    ) -> Result<Vec<Self>, LearnError> {
        let masks = line.mask.iter().map(|mask| folder.join(mask)).collect();
        let item = Item { image: folder.join(&line.image), masks, anomalous: line.mask.is_some(), kind: None };
        let bytes = |mask: Mask| {
            let marked = mask.resized(side);
            let any = marked.contains(&true);
            marked.into_iter().filter(|_| any).map(|marked| if marked { u8::MAX } else { 0 }).collect()
        };
        let piece = |(image, mask): (Image, Option<Mask>)| Self {
            rgb: resize_to_rgb(&image, side),
            mask: mask.map_or(Vec::new(), bytes),
        };
        Ok(plan.pieces(&item, side, seed, number)?.into_iter().map(piece).collect())
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

fn load(path: &Path) -> Result<Image, PairsError> {
    image_file::load(path).map_err(|error| PairsError::File { path: path.to_owned(), reason: error.to_string() })
}

fn grey(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).map(|pixel| pixel[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_damaged_from_a_sixteenth_of_them_on() {
        // 24 pixels, patches of 8: 4 of 64 pixels in the first, 3 in the middle one.
        let mut damaged = vec![false; 24 * 24];
        for at in [0, 1, 24, 25, 8 * 24 + 8, 8 * 24 + 9, 8 * 24 + 10] {
            damaged[at] = true;
        }
        let truth = patch_truth(&damaged, 24, 3);
        assert_eq!((truth[0], truth[4]), (Some(true), None));
        assert_eq!(truth.iter().filter(|truth| **truth == Some(false)).count(), 7);
        // A window of fewer pixels than patches: each shows the pixel that it lies in.
        let few = patch_truth(&[true, false, false, false], 2, 4);
        assert!((0..16).all(|at| few[at] == Some(at / 4 < 2 && at % 4 < 2)), "{few:?}");
    }

    #[test]
    fn the_truth_of_patches_is_turned_with_the_view() {
        // A red square on black, marked: whatever the turn, patches are damaged where the view is red.
        let side = 32;
        let inside = |at: usize| (4..12).contains(&(at % side)) && (16..20).contains(&(at / side));
        let rgb = (0..side * side).flat_map(|at| [if inside(at) { 255 } else { 0 }, 0, 0]).collect();
        let mask = (0..side * side).map(|at| if inside(at) { 255 } else { 0 }).collect();
        let pair = Pair::new(0, Shown { rgb, mask }, [1, 0]);
        let pairs = Pairs { side, pairs: vec![pair], classes: vec![vec![0]], captions: vec![], sha256: String::new() };
        let rule = ViewRule { size: 32, smallest: 32, classes: 1, mean: [0.5; 3], std: [1.0; 3], patch: Some(4) };
        let views = pairs.views(&rule, 5, 0, 24);
        let mut seen = std::collections::BTreeSet::new();
        for (pixels, truth) in views.pixels.chunks_exact(3 * 32 * 32).zip(&views.patches) {
            assert_eq!(truth.captions, [0, 1]);
            for (place, damaged) in truth.damaged.iter().enumerate() {
                let red = pixels[(place / 8 * 4 + 2) * 32 + place % 8 * 4 + 2] > 0.0;
                assert_eq!(*damaged, Some(red), "patch {place}");
            }
            seen.insert(truth.damaged.iter().position(|damaged| *damaged == Some(true)));
        }
        assert!(seen.len() >= 6, "eight ways to lie: {seen:?}");
        // Good ones alone have no words for damaged patches.
        let good = Pair::new(0, Shown { rgb: vec![0; 3 * side * side], mask: vec![] }, [0, 0]);
        let pairs = Pairs { pairs: vec![good], ..pairs };
        assert!(pairs.views(&rule, 5, 0, 1).patches[0].damaged.iter().all(Option::is_none));
    }
}
