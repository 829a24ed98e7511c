//! Notifications: nothing lost, nothing twice, in order.

use std::sync::Arc;
use std::time::Duration;

use super::rig::*;
use crate::core::api::Choice;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind, Page};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Command, Denied, Event, Granted, Request, StoreFault};
use crate::core::ids::{Etag, NotificationId};
use crate::core::instance::Notification;
use crate::core::params::Params;
use crate::core::snapshot::PollState;
use crate::core::{Machine as _, Note};

fn page(ids: &[&str]) -> Result<Answer, Failure> {
    Ok(Answer::Page(Page {
        notifications: ids.iter().map(|id| notification(id)).collect(),
        unusable: 0,
        last_id: ids.last().map(|id| NotificationId::parse(id).unwrap()),
    }))
}

fn cursor(rig: &Rig) -> Option<String> {
    let Call::Poll { after, .. } = rig.call(CallKind::Poll) else { unreachable!() };
    after.as_ref().map(ToString::to_string)
}

fn inbox(rig: &Rig) -> Vec<String> {
    rig.agent.snapshot().notifications.inbox.iter().map(|n| n.notification_id.to_string()).collect()
}

fn pass(rig: &mut Rig, duration: Duration) {
    rig.pass_quietly(duration, false);
}

fn ack(id: &str) -> Request {
    Request::Ack(NotificationId::parse(id).unwrap())
}

#[test]
fn a_page_moves_the_cursor_and_is_handed_over_in_order() {
    let mut rig = Rig::serving(params());
    assert_eq!(cursor(&rig), None);
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    assert_eq!(inbox(&rig), ["a", "b"]);
    assert_eq!(cursor(&rig).as_deref(), Some("b"));
    assert_eq!(rig.ask(ack("a")), Ok(Granted::Acknowledged(1)));
    assert_eq!(inbox(&rig), ["b"]);
}

#[test]
fn the_page_and_the_cursor_are_one_record_and_the_game_sees_it_after_that() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    rig.answer(CallKind::Poll, page(&["a"]));
    assert!(inbox(&rig).is_empty(), "not before it is on disk");
    assert!(rig.kinds().is_empty(), "the next poll would need the new cursor");
    assert!(matches!(rig.records.last(), Some(Record::Page { cursor, notifications })
        if cursor.as_str() == "a" && notifications.len() == 1));
    rig.stored(Ok(()));
    assert_eq!(inbox(&rig), ["a"]);
    assert_eq!(cursor(&rig).as_deref(), Some("a"));
}

#[test]
fn a_disk_that_refuses_does_not_keep_notifications_from_the_game() {
    let mut rig = Rig::serving(params());
    rig.store = Some(Err(StoreFault::Full));
    rig.answer(CallKind::Poll, page(&["a"]));
    assert_eq!(inbox(&rig), ["a"]);
    assert_eq!(cursor(&rig).as_deref(), Some("a"));
}

#[test]
fn what_was_seen_is_dropped_also_after_the_acknowledgement() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    rig.request(ack("b"));
    rig.answer(CallKind::Poll, page(&["a", "b", "c"]));
    assert_eq!(inbox(&rig), ["c"]);
    assert_eq!(rig.agent.snapshot().counters.notifications_repeated, 2);
}

#[test]
fn acknowledging_is_idempotent_and_unknown_ids_are_refused() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a", "b", "c"]));
    assert_eq!(rig.ask(ack("b")), Ok(Granted::Acknowledged(2)));
    assert_eq!(rig.ask(ack("b")), Ok(Granted::Acknowledged(0)));
    assert_eq!(rig.ask(ack("a")), Ok(Granted::Acknowledged(0)));
    assert_eq!(rig.ask(ack("never")), Err(Denied::UnknownNotification));
    assert_eq!(inbox(&rig), ["c"]);
}

#[test]
fn a_full_page_polls_again_at_once_and_an_early_empty_one_waits_a_second() {
    let mut rig = Rig::serving(Params { page_size: 2, ..params() });
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    assert_eq!(rig.kinds(), [CallKind::Poll]);
    rig.answer(CallKind::Poll, page(&[]));
    assert!(rig.kinds().is_empty());
    rig.pass(Duration::from_millis(900));
    assert!(rig.kinds().is_empty());
    rig.pass(Duration::from_millis(1200));
    assert_eq!(rig.kinds(), [CallKind::Poll]);
    // At the deadline an empty page is the normal life: again at once.
    pass(&mut rig, Duration::from_secs(25));
    rig.answer(CallKind::Poll, page(&[]));
    assert!(rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn a_backend_that_repeats_itself_is_not_polled_in_a_loop() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a"]));
    rig.answer(CallKind::Poll, page(&["a"]));
    assert!(rig.kinds().is_empty(), "nothing new: wait");
}

#[test]
fn polling_pauses_when_the_inbox_is_full_and_goes_on_after_an_acknowledgement() {
    let mut rig = Rig::serving(Params { inbox_limit: 3, page_size: 2, ..params() });
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    let Call::Poll { page_size, .. } = rig.call(CallKind::Poll) else { unreachable!() };
    assert_eq!(*page_size, 1, "no more than there is room for");
    rig.answer(CallKind::Poll, page(&["c"]));
    assert!(rig.kinds().is_empty());
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::Paused);
    pass(&mut rig, Duration::from_secs(120));
    assert!(!rig.kinds().contains(&CallKind::Poll));
    rig.request(ack("a"));
    assert!(rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn an_unusable_entry_at_the_end_of_a_page_does_not_block_the_next() {
    let mut rig = Rig::serving(params());
    let page = Page {
        notifications: vec![notification("a")],
        unusable: 1,
        last_id: Some(NotificationId::parse("poison").unwrap()),
    };
    rig.answer(CallKind::Poll, Ok(Answer::Page(page)));
    assert_eq!(cursor(&rig).as_deref(), Some("poison"));
    assert_eq!(rig.agent.snapshot().counters.notifications_unusable, 1);
}

#[test]
fn a_page_that_cannot_be_read_is_asked_for_one_by_one() {
    let size = |rig: &Rig| {
        let Call::Poll { page_size, .. } = rig.call(CallKind::Poll) else { unreachable!() };
        *page_size
    };
    let mut rig = Rig::serving(Params { page_size: 3, ..params() });
    assert_eq!(size(&rig), 3);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Malformed)));
    // Far below the 30 s that one bad notification may take.
    pass(&mut rig, Duration::from_secs(15));
    assert_eq!(size(&rig), 1);
    rig.answer(CallKind::Poll, page(&["a"]));
    assert_eq!(size(&rig), 2);
    rig.answer(CallKind::Poll, page(&["b", "c"]));
    assert_eq!(size(&rig), 3);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Malformed)));
    pass(&mut rig, Duration::from_secs(60));
    assert_eq!(size(&rig), 1);
    rig.answer(CallKind::Poll, page(&[]));
    pass(&mut rig, Duration::from_secs(2));
    assert_eq!(size(&rig), 3);
}

#[test]
fn a_failure_backs_off_with_a_jittered_first_retry() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Server)));
    assert!(rig.kinds().is_empty(), "not at once");
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::BackingOff);
    pass(&mut rig, Duration::from_secs(16));
    assert!(rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn a_proxy_that_cuts_idle_polls_teaches_a_shorter_deadline() {
    let mut rig = Rig::serving(params());
    for _ in 0..2 {
        while !rig.kinds().contains(&CallKind::Poll) {
            pass(&mut rig, Duration::from_millis(100));
        }
        pass(&mut rig, Duration::from_secs(20));
        rig.answer(CallKind::Poll, Err(failure(FailureKind::Cut)));
        assert_eq!(rig.agent.snapshot().notifications.state, PollState::Polling, "that is not a failure");
    }
    pass(&mut rig, Duration::from_secs(16));
    let Call::Poll { deadline, .. } = rig.call(CallKind::Poll) else { unreachable!() };
    assert!((16..=18).contains(&deadline.as_secs()), "{deadline:?}");
}

#[test]
fn a_cursor_that_the_backend_cannot_read_is_left_out_and_nothing_comes_twice() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a"]));
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Rejected)));
    pass(&mut rig, Duration::from_secs(16));
    assert_eq!(cursor(&rig), None);
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    assert_eq!(inbox(&rig), ["a", "b"]);
    assert_eq!(cursor(&rig).as_deref(), Some("b"));
}

#[test]
fn a_backend_without_the_call_is_unsupported_and_health_goes_on() {
    let mut rig = Rig::serving(params());
    for _ in 0..2 {
        rig.answer(CallKind::Poll, Err(Failure { status: Some(404), ..failure(FailureKind::NotFound) }));
        pass(&mut rig, Duration::from_secs(3));
    }
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::Unsupported);
    let before = rig.agent.snapshot().counters.health_sent;
    pass(&mut rig, Duration::from_secs(60));
    assert!(rig.agent.snapshot().counters.health_sent >= before + 5);
    assert!(!rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn a_reload_does_not_begin_a_second_poll() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Forbidden)));
    // Refused, and on its way again.
    while !rig.kinds().contains(&CallKind::Poll) {
        rig.pass_quietly(Duration::from_secs(1), false);
    }
    rig.event(Event::Command(Command::Reloaded));
    rig.answer(CallKind::Poll, page(&["a"]));
    assert_eq!(inbox(&rig), ["a"]);
}

#[test]
fn an_expired_token_in_the_middle_of_a_poll_polls_again_with_the_new_one() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Unauthorised)));
    assert!(rig.kinds().is_empty());
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::Poll]);
}

#[test]
fn a_notification_about_our_session_reads_it_again_unless_we_have_that_version() {
    let hint = |url: &str, etag: &str| {
        let notification = Notification {
            rh_url: Some(url.to_owned()),
            etag: Some(Etag::parse(etag).unwrap()),
            ..notification(etag).as_ref().clone()
        };
        let last_id = Some(notification.notification_id.clone());
        Ok(Answer::Page(Page { notifications: vec![Arc::new(notification)], unusable: 0, last_id }))
    };
    let cases = [
        ("session/v1/session/s-1", "\"e2\"", true),
        ("/session/v1/session/s-1", "\"e3\"", true),
        ("https://env.example/session/v1/session/s-1?x=1", "\"e4\"", true),
        ("session/v1/session/s-1", "\"e1\"", false),
        ("session/v1/session/s-10", "\"e2\"", false),
        ("xsession/v1/session/s-1", "\"e2\"", false),
    ];
    for (url, etag, read) in cases {
        let mut rig = Rig::serving(params());
        rig.answer(CallKind::Poll, hint(url, etag));
        rig.pass(Duration::from_millis(1100));
        assert_eq!(rig.kinds().contains(&CallKind::ReadSession), read, "{url} {etag}");
    }
}

#[test]
fn the_inbox_and_the_cursor_survive_a_restart() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a", "b", "c"]));
    rig.request(ack("a"));
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(crate::core::instance::JoinStatus::Joinable)))));
    assert_eq!(inbox(&rig), ["b", "c"], "not acknowledged: handed over again, with the same ids");
    assert_eq!(cursor(&rig).as_deref(), Some("c"));
}

#[test]
fn a_reload_leaves_a_poll_in_flight_alone() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Forbidden)));
    while !rig.kinds().contains(&CallKind::Poll) {
        pass(&mut rig, Duration::from_secs(1));
    }
    // The refusal still counts while the next try is under way.
    rig.event(Event::Command(Command::Reloaded));
    rig.call(CallKind::Poll);
}

#[test]
fn a_reload_cuts_the_wait_after_a_refusal_short() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Forbidden)));
    assert!(!rig.kinds().contains(&CallKind::Poll));
    rig.event(Event::Command(Command::Reloaded));
    rig.call(CallKind::Poll);
}

/// How long it takes, with a quiet backend, until the next poll is on its way.
fn until_the_poll(rig: &mut Rig) -> Duration {
    let begun = rig.now;
    while !rig.kinds().contains(&CallKind::Poll) {
        assert!(rig.now - begun < Duration::from_secs(3600), "no poll in an hour");
        pass(rig, Duration::from_millis(100));
    }
    rig.now - begun
}

/// A host whose game takes its time.
fn hosting(seed: u64, params: Params) -> Rig {
    let mut rig = Rig::seeded(Params { ready_timeout: Duration::from_secs(100_000), ..params }, seed);
    rig.log_in();
    rig.attach();
    rig
}

fn within(wait: Duration, from: u64, to: u64) -> bool {
    (from..=to + 100).contains(&u64::try_from(wait.as_millis()).unwrap())
}

#[test]
fn a_poll_has_ten_seconds_more_than_the_backend_was_given_and_other_calls_eight() {
    let rig = Rig::serving(params());
    let limit =
        |kind: CallKind| rig.limits.iter().rev().find(|(sent, _)| *sent == kind).map(|(_, limit)| limit.as_secs());
    assert_eq!(limit(CallKind::Poll), Some(35));
    for kind in [CallKind::ReadSession, CallKind::Register, CallKind::Update, CallKind::HealthConfig] {
        assert_eq!(limit(kind), Some(8), "{kind}");
    }
}

#[test]
fn an_early_empty_page_and_a_bare_404_wait_one_to_two_seconds() {
    let bare = || Err(Failure { status: Some(404), ..failure(FailureKind::NotFound) });
    for answer in [page(&[]), bare()] {
        for seed in 0..30 {
            let mut rig = hosting(seed, params());
            rig.answer(CallKind::Poll, answer.clone());
            let wait = until_the_poll(&mut rig);
            assert!(within(wait, 1000, 2000), "seed {seed}: {wait:?} after {answer:?}");
        }
    }
}

#[test]
fn a_cut_waits_as_after_a_first_failure_and_a_learned_deadline_lasts_for_many_quiet_polls() {
    let deadline = |rig: &Rig| {
        let Call::Poll { deadline, .. } = rig.call(CallKind::Poll) else { unreachable!() };
        deadline.as_secs()
    };
    let mut waits = Vec::new();
    let mut rig = Rig::serving(params());
    for seed in 0..30 {
        rig = hosting(seed, params());
        for _ in 0..2 {
            pass(&mut rig, Duration::from_secs(20));
            rig.answer(CallKind::Poll, Err(failure(FailureKind::Cut)));
            waits.push(until_the_poll(&mut rig).as_secs());
        }
        assert_eq!(deadline(&rig), 18);
    }
    assert!(waits.iter().all(|wait| *wait <= 15) && waits.iter().filter(|wait| **wait >= 5).count() > 20, "{waits:?}");
    for turn in 1..500 {
        rig.answer(CallKind::Poll, page(&[]));
        until_the_poll(&mut rig);
        assert_eq!(deadline(&rig), 18, "after {turn} quiet polls");
    }
    rig.answer(CallKind::Poll, page(&[]));
    until_the_poll(&mut rig);
    assert_eq!(deadline(&rig), 25, "proxies change");
}

#[test]
fn a_gateway_that_gives_up_is_an_idle_cut_and_any_other_failure_is_none() {
    let status = |status: u16| Failure { status: Some(status), ..failure(FailureKind::Server) };
    for (fault, after, cut) in [(status(504), 12, true), (status(502), 12, false), (status(504), 3, false)] {
        let mut rig = Rig::serving(params());
        pass(&mut rig, Duration::from_secs(after));
        rig.answer(CallKind::Poll, Err(fault.clone()));
        let expected = if cut { PollState::Polling } else { PollState::BackingOff };
        assert_eq!(rig.agent.snapshot().notifications.state, expected, "{fault:?} after {after} s");
        let told = rig.notes.iter().any(|note| matches!(note, Note::CallFailed { kind: CallKind::Poll, .. }));
        assert_eq!(told, !cut, "{fault:?} after {after} s");
    }
}

#[test]
fn a_404_is_the_end_of_the_call_only_if_it_is_not_about_a_resource() {
    let fixed = || Params { api: Choice::V2023_11, ..params() };
    let coded = Failure { status: Some(404), code: Some("no_such_thing".into()), ..failure(FailureKind::NotFound) };
    let bare = Failure { status: Some(404), ..failure(FailureKind::NotFound) };
    for seed in 0..20 {
        let mut rig = hosting(seed, fixed());
        rig.answer(CallKind::Poll, Err(coded.clone()));
        assert_eq!(rig.agent.snapshot().notifications.state, PollState::BackingOff);
        assert!(until_the_poll(&mut rig) <= Duration::from_secs(16));
        for gone in [bare.clone(), failure(FailureKind::Unsupported)] {
            let mut rig = hosting(seed, fixed());
            rig.answer(CallKind::Poll, Err(gone));
            assert_eq!(rig.agent.snapshot().notifications.state, PollState::Unsupported);
            assert!(rig.notes.iter().any(|note| matches!(note, Note::CallFailed { kind: CallKind::Poll, .. })));
            let wait = until_the_poll(&mut rig);
            assert!(within(wait, 300_000, 900_000), "seed {seed}: {wait:?}");
        }
        let mut rig = hosting(seed, fixed());
        rig.answer(CallKind::Poll, Err(failure(FailureKind::Forbidden)));
        let wait = until_the_poll(&mut rig);
        assert!(within(wait, 60_000, 300_000), "seed {seed}: {wait:?}");
    }
}

#[test]
fn a_page_that_brings_nothing_new_is_not_written_and_one_that_moves_the_cursor_is() {
    let mut rig = Rig::serving(params());
    let pages = |rig: &Rig| rig.records.iter().filter(|record| matches!(record, Record::Page { .. })).count();
    let notes = |rig: &Rig| rig.notes.iter().filter(|note| matches!(note, Note::Notified { .. })).count();
    rig.answer(CallKind::Poll, page(&["a"]));
    assert_eq!((pages(&rig), notes(&rig)), (1, 1));
    rig.answer(CallKind::Poll, page(&["a"]));
    until_the_poll(&mut rig);
    rig.answer(CallKind::Poll, page(&[]));
    until_the_poll(&mut rig);
    assert_eq!((pages(&rig), notes(&rig)), (1, 2), "nothing came with an empty one");
    let at = |ids: &[&str], last: &str| Page {
        notifications: ids.iter().map(|id| notification(id)).collect(),
        unusable: 0,
        last_id: Some(NotificationId::parse(last).unwrap()),
    };
    rig.answer(CallKind::Poll, Ok(Answer::Page(at(&["b"], "a"))));
    assert_eq!((pages(&rig), inbox(&rig).len()), (2, 2), "something new under the old cursor is taken too");
    rig.answer(CallKind::Poll, Ok(Answer::Page(at(&[], "z"))));
    assert_eq!(pages(&rig), 3);
    assert!(rig.kinds().is_empty(), "an empty one that moves the cursor is no reason to ask at once");
    until_the_poll(&mut rig);
    assert_eq!(cursor(&rig).as_deref(), Some("z"));
    assert_eq!(rig.agent.snapshot().counters.notifications_received, 2);
}

#[test]
fn the_state_that_is_shown_is_what_it_does() {
    let state = |rig: &Rig| rig.agent.snapshot().notifications.state;
    assert_eq!(state(&Rig::new(params())), PollState::Off, "nobody is host yet");
    assert_eq!(state(&Rig::loading(Params { notifications: false, ..params() })), PollState::Off);
    let mut rig = Rig::serving(params());
    assert_eq!(state(&rig), PollState::Polling);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Unauthorised)));
    assert_eq!(state(&rig), PollState::BackingOff, "there is no token for it");
    pass(&mut rig, Duration::from_secs(20));
    rig.log_in();
    assert_eq!(state(&rig), PollState::Polling);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Unsupported)));
    assert_eq!(state(&rig), PollState::Unsupported);
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(state(&rig), PollState::Off);
    let mut rig = Rig::serving(Params { inbox_limit: 1, ..params() });
    rig.answer(CallKind::Poll, page(&["a"]));
    assert_eq!(state(&rig), PollState::Paused);
}
