//! The admin listener: read-only, for the operator, the orchestrator and its probes; one for all instances of the process.
//!
//! | call | answer |
//! |---|---|
//! | GET /livez | 200 while the process goes round its loop: whoever gets no answer has an agent that hangs |
//! | GET /readyz | 200 once every instance is attached (loading or serving), else 503 with one line for each that is not |
//! | GET /status | `{"version", "instances": [...]}`, each as in `GET /v1/status` |
//!
//! `/readyz` is about the agent's hold on its instances, not about the game: a game that is still loading does not make it
//! fail, an unreachable backend at start, a drain and the end do. Do not restart the agent on it: `/livez` is for that.
//!
//! Pages in browsers are kept out as they are from the local API. On a loopback address the Host must be a loopback name; on
//! another one, which an operator has chosen for probes and scrapers, any Host is good.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use super::local::access::Access;
use super::local::refusal::{json_of, not_found, wrong_method};
use super::local::server::{self, Door};
use super::local::status::Status;
use super::local::{self, Limits};
use crate::config::settings;
use crate::core::phase::Phase;
use crate::core::snapshot::Snapshot;
use crate::ports::InstanceHandle;

/// Probes and scrapers are few.
const CONNECTIONS: usize = 64;

/// The admin listener, open but not yet served.
#[derive(Debug)]
pub struct Admin {
    door: Option<Door>,
    addr: Option<SocketAddr>,
    handles: Vec<InstanceHandle>,
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
    pub fn bind(settings: &settings::Admin, handles: Vec<InstanceHandle>) -> Result<Self, AdminError> {
        let Some(addr) = settings.listen else { return Ok(Self { door: None, addr: None, handles }) };
        let (listener, bound) = local::listen(addr).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                AdminError::AddressInUse { addr }
            } else {
                AdminError::Tcp { addr, source }
            }
        })?;
        let access = Access::Tcp { bound, any_host: !addr.ip().is_loopback(), token: None };
        Ok(Self { door: Some(Door::tcp(listener, access)), addr: Some(bound), handles })
    }

    /// Where it listens, with the port that was found for port 0.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Serves until `shutdown` is over.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let (closing, _) = watch::channel(false);
        let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
        let router = router(Arc::from(self.handles));
        server::serve(self.door.into_iter().collect(), router, closing, limits, shutdown).await;
    }
}

fn router(handles: Arc<[InstanceHandle]>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(handles)
}

fn words(status: StatusCode, words: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, words).into_response()
}

async fn livez() -> Response {
    words(StatusCode::OK, "ok\n".to_owned())
}

async fn readyz(State(handles): State<Arc<[InstanceHandle]>>) -> Response {
    let missing: Vec<String> = handles.iter().filter_map(|handle| why_not_ready(&handle.snapshot())).collect();
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
    instances: Vec<Status>,
}

async fn status(State(handles): State<Arc<[InstanceHandle]>>) -> Response {
    let instances = handles.iter().map(|handle| Status::of(&handle.snapshot())).collect();
    json_of(StatusCode::OK, &AllStatus { version: env!("CARGO_PKG_VERSION"), instances })
}
