//! Memories of good parts on the card, and what they say about a picture whose tokens and map lie there.
//!
//! A memory is copied when it is first asked, and stays while it is used. The card that fails at it once is not asked any
//! more: the processor compares from then on, with tokens that are fetched.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::cuda::{
    Buffer, CudaError, Dtype, Gpu, HostBuffer, Join, LookUp, LookUpShape, RawSummary, Remembered, Stream, Summary,
    Threshold, Values, View, ViewMut,
};
use crate::tokens::Known;

/// Memories that are kept on the card, one for each product of a usual line: 45 MB each at the published size.
const MOST: usize = 8;

/// Memories on the card, the one used last at the end.
#[derive(Default)]
pub struct Memories {
    kept: Vec<Kept>,
    tools: Option<Tools>,
    given_up: bool,
}

/// One memory on the card.
struct Kept {
    id: String,
    rows: Remembered,
    join: Join,
}

/// What every look needs, made for the first.
struct Tools {
    look_up: LookUp,
    threshold: Threshold,
    distances: Buffer<f32>,
    score: Buffer<f32>,
    /// The recipe compares; the kernel is here for its summary.
    limit: Buffer<f32>,
    mask: Buffer<u32>,
    summary: Buffer<RawSummary>,
    told: HostBuffer<RawSummary>,
}

/// One picture on the card, and where a memory's answer about it goes.
pub struct Picture<'a> {
    pub gpu: &'a Gpu,
    pub stream: &'a Stream,
    /// S, side of a map.
    pub side: usize,
    /// G, patches along one side.
    pub grid: usize,
    /// Cv, numbers of a token.
    pub width: usize,
    /// Per tapped layer `[N, Cv]`.
    pub tokens: Vec<Values<'a>>,
    /// The model's map, `[S, S]`.
    pub map: View<'a, f32>,
    /// The model's score.
    pub score: View<'a, f32>,
    /// Where both maps as one go.
    pub joined: ViewMut<'a, f32>,
}

impl Memories {
    /// Joins a picture's map and score with what `memory` says about its tokens, and waits for it. `None` when the card
    /// cannot, which is logged the first time.
    pub fn join(&mut self, picture: Picture<'_>, memory: &Known<'_>) -> Option<Summary> {
        if self.given_up {
            return None;
        }
        let (gpu, stream) = (picture.gpu, picture.stream);
        match self.try_join(picture, memory) {
            Ok(summary) => Some(summary),
            Err(error) => {
                tracing::warn!(memory = memory.id, %error, "memories are compared by the processor from now on");
                // What was enqueued before the failure may still run on the buffers that go.
                if let Err(error) = gpu.synchronize(stream) {
                    tracing::warn!(%error, "waiting for the card");
                }
                *self = Self { given_up: true, ..Self::default() };
                None
            }
        }
    }

    fn try_join(&mut self, picture: Picture<'_>, memory: &Known<'_>) -> Result<Summary, CudaError> {
        let kept = Self::find(&mut self.kept, &picture, memory)?;
        let tools = match &mut self.tools {
            Some(tools) => tools,
            none => none.insert(Tools::new(&picture)?),
        };
        let Tools { look_up, threshold, distances, score, limit, mask, summary, told } = tools;
        let Picture { gpu, stream, side, tokens, map, score: of_model, mut joined, .. } = picture;
        look_up.run(stream, &tokens, &kept.rows, distances.view_mut())?;
        kept.join.run(stream, distances.view(), map, of_model, joined.reborrow(), score.view_mut())?;
        let (mask, summaries) = (mask.view_mut(), summary.view_mut());
        threshold.run(stream, joined.as_view(), score.view(), limit.view(), 1, mask, summaries)?;
        // SAFETY: the copy is waited for before anybody looks at `told`.
        unsafe { gpu.download(stream, summary.view(), told.as_mut_slice())? };
        gpu.synchronize(stream)?;
        Ok(told.as_slice()[0].decode(side))
    }

    /// The memory on the card; it is copied there when it is new.
    fn find<'a>(kept: &'a mut Vec<Kept>, picture: &Picture<'_>, memory: &Known<'_>) -> Result<&'a mut Kept, CudaError> {
        match kept.iter().position(|kept| kept.id == memory.id) {
            Some(at) => {
                let last = kept.len() - 1;
                kept[at..=last].rotate_left(1);
            }
            None => {
                if kept.len() >= MOST {
                    kept.remove(0);
                }
                let made = match Kept::new(picture, memory) {
                    // Those of other products may make room.
                    Err(CudaError::Memory { .. }) if !kept.is_empty() => {
                        kept.clear();
                        Kept::new(picture, memory)?
                    }
                    made => made?,
                };
                kept.push(made);
            }
        }
        let last = kept.len() - 1;
        Ok(&mut kept[last])
    }
}

impl Kept {
    fn new(picture: &Picture<'_>, memory: &Known<'_>) -> Result<Self, CudaError> {
        let machine = picture.stream.machine().clone();
        let halves: Vec<Vec<f16>> = memory.taps.iter().map(|rows| in_halves(rows)).collect();
        let layers: Vec<&[f16]> = halves.iter().map(Vec::as_slice).collect();
        Ok(Self {
            id: memory.id.to_owned(),
            rows: Remembered::new(&machine, &layers, memory.width)?,
            join: Join::new(&machine, &memory.joining, picture.grid, picture.side)?,
        })
    }
}

/// Each of a memory's numbers is a half already.
fn in_halves(rows: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; rows.len()];
    halves.convert_from_f32_slice(rows);
    halves
}

impl Tools {
    /// For pictures like this one.
    fn new(picture: &Picture<'_>) -> Result<Self, CudaError> {
        let machine = picture.stream.machine().clone();
        let &Picture { side, grid, width, ref tokens, .. } = picture;
        let (layers, patches) = (tokens.len(), grid * grid);
        let tokens = tokens.first().map_or(Dtype::F32, Values::dtype);
        let threshold = Threshold::new(&machine, side)?;
        Ok(Self {
            look_up: LookUp::new(&machine, LookUpShape { layers, patches, width, tokens })?,
            distances: Buffer::zeros(&machine, layers * patches)?,
            score: Buffer::zeros(&machine, 1)?,
            limit: Buffer::zeros(&machine, 1)?,
            mask: Buffer::zeros(&machine, side * threshold.row_words())?,
            summary: Buffer::zeros(&machine, 1)?,
            told: picture.gpu.host_buffer(1)?,
            threshold,
        })
    }
}
