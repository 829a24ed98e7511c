use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Method, Reply, decode, encode, login};
use crate::core::call::{
    Answer, Call, Failure, FailureKind, FubarReport, InstanceUpdate, Page, Registration, SessionEvent,
};
use crate::core::duty::{Duty, Listing, Match};
use crate::core::ids::{AllocationId, Etag, InstanceId, MatchId, NotificationId, PlayerId, SessionId};
use crate::core::instance::{CustomData, Health, JoinParams, JoinStatus, StartupParams};

fn session() -> SessionId {
    SessionId::parse("s-1").unwrap()
}

fn instance() -> InstanceId {
    InstanceId::parse("i-1").unwrap()
}

fn wall() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn data(pairs: &[(&str, &str)]) -> CustomData {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn poll(after: Option<&str>, page_size: u8) -> Call {
    Call::Poll {
        instance: instance(),
        after: after.map(|id| NotificationId::parse(id).unwrap()),
        page_size,
        deadline: Duration::from_millis(25_900),
    }
}

fn read(etag: Option<&str>) -> Call {
    Call::ReadSession { session: session(), etag: etag.map(|etag| Etag::parse(etag).unwrap()) }
}

fn fubar() -> Call {
    Call::Fubar {
        session: session(),
        report: Box::new(FubarReport {
            instance_id: instance(),
            error: "crashed".to_owned(),
            region: "eu".to_owned(),
            matchmaking_profile_id: None,
            source_provider: None,
        }),
    }
}

fn update(join_params: Option<JoinParams>, custom_data: CustomData) -> Call {
    Call::Update {
        session: session(),
        update: Box::new(InstanceUpdate {
            allocation_id: Some(AllocationId::parse("a-1").unwrap()),
            join_status: JoinStatus::Joinable,
            join_params,
            version: Some("1.2.3".to_owned()),
            custom_data,
            match_id: None,
        }),
    }
}

/// One call of every kind, as full as it can be.
fn every_call() -> Vec<Call> {
    vec![
        Call::FindSession { allocation: AllocationId::parse("a-1").unwrap() },
        read(Some("\"v1\"")),
        read(None),
        Call::Register {
            session: session(),
            registration: Box::new(Registration {
                instance_id: instance(),
                host_type: "dedicated".to_owned(),
                startup_params: Some(StartupParams {
                    map: "arena".to_owned(),
                    mode: Some("duel".to_owned()),
                    misc_params: "-x".to_owned(),
                    custom_data: data(&[("k", "v")]),
                }),
                custom_data: data(&[("k", "v")]),
            }),
        },
        update(Some(JoinParams { public_conn_str: "p".to_owned(), ..JoinParams::default() }), data(&[("k", "v")])),
        Call::Unregister { session: session() },
        Call::HealthConfig,
        Call::PostHealth { session: session(), instance: instance(), health: Health::Degraded, refresh_ttl: false },
        fubar(),
        Call::PostEvent {
            session: session(),
            event: Box::new(SessionEvent {
                event_code: "started".to_owned(),
                timestamp: wall(),
                description: Some(String::new()),
                custom_data: data(&[("k", "v")]),
            }),
        },
    ]
    .into_iter()
    .chain(every_duty().into_iter().map(|duty| Call::Duty { session: session(), duty: Box::new(duty) }))
    .chain([poll(Some("n-1"), 100)])
    .collect()
}

fn game_match(custom_data: Option<CustomData>) -> Match {
    Match { match_id: MatchId::parse("m/1").unwrap(), custom_data }
}

/// One duty of every kind, as full as it can be.
fn every_duty() -> Vec<Duty> {
    let listing = Listing { custom_data: data(&[("k", "v")]) };
    vec![
        Duty::BeginMatch(game_match(Some(data(&[("k", "v")])))),
        Duty::UpdateMatch(game_match(Some(data(&[("k", "v")])))),
        Duty::EndMatch,
        Duty::ListBrowser(listing.clone()),
        Duty::UpdateBrowser(listing),
        Duty::UnlistBrowser,
        Duty::UpdateSession { custom_data: Some(data(&[("k", "v")])), joinable: Some(false) },
        Duty::RemovePlayer { player: PlayerId::parse("{00000000-0000-4000-8000-0000000000AB}").unwrap() },
    ]
}

fn body(call: &Call) -> Value {
    serde_json::from_slice(&encode(call).body.unwrap()).unwrap()
}

fn reply(status: u16, body: &[u8]) -> Reply<'_> {
    Reply { status, body, ..Reply::default() }
}

fn answer(call: &Call, body: &Value) -> Result<Answer, Failure> {
    decode(call, &reply(200, body.to_string().as_bytes()), wall())
}

fn failure(status: u16, body: &Value) -> Failure {
    decode(&read(None), &reply(status, body.to_string().as_bytes()), wall()).unwrap_err()
}

fn page(page_size: u8, body: &Value) -> Page {
    match answer(&poll(None, page_size), body) {
        Ok(Answer::Page(page)) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn methods_and_paths_are_the_contracts() {
    let lines: Vec<String> = every_call()
        .iter()
        .map(|call| {
            let request = encode(call);
            format!("{} {}", request.method.as_str(), request.path_and_query)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "GET /session/v1/session/allocation/a-1",
            "GET /session/v1/session/s-1?refresh_ttl=true",
            "GET /session/v1/session/s-1?refresh_ttl=true",
            "POST /session/v1/session/s-1/instance",
            "PATCH /session/v1/session/s-1/instance",
            "DELETE /session/v1/session/s-1/instance",
            "GET /session/v1/instance/health/config",
            "POST /session/v1/session/s-1/instance/health",
            "POST /session/v1/session/s-1/instance/fubar",
            "POST /session/v1/session/s-1/event",
            "POST /session/v1/session/s-1/match",
            "PATCH /session/v1/session/s-1/match",
            "DELETE /session/v1/session/s-1/match",
            "POST /session/v1/session/s-1/browser",
            "PATCH /session/v1/session/s-1/browser",
            "DELETE /session/v1/session/s-1/browser",
            "PATCH /session/v1/session/s-1",
            "DELETE /session/v1/session/s-1/player/00000000-0000-4000-8000-0000000000ab",
            "GET /notification/v1/instance/i-1/stream/notification/lp\
             ?offset_reset_strategy=earliest&max_page_size=100&deadline=25&exclude_before=n-1",
        ]
    );
    assert_eq!(encode(&read(Some("\"v1\""))).if_none_match.as_deref(), Some("\"v1\""));
    assert_eq!(encode(&read(None)).if_none_match, None);
    for call in every_call() {
        let request = encode(&call);
        assert_eq!(request.body.is_some(), matches!(request.method, Method::Post | Method::Patch), "{call:?}");
        assert_eq!(request.response_limit, if matches!(call, Call::Poll { .. }) { 8 << 20 } else { 256 << 10 });
    }
}

#[test]
fn bodies_are_exact_and_absent_options_are_left_out() {
    let calls = every_call();
    assert_eq!(
        body(&calls[3]),
        json!({
            "host_type": "dedicated",
            "instance_id": "i-1",
            "instance_startup_params": {"map": "arena", "misc_params": "-x", "mode": "duel", "custom_data": {"k": "v"}},
            "custom_data": {"k": "v"},
        })
    );
    let bare = Registration {
        instance_id: instance(),
        host_type: "dedicated".to_owned(),
        startup_params: Some(StartupParams::default()),
        custom_data: CustomData::new(),
    };
    assert_eq!(
        body(&Call::Register { session: session(), registration: Box::new(bare) }),
        json!({"host_type": "dedicated", "instance_id": "i-1", "instance_startup_params": {"map": "", "misc_params": ""}})
    );
    assert_eq!(
        body(&calls[4]),
        json!({
            "allocation_id": "a-1",
            "join_status": "joinable",
            "join_params": {"public_conn_str": "p", "private_conn_str": "", "custom_data": {}},
            "version": "1.2.3",
            "custom_data": {"k": "v"},
        })
    );
    assert_eq!(
        body(&update(None, CustomData::new())),
        json!({"allocation_id": "a-1", "join_status": "joinable", "version": "1.2.3", "custom_data": {}})
    );
    assert_eq!(body(&calls[7]), json!({"instance_health": "degraded", "instance_id": "i-1"}));
    assert_eq!(body(&calls[8]), json!({"instance_id": "i-1", "error": "crashed", "region": "eu"}));
    let full = FubarReport {
        instance_id: instance(),
        error: "crashed".to_owned(),
        region: "eu".to_owned(),
        matchmaking_profile_id: Some("m".to_owned()),
        source_provider: Some("sic".to_owned()),
    };
    assert_eq!(
        body(&Call::Fubar { session: session(), report: Box::new(full) }),
        json!({
            "instance_id": "i-1", "error": "crashed", "region": "eu",
            "matchmaking_profile_id": "m", "instance_source_provider": "sic",
        })
    );
    assert_eq!(
        body(&calls[9]),
        json!({
            "event_code": "started", "timestamp": "2026-11-22T10:00:00Z", "description": "", "custom_data": {"k": "v"},
        })
    );
}

#[test]
fn logins_are_exact() {
    for (grant, path, body) in [
        (login::Grant::ClientCredentials, "/users/v2/oauth/token", json!({"grant_type": "client_credentials"})),
        (
            login::Grant::ClientCredentialsV1,
            "/users/v1/login",
            json!({"grant_type": "client_credentials", "include_refresh": true}),
        ),
        (
            login::Grant::Basic { username: "u", password: "p:\"w" },
            "/users/v1/login",
            json!({
                "grant_type": "basic", "portal_access_token": "u:p:\"w", "include_refresh": true,
                "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
            }),
        ),
        (
            login::Grant::Refresh { token: "r" },
            "/users/v1/login",
            json!({
                "grant_type": "refresh", "portal_access_token": "r", "include_refresh": true,
                "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
            }),
        ),
    ] {
        let request = login::encode("client", "s>cret?", grant);
        assert_eq!(request.path, path);
        // Standard alphabet, with padding.
        assert_eq!(request.authorization.expose_secret(), "Basic Y2xpZW50OnM+Y3JldD8=");
        assert_eq!(serde_json::from_slice::<Value>(request.body.expose_secret()).unwrap(), body);
        let shown = format!("{request:?} {grant:?}");
        assert!(!shown.contains("Y2xp") && !shown.contains("p:"), "{shown}");
    }
}

#[test]
fn a_login_needs_a_token_and_takes_its_lifetime_from_wherever_it_is_told() {
    let token = |body: Value| login::decode(&reply(200, body.to_string().as_bytes()), wall());
    // {"iat":1000,"exp":4600}; long over by the wall clock, which is not asked.
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjEwMDAsImV4cCI6NDYwMH0.c2ln";
    let secs = |seconds| Some(Duration::from_secs(seconds));
    for (answer, lifetime) in [
        (json!({"access_token": "t", "expires_in": 300}), secs(300)),
        (json!({"access_token": jwt, "expires_in": 300}), secs(300)),
        (json!({"access_token": jwt}), secs(3600)),
        (json!({"access_token": jwt, "expires_in": null}), secs(3600)),
        (json!({"access_token": jwt, "expires_in": -5}), secs(3600)),
        (json!({"access_token": jwt, "expires_in": "300"}), secs(3600)),
        (json!({"access_token": "t"}), None),
        (json!({"access_token": "a.b.c"}), None),
        (json!({"access_token": "t", "expires_in": 0}), None),
        (json!({"access_token": "t", "expires_in": 1e300}), secs(365 * 24 * 3600)),
        (json!({"access_token": "t", "expires_in": u64::MAX}), secs(365 * 24 * 3600)),
    ] {
        assert_eq!(token(answer.clone()).unwrap().lifetime, lifetime, "{answer}");
    }
    let both = token(json!({"access_token": "t", "refresh_token": "r"})).unwrap();
    assert_eq!(both.access.expose_secret(), "t");
    assert_eq!(both.refresh.unwrap().expose_secret(), "r");
    assert!(token(json!({"access_token": "t", "refresh_token": ""})).unwrap().refresh.is_none());
    for answer in [
        json!({}),
        json!({"access_token": ""}),
        json!({"access_token": "  "}),
        json!({"access_token": null}),
        json!({"access_token": ["t"]}),
        json!({"access_token": "a\nb"}),
        json!({"access_token": "hé"}),
        json!(["t"]),
        json!("secret-token"),
    ] {
        let refused = token(answer.clone()).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Malformed, "{answer}");
        assert!(!refused.to_string().contains("secret-token"), "{refused}");
    }
}

#[test]
fn what_a_host_writes_itself_is_no_news_of_a_session_and_newer_fields_tell_its_generation() {
    let seen = |document: Value| {
        let Ok(Answer::Session { session, .. }) = answer(&read(None), &document) else { panic!() };
        (session.print, session.is_new)
    };
    let session = json!({
        "session_id": "s-1", "custom_data": {"k": "v"}, "teams": [],
        "instance": {"instance_id": "i-1", "join_status": "pending", "instance_startup_params": {"map": "m"}}
    });
    let (print, is_new) = seen(session.clone());
    assert!(!is_new);
    let changed = |pointer: &str, value: Value| {
        let mut session = session.clone();
        let (at, name) = pointer.rsplit_once('/').unwrap();
        session.pointer_mut(at).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        seen(session)
    };
    for ours in ["join_status", "join_params", "version", "custom_data", "instance_health", "match_id"] {
        assert_eq!(changed(&format!("/instance/{ours}"), json!("joinable")), (print, false), "{ours}");
    }
    for news in ["/custom_data/k", "/teams", "/browser", "/instance/instance_id", "/instance/instance_startup_params"] {
        assert_ne!(changed(news, json!("other")).0, print, "{news}");
    }
    assert!(changed("/teams_suppressed", json!(false)).1);
}

#[test]
fn a_session_is_read_as_far_as_we_need_it_and_kept_as_it_came() {
    let text = r#"{ "session_id": "s-1", "region_id": "eu", "new_field": [1, {"deep": null}],
        "instance": {"instance_id": "i-1", "allocation_id": "a-1", "join_status": "halted", "instance_health": "great"} }"#;
    let etagged = Reply { etag: Some("\"v2\""), ..reply(200, text.as_bytes()) };
    let Ok(Answer::Session { session, etag }) = decode(&read(None), &etagged, wall()) else { panic!() };
    assert_eq!(etag, Some(Etag::parse("\"v2\"").unwrap()));
    assert_eq!(session.document.as_ref(), text);
    assert_eq!(session.region_id.as_deref(), Some("eu"));
    let info = session.instance.unwrap();
    assert_eq!(info.instance_id, Some(instance()));
    assert_eq!(info.join_status, JoinStatus::Other("halted".to_owned()));
    assert_eq!(info.health, Some(Health::Unknown));

    for instance in [json!(null), json!({"join_status": "pending", "instance_id": null, "allocation_id": ""})] {
        let Ok(Answer::Session { session, .. }) =
            answer(&read(None), &json!({"session_id": "s-1", "instance": instance, "region_id": null}))
        else {
            panic!()
        };
        assert_eq!(session.instance.is_some(), instance.is_object());
        assert_eq!(session.instance.and_then(|info| info.instance_id), None);
    }
}

#[test]
fn an_instance_that_cannot_be_read_is_never_taken_for_an_absent_one() {
    for instance in [
        json!([]),
        json!(["i-1", "a-1", "pending", "healthy"]),
        json!("i-1"),
        json!({}),
        json!({"join_status": 3}),
        json!({"join_status": "pending", "instance_id": 7}),
        json!({"join_status": "pending", "instance_id": "x".repeat(129)}),
        json!({"join_status": "pending", "allocation_id": "a\u{0}"}),
    ] {
        let refused = answer(&read(None), &json!({"session_id": "s-1", "instance": instance})).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Malformed, "{instance}");
        assert!(answer(&update(None, CustomData::new()), &instance).is_err(), "{instance}");
    }
}

#[test]
fn a_304_is_an_answer_only_to_a_question_with_an_etag() {
    assert_eq!(decode(&read(Some("v")), &reply(304, b""), wall()), Ok(Answer::NotModified));
    for call in every_call() {
        if !matches!(call, Call::ReadSession { etag: Some(_), .. }) {
            assert_eq!(decode(&call, &reply(304, b""), wall()).unwrap_err().kind, FailureKind::Redirected, "{call:?}");
        }
    }
}

#[test]
fn the_cadence_is_clamped() {
    for (seconds, cadence) in [
        (json!(10), 10.0),
        (json!(0), 1.0),
        (json!(-3), 1.0),
        (json!(7.5), 7.5),
        (json!(1e9), 3600.0),
        (json!(u64::MAX), 3600.0),
    ] {
        let Ok(Answer::HealthConfig(config)) = answer(&Call::HealthConfig, &json!({"cadence_seconds": seconds})) else {
            panic!("{seconds}")
        };
        assert_eq!(config.cadence, Duration::from_secs_f64(cadence));
    }
    for body in [json!({}), json!({"cadence_seconds": null}), json!({"cadence_seconds": "10"}), json!([10])] {
        assert_eq!(answer(&Call::HealthConfig, &body).unwrap_err().kind, FailureKind::Malformed, "{body}");
    }
}

#[test]
fn health_is_what_the_backend_now_thinks() {
    let post =
        Call::PostHealth { session: session(), instance: instance(), health: Health::Healthy, refresh_ttl: false };
    for (word, health) in [("healthy", Health::Healthy), ("unhealthy", Health::Unhealthy), ("sublime", Health::Unknown)]
    {
        assert_eq!(answer(&post, &json!({"updated_instance_health": word})), Ok(Answer::HealthAccepted(health)));
    }
    assert_eq!(answer(&post, &json!({})).unwrap_err().kind, FailureKind::Malformed);
}

#[test]
fn a_duty_says_what_was_asked_and_no_more() {
    let call = |duty: &Duty| Call::Duty { session: session(), duty: Box::new(duty.clone()) };
    let whole = json!({"custom_data": {"k": "v"}});
    let game = json!({"match_id": "m/1", "custom_data": {"k": "v"}});
    let full = [
        Some(game.clone()),
        Some(game),
        None,
        Some(whole.clone()),
        Some(whole),
        None,
        Some(json!({"custom_data": {"k": "v"}, "joinable": false})),
        None,
    ];
    for (duty, full) in every_duty().iter().zip(full) {
        assert_eq!(encode(&call(duty)).body.map(|body| serde_json::from_slice(&body).unwrap()), full, "{duty:?}");
    }
    let session = |custom_data, joinable| Duty::UpdateSession { custom_data, joinable };
    for (duty, bare) in [
        (Duty::BeginMatch(game_match(None)), json!({"match_id": "m/1"})),
        (Duty::UpdateMatch(game_match(Some(data(&[])))), json!({"match_id": "m/1", "custom_data": {}})),
        (Duty::ListBrowser(Listing::default()), json!({})),
        (Duty::UpdateBrowser(Listing::default()), json!({"custom_data": {}})),
        (session(None, Some(true)), json!({"joinable": true})),
        (session(Some(data(&[])), None), json!({"custom_data": {}})),
    ] {
        assert_eq!(body(&call(&duty)), bare, "{duty:?}");
    }
}

#[test]
fn the_answer_to_a_duty_is_anything_that_the_backend_may_say() {
    for duty in every_duty() {
        let call = Call::Duty { session: session(), duty: Box::new(duty) };
        for (status, body) in [(204, ""), (200, "null"), (200, r#"{"match_id":"m/1"}"#), (200, r#"{"session_id":7}"#)] {
            assert_eq!(decode(&call, &reply(status, body.as_bytes()), wall()), Ok(Answer::Accepted), "{call:?}");
        }
        let page = decode(&call, &reply(200, b"<html>maintenance</html>"), wall()).unwrap_err();
        assert!(page.is_ambiguous(), "{call:?}");
        assert_eq!(decode(&call, &reply(304, b""), wall()).unwrap_err().kind, FailureKind::Redirected, "{call:?}");
    }
}

#[test]
fn a_report_counts_as_delivered_only_by_the_backend_and_not_by_a_page_of_a_proxy() {
    for body in ["", "{}", "null", "{\"anything\": [1]}"] {
        assert_eq!(decode(&fubar(), &reply(200, body.as_bytes()), wall()), Ok(Answer::Accepted), "{body}");
    }
    assert_eq!(decode(&Call::Unregister { session: session() }, &reply(204, b""), wall()), Ok(Answer::Unregistered));
    for body in ["<html>maintenance</html>", "{", " "] {
        let refused = decode(&fubar(), &reply(200, body.as_bytes()), wall()).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Malformed, "{body}");
        assert!(refused.is_ambiguous());
    }
}

#[test]
fn an_empty_page_has_many_faces() {
    for body in [json!({}), json!({"notifications": []}), json!({"notifications": null}), json!({"cursor": "x"})] {
        assert_eq!(page(10, &body), Page::default(), "{body}");
    }
    assert_eq!(decode(&poll(None, 10), &reply(204, b""), wall()), Ok(Answer::Page(Page::default())));
    for body in [json!([]), json!({"notifications": {}}), json!({"notifications": "n"}), json!(null)] {
        assert_eq!(answer(&poll(None, 10), &body).unwrap_err().kind, FailureKind::Malformed, "{body}");
    }
}

#[test]
fn a_bad_entry_spoils_no_other_and_lets_the_cursor_pass() {
    let poison = [
        json!(null),
        json!(7),
        json!(true),
        json!(-1.5),
        json!("text"),
        json!([["n"]]),
        json!({}),
        json!({"notification_id": null, "message": "m"}),
        json!({"notification_id": 7, "message": "m"}),
        json!({"notification_id": {"a": "b"}, "message": "m"}),
        json!({"notification_id": "", "message": "m"}),
        json!({"notification_id": "a\u{0}b", "message": "m"}),
        json!({"notification_id": "x".repeat(513), "message": "m"}),
        json!({"notification_id": "bad", "message": ["m"]}),
        json!({"notification_id": "bad", "message": {"m": "m"}}),
        json!({"notification_id": "bad", "message": 5}),
    ];
    let good = |id: &str| json!({"notification_id": id, "message": "m", "created": "2026-11-22T10:00:00Z"});
    for entry in poison {
        for position in 0..3 {
            let mut entries = vec![good("n-1"), good("n-2")];
            entries.insert(position, entry.clone());
            let page = page(10, &json!({"notifications": entries}));
            let ids: Vec<&str> = page.notifications.iter().map(|n| n.notification_id.as_str()).collect();
            assert_eq!(ids, ["n-1", "n-2"], "{entry}");
            assert_eq!(page.unusable, 1, "{entry}");
            let readable = position == 2 && entry["notification_id"] == "bad";
            assert_eq!(page.last_id.unwrap().as_str(), if readable { "bad" } else { "n-2" }, "{entry}");
        }
    }
}

#[test]
fn an_entry_bends_where_only_its_ornaments_are_wrong() {
    let entry = json!({
        "notification_id": "é/ ?", "message": null, "created": 5, "rh_url": [], "etag": "", "extra": {"deep": [1]},
        "custom_data": {"long": "x".repeat(5000), "number": 5, "null": null, "empty": ""},
    });
    let page = page(10, &json!({"notifications": [entry], "notifications_count": 1}));
    let notification = &page.notifications[0];
    assert_eq!(notification.notification_id.as_str(), "é/ ?");
    assert_eq!((notification.message.as_str(), notification.created.as_str()), ("", ""));
    assert_eq!((&notification.rh_url, &notification.etag), (&None, &None));
    assert_eq!(notification.custom_data, data(&[("long", &"x".repeat(5000)), ("empty", "")]));
    // A field twice: the last one counts, and the page is not lost for it.
    let twice = br#"{"notifications": [{"notification_id": "a", "notification_id": "b", "message": "m"}]}"#;
    let Ok(Answer::Page(page)) = decode(&poll(None, 10), &reply(200, twice), wall()) else { panic!() };
    assert_eq!(page.notifications[0].notification_id.as_str(), "b");
}

#[test]
fn a_page_is_never_larger_than_asked_for() {
    let entries: Vec<Value> = (0..50).map(|n| json!({"notification_id": format!("n-{n}"), "message": "m"})).collect();
    let page = page(20, &json!({"notifications": entries}));
    assert_eq!(page.notifications.len(), 20);
    assert_eq!(page.last_id.unwrap().as_str(), "n-19", "the rest comes with the next poll");
}

#[test]
fn failures_are_sorted_by_status_and_code() {
    let code = |code: &str| json!({"error_code": code, "desc": "d", "auth_success": true});
    for (status, body, kind) in [
        (401, json!({}), FailureKind::Unauthorised),
        (403, json!({"auth_success": false, "error_code": "x", "desc": ""}), FailureKind::Unauthorised),
        (403, code("auth_token_expired"), FailureKind::Unauthorised),
        (403, json!({"error_code": "auth_token_sig_invalid"}), FailureKind::Unauthorised),
        (403, code("insufficient_role"), FailureKind::Forbidden),
        (403, code("not_auth_related"), FailureKind::Forbidden),
        (403, json!({"auth_success": "false"}), FailureKind::Forbidden),
        (403, json!("<html>"), FailureKind::Forbidden),
        (404, code("session_not_found"), FailureKind::NotFound),
        (410, json!({}), FailureKind::NotFound),
        (405, json!({}), FailureKind::Unsupported),
        (501, json!({}), FailureKind::Unsupported),
        (409, json!({}), FailureKind::Conflict),
        (408, json!({}), FailureKind::Throttled),
        (425, json!({}), FailureKind::Throttled),
        (429, json!({}), FailureKind::Throttled),
        (500, json!({}), FailureKind::Server),
        (503, code("auth_down"), FailureKind::Server),
        (599, json!({}), FailureKind::Server),
        (400, json!({}), FailureKind::Rejected),
        (402, json!({}), FailureKind::Rejected),
        (422, json!({}), FailureKind::Rejected),
        (451, json!({}), FailureKind::Rejected),
        (301, json!({}), FailureKind::Redirected),
        (307, json!({}), FailureKind::Redirected),
        (101, json!({}), FailureKind::Malformed),
        (0, json!({}), FailureKind::Malformed),
        (999, json!({}), FailureKind::Malformed),
    ] {
        let failure = failure(status, &body);
        assert_eq!(failure.kind, kind, "{status} {body}");
        assert_eq!(failure.status, Some(status));
    }
    assert!(failure(404, &code("session_not_found")).is_session_gone());
    assert!(!failure(404, &json!({})).is_session_gone(), "a bare 404 is an outage (trap 11)");
}

#[test]
fn a_failure_says_what_the_backend_said_fit_for_a_log() {
    let validation = json!({"detail": [
        {"loc": ["body", "error"], "msg": "field required", "type": "x"},
        {"loc": ["body", "list", 3], "msg": "too long"}, {"odd": 1}, 5,
    ]});
    assert_eq!(
        failure(422, &validation).detail.as_ref(),
        "body.error: field required; body.list.3: too long; invalid; invalid"
    );
    assert_eq!(failure(404, &json!({"detail": "Not Found"})).detail.as_ref(), "Not Found");
    let nasty = failure(500, &json!({"error_code": "a\nb".repeat(100), "desc": "x\r\n\u{1b}[2J".repeat(100)}));
    let shown = nasty.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(nasty.detail.chars().count() <= 200 && nasty.code.unwrap().chars().count() <= 128);
    let raw = decode(&read(None), &reply(502, b"\xff<html>Bad\0Gateway"), wall()).unwrap_err();
    assert_eq!(raw.detail.as_ref(), "\u{fffd}<html>Bad\\u{0}Gateway");
}

#[test]
fn retry_after_counts_on_every_failure() {
    for status in [302, 400, 403, 404, 429, 500, 503] {
        let reply = Reply { retry_after: Some("30"), ..reply(status, b"{}") };
        assert_eq!(decode(&read(None), &reply, wall()).unwrap_err().retry_after, Some(Duration::from_secs(30)));
    }
}

#[test]
fn what_echoes_a_secret_is_not_repeated() {
    let body = json!({"error_code": "bad_token-1234567890", "desc": "token-1234567890 is not good"}).to_string();
    let reply = Reply { secrets: &["", "token-1234567890"], ..reply(403, body.as_bytes()) };
    let refused = decode(&read(None), &reply, wall()).unwrap_err();
    assert!(!format!("{refused:?} {refused} {reply:?}").contains("1234567890"), "{refused}");
}

#[test]
fn depth_is_limited() {
    let deep = |open: &str, close: &str, levels| {
        format!("{{\"session_id\":\"s\",\"x\":{}1{}}}", open.repeat(levels), close.repeat(levels))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(decode(&read(None), &reply(200, deep(open, close, 100).as_bytes()), wall()).is_ok());
        for levels in [128, 100_000] {
            let refused = decode(&read(None), &reply(200, deep(open, close, levels).as_bytes()), wall()).unwrap_err();
            assert_eq!(refused.kind, FailureKind::Malformed);
        }
    }
}

fn any_call() -> impl Strategy<Value = Call> {
    (0..every_call().len()).prop_map(|n| every_call().swap_remove(n))
}

/// JSON that looks like the backend's, with every value possibly of the wrong type.
fn odd_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[a-z]{0,9}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "notifications", "notification_id", "message", "created", "rh_url", "etag", "custom_data", "session_id", "instance",
            "instance_id", "allocation_id", "join_status", "instance_health", "cadence_seconds", "updated_instance_health",
            "error_code", "desc", "auth_success", "detail", "loc", "msg", "access_token", "expires_in", "refresh_token", "region_id",
        ]).prop_map(str::to_owned),
        1 => ".*",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map: BTreeMap<String, Value>| Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

fn check_decode(call: &Call, status: u16, body: &[u8], header: &str) {
    let reply =
        Reply { status, etag: Some(header), retry_after: Some(header), date: Some(header), body, secrets: &["s"] };
    match decode(call, &reply, wall()) {
        Ok(_) => assert!((200..300).contains(&status) || status == 304),
        Err(failure) => {
            assert!(!failure.to_string().chars().any(char::is_control));
            assert!(failure.detail.chars().count() <= 200);
            assert!(failure.retry_after.is_none_or(|wait| wait <= super::RETRY_AFTER_LIMIT));
        }
    }
    if let Err(failure) = login::decode(&reply, wall()) {
        assert!(failure.detail.chars().count() <= 200);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(call in any_call(), status: u16, body: Vec<u8>, header in ".*") {
        check_decode(&call, status, &body, &header);
        check_decode(&call, 200, &body, &header);
    }

    #[test]
    fn no_document_makes_decoding_panic(call in any_call(), status in 0u16..700, body in odd_json(), header in ".*") {
        check_decode(&call, status, body.as_bytes(), &header);
        check_decode(&call, 200, body.as_bytes(), &header);
    }

    #[test]
    fn every_id_comes_through_a_path_byte_for_byte(id in "[^\\p{Cc}]{1,128}") {
        let call = Call::Poll {
            instance: InstanceId::parse(&id).unwrap(),
            after: Some(NotificationId::parse(&id).unwrap()),
            page_size: 100,
            deadline: Duration::from_secs(25),
        };
        let path = encode(&call).path_and_query;
        prop_assert!(path.is_ascii());
        let (path, query) = path.split_once('?').unwrap();
        let steps: Vec<&str> = path.split('/').collect();
        prop_assert_eq!(steps.len(), 8);
        prop_assert_eq!(percent_encoding::percent_decode_str(steps[4]).decode_utf8().unwrap(), id.as_str());
        let after = query.split_once("exclude_before=").unwrap().1;
        prop_assert!(!after.contains(['&', '=', '+', '#', ' ']));
        prop_assert_eq!(percent_encoding::percent_decode_str(after).decode_utf8().unwrap(), id.as_str());
    }

    #[test]
    fn a_token_is_never_in_the_words_of_a_failure(status in 200u16..600, token in "[A-Za-z0-9]{12,40}", wrap in odd_json()) {
        let wrap = format!("{{\"desc\": \"{token}\", \"error_code\": \"{token}\", \"x\": {wrap}, \"detail\": [\"{token}\"]}}");
        let reply = Reply { status, body: wrap.as_bytes(), secrets: &[&token], ..Reply::default() };
        if let Err(failure) = login::decode(&reply, wall()) {
            let shown = format!("{failure:?} {failure}");
            prop_assert!(!shown.contains(&token), "{}", shown);
        }
    }
}
