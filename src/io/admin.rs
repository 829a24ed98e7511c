//! The admin listener: read-only, for the operator, the orchestrator and its probes; one for all instances of the process.
//!
//! | call | answer |
//! |---|---|
//! | GET / | the status page for people, one HTML file that fetches nothing but `/events` |
//! | GET /events | what the page shows, as Server-Sent Events: all of `/status` and the near past, at once and on every change |
//! | GET /livez | 200 while every loop of the agent turns; 503 when one has not turned for 15 s, no answer when all hang |
//! | GET /readyz | 200 once every instance is attached (loading or serving), else 503 with one line for each that is not |
//! | GET /status | `{"version", "counts", "instances": [...]}`, each as in `GET /v1/status` |
//! | GET /metrics | what [`crate::telemetry::metrics`] lists, as OpenMetrics 1.0 where the Accept header names it, else as Prometheus text 0.0.4 |
//!
//! `/readyz` is about the agent's hold on its instances, not about the game: a game that is still loading does not make it
//! fail, an unreachable backend at start, a drain and the end do. Do not restart the agent on it: `/livez` is for that, which
//! knows nothing of the backend, the disk or the game: none of them is mended by a restart of the agent.
//!
//! Pages in browsers are kept out as they are from the local API, but for the status page itself. On a loopback address the Host must be a loopback name; on
//! another one, which an operator has chosen for probes and scrapers, any Host is good.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use super::local::access::Access;
use super::local::refusal::{json_of, not_found, wrong_method};
use super::local::server::{self, Calls, Door};
use super::local::status::Status;
use super::local::{self, Limits};
use crate::config::settings;
use crate::core::ordered;
use crate::core::phase::Phase;
use crate::core::roll;
use crate::core::snapshot::Snapshot;
use crate::ports::InstanceHandle;
use crate::telemetry::metrics::{Format, InstanceMeter, Metrics};

mod events;
mod history;
mod page;
mod scrape;

use events::Board;

/// Probes and scrapers are few.
const CONNECTIONS: usize = 64;

/// The admin listener, open but not yet served.
pub struct Admin {
    door: Option<Door>,
    addr: Option<SocketAddr>,
    roster: Roster,
    metrics: Option<Arc<Metrics>>,
    alive: Alive,
}

/// One instance of the process.
#[derive(Debug, Clone)]
pub struct Member {
    /// How to look at it.
    pub handle: InstanceHandle,
    /// Who is handed its notifications, as a word for the status page: notifications.deliver.
    pub taker: &'static str,
    /// What measures it.
    pub meter: Arc<InstanceMeter>,
}

/// The instances that are there. They may come and go.
pub type Roster = watch::Receiver<Arc<Vec<Member>>>;

/// Whether the agent's loops turn.
type Alive = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// Why the admin listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody listens there.
    #[error(
        "admin.listen: another program listens on {addr}: stop it, choose another port, or turn this off with \"\""
    )]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The system did not let us.
    #[error(
        "admin.listen: cannot listen on {addr}: is it an address of this machine, and a port that the agent may use?"
    )]
    Tcp {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Admin {
    /// Listens on admin.listen, if it is set. Must be called inside the runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn bind(settings: &settings::Admin, roster: Roster) -> Result<Self, AdminError> {
        let alive: Alive = Arc::new(|| true);
        let Some(addr) = settings.listen else {
            return Ok(Self { door: None, addr: None, roster, metrics: None, alive });
        };
        let (listener, bound) = local::listen(addr).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                AdminError::AddressInUse { addr }
            } else {
                AdminError::Tcp { addr, source }
            }
        })?;
        let access = Access::Tcp { bound, any_host: !addr.ip().is_loopback(), own_page: true, token: None };
        let door = Some(Door::tcp(listener, access));
        Ok(Self { door, addr: Some(bound), roster, metrics: None, alive })
    }

    /// Serves these metrics; without any there is no such call.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Asks this for `/livez`; without it, to be answered at all is to live.
    #[must_use]
    pub fn alive_while(mut self, turning: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.alive = Arc::new(turning);
        self
    }

    /// Where it listens, with the port that was found for port 0.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Serves until `shutdown` is over.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Some(door) = self.door else {
            shutdown.await;
            return;
        };
        let (closing, closed) = watch::channel(false);
        let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
        let (board, watching) = Board::start(self.roster.clone());
        let shown = Shown { roster: self.roster, metrics: self.metrics, alive: self.alive, board, closed, limits };
        let calls = Calls { router: router(Arc::new(shown)), known: Arc::new(|_| ()) };
        let serving = server::serve(vec![door], calls, closing, limits, shutdown);
        tokio::select! {
            () = serving => {}
            // Never ends.
            () = watching => {}
        }
    }
}

/// What the calls show.
struct Shown {
    roster: Roster,
    metrics: Option<Arc<Metrics>>,
    alive: Alive,
    board: Board,
    closed: watch::Receiver<bool>,
    limits: Limits,
}

impl Shown {
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.roster.borrow().iter().map(|member| member.handle.snapshot()).collect()
    }
}

fn router(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/events", get(events))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shown)
}

async fn events(State(shown): State<Arc<Shown>>) -> Response {
    events::open(&shown.board, shown.closed.clone(), shown.limits.keepalive)
}

async fn metrics(State(shown): State<Arc<Shown>>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(metrics) = &shown.metrics else { return not_found(uri).await.into_response() };
    // Several lines of a header are one list (RFC 9110, 5.3).
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
    let format = Format::of(Some(&accept.join(",")));
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(scrape::Scrape::of(metrics.pieces(format)))).into_response()
}

fn words(status: StatusCode, words: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, words).into_response()
}

async fn livez(State(shown): State<Arc<Shown>>) -> Response {
    if (shown.alive)() {
        words(StatusCode::OK, "ok\n".to_owned())
    } else {
        words(StatusCode::SERVICE_UNAVAILABLE, "a loop of the agent hangs\n".to_owned())
    }
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let missing: Vec<String> = shown.snapshots().iter().filter_map(|snapshot| why_not_ready(snapshot)).collect();
    if missing.is_empty() {
        words(StatusCode::OK, "ok\n".to_owned())
    } else {
        words(StatusCode::SERVICE_UNAVAILABLE, missing.concat())
    }
}

/// One line about an instance that is not attached.
fn why_not_ready(snapshot: &Snapshot) -> Option<String> {
    match snapshot.phase {
        Phase::Loading | Phase::Serving => None,
        Phase::Resolving | Phase::Registering | Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => {
            let (name, phase, login) = (&snapshot.name, snapshot.phase.as_str(), snapshot.auth.state.as_str());
            let detail = snapshot.auth.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!("{name}: {phase}; login {login}{detail}\n"))
        }
    }
}

#[derive(Serialize)]
struct AllStatus {
    version: &'static str,
    /// How many instances wait for an allocation, and how many are in each phase.
    counts: BTreeMap<&'static str, u64>,
    instances: Vec<Status>,
}

async fn status(State(shown): State<Arc<Shown>>) -> Response {
    let members = Arc::clone(&shown.roster.borrow());
    let snapshots: Vec<Arc<Snapshot>> = members.iter().map(|member| member.handle.snapshot()).collect();
    let waiting = members.iter().map(|member| member.handle.waiting_settings());
    let instances = snapshots.iter().zip(waiting);
    let instances = instances.map(|(snapshot, waiting)| Status { settings_waiting: waiting, ..Status::of(snapshot) });
    let instances = instances.collect();
    let counts = ordered::map(roll::call(snapshots.iter().map(|snapshot| &**snapshot)));
    json_of(StatusCode::OK, &AllStatus { version: env!("CARGO_PKG_VERSION"), counts, instances })
}
