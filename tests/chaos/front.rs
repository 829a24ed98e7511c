//! Before the simulator: a listener that knows one HTTP request from the next, and lets connections fail at each of their steps.
//!
//! Over TLS if it is asked for. What the simulator does itself (other answers, slow bodies, outages) passes through unchanged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::clock;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ills::{End, Gate, Ill, Ills, Step};
use crate::timeline::{Recorder, What};

/// The most that a head may have.
const HEAD_LIMIT: usize = 64 * 1024;

/// A certificate, and who shows it.
pub(crate) struct Tls {
    known: TlsAcceptor,
    stranger: TlsAcceptor,
    /// What a client must trust.
    pub(crate) certificate: String,
}

impl Tls {
    pub(crate) fn new(address: IpAddr) -> Self {
        let (known, certificate) = acceptor(address);
        let (stranger, _) = acceptor(address);
        Self { known, stranger, certificate }
    }
}

fn acceptor(address: IpAddr) -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![address.to_string()]).unwrap().self_signed(&key).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

/// What every connection needs.
struct Shared {
    ills: Ills,
    recorder: Recorder,
    backend: SocketAddr,
    tls: Option<Tls>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    backend: SocketAddr,
    tls: Option<Tls>,
    ills: Ills,
    recorder: Recorder,
) {
    let shared = Arc::new(Shared { ills, recorder, backend, tls });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&shared)));
            }
            // Too many open files: a moment later there are fewer.
            Err(_) => clock::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A connection that can be reset.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _slower_without = stream.set_nodelay(true);
    let mut gate = shared.ills.gate();
    if *gate.borrow_and_update() == Gate::BlackHole {
        shared.recorder.note(What::Met { call: String::new(), ill: "a black hole".to_owned() });
        return until_open(&mut gate).await;
    }
    let early = shared.ills.meets();
    let served = async {
        match (early, &shared.tls) {
            (Some(Ill { step: Step::Accept, end }), _) | (Some(Ill { end, .. }), None) => finish(stream, end).await,
            (None, None) => requests(stream, &shared).await,
            (ill, Some(tls)) => handshake(stream, ill, tls, &shared).await,
        }
    };
    tokio::pin!(served);
    tokio::select! {
        () = served.as_mut() => {}
        // It stays as it is, and nobody moves it on.
        _hole = gate.wait_for(|gate| *gate == Gate::BlackHole) => {}
    }
    // Also where it was over by itself: then there is nothing to wait for.
    until_open(&mut gate).await;
}

async fn until_open(gate: &mut watch::Receiver<Gate>) {
    let _over = gate.wait_for(|gate| *gate == Gate::Open).await;
}

async fn handshake(mut stream: TcpStream, ill: Option<Ill>, tls: &Tls, shared: &Shared) {
    match ill {
        None => {
            if let Ok(stream) = tls.known.accept(stream).await {
                requests(stream, shared).await;
            }
        }
        Some(Ill { step: Step::Stranger, .. }) => {
            if let Ok(stream) = tls.stranger.accept(stream).await {
                // Nobody may come so far; what comes is looked at.
                requests(stream, shared).await;
                shared.recorder.note(What::Broken { words: "trusted a certificate that nobody has signed".to_owned() });
            }
        }
        Some(Ill { step, end }) => {
            let mut hello = [0; 4096];
            let _read = stream.read(&mut hello).await;
            if step == Step::NotTls {
                let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            }
            finish(stream, end).await;
        }
    }
}

async fn finish(mut wire: impl Wire, end: End) {
    match end {
        End::Close => {
            let _gone = wire.shutdown().await;
        }
        End::Reset => {
            let _gone = wire.tcp().set_zero_linger();
        }
        End::Hang => {
            let mut sink = [0; 1024];
            while wire.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        }
    }
}

/// A request as it came.
struct Request {
    bytes: Vec<u8>,
    call: &'static str,
    report: Option<String>,
}

async fn requests(mut wire: impl Wire, shared: &Shared) {
    let mut upstream: Option<TcpStream> = None;
    let mut buffer = Vec::new();
    loop {
        let Some(head) = head(&mut wire, &mut buffer).await else { return };
        let call = name(&buffer[..head]);
        let ill = shared.ills.strikes(call);
        if let Some(Ill { step: Step::Head, end }) = ill {
            return finish(wire, end).await;
        }
        let Some(request) = whole(&mut wire, &mut buffer, head, call).await else { return };
        if let Some(Ill { step: Step::Body, end }) = ill {
            return finish(wire, end).await;
        }
        let mut backend = match upstream.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(shared.backend).await {
                Ok(stream) => stream,
                Err(_) => return,
            },
        };
        if backend.write_all(&request.bytes).await.is_err() {
            return;
        }
        let good = match &ill {
            None => relay(&mut wire, &mut backend).await,
            Some(ill) => spoiled(&mut wire, &mut backend, &ill.step).await,
        };
        if let Some(report) = request.report {
            let clean = ill.is_none() && good.as_ref().is_some_and(|answer| answer.is_good);
            shared.recorder.note(What::Delivered { report, clean });
        }
        match ill {
            Some(Ill { step: Step::Drip(_), .. }) | None if good.is_some() => {}
            Some(Ill { end, .. }) => return finish(wire, end).await,
            None => return,
        }
        if shared.ills.closes_each() {
            return finish(wire, End::Close).await;
        }
        upstream = Some(backend);
    }
}

/// Reads to the end of a head; gives its length.
async fn head(wire: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            return Some(end + 4);
        }
        if buffer.len() > HEAD_LIMIT || wire.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads the body that a head announces.
async fn whole(wire: &mut impl Wire, buffer: &mut Vec<u8>, head: usize, call: &'static str) -> Option<Request> {
    let length = field(&buffer[..head], "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head + length {
        if wire.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let bytes: Vec<u8> = buffer.drain(..head + length).collect();
    let report = (call == "fubar").then(|| {
        let body: serde_json::Value = serde_json::from_slice(&bytes[head..]).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    });
    Some(Request { bytes, call, report }).filter(|request| request.call == call)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn field(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The call, by the word that the simulator's ledger has for it.
fn name(head: &[u8]) -> &'static str {
    let line = String::from_utf8_lossy(head);
    let mut words = line.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match method {
        _ if path.starts_with("/users/") => "login",
        _ if path.ends_with("/lp") => "poll",
        "POST" if path.ends_with("/health") => "health",
        "POST" if path.ends_with("/fubar") => "fubar",
        "POST" if path.ends_with("/event") => "event",
        "GET" if path.ends_with("/health/config") => "health_config",
        "POST" if path.ends_with("/instance") => "register",
        "PATCH" if path.ends_with("/instance") => "update",
        "DELETE" if path.ends_with("/instance") => "unregister",
        "GET" if path.contains("/session/v1/session/") => "read_session",
        _ => "other",
    }
}

/// An answer that has come to its end.
struct Whole {
    /// What the contract has for a report.
    is_good: bool,
}

/// How far an answer has come.
#[derive(Default)]
struct Progress {
    seen: Vec<u8>,
    head: Option<usize>,
}

impl Progress {
    /// Takes the next bytes; gives what is to be known once the answer is whole.
    fn take(&mut self, bytes: &[u8]) -> Option<Whole> {
        self.seen.extend_from_slice(bytes);
        if self.head.is_none() {
            self.head = find(&self.seen, b"\r\n\r\n").map(|end| end + 4);
        }
        let head = self.head?;
        let body = &self.seen[head..];
        let done = match field(&self.seen[..head], "content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => body.len() >= length,
            None if field(&self.seen[..head], "transfer-encoding").is_some() => body.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        let is_good = self.seen.get(9..12) == Some(b"200".as_slice()) && body == b"{}";
        done.then_some(Whole { is_good })
    }
}

/// Passes an answer on as it comes. `None`: one of the sides has gone.
async fn relay(wire: &mut impl Wire, backend: &mut TcpStream) -> Option<Whole> {
    let mut progress = Progress::default();
    let mut piece = vec![0; 16 * 1024];
    let mut early = [0; 1];
    loop {
        tokio::select! {
            read = backend.read(&mut piece) => match read {
                Ok(count @ 1..) => {
                    wire.write_all(&piece[..count]).await.ok()?;
                    wire.flush().await.ok()?;
                    if let Some(whole) = progress.take(&piece[..count]) {
                        return Some(whole);
                    }
                }
                _ => return None,
            },
            // Nobody says more before the answer: this is the end.
            _gone = wire.read(&mut early) => return None,
        }
    }
}

/// Reads the answer and passes on what the ill leaves of it.
async fn spoiled(wire: &mut impl Wire, backend: &mut TcpStream, step: &Step) -> Option<Whole> {
    let mut progress = Progress::default();
    let mut piece = vec![0; 16 * 1024];
    let mut early = [0; 1];
    let whole = loop {
        tokio::select! {
            read = backend.read(&mut piece) => match read {
                Ok(count @ 1..) => {
                    if let Some(whole) = progress.take(&piece[..count]) {
                        break whole;
                    }
                }
                _ => return None,
            },
            _gone = wire.read(&mut early) => return None,
        }
    };
    let (answer, head) = (progress.seen, progress.head?);
    match step {
        Step::AnswerHead => send(wire, &answer[..head / 2]).await?,
        Step::AnswerBody => {
            send(wire, &answer[..(head + (answer.len() - head) / 2).max(head - 1).min(answer.len() - 1)]).await?
        }
        Step::Instead(bytes) => send(wire, bytes).await?,
        Step::Drip(every) => {
            for byte in &answer {
                send(wire, &[*byte]).await?;
                clock::sleep(Duration::from_millis(*every)).await;
            }
        }
        Step::Accept | Step::Tls | Step::NotTls | Step::Stranger | Step::Head | Step::Body | Step::Processed => {}
    }
    Some(whole)
}

async fn send(wire: &mut impl Wire, bytes: &[u8]) -> Option<()> {
    wire.write_all(bytes).await.ok()?;
    wire.flush().await.ok()
}
