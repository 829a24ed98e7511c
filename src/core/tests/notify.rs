//! Notifications: nothing lost, nothing twice, in order.

use std::sync::Arc;
use std::time::Duration;

use super::rig::*;
use crate::core::Machine as _;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind, Page};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Command, Denied, Event, Granted, Request, StoreFault};
use crate::core::ids::{Etag, NotificationId};
use crate::core::instance::Notification;
use crate::core::params::Params;
use crate::core::snapshot::PollState;

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
