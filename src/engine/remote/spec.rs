//! What is asked of other computers, and where they are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::choice::EngineChoice;
use crate::tls::TlsFiles;

/// Port of the protocol when an address has none.
pub const PORT: u16 = 8001;
/// Longest wait for an answer that nobody needs by a deadline.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The servers of a model.
#[derive(Clone, Debug)]
pub struct RemoteSpec {
    /// Where they are, in any order: the one that answers soonest is asked.
    pub endpoints: Vec<Address>,
    /// Certificate files, for addresses with TLS.
    pub tls: TlsFiles,
    /// File whose first line is sent as `authorization: Bearer WORD`.
    pub token_file: Option<PathBuf>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How the map travels.
    pub map: MapForm,
    /// The engine of this computer that looks when no server answers in time.
    pub fallback: Option<EngineChoice>,
}

impl RemoteSpec {
    /// These servers, nothing else asked for.
    pub fn new(endpoints: Vec<Address>) -> Self {
        let (tls, map) = (TlsFiles::default(), MapForm::default());
        Self { endpoints, tls, token_file: None, timeout: TIMEOUT, map, fallback: None }
    }
}

/// How a map travels back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapForm {
    /// As it is.
    #[default]
    Fp32,
    /// 16-bit numbers, 0 … 1 over their range: half the bytes, each value off by 1/131070 at most. Where the server knows it.
    Uint16,
}

/// Where a server is: `grpc://HOST[:PORT]`, or `grpcs://HOST[:PORT]` with TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// No address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no server; allowed: grpc://HOST:PORT, with TLS grpcs://HOST:PORT")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme {
            "grpc" => false,
            "grpcs" => true,
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?),
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        let port = if port.is_empty() { PORT } else { port.parse().map_err(|_| wrong())? };
        let strange = |letter: char| letter.is_whitespace() || "/@?#%[]".contains(letter);
        if host.is_empty() || host.contains(strange) || port == 0 {
            return Err(wrong());
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "grpcs" } else { "grpc" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("grpc://gpu-1", "grpc://gpu-1:8001"),
            ("grpcs://gpu-1:443/", "grpcs://gpu-1:443"),
            ("grpc://[::1]:9", "grpc://[::1]:9"),
            ("grpc://[::1]", "grpc://[::1]:8001"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        for wrong in ["gpu-1:8001", "http://gpu-1", "grpc://", "grpc://a:0", "grpc://a:x", "grpc://u:p@a", "grpc://a/b"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
