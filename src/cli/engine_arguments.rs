//! Options of every command that opens an engine.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::engine::remote::{Address, RemoteSpec};
use crate::engine::{EngineChoice, EngineSpec, PlanSpec, Precision};
use crate::tls::TlsFiles;

#[derive(Args, Clone, Debug)]
pub struct EngineArguments {
    /// Which engine runs the model; `auto` takes the fastest one that works here and says which.
    #[arg(long, value_enum, default_value_t)]
    pub engine: EngineChoice,
    /// Arithmetic of the network: fp32 is exact, bf16 two to four times as fast on CPUs that have it, int8 faster still and
    /// needs the scales of `model quantize`; `auto` takes the fastest that is right here and says which.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// CPU threads for the network [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Plan of the TensorRT engine [default: where `model build` puts it, in the bundle's folder]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Server of the remote engine, `grpc://HOST:PORT` or `grpcs://HOST:PORT`; may be given several times.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<Address>,
    /// Authorities that may have signed the servers' certificates, PEM [default: those of the system]
    #[arg(long = "endpoint-ca", value_name = "FILE", requires = "endpoints")]
    endpoint_ca: Option<PathBuf>,
    /// Scales for int8 and fp8 [default: where `model quantize` puts them, in the bundle's folder]
    #[arg(long, value_name = "FILE")]
    scales: Option<PathBuf>,
}

impl EngineArguments {
    /// The engine that looks with `bundle`, at `max_batch` frames at most.
    pub fn spec(&self, bundle: &Path, max_batch: usize) -> EngineSpec {
        EngineSpec {
            bundle: bundle.to_owned(),
            engine: self.engine,
            precision: self.precision,
            max_batch,
            threads: self.threads.map(usize::from),
            plan: PlanSpec { file: self.plan.clone(), rebuild: false },
            remote: self.remote(),
            scales: self.scales.clone(),
        }
    }

    fn remote(&self) -> Option<RemoteSpec> {
        let tls = TlsFiles { ca: self.endpoint_ca.clone(), client: None };
        (!self.endpoints.is_empty()).then(|| RemoteSpec { tls, ..RemoteSpec::new(self.endpoints.clone()) })
    }

    /// A line's engine for one frame at a time, with what is asked for otherwise here.
    pub fn over(&self, line: EngineSpec) -> EngineSpec {
        let asked = self.spec(&line.bundle, 1);
        let (engine, precision) = (EngineChoice::default(), Precision::default());
        EngineSpec {
            bundle: line.bundle,
            engine: if asked.engine == engine { line.engine } else { asked.engine },
            precision: if asked.precision == precision { line.precision } else { asked.precision },
            max_batch: 1,
            threads: asked.threads.or(line.threads),
            plan: PlanSpec { file: asked.plan.file.or(line.plan.file), rebuild: false },
            remote: asked.remote.or(line.remote),
            scales: asked.scales.or(line.scales),
        }
    }
}
