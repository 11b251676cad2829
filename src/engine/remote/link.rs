//! One connection to one server, and what must be true of the server before it is asked about parts.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use super::question::{Features, Question, Wanted};
use super::reply;
use super::shared::Shared;
use super::spec::Address;
use crate::engine::choice::{EngineChoice, Precision};
use crate::engine::self_test;
use crate::oip::model;
use crate::oip::{Client, Empty, InferResponse, ModelMetadata, ModelName, SERVICE, Yes};

/// Longest time for a connection. The system asks again after one second, then after two more: who begins anew is sooner there
/// when packets come through again.
const CONNECT: Duration = Duration::from_millis(500);
/// Longest time for TLS and HTTP/2, for the same reason.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// Longest time for saying which model is there.
const METADATA: Duration = Duration::from_secs(1);
/// Longest time for the picture of the self-test: a server may compile at its first one. It has to show that it lives meanwhile.
const SELF_TEST: Duration = Duration::from_secs(20);
/// How often a server that does not answer a question is asked for a sign of life, and how long it may take.
pub(super) const PULSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(1));
/// Bytes of an answer that may be on their way before any is read.
const WINDOW: u32 = 4 << 20;
/// Bytes of an answer in one piece; in the protocol's usual ones of 16 KiB a map takes as many turns as it has pieces.
const FRAME: u32 = 1 << 20;

/// A server that may be asked.
#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    token: Option<MetadataValue<Ascii>>,
    pub features: Features,
}

/// Why a server is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not there, or not able; this may end any moment.
    Away(String),
    /// It is another one than is wanted; somebody must do something.
    Wrong(String),
}

impl Trouble {
    pub fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Wrong(text) => text,
        }
    }
}

/// What a server says of its own arithmetic; one that says nothing is held to float32.
fn stated(platform: &str) -> Precision {
    let known = [Precision::Bf16, Precision::Fp16, Precision::Int8, Precision::Fp8];
    let word = model::precision_word(platform);
    known.into_iter().find(|precision| word == Some(&precision.to_string())).unwrap_or(Precision::Fp32)
}

fn away(what: impl ToString) -> Trouble {
    Trouble::Away(what.to_string())
}

impl Link {
    /// Connects, and asks for the model and for the answer to the picture of the self-test. The task ends with the connection.
    pub async fn establish(shared: &Shared, address: &Address) -> Result<(Self, JoinHandle<()>), Trouble> {
        let connecting = tokio::time::timeout(CONNECT, TcpStream::connect((address.host.as_str(), address.port)));
        let stream = connecting.await.map_err(|_| away("no connection in time"))?.map_err(away)?;
        let (client, task) = tokio::time::timeout(HANDSHAKE, connect(shared, address, stream))
            .await
            .map_err(|_| away("no answer to the connection in time"))??;
        let link = Self { client, token: token(shared)?, features: Features::default() };
        match link.examined(shared).await {
            Ok(link) => Ok((link, task)),
            Err(trouble) => {
                task.abort();
                Err(trouble)
            }
        }
    }

    async fn examined(mut self, shared: &Shared) -> Result<Self, Trouble> {
        let name = &shared.model;
        let asked = ModelName { name: name.clone(), version: String::new() };
        let metadata: ModelMetadata =
            self.call("ModelMetadata", asked, METADATA).await.map_err(|status| match status.code() {
                Code::NotFound | Code::InvalidArgument => Trouble::Wrong(format!(
                    "does not serve '{name}' ({}); start it with the bundle of this line",
                    status.message()
                )),
                Code::Unauthenticated | Code::PermissionDenied => {
                    Trouble::Wrong(format!("refuses this line ({}); set token_file", status.message()))
                }
                _ => away(said(&status)),
            })?;
        self.features = Features::of(&metadata, shared.side).map_err(Trouble::Wrong)?;
        let question = Question::eight_bit(shared.self_test.clone());
        let answer = tokio::select! {
            answer = self.ask(shared, &question, Wanted::default(), SELF_TEST) => answer.map_err(|status| away(said(&status)))?,
            why = self.falls_silent() => return Err(Trouble::Away(why)),
        };
        let prediction = reply::prediction(&answer, shared.side, Wanted::default()).map_err(Trouble::Wrong)?;
        let precision = match shared.precision {
            Precision::Auto => stated(&metadata.platform),
            asked => asked,
        };
        self_test::judge(EngineChoice::Remote, precision, &shared.expected, &prediction)
            .map_err(|error| Trouble::Wrong(error.to_string()))?;
        shared.found.get_or_init(|| precision);
        Ok(self)
    }

    /// Asks about a picture; the server hears how long the answer counts.
    pub async fn ask(
        &self,
        shared: &Shared,
        question: &Question,
        wanted: Wanted,
        within: Duration,
    ) -> Result<InferResponse, Status> {
        let request = question.request(&shared.model, shared.side, wanted, self.features);
        self.call("ModelInfer", request, within).await
    }

    /// A sign of life.
    pub async fn is_alive(&self, within: Duration) -> Result<(), String> {
        let answer: Result<Yes, Status> = self.call("ServerReady", Empty {}, within).await;
        match answer {
            Ok(Yes { yes: true }) => Ok(()),
            Ok(Yes { yes: false }) => Err("is not ready".into()),
            Err(status) => Err(said(&status)),
        }
    }

    /// Returns, with the reason, when there is no sign of life any more.
    async fn falls_silent(&self) -> String {
        loop {
            tokio::time::sleep(PULSE.0).await;
            if let Err(why) = self.is_alive(PULSE.1).await {
                return why;
            }
        }
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn call<Q, A>(&self, method: &str, message: Q, within: Duration) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = Request::new(message);
        request.set_timeout(within);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        let path = format!("{SERVICE}{method}");
        match tokio::time::timeout(within, self.client.call(&path, request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }
}

/// A status in words.
pub(super) fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        text => text.to_owned(),
    }
}

fn token(shared: &Shared) -> Result<Option<MetadataValue<Ascii>>, Trouble> {
    let Some(file) = &shared.spec.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| away(format!("{}: {error}", file.display())))?;
    let word = text.lines().next().unwrap_or_default();
    let value = format!("Bearer {word}").parse();
    value
        .map(Some)
        .map_err(|_| Trouble::Wrong(format!("{}: the token has letters that cannot be sent", file.display())))
}

async fn connect(shared: &Shared, address: &Address, stream: TcpStream) -> Result<(Client, JoinHandle<()>), Trouble> {
    stream.set_nodelay(true).map_err(away)?;
    if !address.tls {
        return speak(shared, address, stream).await;
    }
    let loaded = shared.spec.tls.load().map_err(|error| Trouble::Wrong(error.to_string()))?;
    let mut config = (*loaded.config).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(address.host.clone()).map_err(|error| Trouble::Wrong(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    speak(shared, address, stream.map_err(|error| away(format!("no TLS: {error}")))?).await
}

async fn speak(
    shared: &Shared,
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(Client, JoinHandle<()>), Trouble> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_frame_size(FRAME)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(away)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a server ended");
        }
    });
    let scheme = if address.tls { "https" } else { "http" };
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    let origin: Uri = format!("{scheme}://{host}:{}", address.port).parse().map_err(away)?;
    Ok((Client::new(sender, origin, shared.most_bytes()), task))
}
