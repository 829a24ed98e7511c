//! HTTP, asked of a server that sends whatever bytes a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::config::settings::ProbeKind;
use rallyhere_agent::core::instance::Health;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{LONG, fails_at_once, is_cut, once};

/// How a server answers.
#[derive(Debug, Clone)]
enum Manner {
    /// This, and then it closes.
    Says(Vec<u8>),
    /// This, and then nothing for ever.
    Hangs(Vec<u8>),
    /// This, and then that again and again.
    Repeats(Vec<u8>, Vec<u8>, Duration),
}

struct Server {
    address: SocketAddr,
    /// The heads of the requests.
    asked: Arc<Mutex<Vec<String>>>,
    _running: JoinSet<()>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&asked);
        let mut running = JoinSet::new();
        running.spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(peer.read_u8().await.unwrap());
                }
                kept.lock().unwrap().push(String::from_utf8(head).unwrap());
                // An error says that the probe has had enough.
                match &manner {
                    Manner::Says(bytes) => drop(peer.write_all(bytes).await),
                    Manner::Hangs(bytes) => {
                        drop(peer.write_all(bytes).await);
                        drop(peer.read_u8().await);
                    }
                    Manner::Repeats(bytes, again, pause) => {
                        drop(peer.write_all(bytes).await);
                        while peer.write_all(again).await.is_ok() {
                            clock::sleep(*pause).await;
                        }
                    }
                }
            }
        });
        Self { address, asked, _running: running }
    }

    async fn says(bytes: impl AsRef<[u8]>) -> Self {
        Self::start(Manner::Says(bytes.as_ref().to_vec())).await
    }

    fn probe(&self, status: u16) -> ProbeKind {
        ProbeKind::Http { url: format!("http://{}/healthz?full=1", self.address), status }
    }
}

#[tokio::test]
async fn the_expected_status_and_a_whole_body_are_healthy() {
    for (answer, status) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], 200),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil it closes", 200),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 503),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        let server = Server::says(answer).await;
        let result = once(server.probe(status), LONG).await;
        assert_eq!((result.health, result.reason), (Health::Healthy, format!("it answered {status}")));
        let asked = server.asked.lock().unwrap().clone();
        assert_eq!(asked.len(), 1);
        assert!(asked[0].starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{asked:?}");
        let host = format!("\r\nhost: {}\r\n", server.address);
        assert!(asked[0].contains(&host) && asked[0].contains("\r\nconnection: close\r\n"), "{asked:?}");
    }
}

#[tokio::test]
async fn another_status_fails_and_a_redirect_is_one() {
    let server = Server::says("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
    fails_at_once(server.probe(200), "it answered 500, not 200").await;
    let elsewhere = Server::says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let location =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    let server = Server::says(location).await;
    fails_at_once(server.probe(200), "it answered 302, not 200").await;
    assert!(elsewhere.asked.lock().unwrap().is_empty(), "it was followed");
}

#[tokio::test]
async fn an_endless_body_is_read_to_a_bound() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let server = Server::start(Manner::Repeats(head, vec![b'x'; 8192], Duration::ZERO)).await;
    assert_eq!(once(server.probe(200), LONG).await.health, Health::Healthy);
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_does_not_end_is_cut() {
    let server = Server::start(Manner::Hangs(Vec::new())).await;
    is_cut(server.probe(200), "waiting for the head of the answer").await;
    let server = Server::start(Manner::Hangs(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec())).await;
    is_cut(server.probe(200), "reading the body of the answer 200").await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut() {
    let start = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    let server = Server::start(Manner::Repeats(start, b"x".to_vec(), Duration::from_millis(5))).await;
    is_cut(server.probe(200), "waiting for the head of the answer").await;
    let start = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let server = Server::start(Manner::Repeats(start, b"x".to_vec(), Duration::from_millis(5))).await;
    is_cut(server.probe(200), "reading the body").await;
}

#[tokio::test]
async fn a_head_without_bounds_is_refused() {
    let start = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    let server = Server::start(Manner::Repeats(start, vec![b'x'; 4096], Duration::ZERO)).await;
    fails_at_once(server.probe(200), "there was no answer in HTTP: ").await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
    fails_at_once(Server::says(many).await.probe(200), "there was no answer in HTTP: ").await;
}

#[tokio::test]
async fn what_is_no_http_or_breaks_off_fails_at_once() {
    fails_at_once(Server::says("SSH-2.0-OpenSSH_9.9\r\n").await.probe(200), "there was no answer in HTTP: ").await;
    fails_at_once(Server::says("").await.probe(200), "there was no answer in HTTP: ").await;
    fails_at_once(Server::says("HTTP/1.1 200 OK\r\nContent-").await.probe(200), "there was no answer in HTTP: ").await;
    let short = Server::says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await;
    fails_at_once(short.probe(200), "it answered 200, but the body broke off").await;
    let garbled = Server::says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n").await;
    fails_at_once(garbled.probe(200), "it answered 200, but the body broke off").await;
}

#[tokio::test]
async fn where_nobody_listens_it_fails_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let probe = ProbeKind::Http { url: format!("http://{address}/"), status: 200 };
    fails_at_once(probe, "refused: nobody listens there").await;
}
