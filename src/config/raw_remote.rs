//! `[model.remote]` as it is written.

use std::path::PathBuf;

use serde::Deserialize;

use super::key::Key;
use crate::engine::remote::MapForm;

/// `[model.remote]`: the servers of `engine = "remote"`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRemote {
    /// `grpc://HOST:PORT`, or `grpcs://HOST:PORT` with TLS.
    pub endpoints: Key<Vec<String>>,
    /// Authorities that may have signed the servers' certificates, PEM; absent: those of the system.
    pub ca: Key<PathBuf>,
    /// Certificate of this line for servers that ask for one, PEM.
    pub client_certificate: Key<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Key<PathBuf>,
    /// File whose first line is sent as a bearer token.
    pub token_file: Key<PathBuf>,
    /// Longest wait for an answer, milliseconds.
    pub timeout_ms: Key<u64>,
    /// `fp32` or `uint16`: how maps travel.
    pub map: Key<MapForm>,
    /// `none` or `local`: who looks when no server answers in time.
    pub fallback: Key<String>,
}
