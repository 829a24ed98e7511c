//! Slow, greedy and silent peers.

use std::time::Duration;

use rallyhere_agent::io::local::Limits;

use super::fake::{Fake, Served};
use super::raw::{Connection, request, within};

fn short() -> Limits {
    Limits { head: Duration::from_millis(100), body: Duration::from_millis(100), ..Limits::default() }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_and_an_idle_connection_is_not() {
    let served = Served::start_with(Fake::start(), short(), None);
    for door in served.doors() {
        let mut idle = door.connect().await;
        idle.send(&request("GET", "/v1/status", &[], b"")).await;
        assert_eq!(idle.answer().await.status, 200);
        let mut fresh = door.connect().await;

        let mut first = door.connect().await;
        first.send(b"GET /v1/status HTTP/1.1\r\nhost: loc").await;
        assert_eq!(first.rest().await, "", "cut, and well before any test gives up");
        let mut second = door.connect().await;
        second.send(&request("GET", "/v1/status", &[], b"")).await;
        assert_eq!(second.answer().await.status, 200);
        second.send(b"G").await;
        assert_eq!(second.rest().await, "", "also the second head of a connection");

        for quiet in [&mut idle, &mut fresh] {
            quiet.send(&request("GET", "/v1/status", &[], b"")).await;
            assert_eq!(quiet.answer().await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_too() {
    let served = Served::start_with(Fake::start(), short(), None);
    let mut slow = served.uds().connect().await;
    let mut sent = 0;
    while slow.try_send(b"x").await {
        sent += 1;
        assert!(sent < 2000, "nobody stops it");
        rallyhere_agent::clock::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408_and_the_end() {
    let served = Served::start_with(Fake::start(), short(), None);
    for door in served.doors() {
        let mut slow = door.connect().await;
        slow.send(b"POST /v1/fubar HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20\r\n\r\n{\"error\"").await;
        let answer = slow.answer().await;
        assert_eq!((answer.status, answer.refusal().0.as_str()), (408, "too_slow"));
        assert_eq!(slow.rest().await, "");
    }
    assert_eq!(served.fake.take_asked(), []);
}

#[tokio::test]
async fn an_idle_connection_goes_after_its_time() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let served = Served::start_with(Fake::start(), limits, None);
    for door in served.doors() {
        let mut idle = door.connect().await;
        idle.send(&request("GET", "/v1/status", &[], b"")).await;
        assert_eq!(idle.answer().await.status, 200);
        assert_eq!(idle.rest().await, "");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits { stall: Duration::from_millis(100), ..Limits::default() };
    let served = Served::start_with(Fake::start(), limits, None);
    let ids: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
    served.fake.notify(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let idle = served.fake.snapshots.receiver_count();
    for door in served.doors() {
        let mut stream = door.connect().await;
        stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
        stream.until("retry: 1000\n\n").await;
        within(async {
            while served.fake.snapshots.receiver_count() > idle {
                rallyhere_agent::clock::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        drop(stream);
    }
}

#[tokio::test]
async fn a_body_over_256_kib_is_a_413_and_one_below_is_not() {
    let served = Served::start();
    let value = "x".repeat(4096);
    let entries: Vec<String> = (0..63).map(|n| format!(r#""{n}":"{value}""#)).collect();
    let below = format!(r#"{{"event_code":"x","custom_data":{{{}}}}}"#, entries.join(","));
    assert!(below.len() < 256 * 1024 && below.len() > 250 * 1024, "{}", below.len());
    let above = " ".repeat(256 * 1024 + 1);
    for door in served.doors() {
        assert_eq!(door.post("/v1/events", &below).await.status, 202);
        served.fake.take_asked();
        let answer = door.post("/v1/events", &above).await;
        assert_eq!((answer.status, answer.refusal().0.as_str()), (413, "too_large"));

        // Without a length, in chunks.
        let mut chunked = door.connect().await;
        chunked.send(b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            chunked.send(&[b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat()).await;
        }
        chunked.send(b"0\r\n\r\n").await;
        assert_eq!(chunked.answer().await.status, 413);

        // Announced, not sent: the answer comes at once.
        let mut asking = door.connect().await;
        asking
            .send(b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n")
            .await;
        assert_eq!(asking.answer().await.status, 413);
    }
    assert_eq!(served.fake.take_asked(), []);
}

async fn is_open(connection: &mut Connection) -> bool {
    connection.try_send(&request("GET", "/v1/status", &[], b"")).await && connection.is_answered().await
}

#[tokio::test]
async fn of_257_connections_the_longest_idle_one_goes() {
    let served = Served::start();
    // The first is the oldest, but it is in use; the second is used again later; so the third has to go.
    let idle = served.fake.snapshots.receiver_count();
    let mut waiting = served.uds().connect().await;
    waiting.send(&request("GET", "/v1/notifications?wait=300", &[], b"")).await;
    within(async {
        while served.fake.snapshots.receiver_count() <= idle {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut open = Vec::new();
    for number in 0..255 {
        let door = if number % 2 == 0 { served.tcp() } else { served.uds() };
        let mut connection = door.connect().await;
        connection.send(&request("GET", "/v1/status", &[], b"")).await;
        assert_eq!(connection.answer().await.status, 200);
        if number < 3 {
            rallyhere_agent::clock::sleep(Duration::from_millis(5)).await;
        }
        open.push(connection);
    }
    assert!(is_open(&mut open[0]).await);

    let mut one_more = served.tcp().connect().await;
    one_more.send(&request("GET", "/v1/status", &[], b"")).await;
    assert_eq!(one_more.answer().await.status, 200);
    for (number, connection) in open.iter_mut().enumerate() {
        assert_eq!(is_open(connection).await, number != 1, "connection {number}");
    }
    served.fake.notify(&["a"]);
    assert_eq!(waiting.answer().await.ids(), ["a"]);
}

#[tokio::test]
async fn when_all_are_in_use_the_quietest_goes_and_a_call_still_comes_in() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let served = Served::start_with(Fake::start(), limits, None);
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = served.uds().connect().await;
        stream.send(&request("GET", "/v1/notifications/stream", &[], b"")).await;
        stream.until("retry: 1000\n\n").await;
        rallyhere_agent::clock::sleep(Duration::from_millis(5)).await;
        streams.push(stream);
    }
    assert_eq!(served.tcp().get("/v1/status").await.status, 200);
    streams.remove(0).rest().await;
    served.fake.notify(&["a"]);
    for mut stream in streams {
        stream.until("id: a\n").await;
    }
}

#[tokio::test]
async fn at_the_end_a_call_in_progress_gets_a_second_and_no_more() {
    let mut served = Served::start();
    served.fake.judge(|_| None);
    let mut stuck = served.uds().connect().await;
    stuck.send(&request("POST", "/v1/drain", &[], b"")).await;
    within(async {
        while served.fake.take_asked().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let begun = rallyhere_agent::clock::now();
    served.stop();
    within(served.ended()).await;
    let took = rallyhere_agent::clock::now() - begun;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(stuck.rest().await, "");
}
