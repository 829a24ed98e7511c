//! The game's side of the local API: one connection on the Unix socket, as few moves as possible.

use std::path::Path;
use std::time::Duration;

use rallyhere_agent::clock;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::environment::within;

/// A kept-alive connection.
pub(crate) struct Door {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Door {
    pub(crate) async fn open(socket: &Path) -> Self {
        Self { stream: UnixStream::connect(socket).await.unwrap(), read: Vec::new() }
    }

    /// The same, to somebody who may only just have been started.
    pub(crate) async fn open_soon(socket: &Path) -> Self {
        let stream = within("a listener", async {
            loop {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return stream,
                    Err(_) => clock::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        Self { stream: stream.await, read: Vec::new() }
    }

    /// A call that must succeed.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> Value {
        self.send(method, path, body).await;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
        within(path, self.stream.write_all(request.as_bytes())).await.unwrap();
    }

    /// The next answer, read by its length.
    pub(crate) async fn answer(&mut self) -> Value {
        let head_end = loop {
            match find(&self.read, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await,
            }
        };
        let head = String::from_utf8(self.read.drain(..head_end).collect()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).expect("a length");
        while self.read.len() < length {
            self.more().await;
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        assert!(head.starts_with("http/1.1 20"), "{head}{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Watches the game server; ends when the first document is there.
    pub(crate) async fn watch(&mut self) {
        self.send("GET", "/watch/gameserver", "").await;
        while find(&self.read, b"}}}").is_none() {
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = within("an answer", self.stream.read_buf(&mut self.read)).await.unwrap();
        assert!(read > 0, "the agent closed the connection");
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
