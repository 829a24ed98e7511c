//! The local API: how the game and the operator reach one instance (design.md sections 6 and 8).
//!
//! HTTP/1.1 and JSON, the same on a Unix socket and on a TCP address; kept-alive connections are welcome. Reading is answered
//! from the snapshot, everything else is asked of the instance through [`InstanceHandle`]. What this room knows of an
//! instance is that handle and nothing more.
//!
//! * A body is a JSON object of at most 256 KiB, with only the fields of its call; a wrong one is named in the 422.
//! * Who may call: on the socket whom its file mode 0660 lets in (the agent's user and group, and root); on TCP see `access`: Host, Origin, token.
//! * Slow, silent and greedy peers are cut, see [`Limits`]. None of them holds anybody else.
//! * A game that was built for Agones finds its SDK here: REST beside our own calls, gRPC on an address of its own.
//! * What the operator allows of the environment's own API is passed on, without the game ever holding a credential.
//! * A game that asks for notifications with `wait` gets them within milliseconds; until it acknowledges, it gets them again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::agones::Engine;
use crate::config::settings;
use crate::ports::InstanceHandle;
use crate::telemetry::metrics::InstanceMeter;

pub(crate) mod access;
mod allocation;
pub(crate) mod body;
mod calls;
mod check;
mod connection;
pub(crate) mod desk;
mod duties;
mod grpc;
mod notifications;
mod outbox;
mod proxy;
pub(crate) mod refusal;
mod routes;
pub(crate) mod server;
mod socket;
pub mod status;
pub(crate) mod steps;
mod stream;
pub mod trial;

use access::Access;
use desk::Desk;
pub use proxy::Proxy;
use routes::Api;
pub use server::Limits;
use server::{Calls, Door};

/// The local API of one instance, open but not yet served: from here on a client's connection waits and is not refused.
#[derive(Debug)]
pub struct LocalApi {
    doors: Vec<Door>,
    tcp_addr: Option<SocketAddr>,
    grpc: Option<(TcpListener, SocketAddr, Access)>,
    handle: InstanceHandle,
    limits: Limits,
    meter: Option<Arc<InstanceMeter>>,
    proxy: Option<Proxy>,
}

/// Why the local API could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalApiError {
    /// The path does not fit.
    #[error(
        "local_api.socket: {} has {length} bytes, but the path of a Unix socket has at most {limit}: choose a shorter one",
        path.display(),
        limit = socket::PATH_LIMIT
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Somebody answers on it.
    #[error(
        "local_api.socket: another program answers on {}: stop it, or choose another path",
        path.display()
    )]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// Something else is in its place.
    #[error(
        "local_api.socket: {} is there already and is not a socket: move it away, or choose another path",
        path.display()
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Its directory is missing and could not be made.
    #[error(
        "local_api.socket: the directory {} is missing and could not be made: make it, owned by the agent's user, mode 0750",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system did not let us.
    #[error(
        "local_api.socket: {} could not be opened (attempt to {doing}): check who owns it and its directory",
        path.display()
    )]
    Socket {
        /// The path.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Other machines could reach it.
    #[error("{key}: {addr} can be reached from other machines: use a loopback address, or set local_api.allow_remote")]
    NotLoopback {
        /// Where it is configured.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
    },
    /// Somebody listens there.
    #[error("{key}: another program listens on {addr}: stop it, or choose another port")]
    AddressInUse {
        /// Where it is configured.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
    },
    /// The system did not let us.
    #[error("{key}: cannot listen on {addr}: is it an address of this machine, and a port that the agent may use?")]
    Tcp {
        /// Where it is configured.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl LocalApi {
    /// Opens the socket and the addresses that the settings name. Must be called inside the runtime.
    ///
    /// The socket's directory is made (mode 0750) if it is missing and its parent is there. A socket that nobody answers on
    /// is taken over. With neither socket nor address there is nothing to open, and that is fine.
    ///
    /// # Errors
    /// If one of them cannot be opened; then none is, and a socket file that was made is removed again.
    pub fn bind(settings: &settings::LocalApi, handle: InstanceHandle) -> Result<Self, LocalApiError> {
        // A socket, seldom an address besides, and the one for gRPC.
        let mut doors = Vec::with_capacity(1);
        if let Some(path) = &settings.socket {
            doors.push(socket::open(path)?);
        }
        let open = |key, addr: Option<SocketAddr>| {
            let Some(addr) = addr else { return Ok(None) };
            let (listener, bound) = open(key, addr, settings.allow_remote)?;
            let access =
                Access::Tcp { bound, any_host: settings.allow_remote, own_page: false, token: settings.token.clone() };
            Ok(Some((listener, bound, access)))
        };
        let mut tcp_addr = None;
        if let Some((listener, bound, access)) = open("local_api.listen", settings.listen)? {
            doors.push(Door::tcp(listener, access));
            tcp_addr = Some(bound);
        }
        let grpc = open("local_api.grpc_listen", settings.grpc_listen)?;
        Ok(Self { doors, tcp_addr, grpc, handle, limits: Limits::default(), meter: None, proxy: None })
    }

    /// Lets its requests, and what it hands to the game, be counted.
    #[must_use]
    pub fn measured(mut self, meter: Arc<InstanceMeter>) -> Self {
        self.doors = self.doors.into_iter().map(|door| door.measured(Arc::clone(&meter))).collect();
        self.meter = Some(meter);
        self
    }

    /// Lets the game call the environment through `/rallyhere/...`.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Option<Proxy>) -> Self {
        self.proxy = proxy;
        self
    }

    /// Serves with other limits; for tests.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where it listens on TCP, with the port that was found for port 0.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp_addr
    }

    /// Where the Agones SDK listens for gRPC, likewise.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, bound, _)| *bound)
    }

    /// The path of the socket.
    pub fn socket(&self) -> Option<&Path> {
        self.doors.iter().find_map(Door::file).map(socket::SocketFile::path)
    }

    /// Serves until `shutdown` is over. Then the socket file goes, waiting calls are answered (with nothing) and streams end
    /// at once, and what is still in progress after a second is cut.
    pub fn serve<F: Future<Output = ()>>(self, shutdown: F) -> impl Future<Output = ()> + use<F> {
        let (closing, closes) = watch::channel(false);
        let desk = Arc::new(Desk::new(self.handle, self.limits.verdict));
        let engine = Arc::new(Engine::new(Arc::clone(&desk), closes.clone(), self.limits));
        let mut doors = self.doors;
        doors.extend(self.grpc.map(|(listener, _, access)| Door::grpc(listener, access, Arc::clone(&engine))));
        let api = Api::new(desk, closes, self.limits, self.meter).with_proxy(self.proxy);
        let calls = Calls { router: routes::router(), known: routes::known(Arc::new(api), engine) };
        server::serve(doors, calls, closing, self.limits, shutdown)
    }
}

fn open(key: &'static str, addr: SocketAddr, allow_remote: bool) -> Result<(TcpListener, SocketAddr), LocalApiError> {
    if !addr.ip().is_loopback() && !allow_remote {
        return Err(LocalApiError::NotLoopback { key, addr });
    }
    listen(addr).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            LocalApiError::AddressInUse { key, addr }
        } else {
            LocalApiError::Tcp { key, addr, source }
        }
    })
}

/// Listens on an address, and says which one it became.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, bound))
}
