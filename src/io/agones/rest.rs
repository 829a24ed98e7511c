//! The SDK over REST: what grpc-gateway makes of it, to the letter.
//!
//! Bodies are ProtoJSON: any Content-Type, unknown fields are ignored, `null` is as good as nothing, and a 64-bit number may be a
//! text. A call that takes one message takes an empty body for an empty message; the stream of heartbeats takes messages one
//! after the other, and wants at least one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use hyper::body::{Body as HttpBody, Frame};
use serde::Serialize;
use tonic::Code;

use self::body::{Empty, KeyValue, Span};
use super::engine::Engine;
use super::failure::Failure;
use super::socket;
use super::watcher::Watcher;
use crate::io::local::refusal;

mod body;

/// On every answer of the gateway: what it took from gRPC.
const METADATA: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// The calls of the SDK. They find their [`Engine`] among the extensions of the request.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/ready", post(ready).fallback(wrong_verb))
        .route("/health", post(health).fallback(wrong_verb))
        .route("/allocate", post(allocate).fallback(wrong_verb))
        .route("/reserve", post(reserve).fallback(wrong_verb))
        .route("/shutdown", post(shutdown).fallback(wrong_verb))
        .route("/gameserver", get(game_server).fallback(wrong_verb))
        .route("/watch/gameserver", get(watch).fallback(wrong_verb))
        .route("/metadata/label", put(label).fallback(wrong_verb))
        .route("/metadata/annotation", put(annotation).fallback(wrong_verb))
}

/// Any path that there is not: in our own words below /v1, in those of Agones elsewhere.
pub(crate) async fn not_found(uri: Uri) -> Response {
    if uri.path() == "/v1" || uri.path().starts_with("/v1/") {
        return refusal::not_found(uri).await.into_response();
    }
    Failure::new(Code::NotFound, "Not Found").into_response()
}

async fn wrong_verb() -> Failure {
    Failure::new(Code::Unimplemented, "Method Not Allowed")
}

#[derive(Serialize)]
struct Shape<'a> {
    code: i32,
    message: &'a str,
    details: [(); 0],
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let shape = Shape { code: self.code as i32, message: &self.message, details: [] };
        refusal::json_of(self.status(), &shape)
    }
}

/// What was asked is done.
fn good(body: impl Into<Body>) -> Response {
    let mut response = refusal::json(StatusCode::OK, body);
    response.headers_mut().insert(METADATA, header::HeaderValue::from_static("application/grpc"));
    response
}

fn done(said: Result<(), Failure>) -> Result<Response, Failure> {
    said.map(|()| good("{}"))
}

async fn ready(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let Empty {} = body::one(&engine, request).await?;
    done(engine.ready().await)
}

async fn allocate(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let Empty {} = body::one(&engine, request).await?;
    done(engine.allocate().await)
}

async fn shutdown(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let Empty {} = body::one(&engine, request).await?;
    done(engine.shutdown().await)
}

async fn health(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    // However many there are: they have come at the same moment.
    body::at_least_one(&engine, request).await?;
    done(engine.heartbeat().await)
}

async fn reserve(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let Span { seconds } = body::one(&engine, request).await?;
    done(engine.reserve(seconds.unwrap_or_default().0).await)
}

async fn label(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let KeyValue { key, value } = body::one(&engine, request).await?;
    done(engine.set_label(key.unwrap_or_default(), value.unwrap_or_default()).await)
}

async fn annotation(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    let KeyValue { key, value } = body::one(&engine, request).await?;
    done(engine.set_annotation(key.unwrap_or_default(), value.unwrap_or_default()).await)
}

async fn game_server(Extension(engine): Extension<Arc<Engine>>) -> Response {
    good(engine.game_server().await.json.clone())
}

/// One document a line, or a message where the connection becomes a WebSocket.
async fn watch(Extension(engine): Extension<Arc<Engine>>, request: Request) -> Result<Response, Failure> {
    if socket::is_wanted(request.headers()) {
        return socket::open(engine, request).await;
    }
    Ok(good(Body::new(Lines { step: Some(step(engine.watch().await)) })))
}

/// How many of the calls take these bytes for their messages. Nothing is carried out.
pub(crate) fn takers(bytes: &[u8]) -> usize {
    body::takers(bytes)
}

/// A document as a watcher gets it, without an end of line.
pub(super) fn result(json: &Bytes) -> Vec<u8> {
    [&b"{\"result\":"[..], json, b"}"].concat()
}

/// A step that is being taken: a line, and who waits for the next one.
type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Watcher)>> + Send>>;

/// The body of a watch: each line is made when the one before has left.
struct Lines {
    step: Option<Step>,
}

fn step(mut watcher: Watcher) -> Step {
    Box::pin(async move {
        let document = watcher.next().await?;
        let mut line = result(&document.json);
        line.push(b'\n');
        Some((line.into(), watcher))
    })
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(taken) = &mut self.step else { return Poll::Ready(None) };
        let next = ready!(taken.as_mut().poll(cx));
        self.step = None;
        Poll::Ready(next.map(|(line, watcher)| {
            self.step = Some(step(watcher));
            Ok(Frame::data(line))
        }))
    }
}
