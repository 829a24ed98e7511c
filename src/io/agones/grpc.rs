//! `agones.dev.sdk.SDK` over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prost::Message;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, UnaryService};
use tonic::{Code, Status, Streaming};

use super::codec::Wire;
use super::engine::Engine;
use super::failure::Failure;
use super::messages::{Duration, Empty, KeyValue};
use super::watcher::Watcher;
use crate::io::local::refusal::Refusal;
use crate::io::local::server::closed;

/// Before the name of a method.
const SERVICE: &str = "/agones.dev.sdk.SDK/";
/// The largest message that is read, in bytes: the longest annotation fits well.
const MESSAGE_LIMIT: usize = 64 * 1024;

/// Answers one call.
pub(crate) async fn answer(engine: Arc<Engine>, request: Request<Incoming>) -> Response<Body> {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    match request.uri().path().strip_prefix(SERVICE) {
        Some("Ready") => said(request, |_: Empty| async move { engine.ready().await }).await,
        Some("Allocate") => said(request, |_: Empty| async move { engine.allocate().await }).await,
        Some("Shutdown") => said(request, |_: Empty| async move { engine.shutdown().await }).await,
        Some("Reserve") => said(request, |span: Duration| async move { engine.reserve(span.seconds).await }).await,
        Some("SetLabel") => {
            said(request, |label: KeyValue| async move { engine.set_label(label.key, label.value).await }).await
        }
        Some("SetAnnotation") => {
            said(request, |note: KeyValue| async move { engine.set_annotation(note.key, note.value).await }).await
        }
        Some("GetGameServer") => {
            unary(request, |_: Empty| async move { Ok(engine.game_server().await.wire.clone()) }).await
        }
        Some("Health") => grpc().client_streaming(Health(engine), request).await,
        Some("WatchGameServer") => grpc().server_streaming(Watch(engine), request).await,
        Some(_) | None => {
            let path = request.uri().path();
            Status::unimplemented(format!("{path} is not served: of the Agones SDK there is {SERVICE}*")).into_http()
        }
    }
}

/// Answers a call that may not come in.
pub(crate) fn refuse(refusal: &Refusal) -> Response<Body> {
    Status::from(Failure::from(refusal)).into_http()
}

fn grpc<M: Message + Default + 'static>() -> Grpc<Wire<M>> {
    Grpc::new(Wire::default()).max_decoding_message_size(MESSAGE_LIMIT)
}

/// A call by which the game says something: its answer is empty.
async fn said<M, F>(request: Request<Incoming>, call: impl FnOnce(M) -> F + Send) -> Response<Body>
where
    M: Message + Default + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    unary(request, |message| {
        let called = call(message);
        async move { called.await.map(|()| Bytes::new()) }
    })
    .await
}

async fn unary<M, F>(request: Request<Incoming>, call: impl FnOnce(M) -> F + Send) -> Response<Body>
where
    M: Message + Default + 'static,
    F: Future<Output = Result<Bytes, Failure>> + Send + 'static,
{
    grpc().unary(Unary(Some(call)), request).await
}

/// What a call will be answered.
type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// One message, one answer, once.
struct Unary<C>(Option<C>);

impl<M, C, F> UnaryService<M> for Unary<C>
where
    C: FnOnce(M) -> F,
    F: Future<Output = Result<Bytes, Failure>> + Send + 'static,
{
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        let called = self.0.take().map(|call| call(request.into_inner()));
        Box::pin(async move {
            match called {
                Some(called) => Ok(tonic::Response::new(called.await?)),
                None => Err(Status::internal("one request was taken for two")),
            }
        })
    }
}

/// A stream of heartbeats. It has no limit of time: what the silence of a game means is for the core to judge.
struct Health(Arc<Engine>);

impl ClientStreamingService<Empty> for Health {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: tonic::Request<Streaming<Empty>>) -> Self::Future {
        let engine = Arc::clone(&self.0);
        Box::pin(async move {
            let mut beats = request.into_inner();
            let mut closing = engine.closing();
            loop {
                // Both may be dropped half-way: a message that has begun stays in the stream's buffer.
                let beat = tokio::select! {
                    biased;
                    () = closed(&mut closing) => return Err(ending()),
                    beat = beats.message() => beat?,
                };
                if beat.is_none() {
                    return Ok(tonic::Response::new(Bytes::new()));
                }
                match engine.heartbeat().await {
                    // A busy core has others to listen to; the next beat is as good.
                    Ok(()) => {}
                    Err(failure) if failure.code == Code::Unavailable => {}
                    Err(failure) => return Err(failure.into()),
                }
            }
        })
    }
}

/// The document as it is, and each change.
struct Watch(Arc<Engine>);

impl ServerStreamingService<Empty> for Watch {
    type Response = Bytes;
    type ResponseStream = Documents;
    type Future = Answer<Documents>;

    fn call(&mut self, _request: tonic::Request<Empty>) -> Self::Future {
        let engine = Arc::clone(&self.0);
        Box::pin(async move { Ok(tonic::Response::new(Documents::of(engine.watch().await))) })
    }
}

/// A step that is being taken: a document, and who waits for the next one.
type Step = Pin<Box<dyn Future<Output = (Option<Bytes>, Watcher)> + Send>>;

/// What a watcher is told, one after the other; asked for the next only when the last one has left.
pub(super) struct Documents {
    step: Option<Step>,
}

impl Documents {
    fn of(watcher: Watcher) -> Self {
        Self { step: Some(step(watcher)) }
    }
}

fn step(mut watcher: Watcher) -> Step {
    Box::pin(async move {
        let document = watcher.next().await;
        (document.map(|document| document.wire.clone()), watcher)
    })
}

impl Stream for Documents {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(taken) = &mut self.step else { return Poll::Ready(None) };
        let (document, watcher) = ready!(taken.as_mut().poll(cx));
        Poll::Ready(Some(match document {
            Some(document) => {
                self.step = Some(step(watcher));
                Ok(document)
            }
            None => {
                self.step = None;
                Err(ending())
            }
        }))
    }
}

/// So that a client tries again, should there be another agent soon.
fn ending() -> Status {
    Status::unavailable("the agent is ending")
}
