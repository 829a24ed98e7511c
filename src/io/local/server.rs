//! The HTTP/1.1 server under the local API and the admin listener: it accepts, counts, limits and lets go.
//!
//! Every connection is a task of one `JoinSet`. There are at most [`Limits::connections`] of them: one more takes the place
//! of the longest idle one. Nothing that a peer does or leaves undone holds another connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Extensions;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::access::Access;
use super::connection::{Counted, Meter, Socket, Watched};
use super::grpc;
use super::socket::SocketFile;
use crate::clock;
use crate::io::agones::Engine;
use crate::ports::boxed;
use crate::telemetry::metrics::InstanceMeter;

/// How large a request's head may be, and how much of an answer is prepared ahead of a slow reader, in bytes.
const BUFFER: usize = 16 * 1024;
/// How many headers a request may have.
const HEADERS: usize = 64;
/// How long accepting rests after it failed, for instance because the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a peer may take. The defaults are what the program runs with; tests make them shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, over all listeners of one API.
    pub connections: usize,
    /// From the first byte of a request's head to its end.
    pub head: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// How long a connection may be kept without a request on it.
    pub idle: Duration,
    /// How long an answer may wait for its reader without one byte moving.
    pub stall: Duration,
    /// How long the core may take for a verdict: it is usually waiting for the disk.
    pub verdict: Duration,
    /// How often a silent stream says that it is there.
    pub keepalive: Duration,
    /// How long requests in progress may take to end once the server is told to.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            verdict: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
            farewell: Duration::from_secs(1),
        }
    }
}

/// A place where connections come in, and who may come.
#[derive(Debug)]
pub(crate) struct Door {
    /// Goes first when the door is dropped, so that nobody finds a file that nobody listens on.
    file: Option<SocketFile>,
    listener: Listener,
    guard: Guard,
}

/// Who may come in, and who counts them.
#[derive(Debug, Clone)]
struct Guard {
    access: Arc<Access>,
    speaks: Speaks,
    meter: Option<Arc<InstanceMeter>>,
}

impl Guard {
    fn new(access: Access) -> Self {
        Self { access: Arc::new(access), speaks: Speaks::Http, meter: None }
    }
}

/// What is spoken behind a door.
#[derive(Debug, Clone)]
enum Speaks {
    /// HTTP/1.1, to the router.
    Http,
    /// HTTP/2 and gRPC, to the Agones SDK.
    Grpc(Arc<Engine>),
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Door {
    pub(super) fn unix(listener: UnixListener, file: SocketFile) -> Self {
        Self { file: Some(file), listener: Listener::Unix(listener), guard: Guard::new(Access::Socket) }
    }

    pub(crate) fn tcp(listener: TcpListener, access: Access) -> Self {
        Self { file: None, listener: Listener::Tcp(listener), guard: Guard::new(access) }
    }

    pub(super) fn grpc(listener: TcpListener, access: Access, engine: Arc<Engine>) -> Self {
        let mut door = Self::tcp(listener, access);
        door.guard.speaks = Speaks::Grpc(engine);
        door
    }

    /// Lets every request that comes in here be counted, refused ones too.
    pub(super) fn measured(mut self, meter: Arc<InstanceMeter>) -> Self {
        self.guard.meter = Some(meter);
        self
    }

    /// The file of a socket.
    pub(super) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }
}

/// Puts what the calls must know among the extensions of a request.
pub(crate) type Known = Arc<dyn Fn(&mut Extensions) + Send + Sync>;

/// Who answers.
#[derive(Clone)]
pub(crate) struct Calls {
    /// The calls. A clone shares them.
    pub(crate) router: Router,
    /// What they must know.
    pub(crate) known: Known,
}

/// Waits until the server is told to end. A server that is gone counts as told.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    let _gone = closing.wait_for(|closing| *closing).await;
}

/// Serves until `shutdown`, then tells everybody through `closing`, waits for at most [`Limits::farewell`] and cuts the rest.
pub(crate) async fn serve(
    doors: Vec<Door>,
    calls: Calls,
    closing: watch::Sender<bool>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = Connections::default();
    let mut turn = 0;
    let mut pause = None;
    loop {
        // All three may be dropped at any await: `join_next_with_id` and `accept` keep nothing of their own.
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            Some(ended) = connections.tasks.join_next_with_id() => connections.forget(ended),
            // Whoever had to go for another has gone before the next one comes in: a crowd does not take more descriptors than the limit.
            accepted = accept(&doors, &mut turn, pause), if connections.tasks.len() <= limits.connections => match accepted {
                Ok((socket, guard)) => {
                    pause = None;
                    connections.make_room(limits.connections);
                    let (calls, closing) = (calls.clone(), closing.subscribe());
                    connections.take(|meter| async move {
                        match &guard.speaks {
                            Speaks::Http => connection(socket, meter, guard, calls, closing, limits).await,
                            Speaks::Grpc(engine) => {
                                let (access, engine) = (Arc::clone(&guard.access), Arc::clone(engine));
                                grpc::connection(socket, meter, access, engine, closing, limits).await;
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the local API could not be accepted; trying again");
                    if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                        connections.let_longest_idle_go();
                    }
                    pause = Some(clock::now() + ACCEPT_PAUSE);
                }
            },
        }
    }
    drop(doors);
    closing.send_replace(true);
    tokio::select! {
        biased;
        () = connections.all_ended() => {}
        () = clock::sleep(limits.farewell) => {}
    }
    connections.tasks.shutdown().await;
}

/// The next connection of any door, each door in turn.
async fn accept(doors: &[Door], turn: &mut usize, pause: Option<Instant>) -> io::Result<(Socket, Guard)> {
    if pause.is_some() {
        clock::sleep_until(pause).await;
    }
    poll_fn(|cx| {
        for _ in 0..doors.len() {
            *turn = (*turn + 1) % doors.len();
            let Some(door) = doors.get(*turn) else { continue };
            let accepted = match &door.listener {
                Listener::Unix(listener) => listener.poll_accept(cx).map_ok(|(socket, _)| Socket::Unix(socket)),
                Listener::Tcp(listener) => listener.poll_accept(cx).map_ok(|(socket, _)| {
                    // Answers are small and written at once; a failure only costs latency.
                    let _slower = socket.set_nodelay(true);
                    Socket::Tcp(socket)
                }),
            };
            if let Poll::Ready(accepted) = accepted {
                return Poll::Ready(accepted.map(|socket| (socket, door.guard.clone())));
            }
        }
        Poll::Pending
    })
    .await
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, (Arc<Meter>, AbortHandle)>,
}

impl Connections {
    fn take<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Arc<Meter>) -> F) {
        let meter = Meter::new();
        let task = self.tasks.spawn(boxed(serve(Arc::clone(&meter))));
        self.open.insert(task.id(), (meter, task));
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection of the local API ended by a panic: please report this");
                }
                error.id()
            }
        };
        self.open.remove(&id);
    }

    fn make_room(&mut self, limit: usize) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        while self.open.len() >= limit.max(1) {
            self.let_longest_idle_go();
        }
    }

    fn let_longest_idle_go(&mut self) {
        let Some((id, (busy, _))) =
            self.open.iter().map(|(id, (meter, _))| (*id, meter.rank())).min_by_key(|(_, rank)| *rank)
        else {
            return;
        };
        if busy {
            tracing::warn!("too many connections to the local API, all in use: the quietest one was closed");
        }
        if let Some((_, task)) = self.open.remove(&id) {
            task.abort();
        }
    }

    async fn all_ended(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(ended);
        }
    }
}

/// What is done on a connection once it has left HTTP.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Where it waits for that.
type Slot = Arc<Mutex<Option<Work>>>;

/// In the extensions of a 101: what comes after it, on the same connection and in the same task, so that the limits and the
/// end of the server hold for it too.
#[derive(Clone)]
pub(crate) struct Afterwards(Slot);

impl Afterwards {
    /// This is what comes after it. It ends by itself when the server closes.
    pub(crate) fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(work)))))
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Work>> {
    // Only ever replaced as a whole.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection to its end.
async fn connection(
    socket: Socket,
    meter: Arc<Meter>,
    guard: Guard,
    calls: Calls,
    mut closing: watch::Receiver<bool>,
    limits: Limits,
) {
    let watched = Watched::new(socket, Arc::clone(&meter), limits);
    let Calls { router, known } = calls;
    let router = TowerToHyperService::new(router);
    let afterwards = Slot::default();
    let after = Arc::clone(&afterwards);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        known(request.extensions_mut());
        let (busy, after, meter) = (meter.begin(), Arc::clone(&after), Arc::clone(&meter));
        let pending = guard.meter.as_ref().map(|meter| meter.request(request.uri().path()));
        let answer = match guard.access.check(&request) {
            Ok(()) => Ok(router.call(request)),
            Err(refusal) => Err(refusal),
        };
        async move {
            let mut response = match answer {
                Ok(answer) => {
                    let Ok(response) = answer.await;
                    response
                }
                Err(refusal) => refusal.into_response(),
            };
            if let Some(pending) = pending {
                pending.answered(response.status().as_u16());
            }
            if let Some(Afterwards(work)) = response.extensions_mut().remove::<Afterwards>() {
                // In use from here on without a gap, so that nothing on it is taken for the head of a request.
                let busy = meter.begin();
                let work = lock(&work).take();
                *lock(&after) = work.map(|work| -> Work {
                    Box::pin(async move {
                        work.await;
                        drop(busy);
                    })
                });
            }
            Ok::<_, Infallible>(response.map(|body: Body| Counted::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also runs while nothing is asked; the limit on a head that has begun is in `Watched`.
        .header_read_timeout(limits.idle)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(watched), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // How it ended is the peer's business: garbage, a cut, too slow.
        _ = connection.as_mut() => {
            let work = lock(&afterwards).take();
            if let Some(work) = work {
                work.await;
            }
            return;
        }
        () = closed(&mut closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}
