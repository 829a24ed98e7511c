//! Bad entries in a page of notifications, from the bytes on the wire to the inbox: every kind at every place (promise 7).

use super::rig::*;
use crate::core::Machine as _;
use crate::core::call::{Call, CallKind};
use crate::wire::{Reply, decode};

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The game gets it, without what could not be read.
    Taken,
    /// It is counted and skipped; its id can be read, so the cursor can stand on it.
    Skipped,
    /// Not even that.
    Nameless,
}

fn kinds() -> Vec<(&'static str, String, Fate)> {
    let with = |field: &str| format!(r#"{{"notification_id":"poison","created":"c",{field}}}"#);
    let deep = |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    vec![
        ("null", "null".to_owned(), Fate::Nameless),
        ("a number", "-7.5e3".to_owned(), Fate::Nameless),
        ("a number out of range", "1e999".to_owned(), Fate::Nameless),
        ("a flag", "true".to_owned(), Fate::Nameless),
        ("a text", r#""text""#.to_owned(), Fate::Nameless),
        ("a text that is none", r#""\ud800""#.to_owned(), Fate::Nameless),
        ("a list", r#"[{"notification_id":"inner","message":"m"}]"#.to_owned(), Fate::Nameless),
        ("a deep list", deep("[", "]", 100_000), Fate::Nameless),
        ("nothing in it", "{}".to_owned(), Fate::Nameless),
        ("no id", r#"{"message":"m"}"#.to_owned(), Fate::Nameless),
        ("a null id", r#"{"notification_id":null,"message":"m"}"#.to_owned(), Fate::Nameless),
        ("an id that is a number", r#"{"notification_id":7,"message":"m"}"#.to_owned(), Fate::Nameless),
        ("an id that is an object", r#"{"notification_id":{"a":"b"},"message":"m"}"#.to_owned(), Fate::Nameless),
        ("an empty id", r#"{"notification_id":"","message":"m"}"#.to_owned(), Fate::Nameless),
        ("an id that is too long", format!(r#"{{"notification_id":"{}"}}"#, "x".repeat(513)), Fate::Nameless),
        ("an id with a control character", r#"{"notification_id":"a\nb","message":"m"}"#.to_owned(), Fate::Nameless),
        ("an id that is no text", r#"{"notification_id":"\udc00","message":"m"}"#.to_owned(), Fate::Nameless),
        ("a message that is a number", with(r#""message":5"#), Fate::Skipped),
        ("a message that is a number out of range", with(r#""message":-1e999"#), Fate::Skipped),
        ("a message that is a list", with(r#""message":["m"]"#), Fate::Skipped),
        ("a message that is an object", with(r#""message":{"m":"m"}"#), Fate::Skipped),
        ("a message that is no text", with(r#""message":"\ud800 x""#), Fate::Skipped),
        ("a message that is deep", with(&format!(r#""message":{}"#, deep("[", "]", 1000))), Fate::Skipped),
        ("a null message", with(r#""message":null"#), Fate::Taken),
        ("no message", with(r#""rh_url":"u""#), Fate::Taken),
        ("a huge message", with(&format!(r#""message":"{}""#, "m".repeat(4 << 20))), Fate::Taken),
        ("a message of control characters", with(r#""message":"\u0000\u001b[31m\r\n""#), Fate::Taken),
        ("custom_data that is null", with(r#""message":"m","custom_data":null"#), Fate::Taken),
        ("custom_data that is a list", with(r#""message":"m","custom_data":[1]"#), Fate::Taken),
        (
            "custom_data that is deep",
            with(&format!(r#""message":"m","custom_data":{{"a":{},"b":"c"}}"#, deep("{\"a\":", "}", 100_000))),
            Fate::Taken,
        ),
        (
            "custom_data that is deep in lists",
            with(&format!(r#""message":"m","custom_data":{},"x":1"#, deep("[", "]", 100_000))),
            Fate::Taken,
        ),
        ("an unknown field that is deep", with(&format!(r#""message":"m","x":{}"#, deep("[", "]", 300))), Fate::Taken),
        ("a field name that is no text", with(r#""message":"m","\ud800":1"#), Fate::Taken),
        (
            "fields that are no text",
            with(r#""message":"m","created":[],"rh_url":"\udfff","etag":{"a":1}"#),
            Fate::Taken,
        ),
    ]
}

#[test]
fn every_kind_at_every_place_spoils_no_other_and_lets_the_cursor_pass() {
    let good = |id: &str| format!(r#"{{"notification_id":"{id}","message":"m","created":"2026-11-22T10:00:00Z"}}"#);
    let mut seen = 0;
    for (kind, entry, fate) in kinds() {
        for place in 0..3 {
            let mut entries = vec![good("n-1"), good("n-2")];
            entries.insert(place, entry.clone());
            let body = format!(r#"{{"cursor":"x","notifications":[{}]}}"#, entries.join(" ,\n"));

            let mut rig = Rig::serving(params());
            let call = rig.call(CallKind::Poll).clone();
            let reply = Reply { status: 200, body: body.as_bytes(), ..Reply::default() };
            rig.answer(CallKind::Poll, decode(&call, &reply, wall()));

            let snapshot = rig.agent.snapshot();
            let inbox: Vec<&str> =
                snapshot.notifications.inbox.iter().map(|waiting| waiting.notification_id.as_str()).collect();
            let mut expected = vec!["n-1", "n-2"];
            if fate == Fate::Taken {
                expected.insert(place, "poison");
            }
            assert_eq!(inbox, expected, "{kind} at {place}");
            assert_eq!(
                snapshot.counters.notifications_unusable,
                u64::from(fate != Fate::Taken),
                "{kind} at {place}: what is skipped is counted"
            );
            // The next page begins behind it, at once: nothing came of it but a count.
            let Call::Poll { after, .. } = rig.call(CallKind::Poll) else { unreachable!() };
            let last = if place == 2 && fate != Fate::Nameless { "poison" } else { "n-2" };
            assert_eq!(after.as_ref().map(|id| id.as_str()), Some(last), "{kind} at {place}");
            seen += 1;
        }
    }
    assert!(seen > 90, "{seen}");
}

#[test]
fn a_page_of_nothing_but_poison_waits_and_then_asks_again() {
    let mut rig = Rig::serving(params());
    let call = rig.call(CallKind::Poll).clone();
    let reply = Reply { status: 200, body: br#"{"notifications":[null,{},7]}"#, ..Reply::default() };
    rig.answer(CallKind::Poll, decode(&call, &reply, wall()));
    assert_eq!(rig.agent.snapshot().counters.notifications_unusable, 3);
    assert!(rig.kinds().is_empty(), "not in a loop");
    rig.pass(std::time::Duration::from_secs(2));
    assert_eq!(rig.kinds(), [CallKind::Poll]);
}

#[test]
fn what_can_be_read_of_custom_data_is_kept() {
    let call = Rig::serving(params()).call(CallKind::Poll).clone();
    let body = br#"{"notifications":[{"notification_id":"a","custom_data":
        {"one":"1","two":2,"list":["x"],"\ud800":"y","three":"\udc00","null":null,"four":"4\n"}}]}"#;
    let reply = Reply { status: 200, body, ..Reply::default() };
    let Ok(crate::core::call::Answer::Page(page)) = decode(&call, &reply, wall()) else { panic!() };
    let data: Vec<_> = page.notifications[0].custom_data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(data, [("four", "4\n"), ("one", "1")]);
}

#[test]
fn a_message_that_is_not_utf8_is_skipped_by_its_id() {
    let call = Rig::serving(params()).call(CallKind::Poll).clone();
    let body = b"{\"notifications\":[{\"notification_id\":\"a\",\"message\":\"\xff\"},{\"notification_id\":\"b\"}]}";
    let reply = Reply { status: 200, body, ..Reply::default() };
    let Ok(crate::core::call::Answer::Page(page)) = decode(&call, &reply, wall()) else { panic!() };
    assert_eq!((page.notifications.len(), page.unusable), (1, 1));
    assert_eq!(page.last_id.unwrap().as_str(), "b");
}
