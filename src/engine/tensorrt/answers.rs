//! What a batch has left on the card, for those who want more of it than its summary: maps, tokens, and both joined with a
//! memory.
//!
//! Everything lies there until the next batch is begun; what somebody still holds is fetched before. Whoever joins does so
//! while no batch is under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::memories::{Memories, Picture};
use super::network::Tensor;
use crate::anomaly::{AnomalyMap, Fetch};
use crate::cuda::{Buffer, CudaError, Gpu, Stream, Values, View, ViewMut};
use crate::tokens::{FetchTokens, Known, PatchTokens};
use crate::vcp_clip::Architecture;

/// Maps, scores and tokens of the last batch.
pub struct Answers {
    gpu: Arc<Gpu>,
    stream: Stream,
    /// S, side of a map.
    side: usize,
    /// G, patches along one side.
    grid: usize,
    /// Cv, numbers of a token.
    width: usize,
    maps: Buffer<f32>,
    scores: Buffer<f32>,
    /// What memories have joined; a map for each place in the batch.
    joined: Buffer<f32>,
    /// Per tapped layer.
    tokens: Arc<[Tensor]>,
    fetches: Arc<AtomicU64>,
    turn: Mutex<Turn>,
}

/// Whose turn it is: a batch's, or that of one who joins what the last one left.
pub struct Turn {
    /// Batches begun.
    batch: u64,
    memories: Memories,
    /// Joined maps and their places in the batch.
    handed_out: Vec<(usize, AnomalyMap)>,
}

impl Answers {
    /// Room for batches of up to `max_batch`, whose tokens a network leaves in `tokens`.
    pub fn new(
        gpu: &Arc<Gpu>,
        stream: &Stream,
        arch: &Architecture,
        tokens: Arc<[Tensor]>,
        max_batch: usize,
    ) -> Result<Self, CudaError> {
        let machine = gpu.machine();
        let maps = || Buffer::zeros(&machine, max_batch * arch.image_size * arch.image_size);
        Ok(Self {
            side: arch.image_size,
            grid: arch.grid(),
            width: arch.vision_width,
            maps: maps()?,
            scores: Buffer::zeros(&machine, max_batch)?,
            joined: maps()?,
            tokens,
            fetches: Arc::default(),
            turn: Mutex::new(Turn { batch: 0, memories: Memories::default(), handed_out: Vec::new() }),
            gpu: Arc::clone(gpu),
            stream: stream.clone(),
        })
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next batch, which may overwrite everything as long as the result is held. Joined maps that somebody still
    /// wants are fetched; the caller does the same with the other maps and the tokens.
    pub fn begin(&self) -> MutexGuard<'_, Turn> {
        let mut turn = self.turn();
        turn.batch += 1;
        turn.handed_out.drain(..).for_each(|(_, map)| fetch_if_held(&map));
        turn
    }

    /// How many maps and tokens have been brought over the bus so far; goes on counting.
    pub fn fetches(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fetches)
    }

    fn pixels(&self) -> usize {
        self.side * self.side
    }

    /// The map of one place in the batch.
    fn map(&self, slot: usize) -> View<'_, f32> {
        self.maps.view().slice(slot * self.pixels()..(slot + 1) * self.pixels())
    }

    /// What a memory has joined at one place in the batch.
    fn joined(&self, slot: usize) -> View<'_, f32> {
        self.joined.view().slice(slot * self.pixels()..(slot + 1) * self.pixels())
    }

    /// The picture at one place in the batch, whose place for a joined map is written next.
    ///
    /// # Safety
    /// The caller holds the turn, and nobody wants the map that was joined there before.
    unsafe fn picture(&self, slot: usize) -> Picture<'_> {
        let joined = self.joined(slot);
        Picture {
            gpu: &self.gpu,
            stream: &self.stream,
            side: self.side,
            grid: self.grid,
            width: self.width,
            tokens: self.tokens(slot),
            map: self.map(slot),
            score: self.scores.view().slice(slot..slot + 1),
            // SAFETY: the place is this buffer's, and by the caller's promise nobody else looks at it.
            joined: unsafe { ViewMut::from_raw(joined.address(), joined.len()) },
        }
    }

    /// Maps and scores of a whole batch, to be written by it.
    ///
    /// # Safety
    /// The caller holds the turn, and what somebody wants of the last batch has been fetched.
    pub unsafe fn written(&self, batch: usize) -> (ViewMut<'_, f32>, ViewMut<'_, f32>) {
        let maps = self.maps.view().slice(0..batch * self.pixels());
        // SAFETY: the memory is these buffers', and by the caller's promise nobody else looks at it.
        unsafe {
            let maps = ViewMut::from_raw(maps.address(), maps.len());
            (maps, ViewMut::from_raw(self.scores.address(), self.scores.len()))
        }
    }

    /// Maps and scores of a whole batch.
    pub fn read(&self, batch: usize) -> (View<'_, f32>, View<'_, f32>) {
        (self.maps.view().slice(0..batch * self.pixels()), self.scores.view())
    }

    /// Tokens of one place in the batch: N×Cv per tapped layer.
    fn tokens(&self, slot: usize) -> Vec<Values<'_>> {
        let length = self.grid * self.grid * self.width;
        let range = || slot * length..(slot + 1) * length;
        self.tokens
            .iter()
            .map(|tensor| match tensor.values() {
                Values::F32(view) => Values::F32(view.slice(range())),
                Values::F16(view) => Values::F16(view.slice(range())),
            })
            .collect()
    }

    /// Copies to the host and waits for it.
    fn download<T: bytemuck::Pod>(&self, from: View<'_, T>) -> Result<Vec<T>, CudaError> {
        let mut here = vec![T::zeroed(); from.len()];
        // SAFETY: the vector outlives the copy, which is waited for; the memory is that of `self`.
        unsafe { self.gpu.download(&self.stream, from, &mut here)? };
        self.gpu.synchronize(&self.stream)?;
        Ok(here)
    }

    fn fetch(&self, map: View<'_, f32>) -> Vec<f32> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.download(map).unwrap_or_else(|error| {
            tracing::error!(%error, "an anomaly map could not be fetched from the graphics card");
            vec![f32::NAN; self.pixels()]
        })
    }

    fn fetch_tokens(&self, slot: usize) -> Result<Vec<Vec<f32>>, CudaError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let layer = |values: Values<'_>| match values {
            Values::F32(view) => self.download(view),
            Values::F16(view) => Ok(self.download::<f16>(view)?.to_f32_vec()),
        };
        self.tokens(slot).into_iter().map(layer).collect()
    }
}

/// The values of a map that anybody but the caller still holds are brought here.
fn fetch_if_held(map: &AnomalyMap) {
    if map.is_held_elsewhere() {
        map.values();
    }
}

/// One map of the batch, until the next batch is begun.
pub struct MapOnCard {
    answers: Arc<Answers>,
    slot: usize,
    batch: u64,
}

impl MapOnCard {
    /// That of one place in the batch whose turn it is.
    pub fn new(answers: &Arc<Answers>, turn: &Turn, slot: usize) -> Self {
        Self { answers: Arc::clone(answers), slot, batch: turn.batch }
    }
}

impl Fetch for MapOnCard {
    fn fetch(&self) -> Vec<f32> {
        self.answers.fetch(self.answers.map(self.slot))
    }

    fn join(&self, memory: &Known<'_>) -> Option<(AnomalyMap, f32)> {
        let Self { answers, slot, batch } = self;
        let mut turn = answers.turn();
        let Turn { batch: present, memories, handed_out } = &mut *turn;
        if present != batch {
            return None;
        }
        // Another memory may have been asked about the same picture.
        handed_out.extract_if(.., |(other, _)| other == slot).for_each(|(_, map)| fetch_if_held(&map));
        // SAFETY: this is the one whose turn it is, and what was joined there before has been fetched.
        let picture = unsafe { answers.picture(*slot) };
        let summary = memories.join(picture, memory)?;
        let on_card = JoinedOnCard { answers: Arc::clone(answers), slot: *slot };
        let map = AnomalyMap::elsewhere(answers.side, summary.peak, Box::new(on_card));
        handed_out.push((*slot, map.clone()));
        Some((map, summary.score))
    }
}

/// A map that a memory has joined, until the next batch is begun or another memory is asked about the picture.
struct JoinedOnCard {
    answers: Arc<Answers>,
    slot: usize,
}

impl Fetch for JoinedOnCard {
    fn fetch(&self) -> Vec<f32> {
        self.answers.fetch(self.answers.joined(self.slot))
    }
}

/// Tokens of one picture of the batch, until the next batch is begun.
struct TokensOnCard {
    answers: Arc<Answers>,
    slot: usize,
}

impl FetchTokens for TokensOnCard {
    fn fetch(&self) -> Vec<Vec<f32>> {
        self.answers.fetch_tokens(self.slot).unwrap_or_else(|error| {
            tracing::error!(%error, "patch tokens could not be fetched from the graphics card");
            Vec::new()
        })
    }
}

/// The tokens of one place in the batch; they stay on the card until somebody asks for them.
pub fn tokens_on_card(answers: &Arc<Answers>, slot: usize) -> PatchTokens {
    let tokens = TokensOnCard { answers: Arc::clone(answers), slot };
    PatchTokens::elsewhere(answers.grid, answers.width, answers.tokens.len(), Box::new(tokens))
}
