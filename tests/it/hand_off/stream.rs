//! The game that asks: what it sees of a restart of its agent.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::serving;
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::stage::{Stage, until};

/// A reader of the stream, as an event-stream client is one.
struct Reader {
    stream: UnixStream,
    text: String,
}

impl Reader {
    async fn open(socket: &Path, last: Option<&str>) -> Self {
        let mut stream = until("the socket", async || UnixStream::connect(socket).await.ok()).await;
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let request = format!("GET /v1/notifications/stream HTTP/1.1\r\nhost: localhost\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// The ids of the first events, in the order in which they came.
    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            // Only what is whole: an event ends with an empty line.
            let whole = self.text.rfind("\n\n").map_or("", |end| &self.text[..end]);
            let ids: Vec<String> =
                whole.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
            if ids.len() >= count {
                return ids;
            }
            let read = self.stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "the stream ended: {}", self.text);
            self.text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_after_a_kill() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let agent = serving(&home, &stage).await;
    let mut ids: Vec<String> = (1..=3).map(|n| stage.notify(&format!("message {n}"))).collect();
    let mut reader = Reader::open(&home.socket(), None).await;
    assert_eq!(reader.ids(3).await, ids);
    agent.kill().await;
    ids.push(stage.notify("message 4"));

    let mut agent = serving(&home, &stage).await;
    ids.push(stage.notify("message 5"));
    // The second was the last that the game has seen: nothing before it, nothing left out, in order.
    let mut resumed = Reader::open(&home.socket(), Some(&ids[1])).await;
    assert_eq!(resumed.ids(3).await, ids[2..]);
    // A reader that remembers nothing gets all that was not acknowledged, with the same ids.
    let mut fresh = Reader::open(&home.socket(), None).await;
    assert_eq!(fresh.ids(5).await, ids);
    // Acknowledged ones are gone, also for one that comes back with an older id.
    agent.post("/v1/notifications/ack", json!({"notification_id": ids[3]})).await;
    let mut late = Reader::open(&home.socket(), Some(&ids[0])).await;
    assert_eq!(late.ids(1).await, ids[4..]);
    agent.kill().await;
    let mut agent = serving(&home, &stage).await;
    let mut again = Reader::open(&home.socket(), Some(&ids[3])).await;
    assert_eq!(again.ids(1).await, ids[4..]);
    let page = agent.get("/v1/notifications").await;
    let left: Vec<&Value> =
        page["notifications"].as_array().unwrap().iter().map(|entry| &entry["notification_id"]).collect();
    assert_eq!(left, [&Value::from(ids[4].as_str())]);
    agent.finish().await;
}
