//! A client that sends bytes and reads bytes, so that a test says exactly what is on the wire.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Nothing in these tests takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// Which way to the API.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    Tcp(SocketAddr),
    Socket(PathBuf),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Via {
    pub(crate) async fn connect(&self) -> Connection {
        let stream: Box<dyn Stream> = match self {
            Self::Tcp(addr) => Box::new(TcpStream::connect(addr).await.unwrap()),
            Self::Socket(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        };
        Connection { stream, read: Vec::new() }
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_with(method, path, &[], body.as_bytes()).await
    }

    pub(crate) async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        connection.send(&request(method, path, headers, body)).await;
        connection.answer().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body).await
    }
}

/// The bytes of a request. A Host is added unless one is given; `host: -` leaves it out.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    for (name, value) in headers.iter().filter(|(name, value)| !(*name == "host" && *value == "-")) {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || method != "GET" {
        write!(head, "content-length: {}\r\n", body.len()).unwrap();
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends what the other end may refuse half-way.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads more; false at the end, clean or not.
    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match within(self.stream.read(&mut chunk)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }

    /// Reads until a text has come and gives everything up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.read[searched..], text.as_bytes()) {
                let taken: Vec<u8> = self.read.drain(..searched + at + text.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            searched = self.read.len().saturating_sub(text.len());
            assert!(self.more().await, "ended before {text:?}: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "ended before {count} bytes: {:?}", self.read);
        }
        self.read.drain(..count).collect()
    }

    /// Reads the whole answer, by its length.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "cut within the body of {head}");
        }
        let body = self.read.drain(..length).collect();
        Answer { status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// Whether an answer comes, rather than the end.
    pub(crate) async fn is_answered(&mut self) -> bool {
        while find(&self.read, b"\r\n\r\n").is_none() {
            if !self.more().await {
                return false;
            }
        }
        self.answer().await;
        true
    }

    /// Reads to the end, which must come.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code and message of a refusal, after checking that it has nothing else.
    pub(crate) fn refusal(&self) -> (String, String) {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let error = json["error"].as_object().unwrap();
        assert_eq!(error.len(), 2, "{json}");
        (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }

    /// The ids of a list of notifications.
    pub(crate) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        let list = json["notifications"].as_array().unwrap();
        list.iter().map(|one| one["notification_id"].as_str().unwrap().to_owned()).collect()
    }
}
