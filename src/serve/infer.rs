//! A request for inference: its tensors as pictures, and predictions as tensors.

use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use tokio::sync::oneshot;
use tonic::{Response, Status};

use super::admission::{Job, Refused};
use super::metrics::Outcome;
use super::state::{Model, State};
use crate::anomaly::Prediction;
use crate::frame::{Image, PixelFormat};
use crate::oip::model::{IMAGE, MAP, MAP_U16, PATHS, SCORE, TOKENS, U16_ONE, platform};
use crate::oip::{InferRequest, InferResponse, ModelMetadata, Parameter, Tensor, TensorMetadata, Value, tensor};

/// Pictures of one request at most.
pub(super) const MOST_PICTURES: usize = 8;
/// The one version of a model; another model has another name.
const VERSION: &str = "1";
/// What is answered when nothing is asked for.
const BY_DEFAULT: [&str; 2] = [MAP, SCORE];

/// Who asks, and since when.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    pub client: u64,
    pub arrived: Instant,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
}

/// Largest message with a request of a model of this size.
pub(super) fn most_bytes(image_size: usize) -> usize {
    MOST_PICTURES * image_size * image_size * 3 * 2 + (64 << 10)
}

impl Model {
    /// Whether a request names this model.
    pub fn is(&self, name: &str, version: &str) -> Result<(), Status> {
        let served = &self.name;
        if name != served {
            return Err(Status::not_found(format!("model '{name}' is not served here; this is '{served}'")));
        }
        match version {
            "" | VERSION => Ok(()),
            other => Err(Status::not_found(format!("model '{name}' has no version '{other}'; it has '{VERSION}'"))),
        }
    }

    pub fn metadata(&self) -> ModelMetadata {
        let side = self.info.image_size as i64;
        let meta = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.into(),
        };
        ModelMetadata {
            name: self.name.clone(),
            versions: vec![VERSION.into()],
            platform: platform(&self.info.engine.to_string(), &self.info.precision.to_string()),
            inputs: vec![meta(IMAGE, "UINT8", &[-1, side, side, 3])],
            outputs: vec![
                meta(MAP, "FP32", &[-1, side, side]),
                meta(SCORE, "FP32", &[-1, 1]),
                meta(MAP_U16, "UINT16", &[-1, side, side]),
                meta(PATHS, "FP32", &[-1, 2, side, side]),
                meta(TOKENS, "FP32", &[-1, -1, -1, -1]),
            ],
        }
    }
}

/// Answers a request.
pub(super) async fn infer(
    state: &State,
    asking: Asking,
    request: InferRequest,
) -> Result<Response<InferResponse>, Status> {
    let answered = answered(state, asking, request).await;
    state.metrics.request(match answered.as_ref().map_err(Status::code) {
        Ok(_) => Outcome::Answered,
        Err(tonic::Code::ResourceExhausted) => Outcome::Busy,
        Err(tonic::Code::DeadlineExceeded) => Outcome::Late,
        Err(tonic::Code::Unavailable) => Outcome::Stopping,
        Err(tonic::Code::Internal) => Outcome::Failed,
        Err(_) => Outcome::Refused,
    });
    answered.map(Response::new)
}

async fn answered(state: &State, asking: Asking, request: InferRequest) -> Result<InferResponse, Status> {
    let model = state.model().ok_or_else(|| Status::unavailable("the model is being opened"))?;
    model.is(&request.model_name, &request.model_version)?;
    let wanted: Vec<&str> = match request.outputs.len() {
        0 => BY_DEFAULT.to_vec(),
        _ => request.outputs.iter().map(|output| output.name.as_str()).collect(),
    };
    if let Some(unknown) = wanted.iter().find(|name| ![MAP, MAP_U16, SCORE, PATHS, TOKENS].contains(name)) {
        return Err(Status::invalid_argument(format!("there is no output '{unknown}'")));
    }
    let images = images(&request, model.info.image_size)?;
    let timeout = [asking.timeout, in_parameters(&request)].into_iter().flatten().min();
    let due = timeout.and_then(|timeout| asking.arrived.checked_add(timeout));
    let (tokens, paths) = (wanted.contains(&TOKENS), wanted.contains(&PATHS));
    let offer = |image| {
        let (reply, answer) = oneshot::channel();
        let job = Job { image, due, tokens, paths, arrived: Instant::now(), reply };
        state.queue.offer(asking.client, job).map(|()| answer)
    };
    let answers = images.into_iter().map(offer).collect::<Result<Vec<_>, _>>().map_err(status)?;
    let mut predictions = Vec::with_capacity(answers.len());
    for answer in answers {
        let answer = match due {
            None => answer.await,
            Some(due) => match tokio::time::timeout_at(due.into(), answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(Status::deadline_exceeded("the answer was not ready in time")),
            },
        };
        predictions.push(answer.map_err(|_| status(Refused::Stopping))?.map_err(status)?);
    }
    let mut response = InferResponse {
        model_name: request.model_name,
        model_version: VERSION.into(),
        id: request.id,
        ..InferResponse::default()
    };
    for name in wanted {
        let (tensor, raw) = output(name, &predictions)?;
        response.outputs.push(tensor);
        response.raw_output_contents.push(raw);
    }
    Ok(response)
}

fn status(refused: Refused) -> Status {
    let text = refused.to_string();
    match refused {
        Refused::Busy => Status::resource_exhausted(text),
        Refused::Late { .. } => Status::deadline_exceeded(text),
        Refused::Stopping => Status::unavailable(text),
        Refused::Engine(_) => Status::internal(text),
    }
}

/// Triton's parameter `timeout`, microseconds.
fn in_parameters(request: &InferRequest) -> Option<Duration> {
    let micros = match request.parameters.get("timeout") {
        Some(Parameter { value: Some(Value::Int64(micros)) }) => u64::try_from(*micros).ok()?,
        Some(Parameter { value: Some(Value::Uint64(micros)) }) => *micros,
        _ => return None,
    };
    (micros > 0).then(|| Duration::from_micros(micros))
}

fn images(request: &InferRequest, side: usize) -> Result<Vec<Image>, Status> {
    let invalid = |text: String| Status::invalid_argument(text);
    let [input] = request.inputs.as_slice() else {
        return Err(invalid(format!("{} inputs; the model has one, '{IMAGE}'", request.inputs.len())));
    };
    let Tensor { name, datatype, shape, .. } = input;
    let size = side as i64;
    let count = match shape[..] {
        [count, rows, columns, 3] if rows == size && columns == size => usize::try_from(count).unwrap_or(0),
        _ => 0,
    };
    if name != IMAGE || !(1..=MOST_PICTURES).contains(&count) {
        return Err(invalid(format!(
            "input '{name}' {shape:?}; the model takes '{IMAGE}' [1 to {MOST_PICTURES}, {side}, {side}, 3]"
        )));
    }
    let (format, bytes_each) = match datatype.as_str() {
        "UINT8" => (PixelFormat::Rgb8, 1),
        "UINT16" => (PixelFormat::Rgb16, 2),
        other => return Err(invalid(format!("input '{IMAGE}' is {other}; UINT8 and UINT16 can be used"))),
    };
    let pixels = raw(request, input, bytes_each)?;
    let each = side * side * 3 * bytes_each;
    if pixels.len() != count * each {
        return Err(invalid(format!(
            "input '{IMAGE}' has {} bytes, {} belong to its shape",
            pixels.len(),
            count * each
        )));
    }
    let side = side as u32;
    let image = |pixels: &[u8]| Image::new(side, side, format, pixels.to_vec());
    pixels.chunks_exact(each).map(image).collect::<Result<_, _>>().map_err(|error| invalid(error.to_string()))
}

/// The input's bytes, as they came or put together from numbers.
fn raw(request: &InferRequest, input: &Tensor, bytes_each: usize) -> Result<Bytes, Status> {
    match (request.raw_input_contents.as_slice(), &input.contents) {
        ([raw], None) => Ok(raw.clone()),
        ([], Some(contents)) => {
            let bytes = |number: &u32| number.to_le_bytes().into_iter().take(bytes_each);
            Ok(contents.uints.iter().flat_map(bytes).collect::<Vec<u8>>().into())
        }
        _ => Err(Status::invalid_argument(format!("input '{IMAGE}' needs its numbers raw or as contents, not both"))),
    }
}

fn output(name: &str, predictions: &[Prediction]) -> Result<(Tensor, Bytes), Status> {
    let count = predictions.len();
    let side = predictions.first().map_or(0, |prediction| prediction.map.size());
    let maps = || predictions.iter().map(|prediction| prediction.map.values());
    let absent = || Status::unimplemented(format!("this engine hands out no '{name}'"));
    Ok(match name {
        SCORE => {
            let scores: Vec<f32> = predictions.iter().map(|prediction| prediction.score).collect();
            (tensor::head(name, "FP32", &[count, 1]), tensor::floats(&scores))
        }
        MAP_U16 => {
            // What is no number must not become one.
            if maps().flatten().any(|value| !value.is_finite()) {
                return Err(Status::internal("the map has values that are no numbers"));
            }
            let whole = |value: f32| ((value.clamp(0.0, 1.0) * U16_ONE + 0.5) as u16).to_le_bytes();
            (tensor::head(name, "UINT16", &[count, side, side]), tensor::bytes(maps(), whole))
        }
        PATHS => {
            let mut all = Vec::with_capacity(count * 2 * side * side);
            for prediction in predictions {
                prediction.map.paths().ok_or_else(absent)?.iter().for_each(|path| all.extend_from_slice(path));
            }
            (tensor::head(name, "FP32", &[count, 2, side, side]), tensor::floats(&all))
        }
        TOKENS => {
            let first = predictions.first().and_then(|prediction| prediction.tokens.as_ref()).ok_or_else(absent)?;
            let shape = [count, first.layers(), first.grid() * first.grid(), first.width()];
            let mut all = Vec::with_capacity(shape.iter().product());
            for prediction in predictions {
                let tokens = prediction.tokens.as_ref().ok_or_else(absent)?;
                tokens.taps().iter().for_each(|tap| all.extend_from_slice(tap));
            }
            if all.len() != shape.iter().product::<usize>() {
                return Err(absent());
            }
            (tensor::head(name, "FP32", &shape), tensor::floats(&all))
        }
        _ => (tensor::head(name, "FP32", &[count, side, side]), tensor::bytes(maps(), f32::to_le_bytes)),
    })
}
