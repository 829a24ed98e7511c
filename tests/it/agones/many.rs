//! Many of them: nothing is left of those who have gone, and none is in another's way.

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::rpc::{Empty, Rpc};
use crate::local::fake::Served;
use crate::local::raw::{Via, request, within};

/// Tasks of this test that are not over.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn until_tasks(most: usize) {
    within(async {
        while tasks() > most {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn chunked(door: Via) {
    let mut connection = door.connect().await;
    connection.send(&request("GET", "/watch/gameserver", &[], b"")).await;
    connection.until("}}}").await;
}

async fn socket(door: Via) {
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut connection = door.connect().await;
    connection.send(&request("GET", "/watch/gameserver", &headers, b"")).await;
    connection.until("\r\n\r\n").await;
    connection.bytes(100).await;
}

#[tokio::test]
async fn nothing_is_left_of_three_thousand_watches() {
    let served = Served::start();
    let before = tasks();
    for _ in 0..20 {
        let mut watchers = JoinSet::new();
        for turn in 0..50 {
            watchers.spawn(chunked(if turn % 2 == 0 { served.tcp() } else { served.uds() }));
            watchers.spawn(socket(served.tcp()));
        }
        while let Some(watched) = watchers.join_next().await {
            watched.unwrap();
        }
    }
    let mut rpc = Rpc::connect(served.grpc).await;
    assert_eq!(rpc.game_server().await.state(), "Ready");
    let within_one = tasks();
    for _ in 0..20 {
        let mut watches = Vec::new();
        for _ in 0..50 {
            let mut watch = rpc.watch().await;
            assert_eq!(watch.state().await, "Ready");
            watches.push(watch);
        }
    }
    // On a connection that goes on, its calls go all the same.
    assert_eq!(rpc.game_server().await.state(), "Ready");
    until_tasks(within_one).await;
    drop(rpc);
    until_tasks(before).await;
}

#[tokio::test]
async fn a_hundred_at_once_are_all_served() {
    let served = Served::start();
    let mut clients = JoinSet::new();
    for number in 0..100 {
        let (grpc, tcp) = (served.grpc, served.tcp());
        clients.spawn(async move {
            if number % 2 == 0 {
                let mut rpc = Rpc::connect(grpc).await;
                let mut watch = rpc.watch().await;
                assert_eq!(watch.state().await, "Ready");
                for _ in 0..20 {
                    assert_eq!(rpc.call("Ready", &Empty {}).await.0, 0);
                    assert_eq!(rpc.game_server().await.state(), "Ready");
                }
            } else {
                for _ in 0..20 {
                    assert_eq!(tcp.post("/health", "{}").await.status, 200);
                    assert_eq!(tcp.get("/gameserver").await.status, 200);
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(served.fake.take_asked().len(), 2000);
}

#[tokio::test]
async fn one_connection_more_than_there_may_be_takes_the_place_of_an_idle_one() {
    let limits = rallyhere_agent::io::local::Limits { connections: 4, ..rallyhere_agent::io::local::Limits::default() };
    let served = Served::start_with(crate::local::fake::Fake::start(), limits, None);
    let mut watching = Rpc::connect(served.grpc).await;
    let mut watch = watching.watch().await;
    assert_eq!(watch.state().await, "Ready");
    let mut last = Vec::new();
    for _ in 0..20 {
        let mut rpc = Rpc::connect(served.grpc).await;
        assert_eq!(rpc.game_server().await.state(), "Ready");
        last.push(rpc);
    }
    assert_eq!(watching.game_server().await.state(), "Ready", "who is in use stays");
}
