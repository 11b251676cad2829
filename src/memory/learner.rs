//! Makes a memory of good pictures, one after the other, in bounded space.
//!
//! At its peak a learner holds, in units of one picture's tokens in half precision (11 MB of a ViT-L/14 at 518 pixels, 0.6 MB
//! of the shipped model), those in the memory (4 by default), 32 that wait to be thinned, 32 that are compared, and while one
//! tapped layer is thinned or compared the same again in single precision, a half of what waits and is kept: 4 + 32 + 32 + 18,
//! about 1 GB of a ViT-L/14 at 518.

use std::collections::BTreeSet;

use half::f16;
use half::slice::HalfFloatSliceExt;
use jiff::Timestamp;
use rayon::prelude::*;

use super::Memory;
use super::about::{About, FORMAT, same_shape};
use super::core_set::core_set;
use super::error::MemoryError;
use super::file;
use super::fusion::{Fusion, Good, NEIGHBOURHOOD};
use super::look_up::{Arithmetic, nearest, nearest_in, normalised};
use crate::event::ModelInfo;
use crate::tokens::PatchTokens;
use crate::view::ViewSpec;

/// Pictures whose tokens are kept until the end, to be compared with what the others have left in the memory.
const COMPARED: usize = 32;
/// Pictures whose tokens wait until they are thinned together with those kept so far.
const TOGETHER: usize = 16;

/// What a memory is made for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose tokens these are.
    pub model: ModelInfo,
    /// Side S of the model's map, pixels.
    pub size: usize,
    /// Standard deviation of the model's Gaussian, pixels of its map.
    pub sigma: f32,
    /// Tokens kept per tapped layer, as multiples of one picture's; at least 1.
    pub pictures_of_tokens: usize,
    /// Who asks.
    pub by: String,
    /// When.
    pub now: Timestamp,
}

/// Half-precision rows of one tapped layer, and which picture each is of.
#[derive(Default)]
struct Pool {
    rows: Vec<f16>,
    owners: Vec<usize>,
}

impl Pool {
    fn thin(&mut self, width: usize, most: usize) {
        if self.owners.len() <= most {
            return;
        }
        let kept = core_set(&wide(&self.rows), width, most);
        self.rows = kept.iter().flat_map(|&at| self.rows[at * width..][..width].iter().copied()).collect();
        self.owners = kept.iter().map(|&at| self.owners[at]).collect();
    }
}

struct Compared {
    taps: Vec<Vec<f16>>,
    score: f32,
    /// Which part.
    part: usize,
}

/// Takes good pictures; see [`Self::finish`].
pub struct Learner {
    settings: Settings,
    view: ViewSpec,
    sizes: Option<(usize, usize)>,
    picture: (u32, u32),
    pools: Vec<Pool>,
    compared: Vec<Compared>,
    parts: usize,
    pictures: BTreeSet<[u8; 32]>,
}

fn wide(rows: &[f16]) -> Vec<f32> {
    rows.to_f32_vec()
}

impl Learner {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let (pools, compared, pictures) = (Vec::new(), Vec::new(), BTreeSet::new());
        let view = ViewSpec::default();
        Self { settings, view, sizes: None, picture: (0, 0), pools, compared, parts: 0, pictures }
    }

    /// The memory is of pictures that are looked at through this view.
    pub fn through(self, view: ViewSpec) -> Self {
        Self { view, ..self }
    }

    /// The hash of a picture that is taken (`calibrate::Look` makes it), for whoever wants thresholds later on: the memory is
    /// to say which pictures it is made of.
    pub fn note(&mut self, picture: [u8; 32]) {
        self.pictures.insert(picture);
    }

    /// Whether a picture of this size can be taken after those that were.
    pub fn fits(&self, size: (u32, u32)) -> bool {
        self.parts == 0 || same_shape(self.picture, size)
    }

    /// Columns and rows of the first picture.
    pub fn picture(&self) -> (u32, u32) {
        self.picture
    }

    /// Pictures taken so far.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Another tile of the picture that was taken last: it is compared with other parts, never with tiles of the same.
    pub fn take_tile(&mut self, tokens: &PatchTokens, score: f32, size: (u32, u32)) -> Result<(), MemoryError> {
        let parts = self.parts;
        self.parts = parts.saturating_sub(1);
        let taken = self.take(tokens, score, size);
        self.parts = parts;
        taken
    }

    /// One more good picture of `size` pixels: its tokens, and the model's own score. Of a picture that is looked at in tiles the
    /// first one; `size` is that of the captured frame. Errors when a number is not finite, and for a picture of another shape;
    /// nothing has been taken then.
    pub fn take(&mut self, tokens: &PatchTokens, score: f32, size: (u32, u32)) -> Result<(), MemoryError> {
        let sizes = (tokens.grid(), tokens.width());
        let finite = |tap: &Vec<f32>| tap.iter().all(|value| value.is_finite());
        if !score.is_finite() || !tokens.taps().par_iter().all(finite) {
            return Err(MemoryError::NotFinite);
        }
        if *self.sizes.get_or_insert(sizes) != sizes || !self.fits(size) {
            let named = |(width, height): (u32, u32)| format!("{width}x{height}");
            return Err(MemoryError::Shapes { first: named(self.picture), other: named(size) });
        }
        if tokens.taps().len() != tokens.layers() {
            return Err(MemoryError::TokensLost);
        }
        if self.parts == 0 && self.pools.is_empty() {
            self.picture = size;
            self.pools.resize_with(tokens.taps().len(), Pool::default);
        }
        let width = tokens.width();
        let taps: Vec<Vec<f16>> = tokens
            .taps()
            .par_iter()
            .map(|tap| normalised(tap, width).into_iter().map(f16::from_f32).collect())
            .collect();
        let (part, patches) = (self.parts, tokens.grid() * tokens.grid());
        let most = self.most();
        for (pool, rows) in self.pools.iter_mut().zip(&taps) {
            pool.rows.extend_from_slice(rows);
            pool.owners.extend(std::iter::repeat_n(part, patches));
            if pool.owners.len() > most + TOGETHER.max(COMPARED) * patches {
                pool.thin(width, most);
            }
        }
        if self.compared.len() < COMPARED {
            self.compared.push(Compared { taps, score, part });
        }
        self.parts += 1;
        Ok(())
    }

    fn most(&self) -> usize {
        let (grid, _) = self.sizes.unwrap_or_default();
        grid * grid * self.settings.pictures_of_tokens.max(1)
    }

    /// The memory. Each of the first pictures is compared with what all others have left in it, never with itself.
    pub fn finish(mut self) -> Result<Memory, MemoryError> {
        let (Some((grid, width)), true) = (self.sizes, self.parts > 0) else { return Err(MemoryError::NoParts) };
        let most = self.most();
        for pool in &mut self.pools {
            pool.thin(width, most);
        }
        let taps: Vec<Vec<f32>> = self.pools.iter().map(|pool| wide(&pool.rows)).collect();
        // Where the memory has kept a part's own tokens only, nothing says how far the part is from others.
        let has_others = |part: usize| {
            self.parts == 1 || self.pools.iter().all(|pool| pool.owners.iter().any(|&owner| owner != part))
        };
        let arithmetic = Arithmetic::of(&self.settings.model.precision);
        let good: Vec<Good> = self
            .compared
            .iter()
            .filter(|compared| has_others(compared.part))
            .map(|compared| {
                let part = compared.part;
                let distances = match self.parts {
                    1 => compared.taps.iter().map(|rows| elsewhere(&wide(rows), grid, width)).collect(),
                    _ => {
                        let look = |((rows, memory), pool): ((&Vec<f16>, &Vec<f32>), &Pool)| {
                            nearest_in(arithmetic, &wide(rows), memory, width, |at| pool.owners[at] == part)
                        };
                        compared.taps.iter().zip(&taps).zip(&self.pools).map(look).collect()
                    }
                };
                Good { distances, score: compared.score }
            })
            .collect();
        if good.is_empty() {
            return Err(MemoryError::Alike);
        }
        let fusion = Fusion::decide(&good, self.parts, grid, self.settings.size, self.settings.sigma);
        let Settings { model, by, now, .. } = self.settings;
        let mut about = About {
            format: FORMAT,
            id: String::new(),
            made: now,
            by,
            parts: self.parts,
            tokens: self.pools.iter().map(|pool| pool.owners.len()).collect(),
            model,
            grid,
            width,
            picture: self.picture,
            view: self.view,
            pictures: self.pictures.into_iter().collect(),
        };
        about.id = file::identity(&about, &taps, &fusion);
        Ok(Memory { about, taps, fusion, lost: None })
    }
}

/// Distance of each patch to the nearest of the same picture that is no neighbour of it.
fn elsewhere(rows: &[f32], grid: usize, width: usize) -> Vec<f32> {
    let is_neighbour = |a: usize, b: usize| {
        (a / grid).abs_diff(b / grid) <= NEIGHBOURHOOD && (a % grid).abs_diff(b % grid) <= NEIGHBOURHOOD
    };
    // One row at a time is no work for tiles.
    let look = |at: usize| nearest(&rows[at * width..][..width], rows, width, |other| is_neighbour(at, other))[0];
    (0..grid * grid).into_par_iter().map(look).collect()
}
