//! The simulator against the contract document itself, which nothing in it was generated from.

use std::collections::BTreeSet;

use rallyhere_agent::simulator::Generation;

use super::schema::{Contract, Operation, contract};
use super::*;

const PLAYER: &str = "/session/v1/session/demo/player/00000000-0000-4000-8000-000000000001";
const TEMPLATE: &str = "00000000-0000-4000-8000-000000000002";

/// A stage whose every answer is judged.
struct Tour {
    stage: Stage,
    contract: Contract,
    seen: BTreeSet<(String, String, u16)>,
}

impl Tour {
    async fn begin(api: Generation) -> Option<Self> {
        let contract = contract(api)?;
        let options = Options { api, oauth_refresh_tokens: true, seed: Some(1), ..Options::default() };
        Some(Self { stage: Stage::new(options).await, contract, seen: BTreeSet::new() })
    }

    async fn visit(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let authorization =
            if path.starts_with("/users") { basic("agent", "s") } else { format!("Bearer {}", self.stage.token) };
        self.send(method, path, Some(&authorization), None, &body).await
    }

    async fn send(&mut self, method: &str, path: &str, auth: Option<&str>, etag: Option<&str>, body: &Value) -> Answer {
        let answer = self.stage.send(method.parse().unwrap(), path, auth, etag, body).await.expect("an answer");
        self.judge(method, path, etag.is_some(), &answer);
        answer
    }

    fn judge(&mut self, method: &str, path: &str, conditional: bool, answer: &Answer) {
        let place = format!("{method} {path} -> {} {}", answer.status, answer.text);
        let bare = path.split('?').next().unwrap_or_default();
        let operation = self.contract.find(method, bare).unwrap_or_else(|| panic!("not in the contract: {place}"));
        self.seen.insert((operation.method.to_owned(), operation.path.to_owned(), answer.status));
        let documented = &operation.document["responses"][answer.status.to_string()];
        if documented.is_null() {
            assert!(may_also_be(operation, answer, conditional), "no such answer in the contract: {place}");
        }
        match documented.pointer("/content/application~1json/schema") {
            Some(schema) => {
                assert_eq!(answer.headers["content-type"], "application/json", "{place}");
                assert_eq!(self.contract.judge(schema, &answer.json()), Vec::<String>::new(), "{place}");
            }
            None if documented.is_null() && answer.status != 304 => {
                let model = if answer.status == 422 { "HTTPValidationError" } else { "HzApiErrorModel" };
                let schema = json!({"$ref": format!("#/components/schemas/{model}")});
                assert_eq!(self.contract.judge(&schema, &answer.json()), Vec::<String>::new(), "{place}");
            }
            None => assert_eq!(answer.text, "", "{place}"),
        }
        if !documented["headers"]["ETag"].is_null() {
            assert!(answer.etag.is_some(), "an ETag is promised: {place}");
        }
    }
}

/// What there is beside the document. Of the service: 304 where a version was named, 404 for sessions and instances that
/// are gone, 403 for refused credentials at the token call. Of the simulator: 422 for a parameter that nobody knows.
fn may_also_be(operation: Operation<'_>, answer: &Answer, conditional: bool) -> bool {
    match answer.status {
        304 => conditional && operation.method == "get",
        403 => operation.path == "/users/v2/oauth/token",
        422 => answer.json()["detail"][0]["type"] == "value_error.extra",
        // A login is limited today where it was not, and the document says so; the simulator never is.
        404 => {
            let gone = ["session_not_found", "instance_not_found"].contains(&answer.code().as_str());
            gone && operation.path.starts_with("/session/v1/session/")
        }
        _ => false,
    }
}

/// A path of a call with all its names filled in.
fn filled(path: &str) -> String {
    path.replace("{session_id}", "demo")
        .replace("{instance_id}", "me")
        .replace("{player_uuid}", "00000000-0000-4000-8000-000000000001")
        .replace("{instance_request_template_id}", TEMPLATE)
        .replace("{instance_launch_template_id}", TEMPLATE)
        .replace("{allocation_id}", "alloc")
        .replace("{session_type}", "match")
        .replace("{notification_id}", "none")
}

#[tokio::test]
async fn every_answer_of_a_broad_tour_is_in_the_contract() {
    broad_tour(Generation::V2023_11).await;
}

#[tokio::test]
async fn every_answer_of_the_generation_between_is_in_the_contract() {
    broad_tour(Generation::Between).await;
}

#[tokio::test]
async fn every_answer_of_today_is_in_the_contract() {
    broad_tour(Generation::V2026_08).await;
}

/// What came with 2026-08.
fn newer_visits() -> Vec<(&'static str, String, Value)> {
    let client = json!({"grant_type": "client_credentials", "include_refresh": true});
    let audit = json!({
        "event_name": "e", "session_id": "demo", "reason": "r", "instance_id": "me", "allocation_id": "a",
        "instance_health": "healthy", "region_id": "r", "match_making_profile_id": "p", "match_id": "m", "custom_data": {"k": "v"}
    });
    let unjoinable = json!({"join_status": "unjoinable", "match_id": "m-1"});
    let ours = json!({"host_type": "preallocated", "instance_id": "me"});
    vec![
        ("POST", "/users/v1/login".into(), client),
        ("POST", INSTANCE.into(), ours),
        ("PATCH", format!("{INSTANCE}?refresh_ttl=false"), unjoinable),
        ("POST", format!("{HEALTH}?refresh_ttl=true"), json!({"instance_health": "healthy", "instance_id": "me"})),
        ("POST", "/session/v1/audit".into(), audit),
        ("POST", "/session/v1/audit".into(), json!({"event_name": "e", "session_id": "nowhere"})),
        ("GET", "/session/v1/audit?session_id=demo".into(), Value::Null),
        ("GET", "/session/v1/audit?page_size=1&page_num=0".into(), Value::Null),
        ("GET", SESSION.into(), Value::Null),
        ("DELETE", format!("{PLAYER}?reason=cheats"), Value::Null),
        ("DELETE", INSTANCE.into(), Value::Null),
    ]
}

async fn broad_tour(generation: Generation) {
    let Some(mut tour) = Tour::begin(generation).await else { return };
    let data = json!({"k": "v"});
    let visits: Vec<(&str, String, Value)> = vec![
        ("POST", "/users/v2/oauth/token".into(), json!({"grant_type": "client_credentials"})),
        (
            "POST",
            "/users/v1/login".into(),
            json!({"grant_type": "basic", "portal_access_token": "u:p", "include_refresh": true}),
        ),
        ("POST", "/users/v1/login".into(), json!({"grant_type": "basic", "portal_access_token": "u"})),
        ("POST", "/users/v1/login".into(), json!({"grant_type": "refresh", "portal_access_token": "x"})),
        ("POST", "/users/v1/login".into(), json!({"grant_type": "steam", "portal_access_token": "x"})),
        ("GET", SESSION.into(), Value::Null),
        ("PATCH", SESSION.into(), json!({"region_id": "eu-west", "custom_data": data, "joinable": false})),
        ("POST", INSTANCE.into(), json!({"host_type": "player", "host_player_uuid": TEMPLATE})),
        ("GET", SESSION.into(), Value::Null),
        (
            "POST",
            INSTANCE.into(),
            json!({
                "host_type": "dedicated", "instance_id": "me", "custom_data": data,
                "instance_startup_params": {"map": "m", "mode": "x", "misc_params": "", "custom_data": data}
            }),
        ),
        ("GET", "/session/v1/instance/health/config".into(), Value::Null),
        ("POST", HEALTH.into(), json!({"instance_health": "degraded", "instance_id": "me"})),
        (
            "PATCH",
            INSTANCE.into(),
            json!({
                "join_status": "joinable", "version": "1.2.3", "custom_data": data,
                "join_params": {"public_conn_str": "h:1", "private_conn_str": "", "custom_data": data}
            }),
        ),
        (
            "POST",
            format!("{INSTANCE}/fubar"),
            json!({
                "instance_id": "me", "error": "e", "region": "r", "matchmaking_profile_id": "p", "instance_source_provider": "sic"
            }),
        ),
        ("POST", format!("{SESSION}/match"), json!({"match_id": "m", "custom_data": data})),
        ("PATCH", format!("{SESSION}/match"), json!({"match_id": "m"})),
        (
            "POST",
            format!("{SESSION}/event"),
            json!({
                "event_code": "e", "timestamp": "2023-11-01T00:00:00+01:00", "description": "d", "custom_data": data
            }),
        ),
        ("GET", format!("{SESSION}/event?page_num=0&page_size=50"), Value::Null),
        ("POST", format!("{SESSION}/browser"), json!({"custom_data": data})),
        ("PATCH", format!("{SESSION}/browser"), json!({})),
        ("POST", PLAYER.into(), json!({"team_id": 1, "status": "member", "custom_data": data})),
        ("GET", "/session/v1/browser?session_type=match&cursor=0&page_size=1".into(), Value::Null),
        ("GET", SESSION.into(), Value::Null),
        ("DELETE", PLAYER.into(), Value::Null),
        ("DELETE", PLAYER.into(), Value::Null),
        ("DELETE", format!("{SESSION}/browser"), Value::Null),
        ("DELETE", format!("{SESSION}/match"), Value::Null),
        ("GET", "/session/v1/regions?cursor=1&page_size=1".into(), Value::Null),
        ("GET", "/session/v1/connection-info".into(), Value::Null),
        ("GET", format!("/session/v1/instance-request-template/{TEMPLATE}"), Value::Null),
        ("GET", format!("/session/v1/instance-launch-templates/{TEMPLATE}"), Value::Null),
        ("GET", "/session/v1/template/match".into(), Value::Null),
        ("POST", "/session/v1/backfill/session/demo/".into(), json!({"instance_id": "me", "extensions": data})),
        (
            "POST",
            NOTIFICATIONS.into(),
            json!({"notifications": [
                {"message": "", "rh_url": "session/v1/session/demo", "etag": "e", "custom_data": data}, {"message": "m"}
            ]}),
        ),
        ("GET", format!("{POLL}?offset_reset_strategy=earliest"), Value::Null),
        ("GET", format!("{POLL}?deadline=0"), Value::Null),
        ("GET", format!("{NOTIFICATIONS}?page_size=1"), Value::Null),
        ("GET", format!("{NOTIFICATIONS}/none"), Value::Null),
        ("DELETE", INSTANCE.into(), Value::Null),
        ("DELETE", INSTANCE.into(), Value::Null),
        ("PATCH", INSTANCE.into(), json!({})),
    ];
    let is_new = generation == Generation::V2026_08;
    let newer = if is_new { newer_visits() } else { Vec::new() };
    let mut gone = 0;
    for (method, path, body) in visits.into_iter().chain(newer) {
        let bare = path.split('?').next().unwrap_or_default();
        if tour.contract.find(method, bare).is_some() {
            tour.visit(method, &path, body).await;
        } else {
            gone += 1;
            nothing_is_there(&tour, method, &path, &body).await;
        }
    }
    let lost = match generation {
        Generation::V2023_11 => 0,
        Generation::Between => 1,
        Generation::V2026_08 => 12,
    };
    assert_eq!(gone, lost);
    if !is_new {
        let page = tour.visit("GET", NOTIFICATIONS, Value::Null).await.json();
        let newest = page["notifications"][0]["notification_id"].as_str().unwrap().to_owned();
        let id = percent_encoding::utf8_percent_encode(&newest, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(tour.visit("GET", &format!("{NOTIFICATIONS}/{id}"), Value::Null).await.status, 200);
    }
    tour.stage.control(Method::POST, "allocations", json!({"allocation_id": "alloc", "session_id": "demo"})).await;
    tour.visit("GET", "/session/v1/session/allocation/alloc", Value::Null).await;
    tour.visit("PATCH", INSTANCE, json!({"allocation_id": "other"})).await;
    conditional_reads(&mut tour).await;
    generic_refusals(&mut tour).await;

    for operation in tour.contract.operations() {
        let statuses = operation.document["responses"].as_object().unwrap().keys();
        for status in statuses.map(|status| status.parse::<u16>().unwrap()) {
            // Nothing here was made by matchmaking, so nothing can be backfilled.
            // No login here is limited.
            let never = (operation.path.contains("/backfill/") && status == 200) || status == 503;
            let seen = tour.seen.contains(&(operation.method.to_owned(), operation.path.to_owned(), status));
            assert!(seen || never, "never seen: {} {} {status}", operation.method, operation.path);
        }
    }
}

/// A call that is gone is answered as any path that was never there: without an error code.
async fn nothing_is_there(tour: &Tour, method: &str, path: &str, body: &Value) {
    let bearer = format!("Bearer {}", tour.stage.token);
    let answer = tour.stage.send(method.parse().unwrap(), path, Some(&bearer), None, body).await.expect("an answer");
    assert!([404, 501].contains(&answer.status), "{method} {path} {answer:?}");
    assert!(answer.json()["detail"].is_string() && answer.code().is_empty(), "{method} {path} {answer:?}");
}

/// Every read that gives a version, once more with it.
async fn conditional_reads(tour: &mut Tour) {
    let bearer = format!("Bearer {}", tour.stage.token);
    let mut known = 0;
    for path in [
        SESSION,
        "/session/v1/session/allocation/alloc",
        NOTIFICATIONS,
        "/session/v1/template/match",
        &format!("/session/v1/instance-request-template/{TEMPLATE}"),
        &format!("/session/v1/instance-launch-templates/{TEMPLATE}"),
    ] {
        if tour.contract.find("GET", path).is_none() {
            known += 1;
            continue;
        }
        let etag = tour.visit("GET", path, Value::Null).await.etag.expect("a version");
        let again = tour.send("GET", path, Some(&bearer), Some(&etag), &Value::Null).await;
        known += usize::from(again.status == 304);
    }
    assert_eq!(known, 6);
}

/// Every call without credentials, without the permission, with a body or a parameter that cannot be, on things that are
/// not there.
async fn generic_refusals(tour: &mut Tour) {
    let calls: Vec<(String, String, bool)> = tour
        .contract
        .operations()
        .iter()
        .map(|call| (call.method.to_uppercase(), filled(call.path), call.document.get("requestBody").is_some()))
        .collect();
    for (method, path, has_body) in &calls {
        let body = if *has_body { json!({}) } else { Value::Null };
        let refused = tour.send(method, path, None, None, &body).await;
        assert_eq!(refused.status, 403, "{method} {path}");
        let far = format!("{path}{}x=1", if path.contains('?') { '&' } else { '?' });
        assert_eq!(tour.visit(method, &far, body.clone()).await.status, 422, "{far}");
        let long = path.replace("/me/", &format!("/{}/", "x".repeat(129)));
        if long != *path && !has_body {
            assert_eq!(tour.visit(method, &format!("{long}?"), Value::Null).await.status, 400, "{long}");
        }
    }
    if tour.contract.find("POST", NOTIFICATIONS).is_some() {
        let long = format!("/notification/v1/instance/{}/notification", "x".repeat(129));
        assert_eq!(tour.visit("POST", &long, json!({"notifications": [{"message": "m"}]})).await.status, 400);
    }
    for (method, path, has_body) in &calls {
        let elsewhere = path.replace("/session/demo", "/session/nowhere");
        if elsewhere != *path {
            let body = if *has_body { sample_body(tour, method, path) } else { Value::Null };
            let gone = tour.visit(method, &elsewhere, body).await;
            assert_eq!((gone.status, gone.code().as_str()), (404, "session_not_found"), "{method} {elsewhere}");
        }
    }
    tour.stage.simulator.revoke("agent", "session:*");
    tour.stage.simulator.revoke("agent", "notification:*");
    for (method, path, has_body) in &calls {
        let open = path.starts_with("/users") || path.contains("/backfill/");
        if !open {
            let body = if *has_body { json!({}) } else { Value::Null };
            let refused = tour.visit(method, path, body).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "insufficient_role"), "{method} {path}");
        }
    }
    tour.stage.simulator.grant("agent", "session:*");
    tour.stage.simulator.grant("agent", "notification:*");
}

fn sample_body(tour: &Tour, method: &str, path: &str) -> Value {
    let operation = tour.contract.find(method, path).unwrap();
    sample(&tour.contract, &operation.document["requestBody"]["content"]["application/json"]["schema"])
}

/// A good value with everything that the schema names.
fn sample(contract: &Contract, schema: &Value) -> Value {
    let schema = contract.resolve(schema);
    if let Some(word) = schema["enum"].as_array().and_then(|words| words.first()) {
        return word.clone();
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
        ("string", "uuid") => json!(TEMPLATE),
        ("string", "date-time") => json!("2023-11-01T00:00:00Z"),
        ("string", "semver") => json!("1.2.3"),
        ("string", _) => json!("x"),
        ("integer", _) => json!(schema["minimum"].as_i64().unwrap_or(1)),
        ("number", _) => json!(1),
        ("boolean", _) => json!(true),
        ("array", _) => json!([sample(contract, &schema["items"])]),
        _ => match schema["properties"].as_object() {
            Some(fields) => fields.iter().map(|(name, field)| (name.clone(), sample(contract, field))).collect(),
            None => json!({"k": sample(contract, &schema["additionalProperties"])}),
        },
    }
}

/// A value with one thing changed, in every way that a rule might see.
fn variants(contract: &Contract, schema: &Value, value: &Value) -> Vec<Value> {
    let schema = contract.resolve(schema);
    let mut variants =
        vec![Value::Null, json!(true), json!(7), json!(1.5), json!("zz"), json!(""), json!([]), json!({})];
    for name in ["minLength", "maxLength"] {
        if let Some(limit) = schema[name].as_u64() {
            variants.extend([limit.saturating_sub(1), limit, limit + 1].map(|n| json!("ü".repeat(n as usize))));
        }
    }
    for name in ["minimum", "maximum"] {
        if let Some(limit) = schema[name].as_i64() {
            variants.extend([json!(limit - 1), json!(limit), json!(limit + 1)]);
        }
    }
    variants.extend(schema["enum"].as_array().into_iter().flatten().cloned());
    if let (Some(items), Some([first, ..])) = (schema.get("items"), value.as_array().map(Vec::as_slice)) {
        variants.extend(self::variants(contract, items, first).into_iter().map(|item| json!([first, item])));
        variants.extend([100, 101].map(|count| json!(vec![first.clone(); count])));
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let with = |changed: Option<Value>| {
            let mut fields = value.as_object().cloned().unwrap_or_default();
            match changed {
                Some(changed) => fields.insert(name.clone(), changed),
                None => fields.remove(name),
            };
            Value::Object(fields)
        };
        variants.push(with(None));
        variants.extend(self::variants(contract, known.unwrap(), field).into_iter().map(|changed| with(Some(changed))));
    }
    if let (Some(fields), true) = (value.as_object(), schema.get("properties").is_some()) {
        let mut fields = fields.clone();
        fields.insert("unheard_of".to_owned(), json!("x"));
        variants.push(Value::Object(fields));
    }
    variants
}

#[tokio::test]
async fn every_body_is_judged_as_the_contract_judges_it() {
    judge_bodies(Generation::V2023_11, 14).await;
}

#[tokio::test]
async fn every_body_of_today_is_judged_as_the_contract_judges_it() {
    judge_bodies(Generation::V2026_08, 10).await;
}

#[expect(clippy::print_stdout, reason = "how much was judged")]
async fn judge_bodies(generation: Generation, least: usize) {
    let Some(mut tour) = Tour::begin(generation).await else { return };
    let calls: Vec<(String, String, Value)> = tour
        .contract
        .operations()
        .iter()
        .filter_map(|call| {
            let schema = call.document.pointer("/requestBody/content/application~1json/schema")?;
            Some((call.method.to_uppercase(), filled(call.path), schema.clone()))
        })
        .collect();
    assert!(calls.len() >= least, "{}", calls.len());
    let (mut good, mut bad) = (0, 0);
    for (method, path, schema) in calls {
        let whole = sample(&tour.contract, &schema);
        let mut bodies = variants(&tour.contract, &schema, &whole);
        bodies.push(whole);
        // No body at all is another matter than the body null, which `visit` cannot send.
        for body in bodies.into_iter().filter(|body| !body.is_null()) {
            let wrong = tour.contract.judge(&schema, &body);
            let answer = tour.visit(&method, &path, body.clone()).await;
            let refused = answer.status == 422;
            assert_eq!(refused, !wrong.is_empty(), "{method} {path} {body}\n{wrong:?}\n{}", answer.text);
            *if refused { &mut bad } else { &mut good } += 1;
        }
    }
    println!("{good} good bodies, {bad} bad ones");
    assert!(good > 100 && bad > 400, "{good} good, {bad} bad");
}

#[tokio::test]
async fn every_parameter_is_judged_as_the_contract_judges_it() {
    judge_parameters(Generation::V2023_11, 14).await;
}

#[tokio::test]
async fn every_parameter_of_today_is_judged_as_the_contract_judges_it() {
    judge_parameters(Generation::V2026_08, 12).await;
}

async fn judge_parameters(generation: Generation, least: usize) {
    let Some(mut tour) = Tour::begin(generation).await else { return };
    if generation != Generation::V2026_08 {
        tour.stage.simulator.publish("me", &[message("m")]).unwrap();
    }
    let parameters: Vec<(String, String, Value)> = tour
        .contract
        .operations()
        .iter()
        .filter(|call| call.method == "get")
        .flat_map(|call| {
            let all = call.document["parameters"].as_array().cloned().unwrap_or_default();
            let ours = all.into_iter().filter(|parameter| parameter["in"] == "query");
            ours.map(|parameter| (filled(call.path), call.path.to_owned(), parameter)).collect::<Vec<_>>()
        })
        .collect();
    assert!(parameters.len() >= least, "{}", parameters.len());
    for (path, template, parameter) in parameters {
        let name = parameter["name"].as_str().unwrap();
        let schema = tour.contract.resolve(&parameter["schema"]).clone();
        let mut texts: Vec<String> = ["", "x", "1.5", "true", "off", "latest", "earliest"].map(str::to_owned).to_vec();
        for limit in ["minimum", "maximum"].iter().filter_map(|limit| schema[limit].as_i64()) {
            texts.extend([limit - 1, limit, limit + 1].map(|number| number.to_string()));
        }
        texts.extend(schema["maxLength"].as_u64().into_iter().flat_map(|n| [n, n + 1]).map(|n| "x".repeat(n as usize)));
        for text in texts {
            let value = match schema["type"].as_str().unwrap() {
                "integer" => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
                // What pydantic takes for a truth value in a query is more than the schema says.
                "boolean" => json!(["true", "off"].contains(&text.as_str()).then_some(true)),
                _ => json!(text),
            };
            // The other parameters stay as they must be for an answer at once.
            let mut others: Vec<(&str, &str)> = if template.ends_with("/lp") {
                vec![("deadline", "0"), ("offset_reset_strategy", "earliest")]
            } else if template.ends_with("/browser") {
                vec![("session_type", "match")]
            } else {
                Vec::new()
            };
            others.retain(|(other, _)| *other != name);
            others.push((name, &text));
            let query: Vec<String> = others.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let wrong = tour.contract.judge(&schema, &value);
            let answer = tour.visit("GET", &format!("{path}?{}", query.join("&")), Value::Null).await;
            assert_eq!(answer.status == 422, !wrong.is_empty(), "{path} {name}={text}: {wrong:?} {}", answer.text);
        }
    }
}
