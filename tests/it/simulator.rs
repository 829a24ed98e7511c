//! Tests: simulator. Everything here goes over real loopback HTTP, as a client of the service would.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rallyhere_agent::clock;
use rallyhere_agent::simulator::{Ledger, Options, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

mod adapter;
mod contract;
mod control;
mod faults;
mod flows;
mod polls;
mod refusals;
mod schema;

const SESSION: &str = "/session/v1/session/demo";
const INSTANCE: &str = "/session/v1/session/demo/instance";
const HEALTH: &str = "/session/v1/session/demo/instance/health";
const POLL: &str = "/notification/v1/instance/me/stream/notification/lp";
const NOTIFICATIONS: &str = "/notification/v1/instance/me/notification";

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A simulator that is served, and a client of it that is logged in.
struct Stage {
    simulator: Simulator,
    base: String,
    http: reqwest::Client,
    token: String,
    _running: JoinSet<()>,
    _stop: oneshot::Sender<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    etag: Option<String>,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    fn code(&self) -> String {
        self.json()["error_code"].as_str().unwrap_or_default().to_owned()
    }
}

fn client() -> reqwest::Client {
    // A second test has installed it already: that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

impl Stage {
    async fn new(options: Options) -> Self {
        let simulator = Simulator::new(&options);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = JoinSet::new();
        running.spawn(simulator.serve(listener, async move {
            let _ = stopped.await;
        }));
        let mut stage = Self { simulator, base, http: client(), token: String::new(), _running: running, _stop: stop };
        stage.token = stage.log_in("agent", "s").await;
        stage
    }

    async fn plain() -> Self {
        Self::new(Options::default()).await
    }

    /// With an instance of our own, named "me".
    async fn registered() -> Self {
        let stage = Self::plain().await;
        let answer = stage.post(INSTANCE, json!({"host_type": "dedicated", "instance_id": "me"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stage
    }

    async fn log_in(&self, id: &str, secret: &str) -> String {
        let body = json!({"grant_type": "client_credentials"});
        let answer = self.send(Method::POST, "/users/v2/oauth/token", Some(&basic(id, secret)), None, &body).await;
        answer.expect("an answer").json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// The general form; a body of null is no body.
    async fn send(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        etag: Option<&str>,
        body: &Value,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        read(request.send().await?).await
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> reqwest::Result<Answer> {
        self.send(method, path, Some(&format!("Bearer {}", self.token)), None, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &Value::Null).await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &body).await.expect("an answer")
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, &body).await.expect("an answer")
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &Value::Null).await.expect("an answer")
    }

    /// A control call: no login.
    async fn control(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(method, &format!("/_sim/{path}"), None, None, &body).await.expect("an answer")
    }

    /// Waits until the ledger shows something.
    async fn until(&self, what: &str, seen: impl Fn(&Ledger) -> bool) {
        let waiting = async {
            while !self.simulator.read_ledger(&seen) {
                clock::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_late| panic!("never seen: {what}"));
    }
}

async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let etag = headers.get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    Ok(Answer { status, etag, headers, text: response.text().await? })
}

/// The messages of a page of notifications.
fn messages(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let entries = page["notifications"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
}

fn message(text: &str) -> Value {
    json!({"message": text})
}
