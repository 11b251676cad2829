//! Pictures with captions, as `vcp-line synth` writes them, and the views of them that CLIP learns from.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::dice::Dice;
use crate::frame::{Image, PixelFormat};
use crate::source::image_file;
use crate::vcp_clip::preprocess::{Preprocessor, resize_to_rgb};
use crate::vcp_clip::prompt::{self, CLASS_TOKEN, END_TOKEN, PromptError, START_TOKEN};

/// The list of pairs in a folder.
pub const CAPTIONS_FILE: &str = "captions.jsonl";

/// Positions of the text tower, as OpenAI's CLIP has them, start and end included.
pub const CONTEXT_LENGTH: usize = 77;

/// Share of the mask's pixels from which a view shows the defect; with fewer, but some, it is ambiguous and not used.
const SHOWN: f32 = 0.25;
/// Share of a defective picture's windows that are laid over the defect.
const AIMED: f32 = 0.6;
/// Windows tried before an ambiguous view is replaced by the whole picture.
const TRIES: usize = 6;
/// Window sides are multiples of this, so that the tables for resizing are few.
const WINDOW_STEP: usize = 8;

/// One line of [`CAPTIONS_FILE`]; what else it holds is not read.
#[derive(Deserialize)]
struct CaptionLine {
    image: PathBuf,
    mask: Option<PathBuf>,
    class: String,
    caption: String,
    /// What is true of a view that leaves the defect out.
    good_caption: String,
}

/// Pairs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {reason}; `vcp-line synth` writes such files", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A caption that the text tower cannot read.
    #[error("{}: caption '{caption}': {reason}", path.display())]
    Caption {
        /// The list.
        path: PathBuf,
        /// The caption.
        caption: String,
        /// Why.
        reason: String,
    },
    /// Nothing to learn from.
    #[error("{}: no pairs of the classes asked for; the list has {}", path.display(), classes.join(", "))]
    Empty {
        /// The list.
        path: PathBuf,
        /// What there is.
        classes: Vec<String>,
    },
    /// A caption cannot be tokenised.
    #[error(transparent)]
    Prompt(#[from] PromptError),
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
}

impl Pairs {
    /// Reads the pictures that `folder`'s list names, resized to `side`; `classes` empty takes all.
    pub fn open(folder: &Path, classes: &[String], side: usize) -> Result<Self, PairsError> {
        let path = folder.join(CAPTIONS_FILE);
        let text = fs::read_to_string(&path)
            .map_err(|error| PairsError::File { path: path.clone(), reason: error.to_string() })?;
        let mut lines = Vec::new();
        let mut seen = Vec::new();
        let mut hasher = Sha256::new();
        for (text, line) in text.lines().zip(1..) {
            let parsed: CaptionLine = serde_json::from_str(text).map_err(|error| PairsError::Line {
                path: path.clone(),
                line,
                reason: error.to_string(),
            })?;
            if !seen.contains(&parsed.class) {
                seen.push(parsed.class.clone());
            }
            if classes.is_empty() || classes.contains(&parsed.class) {
                hasher.update(text);
                hasher.update("\n");
                lines.push(parsed);
            }
        }
        if lines.is_empty() || classes.iter().any(|class| !seen.contains(class)) {
            return Err(PairsError::Empty { path, classes: seen });
        }
        let mut captions = Vec::new();
        let mut known = HashMap::new();
        let mut caption = |text: &str| -> Result<usize, PairsError> {
            if let Some(&at) = known.get(text) {
                return Ok(at);
            }
            let mut ids = vec![START_TOKEN];
            ids.extend(prompt::tokenize(text)?);
            ids.push(END_TOKEN);
            let unfit = |reason: String| PairsError::Caption { path: path.clone(), caption: text.to_owned(), reason };
            if ids.contains(&CLASS_TOKEN) {
                return Err(unfit("'<|class|>' stands for learned vectors; take another word".to_owned()));
            }
            if ids.len() > CONTEXT_LENGTH {
                return Err(unfit(format!("it has {} tokens, at most {CONTEXT_LENGTH} fit; shorten it", ids.len())));
            }
            captions.push(ids);
            known.insert(text.to_owned(), captions.len() - 1);
            Ok(captions.len() - 1)
        };
        let indices: Vec<[usize; 2]> = lines
            .iter()
            .map(|line| Ok([caption(&line.caption)?, caption(&line.good_caption)?]))
            .collect::<Result<_, PairsError>>()?;
        let class = |line: &CaptionLine| seen.iter().position(|class| *class == line.class).unwrap_or_default();
        let load = |(line, [caption, good_caption]): (&CaptionLine, [usize; 2])| {
            let picture = load(&folder.join(&line.image))?;
            let mask = match &line.mask {
                Some(mask) => grey(&resize_to_rgb(&load(&folder.join(mask))?, side)),
                None => Vec::new(),
            };
            let area = mask.iter().filter(|&&value| value >= 128).count();
            Ok(Pair { class: class(line), rgb: resize_to_rgb(&picture, side), mask, area, caption, good_caption })
        };
        let pairs = lines.par_iter().zip(indices).map(load).collect::<Result<Vec<_>, PairsError>>()?;
        let of = |class| pairs.iter().zip(0..).filter(|(pair, _)| pair.class == class).map(|(_, at)| at).collect();
        let classes = (0..seen.len()).map(of).filter(|pictures: &Vec<usize>| !pictures.is_empty()).collect();
        for pair in &pairs {
            hasher.update(&pair.rgb);
            hasher.update(&pair.mask);
        }
        let sha256 = hex::encode(hasher.finalize());
        Ok(Self { side, pairs, classes, captions, sha256 })
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
        let captions = pixels
            .par_chunks_exact_mut(area)
            .enumerate()
            .map(|(item, out)| {
                let mut dice = Dice::new(seed, [1, step, item as u64]);
                let class = &self.classes[order[item % few]];
                let pair = &self.pairs[class[dice.below(class.len())]];
                self.view(pair, rule, &mut dice, out)
            })
            .collect();
        Views { pixels, captions }
    }

    /// Cuts a window, turns and lights it anew, writes it to `out` and says what it shows.
    fn view(&self, pair: &Pair, rule: &ViewRule, dice: &mut Dice, out: &mut [f32]) -> usize {
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
        for y in 0..length {
            for x in 0..length {
                let x = if mirror { length - 1 - x } else { x };
                let (x, y) = match turn {
                    0 => (x, y),
                    1 => (length - 1 - y, x),
                    2 => (length - 1 - x, length - 1 - y),
                    _ => (y, length - 1 - x),
                };
                let at = ((y0 + y) * side + x0 + x) * 3;
                bytes.extend(pair.rgb[at..at + 3].iter().map(|&v| (f32::from(v) * gain + offset) as u8));
            }
        }
        let side = length as u32;
        let image = Image::new(side, side, PixelFormat::Rgb8, bytes).expect("a window has length² × 3 bytes");
        Preprocessor::new(rule.size, rule.mean, rule.std).run(&image, out);
        if shows { pair.caption } else { pair.good_caption }
    }
}

impl Pair {
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

fn load(path: &Path) -> Result<Image, PairsError> {
    image_file::load(path).map_err(|error| PairsError::File { path: path.to_owned(), reason: error.to_string() })
}

fn grey(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).map(|pixel| pixel[0]).collect()
}
