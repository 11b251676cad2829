//! `vcp-line serve`: one engine for many boxes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use crate::config;
use crate::engine::EngineChoice;
use crate::serve::{self, ServeSpec};
use crate::service;
use crate::tls::ServerFiles;

#[derive(Args)]
pub struct ServeArguments {
    /// Model bundle; clients ask for NAME-SHA8, its name and the first letters of its SHA-256.
    bundle: PathBuf,
    /// Where clients connect, over gRPC.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    #[command(flatten)]
    engine: EngineArguments,
    /// Most pictures that are looked at together.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    max_batch: u16,
    /// How long a batch that is not full waits for more, milliseconds; where pictures come one at a time, none waits.
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1000))]
    max_wait_ms: u16,
    /// Pictures that may wait for the engine.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    queue: u16,
    /// Connections at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_clients: u16,
    /// Certificate of this server, PEM; read again for every connection.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Authorities one of which must have signed a client's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    client_ca: Option<PathBuf>,
    /// File whose first line clients must send as `authorization: Bearer WORD`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where `/live`, `/ready` and `/metrics` are asked, over HTTP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// How long a stop waits for what was admitted, seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=600))]
    drain_s: u16,
}

pub fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.bundle)?;
    if arguments.engine.engine == EngineChoice::Remote {
        return Err(wrong_arguments("--engine remote: a server looks itself; take one of the others"));
    }
    let token = arguments.token_file.as_deref().map(config::secret::read_token).transpose()?;
    let tls = arguments.certificate.clone().zip(arguments.key.clone()).map(|(certificate, key)| ServerFiles {
        certificate,
        key,
        client_ca: arguments.client_ca.clone(),
    });
    let spec = ServeSpec {
        engine: arguments.engine.spec(&arguments.bundle, usize::from(arguments.max_batch)),
        listen: arguments.listen,
        metrics: arguments.metrics,
        tls,
        token,
        max_wait: Duration::from_millis(arguments.max_wait_ms.into()),
        queue: arguments.queue.into(),
        max_clients: arguments.max_clients.into(),
        drain: Duration::from_secs(arguments.drain_s.into()),
    };
    if !spec.listen.ip().is_loopback()
        && (spec.tls.is_none() || (spec.token.is_none() && arguments.client_ca.is_none()))
    {
        tracing::warn!(
            listen = %spec.listen,
            "other computers may send pictures here and read along; give --certificate, and --client-ca or --token-file"
        );
    }
    let stop = service::stop_on_signal()?;
    serve::serve(spec, &stop, &|listening| tracing::info!(%listening, "clients can connect")).context("serve")
}
