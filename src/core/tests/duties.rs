//! A host's other duties: through the outbox like events, in one order with them, and never onto somebody else's session.

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::duty::{Duty, Listing, Match};
use crate::core::event::{Command, Denied, Event, Granted, Request, StoreFault};
use crate::core::ids::{MatchId, PlayerId};
use crate::core::instance::JoinStatus;
use crate::core::{Machine as _, Outcome, Phase};

pub(super) fn duty(duty: Duty) -> Request {
    Request::Duty { duty, key: None }
}

pub(super) fn begin(id: &str) -> Duty {
    Duty::BeginMatch(Match { match_id: MatchId::parse(id).unwrap(), custom_data: None })
}

fn update(id: &str) -> Duty {
    Duty::UpdateMatch(Match { match_id: MatchId::parse(id).unwrap(), custom_data: None })
}

pub(super) fn listing(pairs: &[(&str, &str)]) -> Listing {
    Listing { custom_data: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect() }
}

pub(super) fn list() -> Duty {
    Duty::ListBrowser(listing(&[("map", "canyon")]))
}

fn remove() -> Duty {
    Duty::RemovePlayer { player: PlayerId::parse("00000000-0000-4000-8000-000000000001").unwrap() }
}

fn fubar(error: &str) -> Request {
    Request::Fubar { error: error.to_owned(), key: None }
}

fn stop() -> Event {
    Event::Command(Command::Drain { reason: "test".to_owned() })
}

/// The duty in flight, with its answer.
pub(super) fn answer(rig: &mut Rig, kind: CallKind, result: Result<Answer, Failure>) -> Duty {
    let Call::Duty { session, duty } = rig.answer(kind, result) else { panic!("no duty") };
    assert_eq!(session, session_id());
    *duty
}

pub(super) fn done(rig: &mut Rig, kind: CallKind) -> Duty {
    answer(rig, kind, Ok(Answer::Accepted))
}

pub(super) fn in_the_backends_words(kind: FailureKind) -> Failure {
    Failure { code: Some("no_such_thing".into()), ..failure(kind) }
}

pub(super) fn remembered(rig: &Rig) -> Durable {
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    durable
}

/// What waits and what was set aside.
fn outbox(rig: &Rig) -> (usize, usize) {
    let outbox = rig.agent.snapshot().outbox;
    (outbox.waiting, outbox.dead)
}

#[test]
fn accepted_means_on_disk_and_only_then_is_it_sent() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    let request = rig.request(duty(begin("m-1")));
    assert!(rig.replies.is_empty() && rig.kinds() == [CallKind::Poll], "not before the disk has it");
    rig.stored(Ok(()));
    assert!(matches!(rig.verdict(&request), Ok(Granted::Accepted(_))));
    assert_eq!(done(&mut rig, CallKind::Match), begin("m-1"));
    rig.store = Some(Err(StoreFault::Full));
    assert_eq!(rig.ask(duty(list())), Err(Denied::Store(StoreFault::Full)));
    assert_eq!(outbox(&rig), (0, 0));
    rig.store = Some(Ok(()));
    rig.event(stop());
    assert!(!rig.kinds().contains(&CallKind::Browser), "what was refused is not listed");
}

#[test]
fn duties_events_and_reports_go_out_in_the_order_of_their_acceptance() {
    let mut rig = Rig::serving(params());
    let session = Duty::UpdateSession { custom_data: None, joinable: Some(false) };
    let event = Request::Event { event_code: "e".to_owned(), description: None, custom_data: Default::default() };
    rig.request(duty(begin("m-1")));
    rig.request(event);
    rig.request(duty(list()));
    rig.request(fubar("f"));
    for waiting in [session.clone(), remove(), update("m-1"), Duty::EndMatch, Duty::UnlistBrowser] {
        rig.request(duty(waiting));
    }
    assert_eq!(rig.kinds(), [CallKind::Poll, CallKind::Match], "one at a time");
    assert_eq!(done(&mut rig, CallKind::Match), begin("m-1"));
    rig.answer(CallKind::PostEvent, Ok(Answer::Accepted));
    assert_eq!(done(&mut rig, CallKind::Browser), list());
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert_eq!(done(&mut rig, CallKind::UpdateSession), session);
    assert_eq!(done(&mut rig, CallKind::RemovePlayer), remove());
    assert_eq!(done(&mut rig, CallKind::Match), update("m-1"));
    assert_eq!(done(&mut rig, CallKind::Match), Duty::EndMatch);
    assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser);
    assert_eq!(rig.kinds(), [CallKind::Poll]);
    assert_eq!(outbox(&rig), (0, 0));
}

#[test]
fn the_same_key_is_the_same_duty() {
    let mut rig = Rig::serving(params());
    let keyed = || Request::Duty { duty: begin("m-1"), key: Some("k".to_owned()) };
    let first = rig.ask(keyed());
    assert_eq!(rig.ask(keyed()), first);
    done(&mut rig, CallKind::Match);
    assert_eq!(rig.ask(keyed()), first, "also after delivery");
    assert_eq!(rig.kinds(), [CallKind::Poll]);
}

#[test]
fn a_duty_waits_for_a_young_look_at_the_session() {
    let mut rig = Rig::serving(params());
    rig.pass_quietly(Duration::from_secs(20), false);
    rig.request(duty(begin("m-1")));
    assert_eq!(rig.kinds(), [CallKind::Poll, CallKind::ReadSession], "no fence: a look comes first");
    rig.request(Request::ClientSeen);
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    assert_eq!(rig.kinds(), [CallKind::Poll, CallKind::Match], "and one is enough");
    rig.request(duty(Duty::EndMatch));
    done(&mut rig, CallKind::Match);
    assert_eq!(rig.kinds(), [CallKind::Poll, CallKind::Match], "one look is good for a while");
}

#[test]
fn nothing_goes_to_a_session_that_is_somebody_elses_by_now() {
    for target in [params(), allocated()] {
        let mut rig = Rig::serving(target);
        rig.pass_quietly(Duration::from_secs(20), true);
        rig.request(duty(begin("m-1")));
        rig.answer(CallKind::ReadSession, Ok(session(Some(foreign_info()))));
        assert_eq!(rig.exit, Some(Outcome::Superseded));
        assert!(rig.calls.is_empty(), "{:?}", rig.kinds());
    }
}

#[test]
fn a_look_that_says_nothing_is_repeated_slowly() {
    let mut rig = Rig::serving(params());
    rig.pass_quietly(Duration::from_secs(20), true);
    rig.request(duty(begin("m-1")));
    let half = crate::core::instance::InstanceInfo { instance_id: None, ..info(JoinStatus::Joinable) };
    let mut looks = 0;
    for _ in 0..100 {
        rig.pass(Duration::from_millis(100));
        if rig.kinds().contains(&CallKind::ReadSession) {
            looks += 1;
            rig.answer(CallKind::ReadSession, Ok(session(Some(half.clone()))));
        }
        assert!(!rig.kinds().contains(&CallKind::Match));
    }
    assert!((2..=12).contains(&looks), "{looks} looks in ten seconds");
}

#[test]
fn a_begin_that_nobody_answered_is_tried_again_and_a_409_then_says_that_it_was_carried_out() {
    for (first, kind) in [(begin("m-1"), CallKind::Match), (list(), CallKind::Browser)] {
        for lost in [FailureKind::Cut, FailureKind::TimedOut, FailureKind::Server, FailureKind::Malformed] {
            let mut rig = Rig::serving(params());
            rig.request(duty(first.clone()));
            answer(&mut rig, kind, Err(failure(lost)));
            assert_eq!(outbox(&rig), (1, 0));
            rig.pass_quietly(Duration::from_secs(3), true);
            assert_eq!(answer(&mut rig, kind, Err(failure(FailureKind::Conflict))), first, "{lost:?}");
            assert_eq!(outbox(&rig), (0, 0), "{lost:?}");
            assert!(matches!(rig.records.last(), Some(Record::Sent { .. })), "{lost:?}");
        }
    }
}

#[test]
fn a_409_without_a_doubt_sets_it_aside_because_what_would_help_waits_behind_it() {
    for lost in [None, Some(FailureKind::Unreachable), Some(FailureKind::Throttled)] {
        let mut rig = Rig::serving(params());
        rig.request(duty(begin("m-2")));
        rig.request(duty(Duty::EndMatch));
        if let Some(lost) = lost {
            answer(&mut rig, CallKind::Match, Err(failure(lost)));
            rig.pass_quietly(Duration::from_secs(3), true);
        }
        answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Conflict)));
        assert!(matches!(rig.records.last(), Some(Record::Dead { .. })), "{lost:?}");
        rig.pass_quietly(Duration::from_secs(2), true);
        assert_eq!(done(&mut rig, CallKind::Match), Duty::EndMatch);
        assert_eq!(outbox(&rig), (0, 1));
    }
}

#[test]
fn a_doubt_is_about_one_duty_only() {
    let mut rig = Rig::serving(params());
    rig.request(duty(begin("m-1")));
    rig.request(duty(begin("m-2")));
    answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Cut)));
    rig.pass_quietly(Duration::from_secs(3), true);
    done(&mut rig, CallKind::Match);
    rig.pass_quietly(Duration::from_secs(3), true);
    assert_eq!(answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Conflict))), begin("m-2"));
    assert_eq!(outbox(&rig), (0, 1));
}

#[test]
fn a_doubt_outlives_a_report_that_goes_past() {
    for past in [Ok(Answer::Accepted), Err(failure(FailureKind::Rejected))] {
        let dead = usize::from(past.is_err());
        let mut rig = Rig::serving(params());
        rig.request(duty(begin("m-1")));
        rig.request(fubar("crash"));
        answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Cut)));
        rig.pass_quietly(Duration::from_secs(3), true);
        answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Forbidden)));
        rig.pass_quietly(Duration::from_secs(2), true);
        rig.answer(CallKind::Fubar, past);
        rig.event(Event::Command(Command::Reloaded));
        rig.pass_quietly(Duration::from_secs(2), true);
        answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Conflict)));
        assert_eq!(outbox(&rig), (0, dead));
    }
}

#[test]
fn what_was_to_go_and_is_not_there_is_gone() {
    for (gone, kind) in [
        (Duty::EndMatch, CallKind::Match),
        (Duty::UnlistBrowser, CallKind::Browser),
        (remove(), CallKind::RemovePlayer),
    ] {
        for missing in
            [failure(FailureKind::NotFound), in_the_backends_words(FailureKind::NotFound), session_not_found()]
        {
            let mut rig = Rig::serving(params());
            rig.request(duty(gone.clone()));
            assert_eq!(answer(&mut rig, kind, Err(missing)), gone);
            assert!(matches!(rig.records.last(), Some(Record::Sent { .. })));
        }
    }
}

#[test]
fn what_can_never_succeed_is_set_aside_and_the_next_goes_on() {
    for fatal in [failure(FailureKind::Rejected), in_the_backends_words(FailureKind::NotFound)] {
        let mut rig = Rig::serving(params());
        rig.request(duty(update("m-1")));
        rig.request(duty(remove()));
        answer(&mut rig, CallKind::Match, Err(fatal));
        rig.pass_quietly(Duration::from_secs(2), true);
        done(&mut rig, CallKind::RemovePlayer);
        assert_eq!(outbox(&rig), (0, 1));
    }
}

#[test]
fn a_missing_permission_is_named_and_holds_up_no_report() {
    let mut rig = Rig::serving(params());
    rig.request(duty(list()));
    rig.request(duty(begin("m-1")));
    rig.request(fubar("crash"));
    answer(&mut rig, CallKind::Browser, Err(failure(FailureKind::Forbidden)));
    let named = rig.notes.iter().any(|note| format!("{note:?}").contains("session:update:browser"));
    assert!(named, "{:?}", rig.notes);
    assert_eq!(outbox(&rig), (3, 0));
    rig.pass_quietly(Duration::from_secs(2), true);
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    let mut tries = 0;
    for _ in 0..600 {
        rig.pass_quietly(Duration::from_secs(1), true);
        assert!(!rig.kinds().contains(&CallKind::Match), "duties keep their order");
        if rig.kinds().contains(&CallKind::Browser) {
            tries += 1;
            answer(&mut rig, CallKind::Browser, Err(failure(FailureKind::Forbidden)));
        }
    }
    assert!((1..=15).contains(&tries), "{tries} tries in ten minutes");
    rig.event(Event::Command(Command::Reloaded));
    rig.pass_quietly(Duration::from_secs(2), true);
    assert_eq!(done(&mut rig, CallKind::Browser), list());
    rig.pass_quietly(Duration::from_secs(2), true);
    assert_eq!(done(&mut rig, CallKind::Match), begin("m-1"));
    assert_eq!(outbox(&rig), (0, 0));
}

#[test]
fn a_refused_duty_does_not_keep_a_stop_waiting() {
    let mut rig = Rig::serving(params());
    rig.request(duty(begin("m-1")));
    answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Forbidden)));
    rig.request(Request::Shutdown { reason: None });
    let begun = rig.now;
    rig.keep_quiet(true);
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Closed)))));
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert_eq!(rig.now, begun);
    assert_eq!(remembered(&rig).outbox.len(), 1, "it stays for the next start");
}

#[test]
fn an_outage_and_a_restart_lose_none_and_change_no_order() {
    let mut rig = Rig::serving(params());
    let all = [begin("m-1"), list(), remove(), Duty::EndMatch];
    for waiting in &all {
        rig.request(duty(waiting.clone()));
    }
    answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Unreachable)));
    let durable = remembered(&rig);
    assert_eq!(durable.outbox.len(), 4);
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    let mut sent = Vec::new();
    for _ in 0..100 {
        for kind in [CallKind::Match, CallKind::Browser, CallKind::RemovePlayer] {
            if rig.kinds().contains(&kind) {
                sent.push(done(&mut rig, kind));
            }
        }
        rig.pass_quietly(Duration::from_millis(100), true);
    }
    assert_eq!(sent, all);
}

#[test]
fn after_a_restart_a_409_on_the_oldest_is_our_own_try_from_before() {
    let mut rig = Rig::serving(params());
    rig.request(duty(begin("m-1")));
    rig.request(duty(begin("m-2")));
    let durable = remembered(&rig);
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Conflict)));
    assert_eq!(outbox(&rig), (1, 0));
    rig.pass_quietly(Duration::from_secs(2), true);
    answer(&mut rig, CallKind::Match, Err(failure(FailureKind::Conflict)));
    assert_eq!(outbox(&rig), (0, 1), "the next one has not been tried before");
}

#[test]
fn duties_accepted_before_there_is_a_session_wait_for_us_to_be_its_host() {
    let mut rig = Rig::new(params());
    rig.request(duty(begin("m-1")));
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert_eq!(rig.kinds(), [CallKind::Register]);
    rig.registered();
    assert_eq!(done(&mut rig, CallKind::Match), begin("m-1"));
}

#[test]
fn a_stop_before_we_were_the_host_sends_no_duty_but_what_is_reported() {
    let mut rig = Rig::new(params());
    rig.request(duty(list()));
    rig.request(fubar("early"));
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.answer(CallKind::Register, Err(failure(FailureKind::Unreachable)));
    rig.event(stop());
    assert_eq!(rig.phase(), Phase::Closing);
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert_eq!(rig.exit, Some(Outcome::Ended));
    let kinds: Vec<_> = remembered(&rig).outbox.iter().map(|report| report.content.label().to_owned()).collect();
    assert_eq!(kinds, ["list_browser", "unlist_browser"]);
}
