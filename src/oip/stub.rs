//! gRPC calls over a connection that hyper keeps: one method asked, and one method answered. What a generator would write.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::http::uri::PathAndQuery;
use hyper::{Request as HttpRequest, Response as HttpResponse, Uri};
use prost::Message;
use tonic::body::Body;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// One HTTP/2 connection to a server.
#[derive(Clone)]
pub struct Client {
    link: Link,
    origin: Uri,
    most_bytes: usize,
}

#[derive(Clone)]
struct Link(SendRequest<Body>);

impl Service<HttpRequest<Body>> for Link {
    type Response = HttpResponse<Incoming>;
    type Error = hyper::Error;
    type Future = Boxed<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Client {
    /// Calls over `sender`; `origin` is the server as the caller names it, answers have `most_bytes` at most.
    pub fn new(sender: SendRequest<Body>, origin: Uri, most_bytes: usize) -> Self {
        Self { link: Link(sender), origin, most_bytes }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.link.0.is_closed()
    }

    /// Asks the method at `path`.
    pub async fn call<Q, A>(&self, path: &str, request: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path: PathAndQuery = path.parse().map_err(|_| Status::internal("no path"))?;
        let grpc = tonic::client::Grpc::with_origin(self.link.clone(), self.origin.clone());
        let mut grpc = grpc.max_decoding_message_size(self.most_bytes);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        grpc.unary(request, path, ProstCodec::<Q, A>::default()).await
    }
}

/// A function that answers a method.
pub struct Handler<F>(pub F);

impl<F, R, Q, A> Service<Request<Q>> for Handler<F>
where
    F: FnMut(Request<Q>) -> R,
    R: Future<Output = Result<Response<A>, Status>> + Send + 'static,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = Boxed<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

/// Lets `answer` answer an HTTP request that is a call; its message has `most_bytes` at most.
pub async fn call<Q, A, F, R>(request: HttpRequest<Incoming>, most_bytes: usize, answer: F) -> HttpResponse<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnMut(Request<Q>) -> R,
    R: Future<Output = Result<Response<A>, Status>> + Send + 'static,
{
    let grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default());
    grpc.max_decoding_message_size(most_bytes)
        .max_encoding_message_size(usize::MAX)
        .unary(Handler(answer), request)
        .await
}
