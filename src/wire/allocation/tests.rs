use serde_json::{Value, json};

use super::*;
use crate::core::allocation::Address;

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn the_bodies_are_those_of_the_public_clients() {
    let wish = SessionWish {
        session_type: "deathmatch".to_owned(),
        region: "us-east".to_owned(),
        client_version: "1.2.3".to_owned(),
        platform: "Basic".to_owned(),
        input: "keyboardandmouse".to_owned(),
    };
    let settings = json!({"platform": "Basic", "input": "keyboardandmouse"});
    let wanted = json!({"session_type": "deathmatch", "region_id": "us-east", "client_version": "1.2.3", "client_settings": settings});
    assert_eq!(value(&create_session(&wish)), wanted);
    let anywhere = value(&create_session(&SessionWish { region: String::new(), ..wish }));
    assert_eq!(anywhere.get("region_id"), None);

    let entry = SicEntry {
        profile_id: "P".to_owned(),
        server_id: "S".to_owned(),
        hostname: "H".to_owned(),
        own_id: None,
        address: Address::parse("2001:db8::1", 65535).unwrap(),
    };
    let item = json!({"id": "sic_S_65535", "group_tags": "profile_id:P,server_id:S,hostname:H",
        "public_host": "2001:db8::1", "public_port": 65535});
    assert_eq!(value(&sic_register(&entry)), json!({"items": [item]}));
    // A game behind another port than the one that it listens on.
    let mapped = SicEntry { own_id: Some("sic_S_7777".to_owned()), ..entry };
    let registered = value(&sic_register(&mapped));
    assert_eq!(registered["items"][0]["id"], "sic_S_7777");
    assert_eq!(registered["items"][0]["public_port"], 65535);
    assert_eq!(value(&sic_state("sic_S_65535")), json!({"items": [{"id": "sic_S_65535"}]}));
}

#[test]
fn an_answer_of_sic_is_read_with_a_wide_mind() {
    let read = |body: Value| sic(body.to_string().as_bytes(), &[]);
    let answer =
        read(json!({"items": [{"success": true, "error_code": 0, "error_message": null, "state": "allocated", "allocation_id": "a-1",
        "session_id": null, "news": [1]}], "page": 1}))
        .unwrap();
    assert_eq!((answer.success, answer.state, answer.session_id), (true, Some(SicState::Allocated), None));
    assert_eq!(answer.allocation_id.unwrap().as_str(), "a-1");
    let answer =
        read(json!({"items": [{"success": false, "error_code": 6, "error_message": "being\u{7} allocated"}]})).unwrap();
    assert_eq!((answer.success, answer.error_code, answer.state), (false, 6, None));
    assert!(!answer.message.unwrap().contains('\u{7}'));
    let odd = read(json!({"items": [{"success": true, "state": "melting"}]})).unwrap();
    assert_eq!(odd.state, Some(SicState::Other("melting".to_owned())));
    for bad in
        [json!({}), json!({"items": []}), json!({"items": [1]}), json!({"items": [{"error_code": 0}]}), json!([])]
    {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
    let long = "x".repeat(129);
    assert!(read(json!({"items": [{"success": true, "allocation_id": long}]})).is_err());
}

#[test]
fn a_session_that_was_made_has_an_id() {
    assert_eq!(session_made(br#"{"session_id":"s-1","created":true}"#).unwrap().as_str(), "s-1");
    for bad in ["", "[]", "{}", r#"{"session_id":""}"#, r#"{"session_id":7}"#] {
        assert!(session_made(bad.as_bytes()).is_err(), "{bad}");
    }
}

fn given(word: Result<Word, String>) -> (Option<String>, Option<String>, Option<(String, u16)>) {
    let Ok(Word::Given(allocation)) = word else { panic!("{word:?}") };
    (
        allocation.session_id.map(|id| id.to_string()),
        allocation.allocation_id.map(|id| id.to_string()),
        allocation.address.map(|address| (address.host, address.port)),
    )
}

#[test]
fn multiplays_file_is_read_as_it_is_written() {
    let read = |text: &str| file(Teller::Multiplay, text.as_bytes());
    let full = r#"{"AllocationUUID":"a","SessionId":"s","SessionAuth":"t","ConnectionIP":"203.0.113.7","ConnectionPort":"65535"}"#;
    let here = Some(("203.0.113.7".to_owned(), 65535));
    assert_eq!(given(read(full)), (Some("s".to_owned()), Some("a".to_owned()), here.clone()));
    let number = r#"{"SessionId":"s","ConnectionIP":"203.0.113.7","ConnectionPort":65535}"#;
    assert_eq!(given(read(&format!("\u{feff}{number}\n"))), (Some("s".to_owned()), None, here));
    assert_eq!(given(read(r#"{"SessionId":"s","ConnectionIP":"203.0.113.7","ConnectionPort":0}"#)).2, None);
    assert_eq!(given(read(r#"{"SessionId":"s","ConnectionPort":""}"#)).2, None);
    for nothing in ["", " \n", "{}", r#"{"AllocationUUID":"a","SessionId":""}"#, r#"{"SessionId":null}"#] {
        assert_eq!(read(nothing), Ok(Word::Nothing), "{nothing}");
    }
    for bad in [
        &full[..30],
        "[]",
        "nonsense",
        r#"{"SessionId":"s","ConnectionPort":65536}"#,
        r#"{"SessionId":"s","ConnectionPort":1.5}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for end in 1..full.len() {
        assert!(read(&full[..end]).is_err(), "half a document is none: {}", &full[..end]);
    }
}

#[test]
fn our_own_file_is_strict() {
    let read = |text: &str| file(Teller::File, text.as_bytes());
    let here = Some(("h".to_owned(), 1));
    assert_eq!(
        given(read(r#"{"allocation_id":"a","public_host":"h","public_port":1}"#)),
        (None, Some("a".to_owned()), here)
    );
    assert_eq!(read(r#"{"session_id":"","public_host":""}"#), Ok(Word::Nothing));
    for (bad, words) in [
        (r#"{"sesion_id":"s"}"#, "sesion_id"),
        (r#"{"session_id":"s","public_port":65536}"#, "public_port"),
        (r#"{"session_id":"s","public_host":"h"}"#, "public_port"),
    ] {
        let why = read(bad).unwrap_err();
        assert!(why.contains(words), "{bad}: {why}");
    }
}

#[test]
fn each_state_of_sic_has_its_word_and_odd_kinds_are_passed_over() {
    let read = |item: Value| sic(json!({ "items": [item] }).to_string().as_bytes(), &[]).unwrap();
    for (word, state) in [
        ("allocated", SicState::Allocated),
        ("allocating", SicState::Allocating),
        ("deallocated", SicState::Deallocated),
    ] {
        assert_eq!(read(json!({"success": true, "state": word})).state, Some(state));
    }
    for odd in [json!([1, {"a": [2]}]), json!({"a": {"b": []}}), json!(true), json!(null), json!([])] {
        let answer = read(json!({"success": true, "error_code": odd, "error_message": odd, "state": odd, "more": 1}));
        assert_eq!((answer.success, answer.error_code, answer.message, answer.state), (true, 0, None, None), "{odd}");
    }
}

#[test]
fn a_file_of_just_the_limit_is_read_and_a_longer_one_is_not() {
    let of = |length: usize| {
        let start = r#"{"session_id":"s"#;
        format!("{start}\"{}}}", " ".repeat(length - start.len() - 2))
    };
    assert!(file(Teller::File, of(FILE_LIMIT).as_bytes()).is_ok());
    for longer in [FILE_LIMIT + 1, FILE_LIMIT + 2] {
        assert!(file(Teller::File, of(longer).as_bytes()).is_err_and(|why| why.contains("bytes")), "{longer}");
    }
}

#[test]
fn a_wrong_port_of_multiplay_is_named() {
    let why = file(Teller::Multiplay, br#"{"SessionId":"s","ConnectionIp":"203.0.113.7","ConnectionPort":70000}"#);
    assert!(why.as_ref().is_err_and(|why| why.contains("ConnectionPort")), "{why:?}");
}
