//! An engine looks at frames and answers with anomaly maps. Three exist: [`reference`] (plain Rust), [`openvino`] and
//! [`tensorrt`]; [`remote`] asks those of other computers.

use std::time::Duration;

mod choice;
mod contract;
mod eight_bits;
mod error;
mod expected;
pub mod finish;
#[cfg(feature = "openvino")]
mod kept_network;
pub mod onnx;
#[cfg(feature = "openvino")]
pub mod openvino;
#[cfg(not(feature = "openvino"))]
#[path = "openvino_absent.rs"]
pub mod openvino;
#[cfg(feature = "openvino")]
mod openvino_apart;
#[cfg(feature = "openvino")]
mod openvino_compile;
#[cfg(feature = "openvino")]
mod openvino_lanes;
#[cfg(feature = "openvino")]
mod openvino_probe;
pub mod plan;
mod prepare;
pub mod reference;
pub mod remote;
#[cfg(feature = "openvino")]
mod resident;
pub mod scales;
#[cfg(any(feature = "openvino", feature = "tensorrt"))]
mod scratch;
pub mod self_test;
mod spec;
mod sums;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;
#[cfg(not(feature = "tensorrt"))]
#[path = "tensorrt_absent.rs"]
pub mod tensorrt;
#[cfg(feature = "openvino")]
mod tested;
pub mod trial;

pub use choice::{EngineChoice, Precision};
pub use contract::{Coming, Engine, EngineInfo, Tiles, nothing_comes};
pub use error::EngineError;
pub use spec::{EngineSpec, PlanSpec};

/// Opens the engine that was asked for. `Auto` takes the first that is installed of TensorRT, OpenVINO and the
/// reference engine, and logs which one and why not the others; an engine that was named is never replaced.
pub fn open(spec: &EngineSpec) -> Result<Box<dyn Engine>, EngineError> {
    open_telling(spec, &|_| {})
}

/// As [`open`]; `tell` hears of work that takes minutes: building a plan.
pub fn open_telling(spec: &EngineSpec, tell: &dyn Fn(&str)) -> Result<Box<dyn Engine>, EngineError> {
    match spec.engine {
        EngineChoice::Reference => Ok(Box::new(reference::ReferenceEngine::open(spec)?)),
        EngineChoice::Openvino => Ok(Box::new(openvino::OpenvinoEngine::open(spec)?)),
        EngineChoice::Tensorrt => Ok(Box::new(tensorrt::TensorrtEngine::open(spec, tell)?)),
        EngineChoice::Remote => Ok(Box::new(remote::RemoteEngine::open(spec, &open)?)),
        EngineChoice::Auto => {
            for engine in [EngineChoice::Tensorrt, EngineChoice::Openvino] {
                match open_telling(&EngineSpec { engine, ..spec.clone() }, tell) {
                    Ok(opened) => {
                        tracing::info!(%engine, "engine = \"auto\" took");
                        return Ok(opened);
                    }
                    Err(error @ (EngineError::NotBuilt { .. } | EngineError::NoCard { .. })) => {
                        tracing::debug!(%engine, %error, "engine = \"auto\" passed over");
                    }
                    Err(error) if error.is_passed_over() => {
                        tracing::warn!(%engine, %error, "engine = \"auto\" passed over");
                    }
                    // The engine is there, and something is wrong: another, slower one would hide it.
                    Err(error) => return Err(error),
                }
            }
            tracing::warn!("engine = \"auto\" took the reference engine: right, and many times slower than OpenVINO");
            open(&EngineSpec { engine: EngineChoice::Reference, ..spec.clone() })
        }
    }
}

/// Median time of the network behind the vision tower, measured alone; `None` for engines that do not tell it apart.
pub fn network_tail(spec: &EngineSpec, rounds: u32) -> Result<Option<Duration>, EngineError> {
    match spec.engine {
        EngineChoice::Openvino => openvino::network_tail(spec, rounds).map(Some),
        EngineChoice::Reference | EngineChoice::Tensorrt | EngineChoice::Remote | EngineChoice::Auto => Ok(None),
    }
}
