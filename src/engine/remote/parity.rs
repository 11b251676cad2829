//! What the model says about the picture of the self-test: computed once by the reference engine, kept beside the model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::choice::{EngineChoice, Precision};
use crate::engine::error::EngineError;
use crate::engine::expected::Expected;
use crate::engine::reference::ReferenceEngine;
use crate::engine::self_test;
use crate::engine::spec::EngineSpec;
use crate::output;
use crate::weights::bundle::Bundle;

/// Within the bundle's folder.
const FILE: &str = "self-test.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Of the weights.
    sha256: String,
    expected: Expected,
}

/// What is expected of every server of `bundle`.
pub(super) fn expected(spec: &EngineSpec, bundle: &Bundle) -> Result<Expected, EngineError> {
    let file = spec.bundle.join(FILE);
    if let Some(expected) = kept(&file, bundle.sha256()) {
        return Ok(expected);
    }
    tracing::info!("the reference engine computes what servers must answer; it is kept as {}", file.display());
    let reference = EngineSpec {
        engine: EngineChoice::Reference,
        precision: Precision::Fp32,
        max_batch: 1,
        remote: None,
        ..spec.clone()
    };
    let expected = self_test::expect(&mut ReferenceEngine::open(&reference)?)?;
    let text = serde_json::to_vec(&Kept { sha256: bundle.sha256().to_owned(), expected: expected.clone() });
    let written = text.map_err(std::io::Error::other).and_then(|text| output::write(&file, &text));
    if let Err(error) = written {
        tracing::warn!("{}: {error}; the next start computes it again", file.display());
    }
    Ok(expected)
}

fn kept(file: &Path, sha256: &str) -> Option<Expected> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    (kept.sha256 == sha256).then_some(kept.expected)
}
