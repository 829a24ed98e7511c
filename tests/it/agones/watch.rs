//! Watching over REST: lines, and WebSocket messages.

use std::sync::Arc;

use rallyhere_agent::core::sdk::Told;
use serde_json::Value;

use crate::local::fake::{Fake, Served};
use crate::local::raw::{Connection, Via, request};

fn tell(fake: &Fake, state: Told) {
    fake.show(|snapshot| {
        let view = Arc::make_mut(&mut snapshot.sdk);
        view.version += 1;
        view.state = state;
    });
}

/// A chunked watch.
struct Lines(Connection);

impl Lines {
    async fn open(door: &Via) -> Self {
        let mut connection = door.connect().await;
        connection.send(&request("GET", "/watch/gameserver", &[], b"")).await;
        let head = connection.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(head.contains("grpc-metadata-content-type: application/grpc"), "{head}");
        Self(connection)
    }

    /// The next line, which is a chunk of its own.
    async fn next(&mut self) -> Value {
        self.0.until("\r\n").await;
        let line = self.0.until("\n\r\n").await;
        let mut json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["result"].take()
    }

    async fn state(&mut self) -> String {
        self.next().await["status"]["state"].as_str().unwrap().to_owned()
    }
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

/// A WebSocket.
struct Socket(Connection);

impl Socket {
    async fn open(door: &Via) -> Self {
        let mut connection = door.connect().await;
        connection.send(&request("GET", "/watch/gameserver", &HANDSHAKE, b"")).await;
        let head = connection.until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains("upgrade: websocket"), "{head}");
        Self(connection)
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.bytes(2).await;
        let length = match head[1] {
            126 => {
                let long = self.0.bytes(2).await;
                u16::from_be_bytes([long[0], long[1]]).into()
            }
            short => usize::from(short),
        };
        (head[0], self.0.bytes(length).await)
    }

    async fn state(&mut self) -> String {
        let (first, data) = self.frame().await;
        assert_eq!(first, 0x81, "a whole text");
        let json: Value = serde_json::from_slice(&data).unwrap();
        json["result"]["status"]["state"].as_str().unwrap().to_owned()
    }

    async fn send(&mut self, first: u8, data: &[u8]) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | u8::try_from(data.len()).unwrap()];
        frame.extend_from_slice(&mask);
        frame.extend(data.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.send(&frame).await;
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_is_and_goes_on_with_each_change() {
    let served = Served::start();
    for (door, mode) in served.doors().into_iter().zip(["ctf", "race"]) {
        tell(&served.fake, Told::Scheduled);
        let mut lines = Lines::open(&door).await;
        assert_eq!(lines.state().await, "Scheduled");
        // Both in a moment: the games that wait for the first of them must see it.
        tell(&served.fake, Told::RequestReady);
        tell(&served.fake, Told::Ready);
        assert_eq!((lines.state().await.as_str(), lines.state().await.as_str()), ("RequestReady", "Ready"));
        served.fake.show(|snapshot| {
            let view = Arc::make_mut(&mut snapshot.sdk);
            view.version += 1;
            view.labels = Arc::new([("mode".to_owned(), mode.to_owned())].into());
        });
        assert_eq!(lines.next().await["object_meta"]["labels"]["agones.dev/sdk-mode"], mode);
    }
}

#[tokio::test]
async fn what_a_game_cannot_see_is_no_change() {
    let served = Served::start();
    let mut lines = Lines::open(&served.tcp()).await;
    assert_eq!(lines.state().await, "Ready");
    // The session's document has changed, and nothing in it that a game is told.
    served.fake.show(|snapshot| Arc::make_mut(&mut snapshot.sdk).version += 1);
    let shown = served.tcp().get("/gameserver").await.json();
    assert_eq!(shown["object_meta"]["resource_version"], "7", "it is the same document");
    served.fake.show(|snapshot| snapshot.counters.health_sent += 1);
    tell(&served.fake, Told::Allocated);
    assert_eq!(lines.state().await, "Allocated");
}

#[tokio::test]
async fn the_same_url_becomes_a_web_socket() {
    let served = Served::start();
    for door in served.doors() {
        tell(&served.fake, Told::Ready);
        let mut socket = Socket::open(&door).await;
        assert_eq!(socket.state().await, "Ready");
        socket.send(0x89, b"are you there").await;
        assert_eq!(socket.frame().await, (0x8A, b"are you there".to_vec()));
        // A message in pieces that nobody wants, and one that is nothing.
        socket.send(0x01, b"one").await;
        socket.send(0x80, b"two").await;
        socket.send(0x82, b"").await;
        tell(&served.fake, Told::Unhealthy);
        assert_eq!(socket.state().await, "Unhealthy");
        socket.send(0x88, &1000_u16.to_be_bytes()).await;
        assert_eq!(socket.frame().await, (0x88, 1000_u16.to_be_bytes().to_vec()));
        assert_eq!(socket.0.rest().await, "", "and then the end");
    }
}

#[tokio::test]
async fn a_silent_web_socket_is_neither_cut_nor_taken_for_a_slow_head() {
    let limits = rallyhere_agent::io::local::Limits {
        head: std::time::Duration::from_millis(30),
        idle: std::time::Duration::from_millis(30),
        ..rallyhere_agent::io::local::Limits::default()
    };
    let served = Served::start_with(Fake::start(), limits, None);
    let mut socket = Socket::open(&served.tcp()).await;
    assert_eq!(socket.state().await, "Ready");
    socket.send(0x8A, b"").await;
    let mut lines = Lines::open(&served.tcp()).await;
    lines.next().await;
    // Somebody else is cut meanwhile, so the time is over.
    let mut slow = served.tcp().connect().await;
    slow.send(b"GET /v1").await;
    assert_eq!(slow.rest().await, "");
    let mut slow = served.tcp().connect().await;
    slow.send(b"GET /v1").await;
    assert_eq!(slow.rest().await, "");
    tell(&served.fake, Told::Shutdown);
    assert_eq!((socket.state().await.as_str(), lines.state().await.as_str()), ("Shutdown", "Shutdown"));
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let served = Served::start();
    for (name, value) in [
        ("connection", "keep-alive"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "short"),
        ("sec-websocket-key", "bm90IHNpeHRlZW4gYnl0ZXMgYXQgYWxs"),
    ] {
        let headers = HANDSHAKE.map(|(have, good)| if have == name { (have, value) } else { (have, good) });
        let answer = served.tcp().call_with("GET", "/watch/gameserver", &headers, b"").await;
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (400, Some(3)), "{name}: {value}");
    }
    let browser = [&HANDSHAKE[..], &[("origin", "http://localhost")]].concat();
    assert_eq!(served.tcp().call_with("GET", "/watch/gameserver", &browser, b"").await.status, 403);
}

#[tokio::test]
async fn frames_that_break_the_rules_end_it() {
    let served = Served::start();
    for (bytes, code) in [(&[0x81_u8, 1, b'x'][..], 1002), (&[0xC1, 0x80, 0, 0, 0, 0], 1002)] {
        let mut socket = Socket::open(&served.tcp()).await;
        assert_eq!(socket.state().await, "Ready");
        socket.0.send(bytes).await;
        assert_eq!(socket.frame().await, (0x88, u16::to_be_bytes(code).to_vec()));
        assert_eq!(socket.0.rest().await, "");
    }
}

#[tokio::test]
async fn a_watch_ends_with_the_server() {
    let mut served = Served::start();
    let (mut lines, mut socket) = (Lines::open(&served.tcp()).await, Socket::open(&served.uds()).await);
    lines.next().await;
    socket.state().await;
    tell(&served.fake, Told::Shutdown);
    served.stop();
    assert_eq!(
        (lines.state().await.as_str(), socket.state().await.as_str()),
        ("Shutdown", "Shutdown"),
        "the last word"
    );
    assert_eq!(lines.0.rest().await, "0\r\n\r\n");
    assert_eq!(socket.frame().await, (0x88, 1001_u16.to_be_bytes().to_vec()));
    crate::local::raw::within(served.ended()).await;
}

#[tokio::test]
async fn one_that_does_not_read_holds_nobody() {
    let served = Served::start();
    let mut stalled = [Lines::open(&served.tcp()).await, Lines::open(&served.uds()).await];
    let mut socket = Socket::open(&served.tcp()).await;
    let mut quick = Lines::open(&served.tcp()).await;
    quick.next().await;
    assert_eq!(socket.state().await, "Ready");
    let big = "x".repeat(4096);
    for turn in 0..2000 {
        served.fake.show(|snapshot| {
            let view = Arc::make_mut(&mut snapshot.sdk);
            view.version += 1;
            view.annotations = Arc::new([("turn".to_owned(), format!("{turn}{big}"))].into());
        });
        let told = quick.next().await;
        let told = told["object_meta"]["annotations"]["agones.dev/sdk-turn"].as_str().unwrap();
        assert!(told.starts_with(&format!("{turn}x")), "{turn}: {}", &told[..10]);
    }
    // What they get in the end is the newest, after at most what fits into the pipe.
    tell(&served.fake, Told::Allocated);
    for stalled in &mut stalled {
        let mut seen = 0;
        while stalled.state().await != "Allocated" {
            seen += 1;
        }
        assert!(seen < 1900, "nothing is queued for it: {seen}");
    }
    while socket.state().await != "Allocated" {}
}
