//! The backend of the benchmarks: the simulator, on a thread of its own in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::simulator::{Happening, Options, SessionSpec, Simulator, What};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Nothing here takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_late| panic!("never came: {what}"))
}

/// A simulated environment, over plain HTTP and over TLS.
pub(crate) struct Environment {
    pub(crate) simulator: Simulator,
    /// Over plain HTTP, and over TLS.
    pub(crate) url: String,
    pub(crate) tls_url: String,
    /// What a client must trust to use the latter.
    pub(crate) ca: PathBuf,
    http: reqwest::Client,
    began: Instant,
    sessions: std::cell::Cell<u32>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Environment {
    /// Expects health every so many seconds; the certificate is written into `dir`.
    pub(crate) fn start(cadence: u32, dir: &Path) -> Self {
        let began = clock::now();
        let simulator = Simulator::new(&Options { health_cadence_seconds: cadence, ..Options::default() });
        let (plain, over_tls) = (listen(), listen());
        let address = |listener: &std::net::TcpListener| listener.local_addr().unwrap();
        let (plain_address, tls_address) = (address(&plain), address(&over_tls));
        let (acceptor, certificate) = tls();
        let ca = dir.join(format!("ca-{}.pem", tls_address.port()));
        std::fs::write(&ca, certificate).unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = simulator.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut fronts = JoinSet::new();
                fronts.spawn(front(TcpListener::from_std(over_tls).unwrap(), acceptor, plain_address));
                let stopped = async {
                    let _gone = stopped.await;
                };
                served.serve(TcpListener::from_std(plain).unwrap(), stopped).await;
            });
        });
        Self {
            simulator,
            url: format!("http://{plain_address}"),
            tls_url: format!("https://{tls_address}"),
            ca,
            http: http(),
            began,
            sessions: std::cell::Cell::new(0),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A session that nobody hosts yet.
    pub(crate) fn new_session(&self) -> String {
        self.sessions.set(self.sessions.get() + 1);
        let session = format!("session-{}", self.sessions.get());
        self.simulator.create_session(&SessionSpec::new(&session)).unwrap();
        session
    }

    /// A call of the bench itself.
    pub(crate) async fn call(&self, path: &str, authorization: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).header("authorization", authorization);
        let sent = request.header("content-type", "application/json").body(body.to_string()).send();
        let answer = within(path, sent).await.unwrap().error_for_status().unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    /// A token: any credentials are good.
    pub(crate) async fn token(&self) -> String {
        let login = json!({"grant_type": "client_credentials"});
        let answer = self.call("/users/v2/oauth/token", "Basic YmVuY2g6cw==", &login).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Puts an instance of the bench's own into a session.
    pub(crate) async fn register(&self, token: &str, session: &str, instance: &str) {
        let body = json!({"host_type": "dedicated", "instance_id": instance});
        self.call(&format!("/session/v1/session/{session}/instance"), &format!("Bearer {token}"), &body).await;
    }

    /// What happens from now on.
    pub(crate) fn watch(&self) -> Watch {
        Watch { happenings: self.simulator.subscribe(), began: self.began }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What happens in an environment.
pub(crate) struct Watch {
    happenings: broadcast::Receiver<Happening>,
    began: Instant,
}

impl Watch {
    /// Waits for something, and says when the simulator saw it.
    pub(crate) async fn until(&mut self, what: &str, seen: impl Fn(&What) -> bool) -> Instant {
        within(what, async {
            loop {
                let happening = self.happenings.recv().await.unwrap();
                if seen(&happening.what) {
                    return self.began + happening.at;
                }
            }
        })
        .await
    }
}

fn listen() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn http() -> reqwest::Client {
    // Who comes second finds it installed: that is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn tls() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

/// Takes the TLS off and passes the rest on.
async fn front(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // An end in the middle is the other side's: a killed process, mostly.
            let _ended: std::io::Result<_> = async {
                let (mut inside, mut outside) = (TcpStream::connect(to).await?, acceptor.accept(stream).await?);
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            }
            .await;
        });
    }
}
