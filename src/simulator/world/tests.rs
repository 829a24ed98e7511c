use std::net::SocketAddr;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, IF_NONE_MATCH};
use serde_json::json;

use super::*;
use crate::simulator::contract::{Route, route};
use crate::simulator::ledger::{Outcome, RequestRecord};
use crate::simulator::options::{ClientSpec, Generation, UserSpec};

/// A world, a client with a token, and a time of its own.
struct Scene {
    world: World,
    moment: Moment,
    bearer: BTreeMap<&'static str, String>,
}

struct Answer {
    status: u16,
    etag: Option<String>,
    body: Value,
}

impl Scene {
    fn new(options: Options) -> Self {
        let moment = Moment { now: crate::clock::now(), wall: crate::clock::wall() };
        let options = Options { seed: Some(7), ..options };
        let world = World::new(&options, moment, broadcast::Sender::new(64));
        let mut scene = Self { world, moment, bearer: BTreeMap::new() };
        scene.log_in("agent");
        scene
    }

    fn log_in(&mut self, client: &'static str) {
        self.world.desk.basic(Some(&format!("Basic {}", basic(client, "s")))).unwrap();
        let token = self.world.desk.issue(client, None, self.moment, &mut self.world.rng);
        self.bearer.insert(client, format!("Bearer {token}"));
    }

    fn pass(&mut self, seconds: u64) {
        self.moment.now += Duration::from_secs(seconds);
    }

    fn ask(&mut self, method: &str, uri: &str, body: Value) -> Answer {
        self.ask_as("agent", method, uri, body, None)
    }

    fn ask_as(&mut self, client: &str, method: &str, uri: &str, body: Value, etag: Option<&str>) -> Answer {
        let bearer = self.bearer[client].clone();
        self.send(&bearer, method, uri, body, etag)
    }

    fn send(&mut self, authorization: &str, method: &str, uri: &str, body: Value, etag: Option<&str>) -> Answer {
        let mut request = hyper::Request::builder().method(method).uri(uri).header(AUTHORIZATION, authorization);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut arrived = Arrived::head(&parts, SocketAddr::from(([127, 0, 0, 1], 1)));
        arrived.body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let Route::Call(operation, parts) = route(Generation::V2023_11, method, parts.uri.path()) else {
            panic!("no such call: {uri}")
        };
        let number = self.world.ledger.arrived(record());
        let checked = self.world.examine(number, operation, &parts, &arrived, true, self.moment);
        let reply = checked.map_or_else(|refused| refused, |checked| self.world.act(&checked, self.moment));
        let etag = reply.headers.iter().find(|(name, _)| name == hyper::header::ETAG);
        Answer {
            status: reply.status.as_u16(),
            etag: etag.map(|(_, value)| value.to_str().unwrap().to_owned()),
            body: serde_json::from_slice(&reply.body).unwrap_or_default(),
        }
    }

    fn read(&mut self) -> Answer {
        self.ask("GET", "/session/v1/session/demo", Value::Null)
    }
}

fn basic(id: &str, secret: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"))
}

fn record() -> RequestRecord {
    RequestRecord {
        number: 0,
        at_ms: 0,
        ended_ms: None,
        method: String::new(),
        path: String::new(),
        query: String::new(),
        call: None,
        status: None,
        client: None,
        authorization: Authorization::NotChecked,
        processed: false,
        fault: None,
        outcome: Outcome::Open,
        body: None,
    }
}

const INSTANCE: &str = "/session/v1/session/demo/instance";
const HEALTH: &str = "/session/v1/session/demo/instance/health";

fn allocated() -> Options {
    let mut spec = AllocationSpec::bound("alloc-1", "demo");
    spec.instance_id = Some("i-1".to_owned());
    Options { allocations: vec![spec], ..Options::default() }
}

#[test]
fn an_update_replaces_everything_but_the_join_status() {
    let mut scene = Scene::new(Options::default());
    scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "me", "custom_data": {"a": "1"}}));
    let full = json!({
        "join_status": "joinable", "version": "1.2.3",
        "join_params": {"public_conn_str": "h:1", "private_conn_str": ""}, "custom_data": {"b": "2"}
    });
    let answer = scene.ask("PATCH", INSTANCE, full);
    assert_eq!((answer.status, &answer.body["custom_data"]), (200, &json!({"b": "2"})));
    let answer = scene.ask("PATCH", INSTANCE, json!({}));
    assert_eq!(answer.body["join_status"], "joinable");
    for field in ["join_params", "version"] {
        assert!(answer.body.get(field).is_none(), "{field} is gone");
    }
    assert_eq!(answer.body["custom_data"], json!({}));
}

#[test]
fn only_the_right_allocation_id_updates_an_allocated_instance() {
    let mut scene = Scene::new(allocated());
    assert_eq!(scene.read().body["instance"]["join_status"], "allocated");
    for fence in [json!({}), json!({"allocation_id": "alloc-2"})] {
        let answer = scene.ask("PATCH", INSTANCE, fence);
        assert_eq!((answer.status, &answer.body["error_code"]), (403, &json!("instance_allocation_mismatch")));
        assert_eq!(answer.body["auth_success"], true);
    }
    let answer = scene.ask("PATCH", INSTANCE, json!({"allocation_id": "alloc-1", "join_status": "pending"}));
    assert_eq!((answer.status, &answer.body["join_status"]), (200, &json!("pending")));

    scene.world.allocate(&AllocationSpec::bound("alloc-2", "demo"), scene.moment).unwrap();
    let answer = scene.ask("PATCH", INSTANCE, json!({"allocation_id": "alloc-1", "join_status": "closed"}));
    assert_eq!(answer.status, 403, "the session is somebody else's now");
    assert_eq!(scene.ask("GET", "/session/v1/session/allocation/alloc-1", Value::Null).status, 404);
    assert_eq!(scene.ask("GET", "/session/v1/session/allocation/alloc-2", Value::Null).status, 200);
}

#[test]
fn a_post_or_a_delete_takes_over_whoever_is_there_and_the_ledger_knows() {
    let mut scene = Scene::new(allocated());
    scene.log_in("other");
    let mine = json!({"host_type": "dedicated", "instance_id": "mine"});
    assert_eq!(scene.ask("POST", INSTANCE, mine.clone()).status, 200);
    assert_eq!(scene.ask("POST", INSTANCE, mine.clone()).status, 200);
    assert_eq!(scene.ask_as("other", "DELETE", INSTANCE, Value::Null, None).status, 204);
    let taken: Vec<_> =
        scene.world.ledger.replacements.iter().map(|r| (r.client.as_str(), r.old_instance_id.as_str())).collect();
    assert_eq!(taken, [("agent", "i-1"), ("other", "mine")], "the repetition by its own host is none");

    assert_eq!(scene.ask("DELETE", INSTANCE, Value::Null).body["error_code"], "instance_not_found");
    assert_eq!(scene.ask("PATCH", INSTANCE, json!({})).status, 404);
    scene.ask("POST", INSTANCE, mine);
    scene.ask("PATCH", INSTANCE, json!({"join_status": "closed"}));
    scene.ask_as("other", "POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "theirs"}), None);
    assert_eq!(scene.world.ledger.replacements.len(), 2, "a closed instance may be replaced");
}

#[test]
fn a_host_that_does_not_name_itself_is_only_requested() {
    let mut scene = Scene::new(Options::default());
    let status = |answer: Answer| answer.body["join_status"].as_str().unwrap().to_owned();
    assert_eq!(status(scene.ask("POST", INSTANCE, json!({"host_type": "dedicated"}))), "requested");
    assert_eq!(status(scene.ask("POST", INSTANCE, json!({"host_type": "player"}))), "pending");
    assert_eq!(status(scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "i"}))), "pending");
}

#[test]
fn what_a_good_host_does_not_do_is_noted() {
    let mut scene = Scene::new(Options::default());
    scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "me"}));
    let params = json!({"public_conn_str": "", "private_conn_str": "h:1"});
    for (body, odd) in [
        (json!({"join_status": "joinable"}), Some("is joinable without a connection string")),
        (json!({"join_status": "joinable", "join_params": params}), None),
        (json!({"join_status": "pending"}), Some("moved a joinable instance back to pending")),
        (json!({"join_status": "closed"}), None),
        (json!({"join_status": "pending"}), Some("reopened a closed instance")),
        (json!({"join_status": "allocated"}), Some("wrote a join_status that only the backend writes")),
    ] {
        let before = scene.world.ledger.oddities.len();
        assert_eq!(scene.ask("PATCH", INSTANCE, body.clone()).status, 200);
        let new = scene.world.ledger.oddities.get(before).map(|oddity| oddity.what.as_str());
        assert_eq!(new, odd, "{body}");
    }
}

#[test]
fn a_hosts_other_duties_are_in_the_ledger_in_order_with_what_was_odd_about_them() {
    let mut scene = Scene::new(Options::default());
    let at = |rest: &str| format!("/session/v1/session/demo{rest}");
    let player = "/player/00000000-0000-4000-8000-0000000000AB";
    scene.ask("POST", &at(player), json!({"team_id": 0}));
    let (named, other) = (json!({"match_id": "m-1"}), json!({"match_id": "m-2"}));
    for (method, rest, body, call, odd) in [
        ("PATCH", "/match", named.clone(), "update_match", Some("updated a match that does not run")),
        ("DELETE", "/match", Value::Null, "end_match", None),
        ("POST", "/match", named.clone(), "start_match", None),
        ("POST", "/match", named.clone(), "start_match", None),
        ("PATCH", "/match", named, "update_match", None),
        ("PATCH", "/match", other, "update_match", Some("updated a match that does not run")),
        ("POST", "/match", json!({"match_id": "m-3"}), "start_match", Some("began a match over another one")),
        ("PATCH", "/browser", json!({}), "update_browser", Some("updated a listing that is not there")),
        ("DELETE", "/browser", Value::Null, "delete_browser", None),
        ("POST", "/browser", json!({"custom_data": {"map": "m"}}), "add_browser", None),
        ("PATCH", "/browser", json!({"custom_data": {}}), "update_browser", None),
        ("PATCH", "", json!({"joinable": false}), "update_session", None),
        ("DELETE", player, Value::Null, "remove_player", None),
    ] {
        let before = scene.world.ledger.oddities.len();
        assert!([200, 204].contains(&scene.ask(method, &at(rest), body.clone()).status), "{method} {rest}");
        let done = scene.world.ledger.duties.back().unwrap();
        let body =
            if call == "remove_player" { json!({"player_uuid": "00000000-0000-4000-8000-0000000000ab"}) } else { body };
        assert_eq!((done.call, &done.body, done.client.as_str()), (call, &body, "agent"));
        let new = scene.world.ledger.oddities.get(before).map(|oddity| oddity.what.as_str());
        assert_eq!(new, odd, "{method} {rest} {body}");
    }
    assert_eq!(scene.world.ledger.duties.len(), 13);
    assert_eq!(scene.ask("DELETE", &at(player), Value::Null).status, 404);
    assert_eq!(scene.world.ledger.duties.len(), 13, "what was refused was not done");
    let session = scene.read().body;
    assert_eq!((&session["match"]["match_id"], &session["browser"]), (&json!("m-3"), &json!({"custom_data": {}})));
    assert_eq!((&session["joinable"], &session["teams"][0]["players"]), (&json!(false), &json!([])));
}

#[test]
fn the_version_changes_with_the_session_and_only_then() {
    let mut scene = Scene::new(Options::default());
    let before = scene.read().etag;
    assert_eq!(scene.read().etag, before);
    let known = scene.ask_as("agent", "GET", "/session/v1/session/demo", Value::Null, before.as_deref());
    assert_eq!((known.status, known.etag), (304, before.clone()));

    scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "me"}));
    let registered = scene.read().etag;
    assert_ne!(registered, before);
    scene.ask("POST", HEALTH, json!({"instance_id": "me", "instance_health": "healthy"}));
    let healthy = scene.read();
    assert_ne!(healthy.etag, registered);
    assert_eq!(healthy.body["instance"]["instance_health"], "healthy");
    scene.pass(10);
    scene.ask("POST", HEALTH, json!({"instance_id": "me", "instance_health": "healthy"}));
    assert_eq!(scene.read().etag, healthy.etag, "the same health again is no change");
    scene.pass(30);
    let silent = scene.read();
    assert_ne!(silent.etag, healthy.etag);
    assert_eq!(silent.body["instance"]["instance_health"], "unknown");

    scene.world.delete_session("demo").unwrap();
    scene.world.create_session(&SessionSpec::new("demo"), scene.moment).unwrap();
    assert_ne!(scene.read().etag, before, "another session of the same name");
}

#[test]
fn health_is_taken_from_the_session_s_instance_only() {
    let mut scene = Scene::new(Options::default());
    let post = json!({"instance_id": "me", "instance_health": "degraded"});
    assert_eq!(scene.ask("POST", HEALTH, post.clone()).body["error_code"], "instance_not_found");
    scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "me"}));
    assert_eq!(scene.ask("POST", HEALTH, post.clone()).body["updated_instance_health"], "degraded");
    scene.pass(31);
    assert_eq!(scene.ask("POST", HEALTH, post.clone()).body["updated_instance_health"], "unknown");
    scene.world.replace_instance("demo", Some("theirs".to_owned()), scene.moment).unwrap();
    assert_eq!(scene.ask("POST", HEALTH, post).status, 404);
    assert!(scene.read().body["instance"].get("instance_health").is_none(), "nothing is heard of the new one");
    let posts: Vec<_> = scene.world.ledger.health.iter().map(|post| post.answered.as_str()).collect();
    assert_eq!(posts, ["degraded", "unknown"]);
}

#[test]
fn a_session_lives_as_long_as_it_is_refreshed() {
    let mut scene = Scene::new(Options { session_ttl: Some(Duration::from_secs(60)), ..Options::default() });
    for _ in 0..3 {
        scene.pass(50);
        assert_eq!(scene.read().status, 200);
    }
    scene.pass(50);
    assert_eq!(scene.ask("GET", "/session/v1/session/demo?refresh_ttl=false", Value::Null).status, 200);
    scene.pass(50);
    let gone = scene.read();
    assert_eq!((gone.status, &gone.body["error_code"]), (404, &json!("session_not_found")));
}

#[test]
fn who_is_no_member_does_not_see_how_to_connect() {
    let viewer = ClientSpec::new("viewer", "s").with_permissions(&["session:read:self"]);
    let clients = vec![ClientSpec::new("agent", "s"), viewer];
    let mut scene = Scene::new(Options { clients, ..Options::default() });
    scene.log_in("viewer");
    scene.ask("POST", INSTANCE, json!({"host_type": "dedicated", "instance_id": "me"}));
    scene.ask("PATCH", INSTANCE, json!({"join_params": {"public_conn_str": "h:1", "private_conn_str": ""}}));
    assert!(scene.read().body["instance"].get("join_params").is_some());
    let seen = scene.ask_as("viewer", "GET", "/session/v1/session/demo", Value::Null, None);
    assert!(seen.body["instance"].get("join_params").is_none());
    let refused = scene.ask_as("viewer", "POST", HEALTH, json!({}), None);
    assert_eq!((refused.status, &refused.body["error_code"]), (403, &json!("insufficient_role")));
    assert!(refused.body["desc"].as_str().unwrap().contains("session:instance:health"));
}

#[test]
fn the_gate_reads_json_then_credentials_then_permission_then_rules() {
    let mut scene = Scene::new(Options::default());
    let status = |answer: Answer| answer.status;
    assert_eq!(status(scene.send("Bearer x", "POST", HEALTH, Value::Null, None)), 422, "no body at all");
    assert_eq!(status(scene.send("Bearer x", "POST", HEALTH, json!({}), None)), 403, "bad fields, but who are you");
    scene.world.revoke("agent", "session:instance:health");
    assert_eq!(scene.ask("POST", HEALTH, json!({})).body["error_code"], "insufficient_role");
    scene.world.grant("agent", "session:instance:health");
    assert_eq!(scene.ask("POST", "/session/v1/session/nowhere/instance/health", json!({})).status, 422);
    assert_eq!(scene.world.ledger.rejections.len(), 2);
    assert!(scene.world.ledger.rejections[1].why[0].starts_with("body.instance_health: field required"));
}

#[test]
fn logins_follow_their_grants() {
    let strict = UserSpec { needs_agreements: true, ..UserSpec::new("u", "p") };
    let mut scene = Scene::new(Options { users: vec![strict], ..Options::default() });
    let basic = format!("Basic {}", basic("agent", "s"));
    let login = |scene: &mut Scene, body: Value| scene.send(&basic, "POST", "/users/v1/login", body, None);

    let refused = login(&mut scene, json!({"grant_type": "basic", "portal_access_token": "u:p", "accept_tos": true}));
    assert_eq!((refused.status, &refused.body["error_code"]), (403, &json!("user_needs_agreements")));
    assert_eq!((&refused.body["needs_eula"], &refused.body["needs_tos"]), (&json!(true), &json!(false)));

    let agreed = json!({
        "grant_type": "basic", "portal_access_token": "u:p", "include_refresh": true,
        "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true
    });
    let first = login(&mut scene, agreed);
    assert_eq!(first.status, 200);
    assert!(first.body.get("expires_in").is_none());
    let refresh = json!({"grant_type": "refresh", "portal_access_token": first.body["refresh_token"]});
    let second = login(&mut scene, refresh);
    assert_eq!((second.status, &second.body["person_id"]), (200, &first.body["person_id"]));
    assert_ne!(second.body["access_token"], first.body["access_token"]);

    let steam = login(&mut scene, json!({"grant_type": "steam", "portal_access_token": "x"}));
    assert_eq!(steam.body["error_code"], "steam_disabled");
    let undocumented = json!({"grant_type": "client_credentials", "include_refresh": true});
    assert_eq!(login(&mut scene, undocumented.clone()).status, 422);
    scene.world.undocumented_login = true;
    assert_eq!(login(&mut scene, undocumented).status, 200);
    let codes: Vec<_> = scene.world.ledger.logins.iter().map(|login| login.error_code.as_deref()).collect();
    assert_eq!(codes, [Some("user_needs_agreements"), None, None, Some("steam_disabled"), None]);
}

#[test]
fn players_come_and_go() {
    let mut scene = Scene::new(Options::default());
    let path = |n: usize| format!("/session/v1/session/demo/player/00000000-0000-0000-0000-{n:012}");
    let first = scene.ask("POST", &path(1), json!({"team_id": 0}));
    assert_eq!((first.status, &first.body["status"]), (200, &json!("leader")), "somebody has to lead");
    assert_eq!(scene.ask("POST", &path(1), json!({"team_id": 1, "status": "member"})).body["team_id"], 1);
    for n in 2..=8 {
        assert_eq!(scene.ask("POST", &path(n), json!({"team_id": 1})).status, 200);
    }
    assert_eq!(scene.ask("POST", &path(9), json!({"team_id": 1})).body["error_code"], "team_full");
    assert_eq!(scene.ask("POST", &path(9), json!({"team_id": 2})).status, 404);
    assert_eq!(scene.ask("DELETE", &path(1), Value::Null).status, 204);
    assert_eq!(scene.ask("DELETE", &path(1), Value::Null).body["error_code"], "player_not_found");
}

#[test]
fn an_allocation_may_be_there_before_it_is_bound() {
    let mut scene = Scene::new(Options { allocations: vec![AllocationSpec::unbound("a")], ..Options::default() });
    let find = |scene: &mut Scene| scene.ask("GET", "/session/v1/session/allocation/a", Value::Null);
    assert_eq!(find(&mut scene).body["error_code"], "session_not_found");
    scene.world.allocate(&AllocationSpec::bound("a", "demo"), scene.moment).unwrap();
    assert_eq!(find(&mut scene).body["instance"]["allocation_id"], "a");
    scene.world.deallocate("a", scene.moment).unwrap();
    assert_eq!(find(&mut scene).status, 404);
    assert!(scene.read().body.get("instance").is_none());
    assert_eq!(scene.world.deallocate("a", scene.moment), Err(ControlError::NoAllocation("a".to_owned())));
}

#[test]
fn the_same_seed_makes_the_same_ids() {
    let ids = || {
        let mut scene = Scene::new(Options::default());
        let made = scene.ask("POST", INSTANCE, json!({"host_type": "dedicated"}));
        (made.body["instance_id"].clone(), scene.read().etag)
    };
    assert_eq!(ids(), ids());
}
