//! HTTP/2 where the server offers it, against a real one over TLS: what shares a connection and what does not, with servers that
//! take one stream at a time, servers that are stuck, and servers that move.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rallyhere_agent::clock;
use rallyhere_agent::config::settings::Environment;
use rallyhere_agent::core::call::{CallKind, FailureKind};
use rallyhere_agent::io::http::Limits;
use rallyhere_agent::ports::Backend as _;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::{Ca, ca, config};
use super::{LONG, environment, health, logged_in, poll, read};
use crate::process::home::Home;

/// A request as it came: connection, version, path.
type Seen = (usize, Version, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moody {
    /// Answers all but polls.
    Well,
    /// Also hangs on reads of the session that come while it is so.
    Stuck,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    mood: watch::Sender<Moody>,
    dir: Arc<TempDir>,
    /// Accepts; aborted, the connections that there are live on.
    accepting: JoinSet<()>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Server {
    async fn start(protocols: &[&str], streams: u32) -> Self {
        let ca = ca();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.certificate.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, &ca, Arc::new(dir), protocols, streams)
    }

    fn on(listener: TcpListener, ca: &Ca, dir: Arc<TempDir>, protocols: &[&str], streams: u32) -> Self {
        let mut config: ServerConfig = config("127.0.0.1", Some(ca), |_| {});
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (mood, moods) = watch::channel(Moody::Well);
        let mut accepting = JoinSet::new();
        let (log, tasks) = (Arc::clone(&seen), Arc::clone(&connections));
        accepting.spawn(async move {
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let connection = serve(acceptor.clone(), socket, number, streams, Arc::clone(&log), moods.clone());
                tasks.lock().unwrap().spawn(connection);
            }
        });
        Self { url, seen, mood, dir, accepting, connections }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn environment(&self) -> Environment {
        Environment { ca_file: Some(self.ca_file()), ..environment(&self.url) }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn versions(&self, part: &str) -> Vec<Version> {
        self.seen().into_iter().filter(|(_, _, path)| path.contains(part)).map(|(_, version, _)| version).collect()
    }

    /// Waits until so many requests of a path have come.
    async fn received(&self, part: &str, count: usize) {
        while self.versions(part).len() < count {
            clock::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    number: usize,
    streams: u32,
    log: Arc<Mutex<Vec<Seen>>>,
    moods: watch::Receiver<Moody>,
) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        log.lock().unwrap().push((number, request.version(), path.clone()));
        let stuck = *moods.borrow() == Moody::Stuck && request.method() == "GET";
        async move {
            if stuck || path.contains("/lp") {
                std::future::pending::<()>().await;
            }
            let body = if path.contains("/health") {
                r#"{"updated_instance_health": "healthy"}"#
            } else {
                r#"{"session_id": "s-1"}"#
            };
            Ok::<_, std::convert::Infallible>(Response::new(body.to_owned()))
        }
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ended = http.max_concurrent_streams(streams).serve_connection(io, service).await;
    } else {
        let _ended = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_wanted_and_nowhere_else() {
    for (protocols, wanted, version) in [
        (&["h2", "http/1.1"][..], true, Version::HTTP_2),
        (&["http/1.1"], true, Version::HTTP_11),
        (&[], true, Version::HTTP_11),
        (&["h2", "http/1.1"], false, Version::HTTP_11),
    ] {
        let server = Server::start(protocols, 100).await;
        let environment = Environment { http2: wanted, ..server.environment() };
        let backend = logged_in(&environment, Limits::default()).await;
        for call in [read(), health(), read()] {
            backend.call(call, LONG).await.unwrap();
        }
        assert!(backend.call(poll(), Duration::from_millis(100)).await.is_err(), "it waits");
        assert_eq!(
            server.versions("/session/s-1"),
            [version, Version::HTTP_11, version].map(|v| { if wanted { v } else { Version::HTTP_11 } }),
            "{protocols:?} {wanted}"
        );
        assert_eq!(server.versions("/lp"), [Version::HTTP_11]);
    }
}

#[tokio::test]
async fn polls_hold_up_nobody_however_few_streams_the_server_takes() {
    for streams in [1, 10, 100] {
        let server = Server::start(&["h2", "http/1.1"], streams).await;
        let backend = logged_in(&server.environment(), Limits::default()).await;
        let mut polls = JoinSet::new();
        for count in [1, 20, 150] {
            while polls.len() < count {
                polls.spawn(backend.call(poll(), Duration::from_secs(300)));
            }
            server.received("/lp", count).await;
            // As many instances post at once, while a read hangs on the shared connection.
            server.mood.send_replace(Moody::Stuck);
            let reads = server.versions("/session/s-1").len();
            let stuck = backend.call(read(), LONG);
            let mut others = JoinSet::new();
            others.spawn(stuck);
            server.received("/session/s-1", reads + 1).await;
            let begun = clock::now();
            let mut posts = JoinSet::new();
            for _ in 0..count {
                posts.spawn(backend.call(health(), Duration::from_secs(8)));
            }
            while let Some(posted) = posts.join_next().await {
                posted.unwrap().unwrap();
            }
            let took = clock::now() - begun;
            assert_eq!((polls.len(), others.len()), (count, 1), "they wait still");
            assert!(took < Duration::from_secs(8), "{streams} streams, {count} polls: {took:?}");
            server.mood.send_replace(Moody::Well);
            others.shutdown().await;
            backend.call(read(), LONG).await.unwrap();
        }
        // Where it takes few at a time, every poll is alone; see also `polls`.
        assert!(streams > 1 || server.versions("/lp").iter().all(|version| *version == Version::HTTP_11));
        assert!(server.versions("/health").iter().all(|version| *version == Version::HTTP_11));
    }
}

#[tokio::test]
async fn many_reads_at_once_all_come_through_one_stream() {
    let server = Server::start(&["h2", "http/1.1"], 1).await;
    let backend = logged_in(&server.environment(), Limits::default()).await;
    backend.call(read(), LONG).await.unwrap();
    let mut reads = JoinSet::new();
    for _ in 0..150 {
        reads.spawn(backend.call(read(), LONG));
    }
    while let Some(read) = reads.join_next().await {
        read.unwrap().unwrap();
    }
    assert!(server.seen().iter().all(|(connection, version, _)| *connection == 0 && *version == Version::HTTP_2));
}

#[tokio::test]
async fn a_call_that_gets_no_answer_costs_the_next_one_nothing() {
    let server = Server::start(&["h2", "http/1.1"], 1).await;
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    let backend = logged_in(&server.environment(), limits).await;
    backend.call(read(), LONG).await.unwrap();
    server.mood.send_replace(Moody::Stuck);
    let late = backend.call(read(), LONG).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::TimedOut, "{late}");
    server.mood.send_replace(Moody::Well);
    backend.call(read(), LONG).await.unwrap();
    let connections: Vec<_> = server.seen().iter().map(|(connection, _, _)| *connection).collect();
    assert_eq!(connections, [0, 0, 1], "the next goes on a new connection");
}

#[tokio::test]
async fn no_trace_of_http2_shows_the_token() {
    let server = Server::start(&["h2", "http/1.1"], 100).await;
    let mut home = Home::at(&server.url).alone().without("auth.client_id").without("auth.client_secret_file");
    home.secret_file("token", "t0ken-over-http2-4711-0815");
    let (ca_file, token) = (server.ca_file().display().to_string(), home.path("token").display().to_string());
    let home = home.set("environment.ca_file", ca_file).set("auth.grant", "access_token");
    let agent = home.set("auth.access_token_file", token).start();
    // It is told of another session, and one call is enough here.
    server.received("/session/demo", 1).await;
    assert!(server.seen().iter().any(|(_, version, _)| *version == Version::HTTP_2));
    // What h2 itself says at this level.
    agent.until_says("frame=Headers").await;
    // It is searched when it goes.
    agent.kill().await;
}

#[tokio::test]
async fn a_read_survives_the_end_of_its_connection() {
    let server = Server::start(&["h2", "http/1.1"], 100).await;
    let backend = logged_in(&server.environment(), Limits::default()).await;
    for round in 1..=3 {
        backend.call(read(), LONG).await.unwrap();
        assert_eq!(server.seen().len(), round);
        server.connections.lock().unwrap().abort_all();
    }
}

#[tokio::test]
async fn a_connection_whose_server_has_moved_is_left_within_its_age() {
    let authority = ca();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), authority.certificate.pem()).unwrap();
    let dir = Arc::new(dir);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let protocols = ["h2", "http/1.1"];
    let mut old = Server::on(listener, &authority, Arc::clone(&dir), &protocols, 100);
    let age = Duration::from_millis(500);
    let backend = logged_in(&old.environment(), Limits { connection_age: age, ..Limits::default() }).await;
    backend.call(read(), LONG).await.unwrap();
    // The old one takes no more connections, and serves the one it has for ever; whoever connects meets the new one.
    old.accepting.shutdown().await;
    let new = Server::on(TcpListener::bind(address).await.unwrap(), &authority, dir, &protocols, 100);
    let moved = clock::now();
    while new.seen().is_empty() {
        backend.call(read(), LONG).await.unwrap();
        assert!(clock::now() - moved < age.mul_f64(1.2) + Duration::from_secs(2), "it stays with the old one");
    }
    let before = old.seen().len();
    backend.call(read(), LONG).await.unwrap();
    assert_eq!(old.seen().len(), before, "nobody goes back");
}

/// Passes bytes on until it is told to swallow them, as a network does that lost its way.
struct Hole {
    url: String,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Hole {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let behind = server.url.replace("https://", "");
        let (open, opened) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (front, _) = listener.accept().await.unwrap();
                let (from_agent, to_agent) = front.into_split();
                let (from_server, to_server) = TcpStream::connect(&behind).await.unwrap().into_split();
                for (mut from, mut to) in [(from_agent, to_server), (from_server, to_agent)] {
                    let opened = opened.clone();
                    pipes.spawn(async move {
                        let mut chunk = vec![0; 16 * 1024];
                        while let Ok(count @ 1..) = from.read(&mut chunk).await {
                            if !*opened.borrow() && to.write_all(&chunk[..count]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { url, open, _tasks: tasks }
    }
}

#[tokio::test]
async fn a_half_open_connection_is_found_by_asking_whether_anybody_is_there() {
    let server = Server::start(&["h2", "http/1.1"], 100).await;
    let hole = Hole::before(&server).await;
    let environment = Environment { ca_file: Some(server.ca_file()), ..environment(&hole.url) };
    let limits = Limits {
        header: Duration::from_secs(60),
        ping: Duration::from_millis(300),
        pong: Duration::from_millis(300),
        ..Limits::default()
    };
    let backend = logged_in(&environment, limits).await;
    backend.call(read(), LONG).await.unwrap();
    hole.open.send_replace(true);
    let begun = clock::now();
    let lost = backend.call(rallyhere_agent::core::call::Call::Unregister { session: super::session() }, LONG).await;
    let lost = lost.unwrap_err();
    assert_eq!(lost.kind, FailureKind::Cut, "{lost}");
    assert!(clock::now() - begun < Duration::from_secs(10), "long before any other limit");
    assert_eq!(backend.requests().count(CallKind::Unregister, "cut"), 1);
    let defaults = Limits::default();
    assert!(defaults.ping + defaults.pong <= Duration::from_secs(20), "promise 13");
}
