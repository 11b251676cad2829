//! Why the API cannot be offered, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret::LEAST_TOKEN;

/// The API cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address is taken or not ours.
    #[error("cannot listen on {listen}: {source}; choose another address in [http]")]
    Listen {
        /// As configured.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Other computers would need no token.
    #[error("{listen} can be reached from other computers; set token_file in [http], or listen on 127.0.0.1")]
    Open {
        /// As configured.
        listen: SocketAddr,
    },
    /// A token that can be guessed.
    #[error("the token of [http] has less than {LEAST_TOKEN} characters; make one with `openssl rand -hex 32`")]
    ShortToken,
    /// Words of the page that cannot be used.
    #[error("the texts of the page in {path} cannot be used: {reason}")]
    Texts {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No thread to be had.
    #[error("the thread of the API cannot be started ({0}); the system is out of threads")]
    Thread(std::io::Error),
}
