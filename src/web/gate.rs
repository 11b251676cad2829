//! Who is let in: browsers that were sent here by another site are not, and the token is looked at, counted and guarded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Json, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::command::Ack;
use crate::secret::Secret;

/// Wrong tokens that a peer may send in [`WINDOW`] before it waits for each answer.
const FREE: u32 = 10;
/// That wait.
const PENANCE: Duration = Duration::from_secs(1);
/// How long wrong tokens are remembered, and the least time between two reports of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are told apart; more share one account.
const PEERS: usize = 1024;

/// Everything that decides about a request before it is carried out.
pub(super) struct Gate {
    token: Option<[u8; 32]>,
    /// Names of this computer, in lower case.
    names: Vec<String>,
    guesses: Mutex<Guesses>,
}

/// Wrong tokens of the last minute.
#[derive(Default)]
struct Guesses {
    peers: HashMap<Option<IpAddr>, (u32, Instant)>,
    /// Since the last report.
    unreported: u64,
    last: Option<IpAddr>,
    reporting: bool,
}

impl Gate {
    /// `hosts` are names under which this computer is called besides its own.
    pub fn new(token: Option<&Secret>, hosts: &[String]) -> Self {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let own = own.trim();
        let names = hosts.iter().cloned().chain(["localhost".to_owned(), own.to_owned(), format!("{own}.local")]);
        let names = names.filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase()).collect();
        let token = token.map(|token| digest(token.reveal().as_bytes()));
        Self { token, names, guesses: Mutex::default() }
    }

    /// The answer to a request that was meant for somebody else. A page whose name was made to point here (DNS rebinding)
    /// carries its own name in `Host`; a page of another site says so in `Origin`.
    pub fn misdirected(&self, uri: &Uri, version: Version, headers: &HeaderMap, peer: IpAddr) -> Option<Response> {
        let in_header = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = uri.authority().cloned().or_else(|| in_header?.parse::<Authority>().ok());
        let Some(authority) = authority else {
            // HTTP/1.0 knows no Host, and no browser speaks it.
            let old = headers.get(header::HOST).is_none() && version == Version::HTTP_10 && peer.is_loopback();
            return (!old)
                .then(|| refusal(StatusCode::MISDIRECTED_REQUEST, "send this computer's name or address as Host"));
        };
        let name = authority.host().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        if name.parse::<IpAddr>().is_err() && !self.names.contains(&name) {
            let message = format!("'{name}' is no name of this computer that is known here; add it to hosts in [http]");
            return Some(refusal(StatusCode::MISDIRECTED_REQUEST, message));
        }
        let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
        let own = origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(authority.as_str()));
        (!own).then(|| refusal(StatusCode::FORBIDDEN, "pages of other sites get no answer here"))
    }

    /// `Err` is the answer to a request that does not carry the token; a peer with many wrong ones waits for it.
    pub async fn admit(self: &Arc<Self>, authorization: Option<HeaderValue>, peer: IpAddr) -> Result<(), Response> {
        let Some(token) = &self.token else {
            let message = "nothing can be changed without a token; set token_file in [http]";
            return Err(refusal(StatusCode::FORBIDDEN, message));
        };
        if let Some(given) = authorization.as_ref().and_then(|value| bearer(value.as_bytes())) {
            if digest(given).ct_eq(token).into() {
                return Ok(());
            }
            if self.count(peer) > FREE {
                tokio::time::sleep(PENANCE).await;
            }
        }
        let mut response = refusal(StatusCode::UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Err(response)
    }

    /// One more wrong token; how many of this peer that makes within the last minute. The first is logged at once, those
    /// of the minute after it together.
    fn count(self: &Arc<Self>, peer: IpAddr) -> u32 {
        let now = Instant::now();
        let mut guesses = self.guesses();
        guesses.peers.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
        let account =
            if guesses.peers.len() < PEERS || guesses.peers.contains_key(&Some(peer)) { Some(peer) } else { None };
        let (wrong, _) = guesses.peers.entry(account).and_modify(|(wrong, _)| *wrong += 1).or_insert((1, now));
        let wrong = *wrong;
        guesses.unreported += 1;
        guesses.last = Some(peer);
        if !std::mem::replace(&mut guesses.reporting, true) {
            drop(guesses);
            let gate = Arc::clone(self);
            tokio::spawn(async move {
                while gate.report() {
                    tokio::time::sleep(WINDOW).await;
                }
            });
        }
        wrong
    }

    /// False when there was nothing to say.
    fn report(&self) -> bool {
        let mut guesses = self.guesses();
        let count = std::mem::take(&mut guesses.unreported);
        guesses.reporting = count > 0;
        if let (true, Some(peer)) = (count > 0, guesses.last) {
            tracing::warn!(count, %peer, "wrong tokens at the API; the peer is that of the last one");
        }
        count > 0
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes after the scheme, whose letters may be of any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii_start())
}

/// An answer that says why there is no other.
pub(super) fn refusal(status: StatusCode, message: impl ToString) -> Response {
    (status, Json(Ack::refused(None, message))).into_response()
}

/// Of one length whatever the token's, so that comparing tells nothing about it.
fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
