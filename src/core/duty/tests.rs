use serde_json::{Value, json};

use super::*;
use crate::core::durable::{Content, Durable, Record, Report};

fn data(pairs: &[(&str, &str)]) -> CustomData {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn every_duty() -> Vec<(Duty, Value)> {
    let game_match = |custom_data| Match { match_id: MatchId::parse("m-1").unwrap(), custom_data };
    let uuid = "00000000-0000-4000-8000-0000000000ab";
    vec![
        (Duty::BeginMatch(game_match(None)), json!({"duty": "begin_match", "match_id": "m-1", "custom_data": null})),
        (
            Duty::UpdateMatch(game_match(Some(data(&[("k", "v")])))),
            json!({"duty": "update_match", "match_id": "m-1", "custom_data": {"k": "v"}}),
        ),
        (Duty::EndMatch, json!({"duty": "end_match"})),
        (Duty::ListBrowser(Listing::default()), json!({"duty": "list_browser", "custom_data": {}})),
        (
            Duty::UpdateBrowser(Listing { custom_data: data(&[("k", "v")]) }),
            json!({"duty": "update_browser", "custom_data": {"k": "v"}}),
        ),
        (Duty::UnlistBrowser, json!({"duty": "unlist_browser"})),
        (
            Duty::UpdateSession { custom_data: None, joinable: Some(false) },
            json!({"duty": "update_session", "custom_data": null, "joinable": false}),
        ),
        (
            Duty::RemovePlayer { player: PlayerId::parse(uuid).unwrap() },
            json!({"duty": "remove_player", "player": uuid}),
        ),
    ]
}

/// The form on disk is kept for ever: what this version wrote must be readable by every later one.
#[test]
fn each_duty_stands_in_the_state_as_it_always_will() {
    for (duty, form) in every_duty() {
        let mut content = form.clone();
        content["kind"] = json!("duty");
        let written = serde_json::to_value(Content::Duty(duty.clone())).unwrap();
        assert_eq!(written, content);
        assert_eq!(serde_json::from_value::<Content>(written).unwrap(), Content::Duty(duty.clone()));
        assert_eq!(form["duty"], duty.as_str());
    }
    // What may be left out was left out by somebody.
    let bare = json!({"kind": "duty", "duty": "update_session", "of_a_later_version": 1});
    let read: Content = serde_json::from_value(bare).unwrap();
    assert_eq!(read, Content::Duty(Duty::UpdateSession { custom_data: None, joinable: None }));
}

fn accepted(id: &str, duty: Duty) -> Record {
    Record::Accepted(Report {
        id: crate::core::ids::ReportId::parse(id).unwrap(),
        key: None,
        accepted: "2026-11-22T10:00:00Z".parse().unwrap(),
        content: Content::Duty(duty),
    })
}

#[test]
fn what_is_listed_is_what_was_last_accepted_for_the_browser() {
    let mut durable: Durable = serde_json::from_value(json!({"session": "s-1", "closed": false})).unwrap();
    assert_eq!(durable.listing, None, "a state from before there were duties");
    let listing = |text: &str| Listing { custom_data: data(&[("k", text)]) };
    for (at, (duty, listed)) in [
        (Duty::EndMatch, None),
        (Duty::ListBrowser(listing("1")), Some(listing("1"))),
        (Duty::EndMatch, Some(listing("1"))),
        (Duty::UpdateBrowser(listing("2")), Some(listing("2"))),
        (Duty::UnlistBrowser, None),
        (Duty::ListBrowser(listing("3")), Some(listing("3"))),
    ]
    .into_iter()
    .enumerate()
    {
        durable.apply(&accepted(&format!("r-{at}"), duty));
        assert_eq!(durable.listing, listed, "{at}");
    }
    durable.apply(&Record::Identity { session: None, instance: None, allocation: None });
    assert_eq!(durable.listing, None, "another life lists nothing yet");
}

fn failure(kind: FailureKind, code: Option<&str>) -> Failure {
    Failure { code: code.map(Into::into), ..Failure::local(kind, "injected") }
}

#[test]
fn what_a_failure_means_depends_on_the_duty() {
    let (own, foreign) = (Some("match_not_found"), None);
    for (duty, _) in every_duty() {
        let (begins, ends) = (
            matches!(duty, Duty::BeginMatch(_) | Duty::ListBrowser(_)),
            matches!(duty, Duty::EndMatch | Duty::UnlistBrowser | Duty::RemovePlayer { .. }),
        );
        let ruling = |kind, code, doubtful| duty.ruling(&failure(kind, code), doubtful);
        let word = duty.as_str();
        for doubtful in [false, true] {
            let gone = if ends { [Ruling::Done; 2] } else { [Ruling::Dead, Ruling::Slow] };
            assert_eq!([own, foreign].map(|code| ruling(FailureKind::NotFound, code, doubtful)), gone, "{word}");
            let conflict = match (begins, doubtful) {
                (true, true) => Ruling::Done,
                (true, false) => Ruling::Dead,
                (false, _) => Ruling::Slow,
            };
            assert_eq!(ruling(FailureKind::Conflict, None, doubtful), conflict, "{word}");
            assert_eq!(ruling(FailureKind::Rejected, None, doubtful), Ruling::Dead, "{word}");
            for kind in [FailureKind::Forbidden, FailureKind::Unsupported] {
                assert_eq!(ruling(kind, Some("insufficient_role"), doubtful), Ruling::Slow, "{word}");
            }
            for kind in [
                FailureKind::Unreachable,
                FailureKind::Cut,
                FailureKind::TimedOut,
                FailureKind::Throttled,
                FailureKind::Server,
                FailureKind::Redirected,
                FailureKind::Malformed,
            ] {
                assert_eq!(ruling(kind, None, doubtful), Ruling::Soon, "{word}");
            }
        }
    }
}

#[test]
fn a_player_is_written_in_one_form_however_it_came() {
    let usual = "00000000-0000-4000-8000-0000000000ab";
    for text in
        [usual, "00000000000040008000", "000000000000400080000000000000AB", "{00000000-0000-4000-8000-0000000000AB}"]
    {
        match PlayerId::parse(text) {
            Ok(player) => assert_eq!(player.to_string(), usual, "{text}"),
            Err(_) => assert_eq!(text.len(), 20, "{text}"),
        }
    }
}

#[test]
fn a_report_to_a_session_that_is_gone_can_never_arrive() {
    let gone = Failure { status: Some(404), ..failure(FailureKind::NotFound, Some("session_not_found")) };
    assert_eq!(Ruling::of(&gone), Ruling::Dead);
    assert_eq!(Ruling::of(&failure(FailureKind::NotFound, None)), Ruling::Slow, "it may be a proxy that says so");
}
