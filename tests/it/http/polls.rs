//! Long polls of many instances over HTTP/2, against a real server over TLS: how many share a connection, and that none waits for
//! another, whatever the server takes, tells, or does with a connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rallyhere_agent::clock;
use rallyhere_agent::config::settings::Environment;
use rallyhere_agent::core::call::{Answer, Failure, FailureKind};
use rallyhere_agent::io::http::{HttpBackend, Limits};
use rallyhere_agent::ports::Backend as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::{ca, config};
use super::{environment, logged_in, poll};

/// The most that share a connection.
const TOGETHER: usize = 32;
/// So many have one of their own in any case.
const ALONE: usize = 16;

/// The polls that a connection carries now.
#[derive(Default, Clone)]
struct Carried {
    version: Option<Version>,
    polls: usize,
}

/// What the server does with what it gets.
#[derive(Clone, Copy)]
struct Ways {
    /// What it says in its settings.
    streams: u32,
    /// How many of these it answers at a time; the others it leaves where they are.
    serves: usize,
}

struct Server {
    /// Where it is, and where it is behind a network that may lose its way.
    url: String,
    /// By the number of a connection.
    carried: Arc<Mutex<BTreeMap<usize, Carried>>>,
    /// How often something was published: every poll that waits is answered.
    published: watch::Sender<u32>,
    /// The connections of which not one byte comes through any more.
    swallowed: watch::Sender<Vec<usize>>,
    dir: TempDir,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(ways: Ways) -> Self {
        let ca = ca();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.certificate.pem()).unwrap();
        let mut config = config("127.0.0.1", Some(&ca), |_| {});
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, behind) = (front.local_addr().unwrap(), listener.local_addr().unwrap());
        let carried: Arc<Mutex<BTreeMap<usize, Carried>>> = Arc::default();
        let (published, publishes) = watch::channel(0);
        let (swallowed, swallows) = watch::channel(Vec::new());
        let log = Arc::clone(&carried);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (outside, _) = front.accept().await.unwrap();
                // One at a time, so that both ends of a connection have the same number.
                let (inside, (served, _)) =
                    (TcpStream::connect(behind).await.unwrap(), listener.accept().await.unwrap());
                let ((from, to), (back, forth)) = (outside.into_split(), inside.into_split());
                connections.spawn(pass(from, forth, number, swallows.clone()));
                connections.spawn(pass(back, to, number, swallows.clone()));
                connections.spawn(serve(acceptor.clone(), served, number, ways, Arc::clone(&log), publishes.clone()));
            }
        });
        Self { url: format!("https://{url}"), carried, published, swallowed, dir, _tasks: tasks }
    }

    async fn backend(&self, limits: Limits) -> HttpBackend {
        let ca_file = Some(self.dir.path().join("ca.pem"));
        logged_in(&Environment { ca_file, ..environment(&self.url) }, limits).await
    }

    fn carried(&self) -> Vec<Carried> {
        self.carried.lock().unwrap().values().filter(|one| one.polls > 0).cloned().collect()
    }

    /// Waits until so many polls are held by the server at the same time.
    async fn holds(&self, polls: usize) {
        while self.carried().iter().map(|one| one.polls).sum::<usize>() != polls {
            clock::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many polls each connection of a version carries, the fewest first.
    fn spread(&self, version: Version) -> Vec<usize> {
        let mut spread: Vec<_> =
            self.carried().iter().filter(|one| one.version == Some(version)).map(|one| one.polls).collect();
        spread.sort_unstable();
        spread
    }
}

/// Passes bytes on, until they are swallowed.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, swallows: watch::Receiver<Vec<usize>>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if !swallows.borrow().contains(&number) && to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    number: usize,
    ways: Ways,
    log: Arc<Mutex<BTreeMap<usize, Carried>>>,
    publishes: watch::Receiver<u32>,
) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request: Request<Incoming>| {
        let (log, mut publishes) = (Arc::clone(&log), publishes.clone());
        async move {
            let waits = {
                let mut log = log.lock().unwrap();
                let one = log.entry(number).or_default();
                one.version = Some(request.version());
                one.polls += 1;
                one.polls > ways.serves && is_h2
            };
            let _here = Here(number, Arc::clone(&log));
            if waits {
                std::future::pending::<()>().await;
            }
            publishes.borrow_and_update();
            publishes.changed().await.unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(r#"{"notifications": []}"#.to_owned()))
        }
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ended = http.max_concurrent_streams(ways.streams).serve_connection(io, service).await;
    } else {
        let _ended = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// A poll that the server has.
struct Here(usize, Arc<Mutex<BTreeMap<usize, Carried>>>);

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(one) = self.1.lock().unwrap().get_mut(&self.0) {
            one.polls -= 1;
        }
    }
}

/// Polls in flight.
type Polls = JoinSet<Result<Answer, Failure>>;

fn begin(polls: &mut Polls, backend: &HttpBackend, count: usize, limit: Duration) {
    for _ in 0..count {
        polls.spawn(backend.call(poll(), limit));
    }
}

/// All of them, as they ended.
async fn ends(polls: &mut Polls, count: usize) -> Vec<Result<Answer, Failure>> {
    let mut ends = Vec::new();
    while ends.len() < count {
        ends.push(polls.join_next().await.unwrap().unwrap());
    }
    ends
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_polls_of_many_share_connections_and_every_one_of_them_is_heard_at_once() {
    for (streams, most) in [(1, 1), (10, 10), (100, TOGETHER)] {
        let server = Server::start(Ways { streams, serves: usize::MAX }).await;
        let backend = server.backend(Limits::default()).await;
        let mut polls = Polls::new();
        begin(&mut polls, &backend, 200, PATIENCE);
        for round in 1..=3 {
            // The server has all of them: none waits for another to end.
            tokio::time::timeout(PATIENCE, server.holds(200)).await.expect("all are heard");
            let (alone, shared) = (server.spread(Version::HTTP_11), server.spread(Version::HTTP_2));
            assert!(alone.iter().all(|polls| *polls == 1), "{streams}: {alone:?}");
            if streams == 1 {
                assert_eq!((alone.len(), shared.len()), (200, 0));
            } else {
                assert_eq!(alone.len(), ALONE, "{streams}");
                assert!(shared.iter().all(|polls| *polls <= most), "{streams}: {shared:?}");
                assert!(shared.len() <= (200 - ALONE).div_ceil(most), "{streams}: {shared:?}");
            }
            server.published.send_replace(round);
            let answers = tokio::time::timeout(PATIENCE, ends(&mut polls, 200)).await.expect("all are answered");
            assert!(answers.iter().all(|answer| matches!(answer, Ok(Answer::Page(_)))), "{streams}: {answers:?}");
            begin(&mut polls, &backend, 200, PATIENCE);
        }
    }
}

#[tokio::test]
async fn few_polls_have_a_connection_each_and_nobody_is_asked_how_many_may_share_one() {
    let server = Server::start(Ways { streams: 100, serves: usize::MAX }).await;
    let backend = server.backend(Limits::default()).await;
    let mut polls = Polls::new();
    for round in 1..=3 {
        begin(&mut polls, &backend, ALONE, PATIENCE);
        server.holds(ALONE).await;
        assert_eq!(server.spread(Version::HTTP_11), [1; ALONE]);
        server.published.send_replace(round);
        ends(&mut polls, ALONE).await;
    }
    let used: Vec<_> = server.carried.lock().unwrap().keys().copied().collect();
    assert_eq!(used, (0..ALONE).collect::<Vec<_>>(), "there was no other connection");
}

#[tokio::test]
async fn a_server_that_takes_fewer_than_it_says_costs_one_late_poll_each_and_then_every_poll_is_alone() {
    let server = Server::start(Ways { streams: 100, serves: 1 }).await;
    let backend = server.backend(Limits::default()).await;
    let mut polls = Polls::new();
    begin(&mut polls, &backend, 40, Duration::from_millis(500));
    let late = ends(&mut polls, 40).await;
    assert!(late.iter().flat_map(|end| end.as_ref().err()).all(|failure| failure.kind == FailureKind::TimedOut));
    begin(&mut polls, &backend, 40, PATIENCE);
    server.holds(40).await;
    assert_eq!(server.spread(Version::HTTP_11), [1; 40]);
    server.published.send_replace(1);
    assert!(ends(&mut polls, 40).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_stuck_connection_delays_its_own_polls_only_and_these_until_a_ping_is_not_answered() {
    let server = Server::start(Ways { streams: 100, serves: usize::MAX }).await;
    // Together longer than a connection's end may be taken for one that came before the poll.
    let limits = Limits { ping: Duration::from_millis(800), pong: Duration::from_millis(800), ..Limits::default() };
    let backend = server.backend(limits).await;
    let mut polls = Polls::new();
    begin(&mut polls, &backend, ALONE + 2 * TOGETHER, PATIENCE);
    server.holds(ALONE + 2 * TOGETHER).await;
    assert_eq!(server.spread(Version::HTTP_2), [TOGETHER; 2]);
    let shared = |one: &Carried| one.version == Some(Version::HTTP_2) && one.polls > 0;
    let stuck = *server.carried.lock().unwrap().iter().find(|(_, one)| shared(one)).unwrap().0;
    server.swallowed.send_replace(vec![stuck]);
    let begun = clock::now();
    for end in ends(&mut polls, TOGETHER).await {
        assert_eq!(end.unwrap_err().kind, FailureKind::Cut);
    }
    assert!(clock::now() - begun < Duration::from_secs(10), "long before any other limit");
    assert_eq!(polls.len(), ALONE + TOGETHER, "the others wait as before");
    // Those who lost theirs begin again, on another; what the server still holds of the stuck one is nobody's.
    begin(&mut polls, &backend, TOGETHER, PATIENCE);
    let wanted = ALONE + 2 * TOGETHER;
    let alive = || {
        let all = server.carried.lock().unwrap();
        all.iter().filter(|(number, _)| **number != stuck).map(|(_, one)| one.polls).sum::<usize>()
    };
    while alive() != wanted {
        clock::sleep(Duration::from_millis(2)).await;
    }
    server.published.send_replace(1);
    assert!(ends(&mut polls, wanted).await.iter().all(Result::is_ok));
}
