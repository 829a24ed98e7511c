//! The words that leave the core, for logs, metrics, status and the Agones SDK: stable, and each its own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::call::{CallKind, Failure, FailureKind, Trail};
use crate::core::event::StoreFault;
use crate::core::phase::{Phase, Trigger};
use crate::core::sdk::Told;
use crate::core::snapshot::{HandOffState, PollState, StoreView};

fn are_distinct<'a>(words: impl IntoIterator<Item = &'a str>) {
    let words: Vec<&str> = words.into_iter().collect();
    let distinct: BTreeSet<&str> = words.iter().copied().collect();
    assert_eq!(distinct.len(), words.len(), "{words:?}");
    assert!(words.iter().all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_')));
}

pub(super) const FAILURES: [FailureKind; 14] = [
    FailureKind::Unreachable,
    FailureKind::Cut,
    FailureKind::TimedOut,
    FailureKind::NoToken,
    FailureKind::Unauthorised,
    FailureKind::Forbidden,
    FailureKind::NotFound,
    FailureKind::Unsupported,
    FailureKind::Conflict,
    FailureKind::Throttled,
    FailureKind::Server,
    FailureKind::Rejected,
    FailureKind::Redirected,
    FailureKind::Malformed,
];

#[test]
fn every_word_of_a_log_or_a_metric_means_one_thing() {
    are_distinct(CallKind::ALL.map(CallKind::as_str));
    are_distinct(FAILURES.map(FailureKind::as_str));
    are_distinct(Phase::ALL.map(Phase::as_str));
    are_distinct(Trigger::ALL.map(Trigger::as_str));
    let polls = [PollState::Off, PollState::Polling, PollState::BackingOff, PollState::Paused, PollState::Unsupported];
    are_distinct(polls.map(PollState::as_str));
    let pushes =
        [HandOffState::Off, HandOffState::Idle, HandOffState::Pushing, HandOffState::Retrying, HandOffState::Absent];
    are_distinct(pushes.map(HandOffState::as_str));
    let faults = [None, Some(StoreFault::Full), Some(StoreFault::ReadOnly), Some(StoreFault::Failed)];
    are_distinct(faults.map(|fault| StoreView { fault, ..StoreView::default() }.state()));
}

/// sdk.proto of Agones, GameServer.Status.state: clients compare these texts.
#[test]
fn a_game_is_told_its_state_in_the_words_of_agones() {
    let words = [
        Told::Starting,
        Told::Scheduled,
        Told::RequestReady,
        Told::Ready,
        Told::Reserved,
        Told::Allocated,
        Told::Unhealthy,
        Told::Shutdown,
    ]
    .map(Told::as_str);
    let expected = ["Starting", "Scheduled", "RequestReady", "Ready", "Reserved", "Allocated", "Unhealthy", "Shutdown"];
    assert_eq!(words, expected);
}

#[test]
fn only_what_changes_nothing_is_sent_again_at_once() {
    let safe: Vec<&str> = CallKind::ALL.into_iter().filter(|kind| kind.is_safe()).map(CallKind::as_str).collect();
    assert_eq!(safe, ["find_session", "read_session", "health_config", "poll", "sic_register", "sic_state"]);
}

#[test]
fn every_refusal_names_the_permission_that_is_missing() {
    for kind in CallKind::ALL {
        assert!(kind.permission().contains(['-', ':', ' ']), "{kind}: {}", kind.permission());
    }
    assert_eq!(CallKind::Fubar.permission(), "session:update:fubar");
    assert_eq!(CallKind::Poll.permission(), "notification:instance:read");
    assert_eq!(CallKind::RemovePlayer.permission(), "session:update-player:any");
}

#[test]
fn a_failure_is_ambiguous_where_the_backend_may_have_done_it() {
    let ambiguous: Vec<&str> =
        FAILURES.into_iter().filter(|kind| Failure::local(*kind, "").is_ambiguous()).map(FailureKind::as_str).collect();
    assert_eq!(ambiguous, ["cut", "timed_out", "server", "malformed"]);
}

#[test]
fn a_failure_says_what_came_and_where_it_is_found() {
    let trail = Trail { request_id: "ours".into(), backend_request_id: Some("theirs".into()) };
    let failure = Failure {
        status: Some(404),
        code: Some("session_not_found".into()),
        retry_after: Some(Duration::from_secs(1)),
        ..Failure::local(FailureKind::NotFound, "no such session")
    };
    assert_eq!(failure.to_string(), "not_found (HTTP 404) session_not_found: no such session");
    assert_eq!((failure.request_id(), failure.backend_request_id()), (None, None));
    assert!(failure.is_session_gone());
    let found = failure.found_at(&trail);
    assert_eq!((found.request_id(), found.backend_request_id()), (Some("ours"), Some("theirs")));
    let other = Failure { kind: FailureKind::Forbidden, ..found.clone() };
    let page = Failure { code: None, ..found };
    assert!(!other.is_session_gone() && !page.is_session_gone());
    assert_eq!(Failure::local(FailureKind::Cut, "").to_string(), "cut");
}
