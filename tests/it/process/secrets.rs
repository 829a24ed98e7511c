//! Every secret that crosses the wire, looked for in everything that is said: tokens that are refreshed, and a backend that
//! repeats in its errors what it was sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rallyhere_agent::simulator::{Fault, Ledger, Options};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::home::Home;
use super::stage::{SECRET, Stage, options, until};

/// A listener in front of the environment that keeps what passes.
struct Tap {
    url: String,
    heard: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Tap {
    async fn before(stage: &Stage) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (kept, behind) = (Arc::clone(&heard), stage.url.strip_prefix("http://").unwrap().to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((agent, _)) = listener.accept().await {
                let (from_agent, to_agent) = agent.into_split();
                let Ok(backend) = TcpStream::connect(&behind).await else { return };
                let (from_backend, to_backend) = backend.into_split();
                pipes.spawn(pass(from_agent, to_backend, Arc::clone(&kept)));
                pipes.spawn(pass(from_backend, to_agent, Arc::clone(&kept)));
            }
        });
        Self { url, heard, _tasks: tasks }
    }

    /// The tokens of this name that were given so far, oldest first.
    fn tokens(&self, name: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let text = String::from_utf8_lossy(&heard);
        let begin = format!("\"{name}\":\"");
        let pieces = text.split(begin.as_str()).skip(1);
        pieces.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        kept.lock().unwrap().extend_from_slice(&chunk[..count]);
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

/// An error in which the backend repeats what it was sent.
fn repeats(text: &str) -> Fault {
    let body = json!({"auth_success": true, "error_code": text, "desc": format!("you sent {text}")});
    Fault::Status { code: 500, body: Some(body), headers: Vec::new() }
}

#[tokio::test]
async fn no_token_and_no_secret_is_ever_said() {
    // Refreshed after a second or two, by a refresh token.
    let lifetime = Duration::from_secs(2);
    let stage = Stage::with(Options { oauth_refresh_tokens: true, token_lifetime: lifetime, ..options() }).await;
    let tap = Tap::before(&stage).await;
    stage.inject(repeats(SECRET).on("login").times(1));
    let home = Home::at(&tap.url).alone().with_quick_logins();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.simulator.set_token_lifetime(Duration::from_secs(3600));
    let refreshed = |ledger: &Ledger| {
        ledger.logins.iter().any(|login| login.grant.as_deref() == Some("refresh") && login.error_code.is_none())
    };
    stage.until("a refresh", refreshed).await;
    agent.until("the new token", |status| status["auth"]["state"] == "valid").await;
    let newest = |name: &str| tap.tokens(name).pop().unwrap();
    stage.inject(repeats(&newest("access_token")).on("health").times(1));
    agent.until("a refused health post", |status| status["counters"]["health_failed"] == 1).await;
    stage.inject(repeats(&newest("refresh_token")).on("login").times(1));
    stage.simulator.expire_tokens(false);
    agent.until("a failed refresh", |status| status["auth"]["detail"].is_string()).await;
    agent.signal(Signal::HUP);
    agent.until("the next login", |status| status["auth"]["detail"].is_null()).await;
    stage.until_beats(1).await;

    let tokens = [tap.tokens("access_token"), tap.tokens("refresh_token")].concat();
    assert!(tokens.len() >= 6, "{}", tokens.len());
    let status = agent.status().await.to_string();
    let output = agent.output();
    for token in &tokens {
        assert!(!output.contains(token.as_str()) && !status.contains(token.as_str()), "{output}\n{status}");
    }
    // The first failed login and the health post; the second failed login is the same cause in the same minute.
    assert_eq!(output.matches("you sent [redacted]").count(), 2, "{output}");
    agent.stop().await;
}

#[tokio::test]
async fn the_local_token_is_asked_for_and_never_said() {
    let stage = Stage::start().await;
    let mut home = Home::new(&stage).alone().set("local_api.listen", "127.0.0.1:0");
    home.secret_file("local-token", "l0cal-t0ken-0815");
    let file = home.path("local-token").display().to_string();
    let home = home.set("local_api.token_file", file);
    let agent = home.start();
    let address = until("the address in the log", async || {
        let output = agent.output();
        let rest = output.split_once("listen=")?.1;
        rest.split_whitespace().next().map(str::to_owned)
    })
    .await;
    let status = async |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        super::socket::call_tcp(&address, "GET /v1/status", &headers, None).await.unwrap()
    };
    assert_eq!(status("l0cal-t0ken-0815").await.0, 200);
    let (refused, words) = status("l0cal-t0ken-0816").await;
    assert_eq!(refused, 401);
    assert!(!words.contains("l0cal"), "{words}");
    agent.stop().await;
}
