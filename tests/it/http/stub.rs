//! A server that reads requests and answers them in steps: bytes, pauses, a close.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rallyhere_agent::clock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One step of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again, until the client is gone.
    Flood(Vec<u8>),
    /// Sends these bytes one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Waits.
    Pause(Duration),
    /// Ends our side of the connection and waits for the client to end its own.
    HalfClose,
    /// Says nothing more until the client is gone.
    Hang,
    /// Ends the connection.
    Close,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Request line and headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// "METHOD path".
    pub(crate) fn line(&self) -> &str {
        self.head.split(" HTTP/1.1\r\n").next().unwrap()
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.to_ascii_lowercase() == name).then(|| value.trim())
        })
    }
}

type Script = Arc<dyn Fn(usize, &Request) -> Vec<Step> + Send + Sync>;

/// What a server saw.
#[derive(Default)]
struct Log {
    connections: usize,
    requests: Vec<Request>,
    /// Bytes that it got rid of.
    sent: usize,
    /// Connections whose end has been seen.
    ended: usize,
}

/// A running server; it ends when dropped.
pub(crate) struct Stub {
    /// Where it listens.
    pub(crate) url: String,
    log: Arc<Mutex<Log>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// Answers by a script, which is given the number of the request, from 0.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    /// The same over TLS.
    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Log>> = Arc::default();
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&log);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut log = shared.lock().unwrap();
                    log.connections += 1;
                    log.connections - 1
                };
                let (log, script, tls) = (Arc::clone(&shared), Arc::clone(&script), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, number, &script, &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, number, &script, &log).await;
                            }
                        }
                    }
                    log.lock().unwrap().ended += 1;
                });
            }
        });
        Self { url, log, _tasks: tasks }
    }

    /// Answers everything with these bytes and keeps the connection.
    pub(crate) async fn always(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, _| vec![Step::Send(bytes.clone())]).await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().requests.clone()
    }

    /// Request lines, in the order of arrival.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.line().to_owned()).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    pub(crate) fn sent(&self) -> usize {
        self.log.lock().unwrap().sent
    }

    /// Waits until so many connections have ended.
    pub(crate) async fn ended(&self, count: usize) {
        while self.log.lock().unwrap().ended < count {
            clock::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until so many requests have come.
    pub(crate) async fn received(&self, count: usize) {
        while self.log.lock().unwrap().requests.len() < count {
            clock::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A 200 with a JSON body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", "", body)
}

/// An answer with more headers, each ended by CR LF.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, script: &Script, log: &Mutex<Log>) {
    let mut buffer = Vec::new();
    while let Some(request) = next(&mut stream, &mut buffer, connection).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.requests.push(request.clone());
            log.requests.len() - 1
        };
        for step in script(number, &request) {
            if !perform(&mut stream, step, log).await {
                return;
            }
        }
    }
}

/// Carries out a step; false once the connection is over.
async fn perform(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), step: Step, log: &Mutex<Log>) -> bool {
    match step {
        Step::Send(bytes) => send(stream, &bytes, log).await,
        Step::Flood(bytes) => {
            while send(stream, &bytes, log).await {}
            false
        }
        Step::Drip(bytes, pause) => {
            for byte in bytes {
                if !send(stream, &[byte], log).await {
                    return false;
                }
                clock::sleep(pause).await;
            }
            true
        }
        Step::Pause(time) => {
            clock::sleep(time).await;
            true
        }
        Step::HalfClose => {
            let _ = stream.shutdown().await;
            drain(stream).await;
            false
        }
        Step::Hang => {
            drain(stream).await;
            false
        }
        Step::Close => false,
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], log: &Mutex<Log>) -> bool {
    let sent = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
    if sent {
        log.lock().unwrap().sent += bytes.len();
    }
    sent
}

async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

async fn next(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, connection: usize) -> Option<Request> {
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut request = Request { connection, head, body: Vec::new() };
            let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                request.body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(request);
            }
        }
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => buffer.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}
