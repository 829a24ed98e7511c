//! What is written to the instance, and the looks that belong to it: when again, after which refusal, and when not.

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Command, Event, Request, Said, StoreFault};
use crate::core::instance::{JoinParams, JoinStatus};
use crate::core::params::Params;
use crate::core::{Machine as _, Note, Outcome, Phase};

fn drain() -> Event {
    Event::Command(Command::Drain { reason: "test".to_owned() })
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Seen as it should be, until a call of this kind is on its way; gives how long that took.
fn until(rig: &mut Rig, kind: CallKind) -> Duration {
    let begun = rig.now;
    while !rig.kinds().contains(&kind) {
        assert!(rig.now - begun < Duration::from_secs(4000), "never: {kind}, but {:?}", rig.kinds());
        rig.pass(millis(10));
        let others: Vec<CallKind> = rig.kinds().into_iter().filter(|other| *other != kind).collect();
        for other in others {
            match other {
                CallKind::PostHealth => {
                    rig.answer(other, Ok(Answer::HealthAccepted(crate::core::instance::Health::Healthy)));
                }
                CallKind::ReadSession => {
                    let status = rig.agent.snapshot().instance.join_status.unwrap_or(JoinStatus::Pending);
                    rig.answer(other, Ok(session(Some(info(status)))));
                }
                _ => {}
            }
        }
    }
    rig.now - begun
}

/// Loading, with nothing to say that a registration does not say, and all the time in the world.
fn loading(seed: u64) -> Rig {
    let plain = Params {
        version: None,
        join_params: JoinParams::default(),
        ready_timeout: Duration::from_secs(100_000),
        ..params()
    };
    let mut rig = Rig::seeded(plain, seed);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Loading);
    rig
}

fn ready(rig: &mut Rig) {
    let reached = Some("1.2.3.4:7777".to_owned());
    rig.request(Request::ClientSeen);
    rig.request(Request::Ready(Said { public_conn_str: reached, ..Said::default() }));
}

#[test]
fn what_the_registration_has_said_is_not_said_again() {
    let mut rig = loading(7);
    assert!(!rig.kinds().contains(&CallKind::Update), "{:?}", rig.kinds());
    ready(&mut rig);
    assert!(rig.kinds().contains(&CallKind::Update));
}

#[test]
fn what_the_backend_does_not_show_is_sent_again() {
    let mut rig = Rig::serving(params());
    rig.pass(Duration::from_secs(70));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Pending)), "\"e5\"")));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Joinable);
}

#[test]
fn an_update_that_nobody_answered_goes_again_within_a_second_and_ever_later() {
    for seed in 0..20 {
        let mut rig = loading(seed);
        ready(&mut rig);
        let mut waits = Vec::new();
        for _ in 0..8 {
            rig.answer(CallKind::Update, Err(failure(FailureKind::Unreachable)));
            assert!(!rig.kinds().contains(&CallKind::Update), "not at once");
            waits.push(until(&mut rig, CallKind::Update));
        }
        assert!(waits[0] <= millis(1_020) && waits[7] >= Duration::from_secs(14), "{waits:?}");
        let told = |note: &&Note| matches!(note, Note::CallFailed { kind: CallKind::Update, .. });
        assert_eq!(rig.notes.iter().filter(told).count(), 8);
        // The end has no time for that.
        rig.event(drain());
        rig.request(Request::Shutdown { reason: None });
        rig.answer(CallKind::Update, Err(failure(FailureKind::Unreachable)));
        let wait = until(&mut rig, CallKind::Update);
        assert!(wait <= millis(270), "seed {seed}: {wait:?}");
    }
}

#[test]
fn a_refused_update_makes_us_look_and_is_not_repeated_before_long() {
    for kind in [FailureKind::Forbidden, FailureKind::Rejected, FailureKind::Conflict] {
        let mut rig = loading(3);
        ready(&mut rig);
        for _ in 0..4 {
            rig.answer(CallKind::Update, Err(failure(kind)));
            assert!(rig.kinds().contains(&CallKind::ReadSession), "{kind:?}: are we still the host?");
            rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
            assert!(!rig.kinds().contains(&CallKind::Update), "{kind:?}");
            until(&mut rig, CallKind::Update);
        }
        rig.answer(CallKind::Update, Err(failure(kind)));
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
        let named = rig.notes.iter().any(|note| matches!(note, Note::Warning { cause: "permission", .. }));
        assert_eq!(named, kind == FailureKind::Forbidden);
        rig.pass_quietly(Duration::from_secs(20), false);
        assert!(!rig.kinds().contains(&CallKind::Update), "{kind:?}: the wait has grown");
        rig.event(Event::Command(Command::Reloaded));
        assert!(until(&mut rig, CallKind::Update) <= millis(10), "{kind:?}: an operator says that it may go now");
    }
}

#[test]
fn a_new_status_is_worth_a_new_try_and_the_same_one_is_not() {
    let mut rig = loading(3);
    ready(&mut rig);
    for _ in 0..4 {
        rig.answer(CallKind::Update, Err(failure(FailureKind::Forbidden)));
        until(&mut rig, CallKind::Update);
    }
    rig.answer(CallKind::Update, Err(failure(FailureKind::Forbidden)));
    rig.request(Request::Instance(Said { version: Some("2".to_owned()), ..Said::default() }));
    rig.pass_quietly(Duration::from_secs(5), false);
    assert!(!rig.kinds().contains(&CallKind::Update), "the same status with another version");
    rig.event(drain());
    assert!(until(&mut rig, CallKind::Update) <= millis(10));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Closed);
}

#[test]
fn a_refused_update_without_a_new_word_gives_up_no_part_of_the_api() {
    let mut rig = Rig::serving(params());
    rig.request(Request::Instance(Said { version: Some("2".to_owned()), ..Said::default() }));
    until(&mut rig, CallKind::Update);
    rig.answer(CallKind::Update, Err(failure(FailureKind::Rejected)));
    assert!(rig.learnt.is_empty() && !rig.kinds().contains(&CallKind::Update), "{:?}", rig.learnt);
}

#[test]
fn only_a_call_that_is_forbidden_is_shown_as_such_and_until_it_succeeds() {
    let mut rig = Rig::serving(params());
    let forbidden = |rig: &Rig| rig.agent.snapshot().forbidden.keys().copied().collect::<Vec<_>>();
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Server)));
    assert_eq!(forbidden(&rig), []);
    until(&mut rig, CallKind::Poll);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Forbidden)));
    assert_eq!(forbidden(&rig), [CallKind::Poll]);
    until(&mut rig, CallKind::Poll);
    rig.answer(CallKind::Poll, Err(failure(FailureKind::Server)));
    assert_eq!(forbidden(&rig), [CallKind::Poll], "nobody has said that it may be called now");
    until(&mut rig, CallKind::Poll);
    rig.answer(CallKind::Poll, Ok(Answer::Page(Default::default())));
    assert_eq!(forbidden(&rig), []);
}

#[test]
fn every_batch_that_the_disk_refused_is_counted() {
    let mut rig = Rig::serving(params());
    rig.store = Some(Err(StoreFault::Full));
    for turn in 1..=3 {
        rig.request(Request::Fubar { error: format!("f{turn}"), key: None });
        let store = rig.agent.snapshot().store;
        assert_eq!((store.faults, store.fault), (turn, Some(StoreFault::Full)));
    }
    rig.store = Some(Ok(()));
    rig.request(Request::Fubar { error: "good".to_owned(), key: None });
    assert_eq!(rig.agent.snapshot().store.fault, None);
}

fn etag(rig: &Rig) -> Option<String> {
    let Call::ReadSession { etag, .. } = rig.call(CallKind::ReadSession) else { unreachable!() };
    etag.as_ref().map(ToString::to_string)
}

#[test]
fn after_a_write_the_document_is_read_whole_once_and_then_by_its_version() {
    let mut rig = Rig::serving(params());
    for expected in [None, Some("\"e1\""), Some("\"e1\"")] {
        until(&mut rig, CallKind::ReadSession);
        assert_eq!(etag(&rig).as_deref(), expected);
        let answer = if expected.is_none() { session(Some(info(JoinStatus::Joinable))) } else { Answer::NotModified };
        rig.answer(CallKind::ReadSession, Ok(answer));
    }
    rig.request(Request::Instance(Said { version: Some("2".to_owned()), ..Said::default() }));
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    until(&mut rig, CallKind::ReadSession);
    assert_eq!(etag(&rig), None, "a version from before the write may hide what it did");
}

#[test]
fn a_hint_does_not_cut_the_wait_after_a_failed_look_short() {
    for (kind, failures, at_least) in [(FailureKind::Server, 3, 29), (FailureKind::Forbidden, 1, 59)] {
        let mut rig = Rig::serving(params());
        for _ in 0..failures {
            until(&mut rig, CallKind::ReadSession);
            rig.answer(CallKind::ReadSession, Err(failure(kind)));
        }
        let begun = rig.now;
        while !rig.kinds().contains(&CallKind::ReadSession) {
            rig.pass(millis(100));
            if rig.kinds().contains(&CallKind::PostHealth) {
                // Each is a hint: is the instance gone?
                rig.answer(CallKind::PostHealth, Err(failure(FailureKind::NotFound)));
            }
            assert!(rig.now - begun < Duration::from_secs(300), "{kind:?}: it is read again in the end");
        }
        assert!(rig.now - begun >= Duration::from_secs(at_least), "{kind:?}: {:?}", rig.now - begun);
    }
}

#[test]
fn a_server_that_waits_for_its_binding_asks_once_a_second_at_first_and_then_more_rarely() {
    let mut rig = Rig::new(allocated());
    rig.log_in();
    let begun = rig.now;
    let mut asked = Vec::new();
    while rig.now - begun < Duration::from_secs(600) {
        if rig.kinds().contains(&CallKind::FindSession) {
            asked.push((rig.now - begun).as_secs());
            rig.answer(CallKind::FindSession, Err(failure(FailureKind::NotFound)));
        }
        rig.pass(millis(100));
    }
    assert!(asked[10] <= 12, "{asked:?}");
    assert!((25..=70).contains(&asked.len()), "{} times in ten minutes: {asked:?}", asked.len());
    assert_eq!(rig.phase(), Phase::Resolving, "that is the normal life of a waiting server");
    assert!(!rig.notes.iter().any(|note| matches!(note, Note::CallFailed { .. })));
}

#[test]
fn while_it_closes_a_look_that_failed_is_repeated_quickly() {
    for seed in 0..20 {
        let mut rig = loading(seed);
        until(&mut rig, CallKind::ReadSession);
        rig.answer(CallKind::ReadSession, Err(failure(FailureKind::Server)));
        until(&mut rig, CallKind::ReadSession);
        rig.event(drain());
        assert_eq!(rig.phase(), Phase::Closing);
        rig.answer(CallKind::ReadSession, Err(failure(FailureKind::Server)));
        let wait = until(&mut rig, CallKind::ReadSession);
        assert!(millis(90) <= wait && wait <= millis(1_020), "seed {seed}: {wait:?}");
    }
}

#[test]
fn a_delete_that_failed_is_tried_again_quickly_after_another_look() {
    for seed in 0..20 {
        let mut rig = loading(seed);
        rig.event(drain());
        rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
        rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
        for _ in 0..3 {
            rig.answer(CallKind::Unregister, Err(failure(FailureKind::Server)));
            assert_eq!(rig.kinds(), [CallKind::ReadSession], "who knows what it did");
            rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
            assert_eq!(rig.kinds(), [], "seed {seed}: not at once");
            let failed = rig.now;
            while !rig.kinds().contains(&CallKind::Unregister) && rig.now - failed < Duration::from_secs(3) {
                rig.pass(millis(10));
            }
            assert!(rig.now - failed <= millis(1_010), "seed {seed}: {:?}", rig.now - failed);
        }
        rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
        assert_eq!(rig.exit, Some(Outcome::Ended));
    }
}

#[test]
fn the_instance_is_not_taken_away_before_the_reports_that_name_it_have_had_their_time() {
    let mut rig = loading(7);
    rig.request(Request::Fubar { error: "crash".to_owned(), key: None });
    rig.event(drain());
    let begun = rig.now;
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    rig.pass(millis(3_990));
    assert!(!rig.kinds().contains(&CallKind::ReadSession) && rig.exit.is_none(), "{:?}", rig.kinds());
    rig.pass(millis(20));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended), "four seconds are enough for a report that hangs");
    assert!(rig.now - begun <= millis(4_020));
}

#[test]
fn a_refused_registration_is_named_waits_long_and_goes_at_once_after_a_reload() {
    for (kind, named) in [(FailureKind::Forbidden, true), (FailureKind::Rejected, false)] {
        let mut rig = Rig::new(params());
        rig.log_in();
        rig.answer(CallKind::ReadSession, Ok(session(None)));
        let free = |rig: &mut Rig| {
            for _ in 0..100_000 {
                if rig.kinds().contains(&CallKind::Register) {
                    return;
                }
                if rig.kinds().contains(&CallKind::ReadSession) {
                    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e1\"")));
                }
                rig.pass(millis(10));
            }
            panic!("never registered");
        };
        for _ in 0..4 {
            free(&mut rig);
            rig.answer(CallKind::Register, Err(failure(kind)));
            assert!(!rig.kinds().contains(&CallKind::Register));
        }
        let warned = rig.notes.iter().any(|note| matches!(note, Note::Warning { cause: "permission", .. }));
        assert_eq!(warned, named, "{kind:?}");
        let begun = rig.now;
        rig.event(Event::Command(Command::Reloaded));
        free(&mut rig);
        assert!(rig.now - begun <= millis(20), "{kind:?}: {:?}", rig.now - begun);
    }
}

/// What a restart finds of an instance that was the host.
fn remembered(rig: &Rig) -> Durable {
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    assert!(durable.attached);
    durable
}

#[test]
fn a_session_that_is_gone_ends_who_was_its_host_and_nobody_else() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Err(session_not_found()));
    assert_eq!((rig.phase(), rig.exit), (Phase::Resolving, None), "it may come yet");
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.answer(CallKind::Register, Err(failure(FailureKind::Rejected)));
    while !rig.kinds().contains(&CallKind::ReadSession) {
        rig.pass(millis(100));
    }
    rig.answer(CallKind::ReadSession, Err(session_not_found()));
    assert_eq!((rig.phase(), rig.exit), (Phase::Registering, None), "it was never its host");
    let durable = remembered(&Rig::serving(params()));
    let mut rig = Rig::restarted(params(), durable.clone());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Err(session_not_found()));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert_eq!(rig.phase(), Phase::Registering);
    rig.answer(CallKind::Register, Err(failure(FailureKind::Server)));
    for _ in 0..1000 {
        if rig.kinds().contains(&CallKind::ReadSession) {
            break;
        }
        rig.pass(millis(10));
    }
    rig.answer(CallKind::ReadSession, Err(session_not_found()));
    assert_eq!(rig.exit, Some(Outcome::Superseded), "also while it registers again");
}

#[test]
fn a_session_that_has_lost_the_allocation_ends_who_was_its_host_and_lets_others_wait() {
    let bound = || session(Some(allocated_info(JoinStatus::Allocated)));
    let mut rig = Rig::new(allocated());
    rig.log_in();
    rig.answer(CallKind::FindSession, Ok(bound()));
    rig.answer(CallKind::Update, Err(failure(FailureKind::Conflict)));
    assert_eq!(rig.phase(), Phase::Registering);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e2\"")));
    assert_eq!((rig.phase(), rig.exit), (Phase::Registering, None), "nobody was host yet: the provider may be at work");
    let durable = remembered(&Rig::serving(allocated()));
    let mut rig = Rig::restarted(allocated(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    assert!(!rig.records.contains(&Record::Attached));
}

#[test]
fn who_registers_itself_is_the_host_whatever_word_the_backend_has_for_it() {
    for status in [JoinStatus::Requested, JoinStatus::Allocated, JoinStatus::Other("booting".to_owned())] {
        let mut rig = Rig::new(params());
        rig.log_in();
        rig.answer(CallKind::ReadSession, Ok(session(None)));
        rig.answer(CallKind::Register, Ok(instance(info(status.clone()))));
        rig.settle(Ok(session(Some(info(status.clone())))));
        assert_eq!(rig.phase(), Phase::Loading, "{status:?}");
    }
}

#[test]
fn what_is_gone_while_it_drains_is_not_written_to_any_more() {
    let mut rig = Rig::serving(params());
    rig.pass_quietly(Duration::from_secs(10), true);
    rig.event(drain());
    assert_eq!(rig.phase(), Phase::Draining);
    assert_eq!(rig.kinds().iter().filter(|kind| **kind == CallKind::ReadSession).count(), 1, "a PATCH has no fence");
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e9\"")));
    for _ in 0..100 {
        rig.pass(millis(100));
        assert!(!rig.kinds().contains(&CallKind::Update), "whoever comes next would be closed");
        rig.keep_quiet(true);
    }
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.exit, Some(Outcome::Ended), "{:?}", rig.kinds());
}
