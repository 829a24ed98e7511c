//! TCP connections.

use std::time::Duration;

use rallyhere_agent::config::settings::ProbeKind;
use rallyhere_agent::core::instance::Health;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, ipproto, listen, socket};
use tokio::net::{TcpListener, TcpStream};

use super::{LONG, fails_at_once, is_cut, once};

#[tokio::test]
async fn an_accepted_connection_is_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let result = once(ProbeKind::Tcp(listener.local_addr().unwrap()), LONG).await;
    assert_eq!((result.health, result.reason.as_str()), (Health::Healthy, "a connection was accepted"));
    assert_eq!(result.players, None);
}

#[tokio::test]
async fn a_refused_connection_fails_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    fails_at_once(ProbeKind::Tcp(address), "refused: nobody listens there").await;
}

#[tokio::test]
async fn a_connection_that_nobody_answers_is_cut() {
    // A queue that is full answers as a black hole does: not at all.
    let full = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP)).unwrap();
    bind(&full, &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    listen(&full, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&full).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
        assert!(waiting.len() < 100, "the queue is never full");
    }
    is_cut(ProbeKind::Tcp(address), "connecting").await;
}
