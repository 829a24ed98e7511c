//! A host's other duties at the door: what is taken, what is asked of the core, and how each mistake is named.

use rallyhere_agent::core::duty::{Duty, Listing, Match};
use rallyhere_agent::core::event::{Denied, Granted, Request};
use rallyhere_agent::core::ids::{MatchId, PlayerId};
use rallyhere_agent::core::instance::CustomData;

use super::fake::Served;

const PLAYER: &str = "0199aa00-0000-7000-8000-0000000000ab";

fn data(pairs: &[(&str, &str)]) -> CustomData {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn game_match(id: &str, custom_data: Option<CustomData>) -> Match {
    Match { match_id: MatchId::parse(id).unwrap(), custom_data }
}

fn listing(pairs: &[(&str, &str)]) -> Listing {
    Listing { custom_data: data(pairs) }
}

/// Method, path, body, what the core is asked, and the key.
type Good = (&'static str, String, String, Duty, Option<&'static str>);

fn good() -> Vec<Good> {
    let long = "ü".repeat(128);
    let players = |query: &str| format!("/v1/players/{PLAYER}{query}");
    let remove = || Duty::RemovePlayer { player: PlayerId::parse(PLAYER).unwrap() };
    let session = |custom_data, joinable| Duty::UpdateSession { custom_data, joinable };
    let (game, browser) = ("/v1/match".to_owned(), "/v1/browser".to_owned());
    let body = |text: &str| text.to_owned();
    vec![
        ("POST", game.clone(), body(r#"{"match_id":"m 1/%"}"#), Duty::BeginMatch(game_match("m 1/%", None)), None),
        (
            "POST",
            game.clone(),
            format!(r#"{{"match_id":"{long}","custom_data":{{"a":"1"}},"key":"k-1"}}"#),
            Duty::BeginMatch(game_match(&long, Some(data(&[("a", "1")])))),
            Some("k-1"),
        ),
        (
            "PATCH",
            game.clone(),
            body(r#"{"match_id":"m","custom_data":{}}"#),
            Duty::UpdateMatch(game_match("m", Some(data(&[])))),
            None,
        ),
        ("DELETE", game.clone(), String::new(), Duty::EndMatch, None),
        ("DELETE", game.clone(), body("{}"), Duty::EndMatch, None),
        ("DELETE", format!("{game}?key=k%201"), String::new(), Duty::EndMatch, Some("k 1")),
        ("POST", browser.clone(), String::new(), Duty::ListBrowser(listing(&[])), None),
        (
            "POST",
            browser.clone(),
            body(r#"{"custom_data":{"map":"canyon"},"key":"k"}"#),
            Duty::ListBrowser(listing(&[("map", "canyon")])),
            Some("k"),
        ),
        ("PATCH", browser.clone(), body(r#"{"custom_data":{}}"#), Duty::UpdateBrowser(listing(&[])), None),
        ("DELETE", browser.clone(), String::new(), Duty::UnlistBrowser, None),
        ("DELETE", format!("{browser}?key=k"), String::new(), Duty::UnlistBrowser, Some("k")),
        ("PATCH", body("/v1/session"), body(r#"{"joinable":false}"#), session(None, Some(false)), None),
        (
            "PATCH",
            body("/v1/session"),
            body(r#"{"custom_data":{"a":"1"},"joinable":true,"key":"k"}"#),
            session(Some(data(&[("a", "1")])), Some(true)),
            Some("k"),
        ),
        ("PATCH", body("/v1/session"), body(r#"{"custom_data":{}}"#), session(Some(data(&[])), None), None),
        ("DELETE", players(""), String::new(), remove(), None),
        ("DELETE", players("?key=k"), String::new(), remove(), Some("k")),
        ("DELETE", format!("/v1/players/{}", PLAYER.to_uppercase()), String::new(), remove(), None),
    ]
}

#[tokio::test]
async fn every_duty_is_asked_of_the_core_and_answered_with_its_id() {
    let served = Served::start();
    for door in served.doors() {
        for (method, path, body, duty, key) in good() {
            let answer = door.call(method, &path, &body).await;
            assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"duty_id":"r-1"}"#), "{method} {path} {body}");
            let asked = Request::Duty { duty, key: key.map(str::to_owned) };
            assert_eq!(served.fake.take_asked(), [asked], "{method} {path} {body}");
        }
    }
}

/// Method, path, body, status, code, what the message must name.
type Bad = (&'static str, String, String, u16, &'static str, &'static str);

fn bad() -> Vec<Bad> {
    let text = |count: usize| "x".repeat(count);
    let field =
        |method, path: &str, body: &str, names| (method, path.to_owned(), body.to_owned(), 422, "invalid_field", names);
    let empty = |method, path: &str| (method, path.to_owned(), String::new(), 400, "not_json", "empty");
    let mut bad = vec![
        empty("POST", "/v1/match"),
        empty("PATCH", "/v1/match"),
        empty("PATCH", "/v1/browser"),
        empty("PATCH", "/v1/session"),
        field("POST", "/v1/browser", r#"{"custom_data":{"k":""}}"#, "custom_data.k"),
        field("POST", "/v1/browser", r#"{"map":"x"}"#, "map"),
        field("POST", "/v1/browser", r#"{"key":""}"#, "key"),
        field("PATCH", "/v1/browser", "{}", "custom_data"),
        field("PATCH", "/v1/browser", r#"{"custom_data":null}"#, "custom_data"),
        field("PATCH", "/v1/browser", &format!(r#"{{"custom_data":{{"k":"{}"}}}}"#, text(4097)), "custom_data.k"),
        field("PATCH", "/v1/session", "{}", "joinable"),
        field("PATCH", "/v1/session", r#"{"key":"k"}"#, "custom_data"),
        field("PATCH", "/v1/session", r#"{"joinable":"yes"}"#, "joinable"),
        field("PATCH", "/v1/session", r#"{"custom_data":{"k":7}}"#, "custom_data.k"),
        field("PATCH", "/v1/session", r#"{"custom_data":{"k":""}}"#, "custom_data.k"),
        field("PATCH", "/v1/session", r#"{"region_id":"eu"}"#, "region_id"),
        field("DELETE", "/v1/players/7", "", "uuid"),
        field("DELETE", &format!("/v1/players/{PLAYER}0"), "", "uuid"),
        field("DELETE", "/v1/players/%ff", "", "uuid"),
        ("DELETE", "/v1/players/".to_owned(), String::new(), 404, "not_found", "/v1/players/"),
        ("DELETE", format!("/v1/players/{PLAYER}/x"), String::new(), 404, "not_found", "/x"),
    ];
    for method in ["POST", "PATCH"] {
        bad.extend([
            field(method, "/v1/match", "{}", "match_id"),
            field(method, "/v1/match", r#"{"match_id":""}"#, "match_id"),
            field(method, "/v1/match", &format!(r#"{{"match_id":"{}"}}"#, text(129)), "match_id"),
            field(method, "/v1/match", r#"{"match_id":"a\nb"}"#, "match_id"),
            field(method, "/v1/match", r#"{"match_id":7}"#, "match_id"),
            field(method, "/v1/match", r#"{"match_id":"m","custom_data":{"k":""}}"#, "custom_data.k"),
            field(method, "/v1/match", r#"{"match_id":"m","mode":"duel"}"#, "mode"),
            field(method, "/v1/match", &format!(r#"{{"match_id":"m","key":"{}"}}"#, text(129)), "key"),
            field(method, "/v1/match?key=k", r#"{"match_id":"m"}"#, "key: stands in the body"),
        ]);
    }
    for path in ["/v1/match", "/v1/browser", "/v1/players/0199aa00-0000-7000-8000-0000000000ab"] {
        bad.extend([
            field("DELETE", &format!("{path}?key="), "", "key"),
            field("DELETE", &format!("{path}?key={}", text(129)), "", "key"),
            field("DELETE", &format!("{path}?key=a&key=b"), "", "key"),
            field("DELETE", &format!("{path}?kye=a"), "", "kye"),
            field("DELETE", path, r#"{"key":"k"}"#, "key"),
            field("DELETE", path, "[]", "object"),
        ]);
    }
    bad
}

#[tokio::test]
async fn every_mistake_is_named_and_reaches_no_core() {
    let served = Served::start();
    for door in served.doors() {
        for (method, path, body, status, code, names) in bad() {
            let answer = door.call(method, &path, &body).await;
            let (got, message) = answer.refusal();
            assert_eq!((answer.status, got.as_str()), (status, code), "{method} {path} {body}: {message}");
            assert!(message.contains(names), "{method} {path} {body}: {message:?} does not name {names:?}");
            assert_eq!(served.fake.take_asked(), [], "{method} {path} {body}");
        }
    }
}

#[tokio::test]
async fn a_wrong_verb_is_told_the_right_ones() {
    let served = Served::start();
    for (method, path, allow) in [
        ("GET", "/v1/match", "POST,PATCH,DELETE"),
        ("PUT", "/v1/browser", "POST,PATCH,DELETE"),
        ("POST", "/v1/session", "GET,HEAD,PATCH"),
        ("GET", "/v1/players/x", "DELETE"),
    ] {
        let answer = served.uds().call(method, path, "").await;
        assert_eq!((answer.status, answer.refusal().0.as_str()), (405, "method_not_allowed"));
        let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(',').collect();
        let mut wanted: Vec<&str> = allow.split(',').collect();
        allowed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(allowed, wanted, "{method} {path}");
    }
}

#[tokio::test]
async fn the_verdict_of_the_core_decides_the_status() {
    let served = Served::start();
    served.fake.judge(|_| Some(Err(Denied::Phase("the instance is draining".to_owned()))));
    let answer = served.uds().post("/v1/browser", "{}").await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (409, "wrong_phase"));
    served.fake.judge(|_| Some(Err(Denied::Full { limit: 1000 })));
    let answer = served.uds().call("DELETE", "/v1/match", "").await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (503, "outbox_full"));
    served.fake.judge(|_| Some(Ok(Granted::Done)));
    assert_eq!(
        served.uds().call("DELETE", "/v1/match", "").await.status,
        500,
        "without an id nothing may look durable"
    );
}

#[tokio::test]
async fn who_does_a_duty_is_a_game() {
    for (method, path, body) in [
        ("POST", "/v1/match", r#"{"match_id":"m"}"#),
        ("DELETE", "/v1/browser", ""),
        ("PATCH", "/v1/session", r#"{"joinable":true}"#),
        ("DELETE", "/v1/players/0199aa00-0000-7000-8000-0000000000ab", ""),
    ] {
        let served = Served::start();
        served.uds().call(method, path, body).await;
        assert_eq!(served.fake.greetings(), 1, "{method} {path}");
    }
}
