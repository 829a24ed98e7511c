//! The listener and its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ledger::{Authorization, Outcome, RequestRecord};
use super::{Outage, Simulator, control_api, handler};
use crate::clock;

/// How many connections are open at most; more wait in the kernel.
const CONNECTION_LIMIT: usize = 16_384;
/// How long a connection may be idle, or take for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// How long a connection may take for its first bytes in an outage.
const PEEK_TIME: Duration = Duration::from_secs(1);
/// How long to wait after the system could not accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until the shutdown; then every connection is closed at once.
pub(super) async fn serve(simulator: Simulator, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::warn!(%error, "a connection of the simulator failed");
                }
            }
            accepted = listener.accept(), if connections.len() < CONNECTION_LIMIT => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(simulator.clone(), stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "the simulator cannot accept a connection");
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(simulator: Simulator, stream: TcpStream, peer: SocketAddr) {
    let mut outage = simulator.watch_outage();
    if *outage.borrow_and_update() == Outage::Refuse && !is_control(&simulator, &stream).await {
        return;
    }
    // Without it small answers wait for the client's delayed acknowledgement. A failure costs only that.
    let _ = stream.set_nodelay(true);
    let control = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| handler::answer(simulator.clone(), request, peer, Arc::clone(&control)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    loop {
        tokio::select! {
            // An error is a client that went away, or a cut that somebody asked for.
            _ended = serving.as_mut() => return,
            Ok(()) = outage.changed() => {
                if *outage.borrow_and_update() == Outage::Refuse && !control.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

/// Looks at the first bytes of a connection in an outage: only the control API gets in. The others are counted.
async fn is_control(simulator: &Simulator, stream: &TcpStream) -> bool {
    let mut first = [0_u8; 2048];
    let seen = tokio::select! {
        seen = stream.peek(&mut first) => seen.unwrap_or_default(),
        () = clock::sleep(PEEK_TIME) => 0,
    };
    let text = String::from_utf8_lossy(first.get(..seen).unwrap_or_default()).into_owned();
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if control_api::is_control(target) {
        return true;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let call = super::contract::name(simulator.generation(), method, path);
    let mut world = simulator.world();
    let at_ms = world.elapsed_ms(clock::now());
    world.ledger.refused_connections += 1;
    if !target.is_empty() {
        world.ledger.arrived(RequestRecord {
            number: 0,
            at_ms,
            ended_ms: Some(at_ms),
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            call,
            status: None,
            client: None,
            authorization: Authorization::NotChecked,
            processed: false,
            fault: None,
            outcome: Outcome::Refused,
            body: None,
        });
    }
    false
}
