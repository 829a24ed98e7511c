//! RallyHere's published adapter, as far as its requests are known (its own sources cannot be had here): the same bytes on a bare
//! socket, in its order. Once as it does it, with a new connection for each request; once over one that is kept.

use std::fmt::Write as _;

use rallyhere_agent::simulator::{AllocationSpec, Generation, Options, SicSpec, SicStatus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Stage, basic};

const SERVER: &str = "sic_s-7_40000";
const REGISTER: &str = "/instances/sic_registration/v3/register";
const STATE: &str = "/instances/sic_registration/v1/state";

/// Sends what an adapter sends, and reads by the length that the answer names.
struct Adapter<'a> {
    stage: &'a Stage,
    /// Kept, or `None` for a new connection each time.
    kept: Option<TcpStream>,
    keep: bool,
    token: String,
    connections: usize,
}

impl Adapter<'_> {
    async fn ask(&mut self, method: &str, path: &str, authorization: &str, body: &Value) -> (u16, Value) {
        let host = self.stage.base.strip_prefix("http://").unwrap();
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => {
                self.connections += 1;
                TcpStream::connect(host).await.unwrap()
            }
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let connection = if self.keep { "keep-alive" } else { "close" };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cpp-httplib/0.11\r\nAccept: */*\r\n\
             Authorization: {authorization}\r\nConnection: {connection}\r\n"
        );
        if !body.is_empty() {
            write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        request.push_str(&body);
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
            } else {
                assert_eq!(stream.read(&mut chunk).await.unwrap(), 0, "closed, as it was asked");
            }
            return (status, json);
        }
    }

    async fn log_in(&mut self) {
        let body = json!({"grant_type": "client_credentials", "include_refresh": true});
        let (status, answer) = self.ask("POST", "/users/v1/login", &basic("agent", "s"), &body).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer["refresh_token"].is_string(), "{answer}");
        self.token = answer["access_token"].as_str().unwrap().to_owned();
    }

    async fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let authorization = format!("Bearer {}", self.token);
        self.ask(method, path, &authorization, &body).await
    }

    async fn register(&mut self) -> Value {
        let entry = json!({
            "id": SERVER,
            "group_tags": "profile_id:p-1,server_id:s-7,hostname:host-1",
            "public_host": "203.0.113.9",
            "public_port": 40000,
        });
        let (status, answer) = self.call("POST", REGISTER, json!({"items": [entry]})).await;
        assert_eq!(status, 200, "{answer}");
        answer["items"][0].clone()
    }

    async fn state(&mut self) -> Value {
        let (status, answer) = self.call("POST", STATE, json!({"items": [{"id": SERVER}]})).await;
        assert_eq!((status, answer["items"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
        answer["items"][0].clone()
    }
}

fn set(stage: &Stage, state: SicStatus, allocation: Option<&str>) {
    let allocation_id = allocation.map(str::to_owned);
    stage.simulator.set_sic(&SicSpec { id: SERVER.to_owned(), state, allocation_id, session_id: None }).unwrap();
}

/// From the first word to the last, as the adapter and the game around it do it.
async fn a_life(api: Generation, keep: bool) {
    let stage = Stage::new(Options { api, undocumented_login: true, ..Options::default() }).await;
    let mut adapter = Adapter { stage: &stage, kept: None, keep, token: String::new(), connections: 0 };
    adapter.log_in().await;
    // One that it does not know, then the registration, also a second one.
    let unknown = adapter.state().await;
    assert!(unknown["success"] == false && unknown["error_code"].is_i64(), "{unknown}");
    for _ in 0..2 {
        assert_eq!(adapter.register().await, json!({"success": true, "error_code": 0}));
    }
    for _ in 0..3 {
        assert_eq!(adapter.state().await, json!({"success": true, "error_code": 0, "state": "deallocated"}));
    }
    // A registration while it is being allocated is fine, too: 6.
    set(&stage, SicStatus::Allocating, None);
    let being = adapter.register().await;
    assert_eq!((&being["success"], &being["error_code"]), (&json!(false), &json!(6)));
    assert!(being["error_message"].is_string(), "{being}");
    assert_eq!(adapter.state().await["state"], "allocating");
    set(&stage, SicStatus::Allocated, Some("alloc-9"));
    let allocated = adapter.state().await;
    assert_eq!((&allocated["state"], &allocated["allocation_id"]), (&json!("allocated"), &json!("alloc-9")));

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
        "public_conn_str": "unreal://203.0.113.9:40000",
        "private_conn_str": "",
        "custom_data": {"rh.SessionSecurityToken": "0123456789abcdef0123456789abcdef"},
    });
    let joinable =
        json!({"allocation_id": "alloc-9", "join_status": "joinable", "join_params": params, "version": "1.2.0+34"});
    let (status, shown) = adapter.call("PATCH", instance, joinable).await;
    assert_eq!((status, &shown["join_status"]), (200, &json!("joinable")), "{shown}");

    // A token that has run out is 403, and the same question is answered with the next one.
    stage.simulator.expire_tokens(true);
    let (status, refused) = adapter.call("POST", STATE, json!({"items": [{"id": SERVER}]})).await;
    assert!([401, 403].contains(&status) && refused["auth_success"] == false, "{status} {refused}");
    adapter.log_in().await;
    assert_eq!(adapter.state().await["state"], "allocated");
    set(&stage, SicStatus::Deallocated, None);
    assert_eq!(adapter.state().await["state"], "deallocated");

    let ledger = stage.simulator.ledger();
    assert!(ledger.rejections.is_empty(), "refused by the contract: {:?}", ledger.rejections);
    let requests = usize::try_from(ledger.requests_total).unwrap() - 1;
    assert_eq!(adapter.connections, if keep { 1 } else { requests }, "beside the stage's own login");
}

#[tokio::test]
async fn rallyheres_adapter_is_answered_on_connections_of_its_own_and_on_one_that_is_kept() {
    for api in [Generation::V2023_11, Generation::Between, Generation::V2026_08] {
        for keep in [false, true] {
            a_life(api, keep).await;
        }
    }
}
