//! The game's side of the local API: one kept connection, made again when the agent was away.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longer than the longest wait that is asked for.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Door {
    socket: PathBuf,
    stream: Option<UnixStream>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// From the first byte of the request on, without the time for a connection.
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Door {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, stream: None }
    }

    /// A call; an error is an agent that is not there, or went away.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let called = tokio::time::timeout(PATIENCE, self.try_call(method, path, body));
        let result = called.await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn try_call(&mut self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket).await?,
        };
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let began: Instant = clock::now();
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        let head = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let words = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        let length = words.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while read.len() < head + length {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = words.split(' ').nth(1).and_then(|status| status.parse().ok());
        if !words.contains("connection: close") {
            self.stream = Some(stream);
        }
        let text = String::from_utf8_lossy(&read[head..]).into_owned();
        Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, text, took: began.elapsed() })
    }
}
