//! A connection that speaks HTTP/2 and gRPC, without TLS: below the same limits as the others.
//!
//! Nobody asks for a sign of life here, nor counts a client's: SDKs ping as often as they like, and a stream of heartbeats or
//! of changes may be silent for days.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access::Access;
use super::connection::{Counted, Meter, Socket, Watched};
use super::server::{Limits, closed};
use crate::io::agones::{Engine, grpc};
use crate::ports::boxed;

/// Calls at a time on one connection: an SDK has one stream of heartbeats, some watches, and now and then a call.
const STREAMS: u32 = 100;
/// How much of a call's request may be under way, in bytes: a label, not a file.
const WINDOW: u32 = 64 * 1024;
/// The largest head of a call, in bytes.
const HEAD: u32 = 16 * 1024;
/// How much of an answer waits for a slow reader, in bytes.
const SEND: usize = 64 * 1024;

/// The calls in progress on one connection.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<Option<JoinSet<()>>>>);

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        // A set of tasks is whole whatever happened to one of them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        if let Some(calls) = &mut *self.lock() {
            while calls.try_join_next().is_some() {}
            calls.spawn(boxed(call));
        }
    }
}

/// Ends the calls with their connection, however that ends: each of them holds the set that holds it.
#[derive(Debug)]
struct Owner(Calls);

impl Drop for Owner {
    fn drop(&mut self) {
        let calls = self.0.lock().take();
        drop(calls);
    }
}

/// Serves one connection to its end.
pub(super) async fn connection(
    socket: Socket,
    meter: Arc<Meter>,
    access: Arc<Access>,
    engine: Arc<Engine>,
    mut closing: watch::Receiver<bool>,
    limits: Limits,
) {
    let watched = Watched::new(socket, Arc::clone(&meter), limits).without_heads();
    let calls = Calls(Arc::new(Mutex::new(Some(JoinSet::new()))));
    let _owner = Owner(calls.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = meter.begin();
        let allowed = access.check(&request);
        let engine = Arc::clone(&engine);
        async move {
            let response = match allowed {
                Ok(()) => grpc::answer(engine, request).await,
                Err(refusal) => grpc::refuse(&refusal),
            };
            Ok::<_, Infallible>(response.map(|body| Counted::new(Body::new(body), busy)))
        }
    });
    let connection = http2::Builder::new(calls)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD)
        .max_send_buf_size(SEND)
        .serve_connection(TokioIo::new(watched), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // How it ended is the peer's business.
        _ = connection.as_mut() => return,
        () = closed(&mut closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}
