//! `vcp-line serve`: one engine for many boxes, over the Open Inference Protocol.
//!
//! A request is admitted only when its deadline can be met; what is admitted waits in its client's lane, and the engine takes
//! from all lanes in turn.

mod admission;
mod calls;
mod door;
mod infer;
mod looker;
mod metrics;
mod spec;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::web::probes;
use state::State;

pub use spec::{ServeError, ServeSpec};

/// Serves until `stop`, then answers what was admitted, for [`ServeSpec::drain`] at most. `listening` hears the address.
pub fn serve(
    spec: ServeSpec,
    stop: &CancellationToken,
    listening: &dyn Fn(std::net::SocketAddr),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        let bind =
            async |address| TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source });
        if let Some(tls) = &spec.tls {
            tls.load(&[])?;
        }
        let socket = bind(spec.listen).await?;
        let address = socket.local_addr().map_err(ServeError::Runtime)?;
        let probe = match spec.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let drain = spec.drain;
        let state = Arc::new(State::new(&spec));
        let mut engine = looker::start(spec, Arc::clone(&state))?;
        listening(address);
        let serving = async {
            let probed = Arc::clone(&state);
            let probes = async move {
                match probe {
                    Some(socket) => probes::serve(socket, probed).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = probes => {}
                () = door::open(socket, Arc::clone(&state), stop, drain) => {}
            }
        };
        let ended = tokio::select! {
            () = serving => None,
            ended = &mut engine => Some(ended),
        };
        state.queue.close();
        match ended {
            Some(Ok(Err(error))) => Err(ServeError::Engine(error)),
            Some(_) => Err(ServeError::EngineThread),
            None => {
                // The batch in hand; after the drain nobody waits for it any more.
                if tokio::time::timeout(Duration::from_secs(1), engine).await.is_err() {
                    tracing::warn!("the engine is still at work; it is left behind");
                }
                Ok(())
            }
        }
    })
}
