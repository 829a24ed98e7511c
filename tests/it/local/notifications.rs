//! Handing over: the list, the long wait, the stream, the acknowledgement.

use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::core::durable::SetAside;
use rallyhere_agent::core::phase::Phase;
use rallyhere_agent::core::snapshot::HandOffState;
use rallyhere_agent::io::local::Limits;
use tokio::task::JoinSet;

use super::fake::{Fake, Served, notification};
use super::raw::{Answer, Via, request, within};

#[tokio::test]
async fn the_list_is_oldest_first_and_repeats_until_acknowledged() {
    let served = Served::start();
    for door in served.doors() {
        assert_eq!(door.get("/v1/notifications").await.body, r#"{"notifications":[]}"#);
        served.fake.notify(&["a", "b", "c"]);
        assert_eq!(door.get("/v1/notifications").await.ids(), ["a", "b", "c"]);
        assert_eq!(door.get("/v1/notifications?limit=2&wait=25").await.ids(), ["a", "b"]);
        assert_eq!(door.get("/v1/notifications?after=a").await.ids(), ["b", "c"]);
        assert_eq!(door.get("/v1/notifications?after=").await.ids(), ["a", "b", "c"]);
        let ack = door.post("/v1/notifications/ack", r#"{"notification_id":"b"}"#).await;
        assert_eq!((ack.status, ack.body.as_str()), (200, r#"{"acknowledged":2}"#));
        assert_eq!(door.get("/v1/notifications").await.ids(), ["c"]);
        assert_eq!(door.get("/v1/notifications?after=a").await.ids(), ["c"], "what was acknowledged is behind us");
        door.post("/v1/notifications/ack", r#"{"notification_id":"c"}"#).await;
    }
}

#[tokio::test]
async fn an_entry_has_the_fields_of_the_backend() {
    let served = Served::start();
    served.fake.show(|snapshot| {
        let mut one = (*notification("a b%/\u{e9}")).clone();
        one.rh_url = Some("session/v1/session/s-1".to_owned());
        one.custom_data.insert("k".to_owned(), "line\nbreak".to_owned());
        snapshot.notifications.inbox = std::sync::Arc::new([std::sync::Arc::new(one)].into());
    });
    let list = served.uds().get("/v1/notifications").await.json();
    let one = &list["notifications"][0];
    assert_eq!(one["notification_id"], "a b%/\u{e9}");
    assert_eq!(one["created"], "2026-01-01T00:00:00Z");
    assert_eq!(one["message"], "message a b%/\u{e9}");
    assert_eq!(one["rh_url"], "session/v1/session/s-1");
    assert_eq!(one["custom_data"]["k"], "line\nbreak");
    assert_eq!(served.uds().get("/v1/notifications?after=a+b%25%2F%C3%A9").await.ids(), [""; 0]);
}

/// A long wait in the background.
fn wait(tasks: &mut JoinSet<(Answer, Instant)>, door: Via, path: &'static str) {
    tasks.spawn(async move { (door.get(path).await, clock::now()) });
}

/// Waits until so many calls hold the snapshot.
async fn until_waiting(fake: &Fake, more_than: usize) {
    within(async {
        while fake.snapshots.receiver_count() <= more_than {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_set_aside_is_shown_to_whoever_looks() {
    let served = Served::start();
    for door in served.doors() {
        let empty = door.get("/v1/notifications/set_aside").await;
        assert_eq!((empty.status, empty.body.as_str()), (200, r#"{"set_aside":[]}"#));
    }
    served.fake.show(|snapshot| {
        let kept = SetAside { notification: notification("bad"), reason: "exit code 3".to_owned(), tries: 3 };
        let view = &mut snapshot.notifications.hand_off;
        view.set_aside = std::sync::Arc::new([kept].into());
        view.state = HandOffState::Absent;
        view.last_failure = Some("connection refused".into());
    });
    for door in served.doors() {
        let list = door.get("/v1/notifications/set_aside").await.json();
        assert_eq!(list["set_aside"][0]["notification"]["notification_id"], "bad");
        assert_eq!(list["set_aside"][0]["notification"]["message"], "message bad");
        assert_eq!(
            (&list["set_aside"][0]["reason"], &list["set_aside"][0]["tries"]),
            (&"exit code 3".into(), &3.into())
        );
        assert_eq!(door.get("/v1/notifications").await.ids(), [""; 0], "not in the way of the others");
        let shown = door.get("/v1/status").await.json()["notifications"].clone();
        assert_eq!(shown["set_aside"], 1);
        assert_eq!(shown["hand_off"], serde_json::json!({"state": "absent", "last_failure": "connection refused"}));
        assert_eq!(door.post("/v1/notifications/set_aside", "{}").await.status, 405);
    }
}

#[tokio::test]
async fn looking_at_what_was_set_aside_makes_nobody_a_game() {
    let served = Served::start();
    served.uds().get("/v1/notifications/set_aside").await;
    assert_eq!(served.fake.greetings(), 0);
    served.uds().get("/v1/notifications").await;
    assert_eq!(served.fake.greetings(), 1);
}

#[tokio::test]
async fn a_long_wait_ends_with_the_first_notification() {
    let served = Served::start();
    for door in served.doors() {
        let idle = served.fake.snapshots.receiver_count();
        let mut tasks = JoinSet::new();
        wait(&mut tasks, door.clone(), "/v1/notifications?wait=60");
        until_waiting(&served.fake, idle).await;
        // A change without a notification does not end it.
        served.fake.show(|snapshot| snapshot.ready = false);
        let told = clock::now();
        served.fake.notify(&["a"]);
        let (answer, when) = within(tasks.join_next()).await.unwrap().unwrap();
        assert_eq!(answer.ids(), ["a"]);
        assert!(when - told < Duration::from_millis(100), "{:?}", when - told);
        door.post("/v1/notifications/ack", r#"{"notification_id":"a"}"#).await;
    }
}

#[tokio::test]
async fn a_wait_with_after_is_for_newer_ones_only() {
    let served = Served::start();
    served.fake.notify(&["a"]);
    let idle = served.fake.snapshots.receiver_count();
    let mut tasks = JoinSet::new();
    wait(&mut tasks, served.tcp(), "/v1/notifications?wait=60&after=a");
    until_waiting(&served.fake, idle).await;
    served.fake.notify(&["b"]);
    assert_eq!(within(tasks.join_next()).await.unwrap().unwrap().0.ids(), ["b"]);
}

#[tokio::test]
async fn a_wait_ends_empty_after_its_time_and_at_the_end_of_the_server() {
    let mut served = Served::start();
    let begun = clock::now();
    assert_eq!(served.uds().get("/v1/notifications?wait=1").await.ids(), [""; 0]);
    assert!(clock::now() - begun >= Duration::from_secs(1));

    let idle = served.fake.snapshots.receiver_count();
    let mut tasks = JoinSet::new();
    wait(&mut tasks, served.tcp(), "/v1/notifications?wait=300");
    wait(&mut tasks, served.uds(), "/v1/notifications?wait=300");
    until_waiting(&served.fake, idle + 1).await;
    let stopped = clock::now();
    served.stop();
    while let Some(done) = within(tasks.join_next()).await {
        let (answer, when) = done.unwrap();
        assert_eq!(answer.ids(), [""; 0]);
        assert!(when - stopped < Duration::from_millis(500), "{:?}", when - stopped);
    }
    within(served.ended()).await;
    assert!(!served.socket.exists());
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_behind() {
    let served = Served::start();
    let idle = served.fake.snapshots.receiver_count();
    for path in ["/v1/notifications?wait=300", "/v1/notifications/stream"] {
        for door in served.doors() {
            let mut connection = door.connect().await;
            connection.send(&request("GET", path, &[], b"")).await;
            until_waiting(&served.fake, idle).await;
            drop(connection);
            within(async {
                while served.fake.snapshots.receiver_count() > idle {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}

fn event(id: &str) -> String {
    let json = serde_json::to_string(&*notification(id)).unwrap();
    format!("id: {id}\ndata: {json}\n\n")
}

#[tokio::test]
async fn the_stream_gives_what_waits_then_what_comes_and_resumes_behind_the_last() {
    let served = Served::start();
    served.fake.notify(&["a", "b"]);
    for door in served.doors() {
        let mut stream = door.connect().await;
        stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
        let head = stream.until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        stream.until("retry: 1000\n\n").await;
        let both = stream.until(&event("b")).await;
        assert!(both.contains(&event("a")), "{both}");
        // Acknowledging what was streamed does not make it come again.
        door.post("/v1/notifications/ack", r#"{"notification_id":"b"}"#).await;
        served.fake.notify(&["c"]);
        let third = stream.until(&event("c")).await;
        assert!(!third.contains("id: a") && !third.contains("id: b"), "{third}");
        drop(stream);

        served.fake.notify(&["d"]);
        for (path, headers) in [
            ("/v1/notifications/stream", vec![("last-event-id", "c")]),
            ("/v1/notifications/stream?after=c", vec![]),
            ("/v1/notifications/stream?after=x", vec![("last-event-id", "c")]),
        ] {
            let mut resumed = door.connect().await;
            resumed.send(&request("GET", path, &headers, b"")).await;
            let text = resumed.until(&event("d")).await;
            assert!(!text.contains("id: c"), "{path} {headers:?}: {text}");
        }
        door.post("/v1/notifications/ack", r#"{"notification_id":"d"}"#).await;
        served.fake.notify(&["a", "b"]);
    }
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_there() {
    let limits = Limits { keepalive: Duration::from_millis(20), ..Limits::default() };
    let served = Served::start_with(Fake::start(), limits, None);
    let mut stream = served.uds().connect().await;
    stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
    stream.until(":\n\n").await;
    stream.until(":\n\n").await;
}

#[tokio::test]
async fn a_stream_ends_with_the_server() {
    let mut served = Served::start();
    let mut stream = served.uds().connect().await;
    stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
    stream.until("retry: 1000\n\n").await;
    served.stop();
    let rest = stream.rest().await;
    assert!(rest.ends_with("0\r\n\r\n"), "a whole end, not a cut: {rest:?}");
    within(served.ended()).await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_holds_nobody() {
    let served = Served::start();
    let ids: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let mut lazy = Vec::new();
    for door in served.doors() {
        let mut stream = door.connect().await;
        stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
        lazy.push(stream);
    }
    served.fake.notify(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut eager = served.uds().connect().await;
    eager.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
    eager.until(&event("19999")).await;
    assert_eq!(served.tcp().get("/v1/notifications?limit=1").await.ids(), ["0"]);
    for mut late in lazy {
        late.until(&event("19999")).await;
    }
}

#[tokio::test]
async fn the_end_of_the_instance_ends_who_waits_for_it() {
    // The fake keeps the sender; a handle whose sender is gone is made by hand.
    let (snapshots, receiver) = tokio::sync::watch::channel(std::sync::Arc::new(super::fake::snapshot()));
    let name = rallyhere_agent::core::ids::InstanceName::parse("gone").unwrap();
    let (handle, queue) = rallyhere_agent::ports::InstanceHandle::new(name, receiver);
    drop(queue);
    let settings = rallyhere_agent::config::settings::LocalApi {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..rallyhere_agent::config::settings::LocalApi::default()
    };
    let api = rallyhere_agent::io::local::LocalApi::bind(&settings, handle).unwrap();
    let door = Via::Tcp(api.tcp_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(api.serve(std::future::pending()));

    let mut stream = door.connect().await;
    stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
    stream.until("retry: 1000\n\n").await;
    drop(snapshots);
    let answer = door.get("/v1/notifications?wait=300").await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (503, "ended"));
    stream.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn the_game_is_told_of_its_end_where_it_waits() {
    let served = Served::start();
    for door in served.doors() {
        served.fake.show(|snapshot| snapshot.phase = Phase::Serving);
        let mut stream = door.connect().await;
        stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
        stream.until("retry: 1000\n\n").await;
        served.fake.show(|snapshot| snapshot.phase = Phase::Draining);
        stream.until("event: phase\ndata: {\"phase\":\"draining\"}\n\n").await;

        let mut tasks = JoinSet::new();
        let idle = served.fake.snapshots.receiver_count();
        wait(&mut tasks, door, "/v1/notifications?wait=300");
        until_waiting(&served.fake, idle).await;
        served.fake.show(|snapshot| snapshot.phase = Phase::Superseded);
        stream.until("event: phase\ndata: {\"phase\":\"superseded\"}\n\n").await;
        let (answer, _) = within(tasks.join_next()).await.unwrap().unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.refusal().0, "superseded");
    }
}
