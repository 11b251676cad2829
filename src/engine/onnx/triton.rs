//! A model repository as Triton Inference Server reads it: a folder per model, its configuration, and a folder per version.

use std::io;
use std::path::{Path, PathBuf};

use super::{INLINE_LIMIT, export_serving};
use crate::engine::error::EngineError;
use crate::engine::finish;
use crate::oip::model::{self, IMAGE, MAP, SCORE};
use crate::output;
use crate::weights::bundle::Bundle;

/// Pictures that a server may look at together.
const MAX_BATCH: usize = 8;
/// How long a batch that is not full waits for more, microseconds.
const MAX_WAIT_US: u64 = 2000;
/// A request without a deadline of its own waits no longer, microseconds.
const LONGEST_WAIT_US: u64 = 2_000_000;
/// Requests that wait at most.
const QUEUE: u32 = 64;

/// Writes the model of `bundle` into `repository`; returns the files written.
pub fn write(bundle: &Bundle, repository: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let manifest = bundle.manifest();
    let name = model::name(&manifest.name, bundle.sha256());
    let folder = repository.join(&name);
    let version = folder.join("1");
    let named = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| EngineError::Io { path, source }
    };
    std::fs::create_dir_all(&version).map_err(named(&version))?;
    let graph = version.join("model.onnx");
    let constants = finish::text_constants(bundle)?;
    let mut written = export_serving(bundle, &constants, &graph, INLINE_LIMIT).map_err(named(&graph))?;
    // Last: a server that watches the folder finds the model whole.
    let config = folder.join("config.pbtxt");
    output::write(&config, config_text(&name, manifest.architecture.image_size).as_bytes()).map_err(named(&config))?;
    written.push(config);
    Ok(written)
}

/// The fields of Triton's `ModelConfig` that differ from their defaults, as protocol buffers' text.
fn config_text(name: &str, side: usize) -> String {
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "name: \"{name}\"
backend: \"onnxruntime\"
max_batch_size: {MAX_BATCH}
input [
  {{ name: \"{IMAGE}\" data_type: TYPE_UINT8 dims: [ {side}, {side}, 3 ] }}
]
output [
  {{ name: \"{MAP}\" data_type: TYPE_FP32 dims: [ {side}, {side} ] }},
  {{ name: \"{SCORE}\" data_type: TYPE_FP32 dims: [ 1 ] }}
]
version_policy {{ specific {{ versions: [ 1 ] }} }}
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {MAX_WAIT_US}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {LONGEST_WAIT_US}
    allow_timeout_override: true
    max_queue_size: {QUEUE}
  }}
}}
"
    )
}
