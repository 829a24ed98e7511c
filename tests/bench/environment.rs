//! The backend of the benchmarks: the simulator, on a thread of its own in this process.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::simulator::{Happening, Options, SessionSpec, Simulator, What};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinSet;

use crate::front;

/// Nothing here takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_late| panic!("never came: {what}"))
}

/// A simulated environment, over plain HTTP and over TLS.
pub(crate) struct Environment {
    pub(crate) simulator: Simulator,
    /// Over plain HTTP, over TLS, and over TLS with HTTP/2 on offer.
    pub(crate) url: String,
    pub(crate) tls_url: String,
    pub(crate) http2_url: String,
    /// What a client must trust to use the latter two.
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
        let (plain, over_tls, over_http2) = (listen(), listen(), listen());
        let address = |listener: &std::net::TcpListener| listener.local_addr().unwrap();
        let [plain_address, tls_address, http2_address] = [&plain, &over_tls, &over_http2].map(address);
        let ([acceptor, http2_acceptor], certificate) = front::acceptors();
        let ca = dir.join(format!("ca-{}.pem", tls_address.port()));
        std::fs::write(&ca, certificate).unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = simulator.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut fronts = JoinSet::new();
                for (listener, acceptor) in [(over_tls, acceptor), (over_http2, http2_acceptor)] {
                    let listener = TcpListener::from_std(listener).unwrap();
                    fronts.spawn(front::serve(listener, acceptor, plain_address, http()));
                }
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
            http2_url: format!("https://{http2_address}"),
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
