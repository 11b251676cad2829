//! The engine's thread: takes batches from the queue and answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::admission::{Job, Refused, answer};
use super::spec::{ServeError, ServeSpec};
use super::state::State;
use crate::clock::{Clock, SystemClock};
use crate::engine::{self, Engine, EngineError};
use crate::frame::{Frame, Image, PixelFormat};

/// How often an engine that has failed is tried again while nobody asks.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens the engine in a thread of its own; what is returned hears when that thread has ended.
pub(super) fn start(
    spec: ServeSpec,
    state: Arc<State>,
) -> Result<oneshot::Receiver<Result<(), EngineError>>, ServeError> {
    let (ended, receiver) = oneshot::channel();
    let run = move || {
        let result = run(&spec, &state);
        if ended.send(result).is_err() {
            tracing::debug!("the server has ended before its engine");
        }
    };
    std::thread::Builder::new().name("engine".into()).spawn(run).map_err(ServeError::Runtime)?;
    Ok(receiver)
}

fn run(spec: &ServeSpec, state: &State) -> Result<(), EngineError> {
    let tell = |text: &str| {
        if !text.is_empty() {
            tracing::info!("{text}");
        }
    };
    let mut engine = engine::open_telling(&spec.engine, &tell)?;
    // Twice: the first inference allocates and compiles.
    look_at_nothing(engine.as_mut())?;
    let begin = Instant::now();
    look_at_nothing(engine.as_mut())?;
    state.queue.done(1, begin.elapsed());
    let info = engine.info().clone();
    let most = info.max_batch;
    tracing::info!(engine = %info.engine, precision = %info.precision, max_batch = most, "the model is ready");
    state.opened(info);
    let mut failing = false;
    while let Some(batch) = state.queue.take(most, spec.max_wait, AGAIN) {
        let failed = match batch.is_empty() {
            true if failing => look_at_nothing(engine.as_mut()).err().map(|error| error.to_string()),
            true => continue,
            false => look(engine.as_mut(), batch, state),
        };
        if failed.is_some() != failing {
            failing = failed.is_some();
            match failed {
                Some(error) => tracing::error!("the engine fails: {error}"),
                None => tracing::info!("the engine works again"),
            }
            state.set_failing(failing);
        }
    }
    Ok(())
}

fn look_at_nothing(engine: &mut dyn Engine) -> Result<(), EngineError> {
    let side = engine.info().image_size;
    let unfit = |_| EngineError::Batch { got: 0, max: 1 };
    let image = Image::new(side as u32, side as u32, PixelFormat::Gray8, vec![128; side * side]).map_err(unfit)?;
    engine.infer(&[&Frame::alone("warm-up", SystemClock.now(), image)]).map(|_| ())
}

/// Answers a batch; says why when there is no answer.
fn look(engine: &mut dyn Engine, batch: Vec<Job>, state: &State) -> Option<String> {
    let begin = Instant::now();
    batch.iter().for_each(|job| state.metrics.waited(begin.saturating_duration_since(job.arrived)));
    let frames: Vec<Frame> =
        batch.iter().map(|job| Frame::alone("client", SystemClock.now(), job.image.clone())).collect();
    engine.hand_out_tokens(batch.iter().any(|job| job.tokens));
    engine.hand_out_paths(batch.iter().any(|job| job.paths));
    let looked = engine.infer(&frames.iter().collect::<Vec<_>>()).map_err(|error| error.to_string());
    let looked = looked.and_then(|predictions| {
        let (got, expected) = (predictions.len(), batch.len());
        if got == expected { Ok(predictions) } else { Err(format!("{got} predictions for {expected} pictures")) }
    });
    // Fetched here, while the card's memories are those of this batch.
    for (prediction, job) in looked.iter().flatten().zip(&batch) {
        prediction.map.values();
        if let Some(tokens) = prediction.tokens.as_ref().filter(|_| job.tokens) {
            tokens.taps();
        }
    }
    let took = begin.elapsed();
    state.queue.done(batch.len(), took);
    state.metrics.batch(batch.len(), took);
    match looked {
        Ok(predictions) => {
            batch.into_iter().zip(predictions).for_each(|(job, prediction)| answer(job, Ok(prediction)));
            None
        }
        Err(error) => {
            batch.into_iter().for_each(|job| answer(job, Err(Refused::Engine(error.clone()))));
            Some(error)
        }
    }
}
