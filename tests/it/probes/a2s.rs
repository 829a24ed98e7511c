//! A2S_INFO, asked of a server of the test's own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rallyhere_agent::config::settings::ProbeKind;
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::core::process::Players;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{LONG, Probing, SHORT, fails_at_once, is_cut, once};

const QUESTION: &[u8] = b"\xff\xff\xff\xffTSource Engine Query\0";
const CHALLENGE: &[u8] = b"\xff\xff\xff\xffA\x0b\xad\xf0\x0d";
const INFO: &[u8] = b"\xff\xff\xff\xffI\x11Arena 7\0harbour\0folder\0game\0\xda\x02\x05\x10\x02dl\0\x011.0.0\0";

/// A server; it ends with its owner.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    _running: JoinSet<()>,
}

impl Server {
    /// Gives to each question, counted from 0, these datagrams.
    async fn start(answers: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_on("127.0.0.1:0", answers).await
    }

    async fn start_on(place: &str, answers: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(place).await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&asked);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut question = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut question).await.unwrap();
                let turn = kept.lock().unwrap().len();
                kept.lock().unwrap().push(question[..length].to_vec());
                for answer in answers(turn, &question[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, asked, _running: running }
    }

    fn probe(&self) -> ProbeKind {
        ProbeKind::A2s(self.address)
    }

    fn asked(&self) -> Vec<Vec<u8>> {
        self.asked.lock().unwrap().clone()
    }
}

const PLAYERS: Players = Players { count: 5, capacity: 16 };

#[tokio::test]
async fn an_answer_is_healthy_and_tells_the_players() {
    let server = Server::start(|_, _| vec![INFO.to_vec()]).await;
    let result = once(server.probe(), LONG).await;
    assert_eq!((result.health, result.players), (Health::Healthy, Some(PLAYERS)));
    assert_eq!(result.reason, "5 of 16 players, 2 bots, map harbour, name Arena 7");
    assert_eq!(server.asked(), [QUESTION]);
}

#[tokio::test]
async fn a_challenge_is_taken_up() {
    for challenges in 1..=3 {
        let server =
            Server::start(move |turn, _| vec![if turn < challenges { CHALLENGE.to_vec() } else { INFO.to_vec() }])
                .await;
        let result = once(server.probe(), LONG).await;
        assert_eq!((result.health, result.players), (Health::Healthy, Some(PLAYERS)));
        let mut expected = vec![QUESTION.to_vec()];
        expected.resize(challenges + 1, [QUESTION, b"\x0b\xad\xf0\x0d"].concat());
        assert_eq!(server.asked(), expected);
    }
}

#[tokio::test]
async fn a_server_on_ipv6_is_asked_too() {
    let server = Server::start_on("[::1]:0", |_, _| vec![INFO.to_vec()]).await;
    assert_eq!(once(server.probe(), LONG).await.health, Health::Healthy);
}

#[tokio::test]
async fn endless_challenges_end() {
    let server = Server::start(|_, _| vec![CHALLENGE.to_vec()]).await;
    fails_at_once(server.probe(), "it answered each of 4 questions with a challenge").await;
    assert_eq!(server.asked().len(), 4);
    // Nor does a server that sends more of them than it is asked get more questions.
    let server = Server::start(|_, _| vec![CHALLENGE.to_vec(); 9]).await;
    fails_at_once(server.probe(), "a challenge").await;
    assert!(server.asked().len() <= 4);
}

#[tokio::test]
async fn a_split_answer_is_refused_with_a_word_of_advice() {
    let server = Server::start(|_, _| vec![b"\xfe\xff\xff\xff\x01\0\0\0\x02\0\xe0\x04".to_vec()]).await;
    fails_at_once(server.probe(), "split over several datagrams, which is not supported: shorten").await;
}

#[tokio::test]
async fn silence_is_cut() {
    let server = Server::start(|_, _| Vec::new()).await;
    is_cut(server.probe(), "waiting for the answer").await;
    let server = Server::start(|turn, _| if turn == 0 { vec![CHALLENGE.to_vec()] } else { Vec::new() }).await;
    is_cut(server.probe(), "waiting for the answer to the challenged question").await;
}

#[tokio::test]
async fn garbage_before_an_answer_is_ignored() {
    let garbage = [&b""[..], b"\xff", b"HTTP/1.1 400 Bad Request", &INFO[..40], &[0; 9000]];
    let server = Server::start(move |_, _| garbage.iter().copied().chain([INFO]).map(<[u8]>::to_vec).collect()).await;
    let result = once(server.probe(), LONG).await;
    assert_eq!((result.health, result.players), (Health::Healthy, Some(PLAYERS)));
}

#[tokio::test]
async fn garbage_instead_of_an_answer_is_counted() {
    let server = Server::start(|_, _| vec![b"?".to_vec(), b"\xff\xff\xff\xffD\0".to_vec(), INFO[..40].to_vec()]).await;
    is_cut(server.probe(), "(3 datagrams came that are none; the last: it ends before its ").await;
}

#[tokio::test]
async fn a_flood_of_garbage_does_not_outlast_the_deadline() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let server = Arc::clone(&socket);
    let mut running = JoinSet::new();
    running.spawn(async move {
        let (_, from) = server.recv_from(&mut [0; 64]).await.unwrap();
        loop {
            // Once the probe has closed its socket, nobody is there any more.
            for _ in 0..64 {
                drop(server.try_send_to(b"garbage", from));
            }
            tokio::task::yield_now().await;
        }
    });
    is_cut(ProbeKind::A2s(socket.local_addr().unwrap()), "it does not begin as an A2S message does").await;
}

#[tokio::test]
async fn what_comes_from_elsewhere_is_no_answer() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            let (_, from) = server.recv_from(&mut [0; 64]).await.unwrap();
            stranger.send_to(INFO, from).await.unwrap();
        }
    });
    is_cut(ProbeKind::A2s(address), "waiting for the answer").await;
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_taken_for_that_of_the_next_run() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut probing = Probing::start(ProbeKind::A2s(server.local_addr().unwrap()), SHORT, SHORT, None);
    let (_, first) = server.recv_from(&mut [0; 64]).await.unwrap();
    assert!(probing.result().await.reason.starts_with("no result within"));
    let (_, second) = server.recv_from(&mut [0; 64]).await.unwrap();
    server.send_to(INFO, first).await.unwrap();
    assert!(probing.result().await.reason.starts_with("no result within"));
    assert_ne!(first, second, "each run has a socket of its own");
    probing.stop().await;
}

#[tokio::test]
async fn where_nobody_listens_it_fails_at_once() {
    let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    fails_at_once(ProbeKind::A2s(address), "nobody listens on that port").await;
}

#[tokio::test]
async fn more_players_than_there_is_room_for_are_told_as_they_are() {
    let mut crowded = INFO.to_vec();
    let counts = crowded.len() - 13;
    assert_eq!(crowded[counts..counts + 3], [5, 16, 2], "the place of the counts");
    crowded[counts..counts + 3].copy_from_slice(&[255, 1, 255]);
    let server = Server::start(move |_, _| vec![crowded.clone()]).await;
    let result = once(server.probe(), LONG).await;
    assert_eq!((result.health, result.players), (Health::Healthy, Some(Players { count: 255, capacity: 1 })));
}
