//! Every call over gRPC, and its streams.

use std::sync::Arc;

use rallyhere_agent::core::event::{Denied, Request, Said, StoreFault};
use rallyhere_agent::core::sdk::Told;
use rallyhere_agent::io::local::Limits;

use super::rpc::{Duration, Empty, KeyValue, Rpc, beat};
use crate::local::fake::{Fake, Served};
use crate::local::raw::within;

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn tell(fake: &Fake, state: Told) {
    fake.show(|snapshot| {
        let view = Arc::make_mut(&mut snapshot.sdk);
        view.version += 1;
        view.state = state;
    });
}

fn done() -> (i32, String) {
    (0, String::new())
}

#[tokio::test]
async fn every_call_reaches_the_core() {
    let served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    assert_eq!(rpc.call("Ready", &Empty {}).await, done());
    assert_eq!(rpc.call("Allocate", &Empty {}).await, done());
    assert_eq!(rpc.call("Shutdown", &Empty {}).await, done());
    assert_eq!(rpc.call("Reserve", &Duration { seconds: 5 }).await, done());
    assert_eq!(rpc.call("Reserve", &Duration { seconds: -5 }).await, done());
    assert_eq!(rpc.call("SetLabel", &pair("mode", "ctf")).await, done());
    assert_eq!(rpc.call("SetAnnotation", &pair("x", "ü\n")).await, done());
    assert_eq!(served.fake.greetings(), 1, "the core knows that a game is there");
    assert_eq!(
        served.fake.take_asked(),
        [
            Request::Ready(Said::default()),
            Request::Allocate,
            Request::Shutdown { reason: None },
            Request::Reserve { seconds: 5 },
            Request::Reserve { seconds: 0 },
            Request::Label { key: "mode".to_owned(), value: "ctf".to_owned() },
            Request::Annotation { key: "x".to_owned(), value: "ü\n".to_owned() },
        ]
    );
}

#[tokio::test]
async fn the_document_is_whole() {
    let served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    let shown = rpc.game_server().await;
    let meta = shown.meta();
    assert_eq!((meta.name.as_str(), meta.namespace.as_str(), meta.uid.as_str()), ("i-1", "default", "i-1"));
    assert_eq!((meta.resource_version.as_str(), meta.generation), ("7", 1));
    assert_eq!((meta.creation_timestamp, meta.deletion_timestamp), (1_795_341_600, 0));
    assert_eq!(meta.annotations["rallyhere/session_id"], "s-1");
    assert!(meta.labels.is_empty());
    let health = shown.spec.as_ref().unwrap().health.clone().unwrap();
    assert_eq!((health.disabled, health.period_seconds), (false, 5));
    assert_eq!((health.failure_threshold, health.initial_delay_seconds), (3, 60));
    let status = shown.status.as_ref().unwrap();
    assert_eq!((status.state.as_str(), status.address.as_str()), ("Ready", "203.0.113.7"));
    let ports: Vec<_> = status.ports.iter().map(|port| (port.name.as_str(), port.port)).collect();
    assert_eq!(ports, [("default", 7777)]);
    let addresses: Vec<_> = status.addresses.iter().map(|one| (one.r#type.as_str(), one.address.as_str())).collect();
    assert_eq!(addresses, [("ExternalIP", "203.0.113.7")]);
}

#[tokio::test]
async fn each_message_of_a_health_stream_is_a_heartbeat() {
    let served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    let (sender, mut stream) = rpc.sdk("Health").await;
    for turn in 1..=3 {
        sender.send(beat()).await.unwrap();
        let mut asked = Vec::new();
        within(async {
            while asked.is_empty() {
                tokio::task::yield_now().await;
                asked = served.fake.take_asked();
            }
        })
        .await;
        assert_eq!(asked, [Request::Heartbeat], "{turn}");
    }
    drop(sender);
    assert_eq!(stream.message().await, Ok(Default::default()));
    assert_eq!(stream.message().await, Err(done()));
}

#[tokio::test]
async fn a_busy_core_ends_no_stream_of_heartbeats() {
    let limits = Limits { verdict: std::time::Duration::from_millis(10), ..Limits::default() };
    let served = Served::start_with(Fake::start(), limits, None);
    served.fake.judge(|_| None);
    let mut rpc = Rpc::connect(served.grpc).await;
    let (sender, mut stream) = rpc.sdk("Health").await;
    for _ in 0..3 {
        sender.send(beat()).await.unwrap();
    }
    drop(sender);
    assert_eq!(stream.message().await, Ok(Default::default()));
}

#[tokio::test]
async fn a_watch_begins_with_what_is_and_goes_on_with_each_change() {
    let served = Served::start();
    tell(&served.fake, Told::Scheduled);
    let mut rpc = Rpc::connect(served.grpc).await;
    let mut watch = rpc.watch().await;
    assert_eq!(watch.state().await, "Scheduled");
    tell(&served.fake, Told::RequestReady);
    tell(&served.fake, Told::Ready);
    assert_eq!((watch.state().await.as_str(), watch.state().await.as_str()), ("RequestReady", "Ready"));
    // Others on the same connection.
    let mut second = rpc.watch().await;
    assert_eq!(second.state().await, "Ready");
    tell(&served.fake, Told::Allocated);
    assert_eq!((watch.state().await.as_str(), second.state().await.as_str()), ("Allocated", "Allocated"));
}

#[tokio::test]
async fn one_that_does_not_read_holds_nobody() {
    let served = Served::start();
    let mut slow = Rpc::connect(served.grpc).await;
    let mut stalled = slow.watch().await;
    assert_eq!(stalled.state().await, "Ready");
    let mut rpc = Rpc::connect(served.grpc).await;
    let mut quick = rpc.watch().await;
    quick.game_server().await;
    // Beside the one that stalls, on the same connection.
    let mut beside = slow.watch().await;
    beside.game_server().await;
    let big = "x".repeat(4096);
    for turn in 0..1000 {
        served.fake.show(|snapshot| {
            let view = Arc::make_mut(&mut snapshot.sdk);
            view.version += 1;
            view.annotations = Arc::new([("turn".to_owned(), format!("{turn}{big}"))].into());
        });
        for reader in [&mut quick, &mut beside] {
            let told = reader.game_server().await;
            assert!(told.meta().annotations["agones.dev/sdk-turn"].starts_with(&format!("{turn}x")), "{turn}");
        }
    }
    tell(&served.fake, Told::Allocated);
    let mut seen = 0;
    while stalled.state().await != "Allocated" {
        seen += 1;
    }
    assert!(seen < 900, "nothing is queued for it: {seen}");
}

#[tokio::test]
async fn what_there_is_not_is_unimplemented() {
    let served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    for path in [
        "/agones.dev.sdk.alpha.SDK/PlayerConnect",
        "/agones.dev.sdk.beta.SDK/GetCounter",
        "/agones.dev.sdk.beta.SDK/UpdateList",
        "/agones.dev.sdk.SDK/Nothing",
        "/grpc.health.v1.Health/Check",
        "/",
    ] {
        let (answers, (code, words)) = rpc.call_path(path, &Empty {}).await;
        assert_eq!((answers.len(), code), (0, 12), "{path}");
        assert!(words.contains(path), "{words}");
    }
    assert_eq!(rpc.game_server().await.state(), "Ready", "and the connection goes on");
}

#[tokio::test]
async fn the_verdict_of_the_core_decides_the_code() {
    let field = |field| Denied::Field { field, reason: "because: ü".to_owned() };
    let served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    for (denied, code) in [
        (field("key"), 3),
        (field("labels"), 8),
        (field("public_conn_str"), 9),
        (Denied::Phase("it is draining".to_owned()), 9),
        (Denied::Store(StoreFault::Failed), 14),
    ] {
        let verdict = denied.clone();
        served.fake.judge(move |_| Some(Err(verdict.clone())));
        assert_eq!(rpc.call("Ready", &Empty {}).await, (code, denied.to_string()));
    }
    served.fake.judge(|_| Some(Ok(rallyhere_agent::core::event::Granted::Done)));
    let (_, (code, words)) = rpc.call_path("/agones.dev.sdk.SDK/SetLabel", &pair("a", &"x".repeat(80_000))).await;
    assert_eq!(code, 11, "larger than any that is good: {words}");
    let garbage = super::rpc::Health { disabled: true, ..Default::default() };
    let (_, (code, words)) = rpc.call_path("/agones.dev.sdk.SDK/SetLabel", &garbage).await;
    assert_eq!(code, 3, "{words}");
    assert!(words.contains("cannot be read"), "{words}");
}

#[tokio::test]
async fn who_may_not_come_in_stays_out() {
    let served = Served::start_with(Fake::start(), Limits::default(), Some("s3cret"));
    let connect = || Rpc::connect(served.grpc);
    let ready = async |mut rpc: Rpc| rpc.call("Ready", &Empty {}).await.0;
    assert_eq!(ready(connect().await).await, 16);
    assert_eq!(ready(connect().await.with_token("other")).await, 16);
    assert_eq!(ready(connect().await.with_token("s3cret")).await, 0);
    assert_eq!(ready(connect().await.with_token("s3cret").with_authority("127.0.0.1:1")).await, 0);
    assert_eq!(ready(connect().await.with_token("s3cret").with_authority("evil.example:9357")).await, 7);
    let (_, (code, _)) = connect().await.call_path("/agones.dev.sdk.SDK/WatchGameServer", &Empty {}).await;
    assert_eq!(code, 16);
    assert_eq!(served.fake.take_asked().len(), 2);
}

#[tokio::test]
async fn silence_ends_neither_a_stream_nor_a_connection() {
    let limits = Limits {
        head: std::time::Duration::from_millis(20),
        idle: std::time::Duration::from_millis(20),
        ..Limits::default()
    };
    let served = Served::start_with(Fake::start(), limits, None);
    let mut idle = Rpc::connect(served.grpc).await;
    let mut rpc = Rpc::connect(served.grpc).await;
    let (beats, _stream) = rpc.sdk("Health").await;
    let mut watch = rpc.watch().await;
    watch.game_server().await;
    for _ in 0..3 {
        // Over HTTP/1.1 the limits have run out by the time that this one is cut.
        let mut slow = served.tcp().connect().await;
        slow.send(b"GET /v1").await;
        slow.rest().await;
    }
    beats.send(beat()).await.unwrap();
    tell(&served.fake, Told::Unhealthy);
    assert_eq!(watch.state().await, "Unhealthy");
    assert_eq!(idle.game_server().await.state(), "Unhealthy");
}

#[tokio::test]
async fn streams_end_with_the_server_and_say_try_again() {
    let mut served = Served::start();
    let mut rpc = Rpc::connect(served.grpc).await;
    let (_beats, mut health) = rpc.sdk("Health").await;
    let mut watch = rpc.watch().await;
    assert_eq!(watch.state().await, "Ready");
    tell(&served.fake, Told::Shutdown);
    served.stop();
    assert_eq!(watch.state().await, "Shutdown", "the last word");
    assert_eq!(watch.message().await.unwrap_err().0, 14);
    assert_eq!(health.message().await.unwrap_err().0, 14);
    within(served.ended()).await;
}

#[tokio::test]
async fn what_is_no_grpc_harms_nobody() {
    let served = Served::start();
    let door = crate::local::raw::Via::Tcp(served.grpc);
    for bytes in [
        &b"GET /gameserver HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"\x00\x01\x02\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut connection = door.connect().await;
        connection.try_send(bytes).await;
        if bytes.len() > 20 {
            connection.rest().await;
        }
    }
    assert_eq!(Rpc::connect(served.grpc).await.game_server().await.state(), "Ready");
}
