//! The outbox: accepted means durable, sent in order, never dropped.

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::duty::{Duty, Match};
use crate::core::event::{Denied, Granted, Request, StoreFault};
use crate::core::ids::{MatchId, ReportId};
use crate::core::instance::{Health, JoinStatus, Session};
use crate::core::outbox::LIMIT;
use crate::core::{Machine as _, Note, Outcome};

fn fubar(error: &str) -> Request {
    Request::Fubar { error: error.to_owned(), key: None }
}

fn keyed(error: &str, key: &str) -> Request {
    Request::Fubar { error: error.to_owned(), key: Some(key.to_owned()) }
}

fn event(code: &str) -> Request {
    Request::Event { event_code: code.to_owned(), description: None, custom_data: Default::default() }
}

fn id(verdict: crate::core::event::Verdict) -> ReportId {
    match verdict {
        Ok(Granted::Accepted(id)) => id,
        other => panic!("not accepted: {other:?}"),
    }
}

fn pass(rig: &mut Rig, duration: Duration) {
    rig.pass_quietly(duration, true);
}

#[test]
fn accepted_means_on_disk_and_only_then_is_it_sent() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    let request = rig.request(fubar("crash"));
    assert!(rig.replies.is_empty() && !rig.kinds().contains(&CallKind::Fubar), "not before the disk has it");
    rig.stored(Ok(()));
    id(rig.verdict(&request));
    let Call::Fubar { report, .. } = rig.call(CallKind::Fubar).clone() else { unreachable!() };
    assert_eq!(report.error, "crash");
    assert_eq!(report.instance_id, instance_id());
}

#[test]
fn what_the_disk_refuses_is_refused_and_never_sent() {
    let mut rig = Rig::serving(params());
    rig.store = Some(Err(StoreFault::ReadOnly));
    assert_eq!(rig.ask(fubar("crash")), Err(Denied::Store(StoreFault::ReadOnly)));
    pass(&mut rig, Duration::from_secs(30));
    assert!(!rig.kinds().contains(&CallKind::Fubar));
    assert_eq!(rig.agent.snapshot().outbox.waiting, 0);
    assert_eq!(rig.agent.snapshot().counters.reports_refused, 1);
    rig.ask(fubar("again")).unwrap_err();
    assert_eq!(rig.agent.snapshot().counters.reports_refused, 2);
}

#[test]
fn reports_keep_their_order_with_one_sender() {
    let mut rig = Rig::serving(params());
    for request in [fubar("one"), event("two"), fubar("three")] {
        rig.request(request);
    }
    let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(report.error, "one");
    let Call::PostEvent { event, .. } = rig.answer(CallKind::PostEvent, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(event.event_code, "two");
    assert!(event.custom_data.contains_key("report_id"));
    let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(report.error, "three");
    assert_eq!(rig.agent.snapshot().outbox.waiting, 0);
}

#[test]
fn a_report_leaves_once_the_record_of_the_one_before_is_on_disk() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    for error in ["a", "b", "c"] {
        rig.request(fubar(error));
        rig.stored(Ok(()));
    }
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert!(!rig.kinds().contains(&CallKind::Fubar), "a crash now would put two of them in doubt");
    rig.stored(Ok(()));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert!(!rig.kinds().contains(&CallKind::Fubar));
    rig.pass(Duration::from_millis(1100));
    assert!(rig.kinds().contains(&CallKind::Fubar), "a disk that hangs keeps no report back");
}

#[test]
fn the_same_key_is_the_same_report_also_while_the_first_is_on_its_way() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    let first = rig.request(keyed("crash", "k"));
    let second = rig.request(keyed("crash", "k"));
    rig.stored(Ok(()));
    let (first, second) = (id(rig.verdict(&first)), id(rig.verdict(&second)));
    assert_eq!(first, second);
    assert!(rig.tickets.is_empty(), "one record");
    rig.store = Some(Ok(()));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert_eq!(id(rig.ask(keyed("crash", "k"))), first, "also after delivery");
    assert_ne!(id(rig.ask(keyed("crash", "another"))), first);
}

#[test]
fn a_key_is_remembered_across_a_restart_and_for_a_day() {
    let mut rig = Rig::serving(params());
    let first = id(rig.ask(keyed("crash", "k")));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    let mut rig = Rig::restarted(params(), durable.clone());
    assert_eq!(id(rig.ask(keyed("crash", "k"))), first);
    durable.forget_keys(wall() + jiff::SignedDuration::from_hours(25));
    assert!(durable.keys.is_empty());
}

#[test]
fn failures_are_retried_for_ever_and_the_report_is_never_dropped() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("crash"));
    let kinds = [FailureKind::Unreachable, FailureKind::TimedOut, FailureKind::Server, FailureKind::Throttled];
    for turn in 0..40 {
        rig.answer(CallKind::Fubar, Err(failure(kinds[turn % kinds.len()])));
        pass(&mut rig, Duration::from_secs(61));
    }
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert_eq!(rig.agent.snapshot().counters.reports_sent, 1);
}

#[test]
fn an_answer_that_can_never_succeed_sets_the_report_aside_and_the_next_goes_on() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("bad"));
    rig.request(fubar("good"));
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Rejected)));
    assert!(matches!(rig.records.last(), Some(Record::Dead { .. })));
    pass(&mut rig, Duration::from_secs(2));
    let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(report.error, "good");
    let outbox = rig.agent.snapshot().outbox;
    assert_eq!((outbox.waiting, outbox.dead), (0, 1));
}

#[test]
fn a_missing_permission_keeps_the_report_and_slows_down() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("crash"));
    let mut tries = 0;
    for _ in 0..600 {
        pass(&mut rig, Duration::from_secs(1));
        if rig.kinds().contains(&CallKind::Fubar) {
            tries += 1;
            rig.answer(CallKind::Fubar, Err(failure(FailureKind::Forbidden)));
        }
    }
    assert!(tries <= 15, "{tries} tries in ten minutes");
    let outbox = rig.agent.snapshot().outbox;
    assert_eq!((outbox.waiting, outbox.dead), (1, 0));
}

#[test]
fn after_an_outage_the_backlog_goes_out_one_a_second() {
    let mut rig = Rig::serving(params());
    for turn in 0..5 {
        rig.request(fubar(&format!("f{turn}")));
    }
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    let mut sent = Vec::new();
    for tick in 0..150 {
        pass(&mut rig, Duration::from_millis(100));
        if rig.kinds().contains(&CallKind::Fubar) {
            let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
            sent.push((tick, report.error));
        }
    }
    let errors: Vec<&str> = sent.iter().map(|(_, error)| error.as_str()).collect();
    assert_eq!(errors, ["f0", "f1", "f2", "f3", "f4"]);
    assert!(sent.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 9), "{sent:?}");
}

#[test]
fn what_had_to_wait_for_a_host_goes_out_one_a_second() {
    let mut rig = Rig::new(params());
    for turn in 0..5 {
        rig.request(fubar(&format!("f{turn}")));
    }
    rig.log_in();
    rig.attach();
    let mut sent = Vec::new();
    for tick in 0..60 {
        if rig.kinds().contains(&CallKind::Fubar) {
            let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
            sent.push((tick, report.error));
        }
        pass(&mut rig, Duration::from_millis(100));
    }
    let errors: Vec<&str> = sent.iter().map(|(_, error)| error.as_str()).collect();
    assert_eq!(errors, ["f0", "f1", "f2", "f3", "f4"]);
    assert!(sent.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 9), "{sent:?}");
}

#[test]
fn a_full_outbox_refuses_and_says_so() {
    let mut rig = Rig::new(params());
    for turn in 0..LIMIT {
        id(rig.ask(fubar(&format!("f{turn}"))));
    }
    assert_eq!(rig.ask(fubar("one too many")), Err(Denied::Full { limit: LIMIT }));
    assert_eq!(rig.agent.snapshot().counters.reports_refused, 1);
}

#[test]
fn a_report_accepted_while_the_backend_is_gone_is_sent_after_a_restart() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("crash"));
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(report.error, "crash");
}

#[test]
fn retry_after_on_a_report_is_honoured() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("crash"));
    let throttled = Failure { retry_after: Some(Duration::from_secs(120)), ..failure(FailureKind::Throttled) };
    rig.answer(CallKind::Fubar, Err(throttled));
    pass(&mut rig, Duration::from_secs(119));
    assert!(!rig.kinds().contains(&CallKind::Fubar));
    pass(&mut rig, Duration::from_secs(5));
    assert!(rig.kinds().contains(&CallKind::Fubar));
}

/// A serving instance with these reports dead.
fn with_dead(errors: &[&str]) -> (Rig, Vec<ReportId>) {
    let mut rig = Rig::serving(params());
    let mut ids = Vec::new();
    for error in errors {
        ids.push(id(rig.ask(fubar(error))));
        rig.answer(CallKind::Fubar, Err(failure(FailureKind::Rejected)));
    }
    let listed: Vec<ReportId> = rig.agent.snapshot().outbox.dead_letters.iter().map(|dead| dead.id.clone()).collect();
    assert_eq!(listed, ids);
    (rig, ids)
}

#[test]
fn a_dead_report_is_put_back_behind_all_others_once_the_disk_has_it() {
    let (mut rig, ids) = with_dead(&["first"]);
    id(rig.ask(fubar("second")));
    rig.store = None;
    let request = rig.request(Request::RetryDead(ids[0].clone()));
    assert!(rig.replies.is_empty() && rig.agent.snapshot().outbox.dead == 1, "not before the disk has it");
    let again = rig.request(Request::DropDead(ids[0].clone()));
    assert!(matches!(rig.verdict(&again), Err(Denied::Phase(_))), "one at a time");
    rig.stored(Ok(()));
    assert_eq!(rig.verdict(&request), Ok(Granted::Done));
    let outbox = rig.agent.snapshot().outbox;
    let waiting: Vec<&str> = outbox.oldest.iter().map(|entry| entry.label.as_str()).collect();
    assert_eq!((waiting, outbox.dead), (vec!["second", "first"], 0));
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    rig.store = Some(Ok(()));
    for error in ["second", "first"] {
        let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
        assert_eq!(report.error, error);
        pass(&mut rig, Duration::from_secs(2));
    }
    assert_eq!(Rig::restarted(params(), durable).agent.snapshot().outbox.dead, 0, "also after a restart");
}

#[test]
fn a_dead_report_is_forgotten_and_one_that_is_not_there_is_said_so() {
    let (mut rig, ids) = with_dead(&["first", "second"]);
    rig.store = Some(Err(StoreFault::ReadOnly));
    for request in [Request::DropDead(ids[0].clone()), Request::RetryDead(ids[0].clone())] {
        assert_eq!(rig.ask(request), Err(Denied::Store(StoreFault::ReadOnly)));
    }
    assert_eq!(rig.agent.snapshot().outbox.dead, 2, "what the disk refuses has not happened");
    rig.store = Some(Ok(()));
    assert_eq!(rig.ask(Request::DropDead(ids[0].clone())), Ok(Granted::Done));
    assert_eq!(rig.ask(Request::RetryDead(ids[0].clone())), Err(Denied::UnknownReport));
    let outbox = rig.agent.snapshot().outbox;
    assert_eq!((outbox.dead, outbox.waiting, outbox.dead_letters[0].label.as_str()), (1, 0, "second"));
}

#[test]
fn what_is_on_its_way_to_the_disk_takes_up_room_too() {
    let (mut rig, ids) = with_dead(&["dead"]);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Unauthorised)));
    for turn in 0..LIMIT / 2 {
        id(rig.ask(fubar(&format!("stored {turn}"))));
    }
    rig.store = None;
    rig.request(Request::RetryDead(ids[0].clone()));
    for turn in 0..LIMIT / 2 - 1 {
        rig.request(fubar(&format!("offered {turn}")));
    }
    assert!(rig.replies.is_empty(), "all were taken: {:?}", rig.replies.first());
    assert_eq!(rig.ask(fubar("one too many")), Err(Denied::Full { limit: LIMIT }));
    let refused = rig.agent.snapshot().counters.reports_refused;
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    rig.pass(Duration::from_secs(120));
    let counters = rig.agent.snapshot().counters;
    assert_eq!(counters.reports_refused, refused + 1, "nor is there room for a report of our own");
    rig.store = Some(Ok(()));
    while !rig.tickets.is_empty() {
        rig.stored(Ok(()));
    }
    assert_eq!(rig.agent.snapshot().outbox.waiting, LIMIT);
}

#[test]
fn a_missing_permission_is_shown_as_long_as_it_holds_something_up() {
    let mut rig = Rig::serving(params());
    let refused = |rig: &Rig| rig.agent.snapshot().outbox.refused;
    assert!(!refused(&rig));
    rig.request(fubar("crash"));
    assert!(!refused(&rig), "what is on its way is not refused");
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    assert!(!refused(&rig), "nor what nobody answered");
    let mut rig = Rig::serving(params());
    rig.request(fubar("crash"));
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Forbidden)));
    assert!(refused(&rig));
    pass(&mut rig, Duration::from_secs(61));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert!(!refused(&rig));
    let mut rig = Rig::serving(params());
    let begin = Duty::BeginMatch(Match { match_id: MatchId::parse("m").unwrap(), custom_data: None });
    rig.request(Request::Duty { duty: begin, key: None });
    assert!(!refused(&rig));
    rig.answer(CallKind::Match, Err(failure(FailureKind::Forbidden)));
    assert!(refused(&rig), "of a duty too");
}

#[test]
fn a_report_that_waits_for_its_next_try_needs_no_look_at_the_session() {
    let mut rig = Rig::serving(params());
    pass(&mut rig, Duration::from_secs(5));
    let reads = |rig: &Rig| rig.limits.iter().filter(|(kind, _)| *kind == CallKind::ReadSession).count();
    let before = reads(&rig);
    rig.request(fubar("crash"));
    for _ in 0..40 {
        if rig.kinds().contains(&CallKind::Fubar) {
            rig.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
        }
        pass(&mut rig, Duration::from_secs(1));
    }
    assert!(reads(&rig) <= before + 1, "{} reads", reads(&rig) - before);
}

#[test]
fn a_backlog_is_over_when_the_last_of_it_was_set_aside() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("one"));
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    while !rig.kinds().contains(&CallKind::Fubar) {
        pass(&mut rig, Duration::from_millis(10));
    }
    rig.answer(CallKind::Fubar, Err(failure(FailureKind::Rejected)));
    // At once: in a backlog it would wait for a second after the one before.
    rig.request(fubar("two"));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    rig.request(fubar("three"));
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    let counters = rig.agent.snapshot().counters;
    assert_eq!((counters.reports_accepted, counters.reports_sent, counters.reports_dead), (3, 2, 1));
}

#[test]
fn after_a_bare_404_a_report_is_tried_again_within_one_to_two_seconds() {
    let bare = Failure { status: Some(404), ..failure(FailureKind::NotFound) };
    for seed in 0..30 {
        let mut rig = Rig::seeded(params(), seed);
        rig.log_in();
        rig.attach();
        rig.request(fubar("crash"));
        rig.answer(CallKind::Fubar, Err(bare.clone()));
        let begun = rig.now;
        while !rig.kinds().contains(&CallKind::Fubar) && rig.now - begun < Duration::from_secs(10) {
            pass(&mut rig, Duration::from_millis(100));
        }
        let wait = (rig.now - begun).as_millis();
        assert!((1_000..=2_100).contains(&wait), "seed {seed}: {wait} ms");
    }
}

/// The instance is told to stop, has closed, and has seen that.
fn stopped(rig: &mut Rig) {
    rig.request(Request::Shutdown { reason: None });
    rig.keep_quiet(true);
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
}

#[test]
fn a_report_that_cannot_go_now_keeps_no_stop_waiting_and_stays() {
    let gone = || Err(Failure { status: Some(405), ..failure(FailureKind::Unsupported) });
    let mut forbidden = Rig::serving(params());
    forbidden.request(fubar("crash"));
    forbidden.answer(CallKind::Fubar, Err(failure(FailureKind::Forbidden)));
    let mut lost = Rig::serving(params());
    lost.request(fubar("crash"));
    for kind in [CallKind::Fubar, CallKind::PostEvent, CallKind::Audit] {
        lost.answer(kind, gone());
    }
    for mut rig in [forbidden, lost] {
        let begun = rig.now;
        stopped(&mut rig);
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Closed)))));
        rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
        assert_eq!((rig.exit, rig.now), (Some(Outcome::Ended), begun), "at once");
        assert_eq!(rig.agent.snapshot().outbox.waiting, 1);
    }
}

#[test]
fn a_report_that_can_go_goes_before_the_end_also_past_a_refused_duty() {
    let begin = || Duty::BeginMatch(Match { match_id: MatchId::parse("m").unwrap(), custom_data: None });
    let mut plain = Rig::serving(params());
    plain.request(fubar("crash"));
    plain.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    let mut barred = Rig::serving(params());
    barred.request(Request::Duty { duty: begin(), key: None });
    barred.answer(CallKind::Match, Err(failure(FailureKind::Forbidden)));
    barred.request(fubar("crash"));
    let mut failed = Rig::serving(params());
    failed.request(Request::Duty { duty: begin(), key: None });
    failed.answer(CallKind::Match, Err(failure(FailureKind::Forbidden)));
    failed.request(fubar("crash"));
    pass(&mut failed, Duration::from_millis(1_100));
    failed.answer(CallKind::Fubar, Err(failure(FailureKind::Unreachable)));
    for mut rig in [plain, barred, failed] {
        stopped(&mut rig);
        assert!(!rig.kinds().contains(&CallKind::Unregister) && rig.exit.is_none(), "{:?}", rig.kinds());
        rig.pass(Duration::from_secs(3));
        rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Closed)))));
        rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
        assert_eq!(rig.exit, Some(Outcome::Ended));
    }
}

#[test]
fn a_report_names_the_region_of_the_session_where_it_has_one() {
    for (shown, told) in [(Some("us"), "us"), (Some(""), "eu"), (None, "eu")] {
        let mut rig = Rig::new(params());
        rig.log_in();
        rig.answer(CallKind::ReadSession, Ok(session(None)));
        rig.answer(CallKind::Register, Ok(instance(info(JoinStatus::Pending))));
        let Answer::Session { session, etag } = session(Some(info(JoinStatus::Pending))) else { unreachable!() };
        let session = Session { region_id: shown.map(ToOwned::to_owned), ..*session };
        rig.settle(Ok(Answer::Session { session: Box::new(session), etag }));
        rig.request(fubar("crash"));
        let Call::Fubar { report, .. } = rig.call(CallKind::Fubar) else { unreachable!() };
        assert_eq!(report.region, told);
    }
}

#[test]
fn a_refused_report_waits_as_long_as_the_operator_is_told_and_a_quarter_of_a_minute_at_least() {
    for seed in 0..30 {
        let mut rig = Rig::seeded(params(), seed);
        rig.log_in();
        rig.attach();
        rig.request(fubar("crash"));
        rig.answer(CallKind::Fubar, Err(failure(FailureKind::Forbidden)));
        let told = rig.notes.iter().find_map(|note| match note {
            Note::CallFailed { kind: CallKind::Fubar, retry_in, .. } => *retry_in,
            _ => None,
        });
        let begun = rig.now;
        while !rig.kinds().contains(&CallKind::Fubar) && rig.now - begun < Duration::from_secs(100) {
            pass(&mut rig, Duration::from_millis(100));
        }
        let wait = rig.now - begun;
        assert!(Duration::from_secs(15) <= wait && wait <= Duration::from_millis(60_200), "seed {seed}: {wait:?}");
        let told = told.expect("the operator is told");
        assert!(wait.abs_diff(told) <= Duration::from_millis(200), "seed {seed}: {wait:?}, told {told:?}");
    }
}

#[test]
fn a_full_outbox_takes_no_report_of_our_own_either() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Unauthorised)));
    for turn in 0..LIMIT {
        id(rig.ask(fubar(&format!("f{turn}"))));
    }
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    rig.pass(Duration::from_secs(120));
    let snapshot = rig.agent.snapshot();
    assert_eq!((snapshot.outbox.waiting, snapshot.counters.reports_refused), (LIMIT, 1));
}
