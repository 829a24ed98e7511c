//! RallyHere's published adapter, request by request as it was recorded from the real one: the same bytes on a bare socket,
//! in its order. Once as it does it, with a new connection for each request; once over one that is kept. The real one, where it is
//! built, goes the same way in [`published`].

use std::fmt::Write as _;

use rallyhere_agent::simulator::{AllocationSpec, Generation, Options, SicSpec, SicStatus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Method, Stage, basic};

mod published;

const SERVER: &str = "sic_s-7_20000";
const LOGIN: &str = "/users/v1/login";
const REGISTER: &str = "/instances/sic_registration/v3/register";
const STATE: &str = "/instances/sic_registration/v1/state";

/// So many answers that are no good does it take before it logs in again, or tells its game.
const FAILURES: usize = 7;

/// What its two lines of credentials are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// A client's id and secret: HTTP Basic.
    Client,
    /// A user's name and password: in the body, and no HTTP Basic.
    User,
}

const CREDENTIALS: [Credentials; 2] = [Credentials::Client, Credentials::User];

fn options(api: Generation) -> Options {
    Options { api, undocumented_login: true, login_without_basic: true, ..Options::default() }
}

/// What it registers.
fn registration() -> Value {
    json!({"items": [{
        "id": SERVER,
        "group_tags": "profile_id:p-1,server_id:s-7,hostname:host-1",
        "public_host": "203.0.113.9",
        "public_port": 20000,
    }]})
}

/// What it asks.
fn question() -> Value {
    json!({"items": [{"id": SERVER}]})
}

fn good(state: &str) -> Value {
    json!({"success": true, "error_code": 0, "error_message": null, "state": state})
}

fn set(stage: &Stage, state: SicStatus, allocation: Option<&str>, session: Option<&str>) {
    let (allocation_id, session_id) = (allocation.map(str::to_owned), session.map(str::to_owned));
    stage.simulator.set_sic(&SicSpec { id: SERVER.to_owned(), state, allocation_id, session_id }).unwrap();
}

/// Sends what an adapter sends, and reads by the length that the answer names.
struct Adapter<'a> {
    stage: &'a Stage,
    credentials: Credentials,
    /// Kept, or `None` for a new connection each time.
    kept: Option<TcpStream>,
    keep: bool,
    token: String,
    refresh: Option<String>,
    connections: usize,
}

impl Adapter<'_> {
    async fn ask(&mut self, method: &str, path: &str, authorization: Option<&str>, body: &Value) -> (u16, Value) {
        let address = self.stage.base.strip_prefix("http://").unwrap();
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => {
                self.connections += 1;
                TcpStream::connect(address).await.unwrap()
            }
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // The name of the host, without its port.
        let (host, _port) = address.split_once(':').unwrap();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: RallyHere/1.0 GameHostAdapter/0.0.20 Boost.Beast/345\r\n\
             Content-Type: application/json; charset=utf-8\r\n"
        );
        if let Some(authorization) = authorization {
            write!(request, "Authorization: {authorization}\r\n").unwrap();
        }
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut text, mut chunk) = (String::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "the connection ended: {text}");
            text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            };
            let length = head.lines().find_map(length).unwrap_or_else(|| panic!("no length: {head}"));
            if body.len() < length {
                continue;
            }
            assert_eq!(body.len(), length);
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"));
            if self.keep {
                self.kept = Some(stream);
            }
            return (status, json);
        }
    }

    /// By the refresh token if there is one, else by the credentials; gives the status.
    async fn log_in(&mut self) -> u16 {
        let basic = (self.refresh.is_none() && self.credentials == Credentials::Client).then(|| basic("agent", "s"));
        let body = match (&self.refresh, self.credentials) {
            (Some(token), _) => json!({"grant_type": "refresh", "portal_access_token": token}),
            (None, Credentials::Client) => json!({"grant_type": "client_credentials", "include_refresh": true}),
            (None, Credentials::User) => json!({"grant_type": "basic", "include_refresh": true,
                "portal_access_token": "agent:s", "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true}),
        };
        let (status, answer) = self.ask("POST", LOGIN, basic.as_deref(), &body).await;
        if status != 200 {
            self.refresh = None;
            return status;
        }
        // One that is there must be a text: null is the end of the game.
        assert_eq!(answer.get("refresh_token").is_some(), self.refresh.is_none(), "{answer}");
        if let Some(token) = answer.get("refresh_token") {
            self.refresh = Some(token.as_str().unwrap().to_owned());
        }
        self.token = answer["access_token"].as_str().unwrap().to_owned();
        status
    }

    async fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let authorization = format!("Bearer {}", self.token);
        self.ask(method, path, Some(&authorization), &body).await
    }

    async fn register(&mut self) -> Value {
        let (status, answer) = self.call("POST", REGISTER, registration()).await;
        assert_eq!(status, 200, "{answer}");
        answer["items"][0].clone()
    }

    async fn state(&mut self) -> Value {
        let (status, answer) = self.call("POST", STATE, question()).await;
        assert_eq!((status, answer["items"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
        answer["items"][0].clone()
    }

    /// A token that has run out is a 403, which it believes at the seventh time.
    async fn refused(&mut self) {
        for _ in 0..FAILURES {
            let (status, refused) = self.call("POST", STATE, question()).await;
            assert_eq!((status, &refused["auth_success"]), (403, &json!(false)), "{refused}");
        }
    }
}

/// From the first word to the last, as the adapter and the game around it do it.
async fn a_life(api: Generation, credentials: Credentials, keep: bool) {
    let stage = Stage::new(options(api)).await;
    let mut adapter =
        Adapter { stage: &stage, credentials, kept: None, keep, token: String::new(), refresh: None, connections: 0 };
    assert_eq!(adapter.log_in().await, 200);
    assert_eq!(adapter.register().await, json!({"success": true, "error_code": 0, "error_message": null}));
    for _ in 0..3 {
        assert_eq!(adapter.state().await, good("deallocated"));
    }
    adapter.stage.simulator.expire_tokens(false);
    adapter.refused().await;
    assert_eq!(adapter.log_in().await, 200, "by the refresh token");
    assert_eq!(adapter.state().await, good("deallocated"));
    adapter.stage.simulator.expire_tokens(true);
    adapter.refused().await;
    assert_eq!(adapter.log_in().await, 403, "the refresh token is old, too");
    assert_eq!(adapter.log_in().await, 200, "by the credentials");
    // One that SIC does not know has no state; the adapter never registers again by itself.
    set(&stage, SicStatus::Forgotten, None, None);
    let unknown = adapter.state().await;
    assert!(
        unknown["success"] == false && unknown["error_code"].is_i64() && unknown.get("state").is_none(),
        "{unknown}"
    );
    assert_eq!(adapter.register().await["success"], true);
    // A registration while it is being allocated is fine, too: 6.
    set(&stage, SicStatus::Allocating, None, None);
    let being = adapter.register().await;
    assert_eq!((&being["success"], &being["error_code"]), (&json!(false), &json!(6)));
    assert!(being["error_message"].is_string(), "{being}");
    assert_eq!(adapter.state().await, good("allocating"));
    set(&stage, SicStatus::Allocated, Some("alloc-9"), None);
    let mut allocated = good("allocated");
    allocated["allocation_id"] = json!("alloc-9");
    assert_eq!(adapter.state().await, allocated);

    // The game asks for the session until it is bound.
    let by_allocation = "/session/v1/session/allocation/alloc-9";
    assert_eq!(adapter.call("GET", by_allocation, Value::Null).await.0, 404);
    stage.simulator.allocate(&AllocationSpec::bound("alloc-9", "demo")).unwrap();
    let (status, session) = adapter.call("GET", by_allocation, Value::Null).await;
    assert_eq!((status, &session["instance"]["allocation_id"]), (200, &json!("alloc-9")), "{session}");
    let instance = "/session/v1/session/demo/instance";
    let (status, shown) =
        adapter.call("PATCH", instance, json!({"allocation_id": "alloc-9", "join_status": "pending"})).await;
    assert_eq!((status, &shown["join_status"]), (200, &json!("pending")), "{shown}");
    let params = json!({
        "public_conn_str": "unreal://203.0.113.9:20000",
        "private_conn_str": "",
        "custom_data": {"rh.SessionSecurityToken": "0123456789abcdef0123456789abcdef"},
    });
    let joinable =
        json!({"allocation_id": "alloc-9", "join_status": "joinable", "join_params": params, "version": "1.2.0+34"});
    let (status, shown) = adapter.call("PATCH", instance, joinable).await;
    assert_eq!((status, &shown["join_status"]), (200, &json!("joinable")), "{shown}");

    // Whoever goes on asking sees its end.
    set(&stage, SicStatus::Deallocated, None, None);
    assert_eq!(adapter.state().await, good("deallocated"));

    let ledger = stage.simulator.ledger();
    assert!(ledger.rejections.is_empty(), "refused by the contract: {:?}", ledger.rejections);
    let requests = usize::try_from(ledger.requests_total).unwrap() - 1;
    assert_eq!(adapter.connections, if keep { 1 } else { requests }, "beside the stage's own login");
}

#[tokio::test]
async fn rallyheres_adapter_is_answered_on_connections_of_its_own_and_on_one_that_is_kept() {
    for api in Generation::ALL {
        for credentials in CREDENTIALS {
            for keep in [false, true] {
                a_life(api, credentials, keep).await;
            }
        }
    }
}

#[tokio::test]
async fn a_login_without_a_client_is_refused_where_it_is_not_asked_for() {
    let user = json!({"grant_type": "basic", "portal_access_token": "agent:s", "include_refresh": true});
    let log_in = async |stage: &Stage, body: &Value| -> Answer {
        stage.send(Method::POST, LOGIN, None, None, body).await.unwrap()
    };
    let plain = Stage::plain().await;
    let refused = log_in(&plain, &user).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "basic_token_empty"));

    let stage = Stage::new(options(Generation::V2023_11)).await;
    let taken = log_in(&stage, &user).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let client = json!({"grant_type": "client_credentials", "include_refresh": true});
    let unknown = json!({"grant_type": "refresh", "portal_access_token": "never given"});
    for nobody in [client, unknown] {
        let refused = log_in(&stage, &nobody).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "basic_token_empty"), "{nobody}");
    }
}
