//! Tests: the status page of the admin listener, with the real program: what it may load, what it is told and who may ask, and
//! what a browser makes of it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::agent::Agent;
use crate::process::home::Home;
use crate::process::stage::{Stage, until};

mod browser;
mod guarded;
mod stream;

/// A message that would be a script if it were taken as markup.
const MESSAGE: &str = "<img src=x onerror=document.title='hit'> the match is full";
/// What the game says of itself.
const REASON: &str = "a tick takes 31 ms";

fn home(stage: &Stage) -> Home {
    Home::new(stage).set("admin.listen", "127.0.0.1:0").alone()
}

/// An agent that serves, and where its admin listener is.
async fn serving(home: &Home) -> (Agent, String) {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let address = until("the address of the admin listener", async || {
        let output = agent.output();
        let rest = output.split(" admin=").nth(1)?;
        Some(rest.split_whitespace().next()?.to_owned())
    })
    .await;
    (agent, address)
}

/// One GET; gives the head in lower case, and the body.
async fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> (String, String) {
    let mut stream = ask(address, path, headers).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn ask(address: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    // An answer without an end that is known comes as it is, not in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The events of the page.
struct Events {
    stream: TcpStream,
    read: String,
}

impl Events {
    async fn open(address: &str) -> Self {
        let mut events = Self { stream: ask(address, "/events", &[]).await, read: String::new() };
        let head = events.until("\r\n\r\n").await;
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("cache-control: no-store\r\n"), "{head}");
        events
    }

    async fn until(&mut self, text: &str) -> String {
        let (stream, read) = (&mut self.stream, &mut self.read);
        loop {
            if let Some(at) = read.find(text) {
                return read.drain(..at + text.len()).collect();
            }
            let mut chunk = vec![0; 64 * 1024];
            let count = until("more of the stream", async || {
                let more = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read(&mut chunk)).await;
                Some(more.expect("the stream is silent").unwrap())
            })
            .await;
            assert!(count > 0, "the stream has ended before {text:?}: {read}");
            read.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
    }

    /// The next event; comments and fields without data are passed over.
    async fn next(&mut self) -> Value {
        loop {
            let event = self.until("\n\n").await;
            if let Some(data) = event.trim_end().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            }
        }
    }

    /// The next event that shows something of the one instance.
    async fn until_shows(&mut self, seen: impl Fn(&Value) -> bool) -> Value {
        loop {
            let instance = self.next().await["instances"][0].take();
            if seen(&instance) {
                return instance;
            }
        }
    }
}

/// An agent with something to show: a verdict of its game, posts, a notification that was taken and one that waits, a dead letter.
async fn eventful(stage: &Stage, home: &Home) -> (Agent, String) {
    let (mut agent, address) = serving(home).await;
    agent.post("/v1/health", json!({"status": "degraded", "reason": REASON})).await;
    stage.until_beats(2).await;
    let taken = stage.notify("a player was invited");
    agent.until("the notification", |status| status["notifications"]["inbox"] == 1).await;
    agent.post("/v1/notifications/ack", json!({"notification_id": taken})).await;
    stage.notify(MESSAGE);
    agent.until("the other one", |status| status["notifications"]["inbox"] == 1).await;
    let refused = rallyhere_agent::simulator::Fault::Status { code: 400, body: None, headers: Vec::new() };
    stage.inject(refused.on("fubar").times(1));
    agent.post("/v1/fubar", json!({"error": "physics_stuck"})).await;
    agent.until("the dead letter", |status| status["outbox"]["dead"] == 1).await;
    (agent, address)
}
