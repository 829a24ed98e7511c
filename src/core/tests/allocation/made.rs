//! A session of our own.

use super::*;
use crate::core::allocation::SessionWish;
use crate::core::ids::Generation;

fn own() -> Params {
    waiting(Source::Made(Box::new(SessionWish {
        session_type: "deathmatch".to_owned(),
        region: "eu".to_owned(),
        client_version: "1.2.3".to_owned(),
        platform: "Basic".to_owned(),
        input: "keyboardandmouse".to_owned(),
    })))
}

fn made() -> Answer {
    Answer::SessionMade(session_id())
}

#[test]
fn the_session_is_on_disk_before_it_is_used() {
    let mut rig = Rig::new(own());
    assert_eq!(rig.kinds(), [], "not without a login");
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::CreateSession]);
    rig.store = None;
    rig.answer(CallKind::CreateSession, Ok(made()));
    assert_eq!(rig.kinds(), []);
    let given = Allocation { session_id: Some(session_id()), ..Allocation::default() };
    assert_eq!(rig.records, [Record::Given(given)]);
    rig.pass(60 * SECOND);
    assert_eq!(rig.kinds(), [], "no second session while the disk thinks");
    rig.stored(Ok(()));
    rig.store = Some(Ok(()));
    rig.attach();
}

#[test]
fn a_restart_hosts_the_same_session_again() {
    let mut rig = Rig::new(own());
    rig.log_in();
    rig.answer(CallKind::CreateSession, Ok(made()));
    let mut rig = Rig::restarted(own(), remembered(&rig));
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    rig.attach();
}

#[test]
fn an_ambiguous_outcome_is_tried_again_without_haste() {
    for kind in [FailureKind::TimedOut, FailureKind::Cut, FailureKind::Server, FailureKind::Malformed] {
        let mut rig = Rig::new(own());
        rig.log_in();
        let mut tries = 0;
        let end = rig.now + 600 * SECOND;
        while rig.now < end {
            if rig.kinds() == [CallKind::CreateSession] {
                tries += 1;
                rig.answer(CallKind::CreateSession, Err(failure(kind)));
            }
            rig.pass(SECOND);
        }
        assert!((3..40).contains(&tries), "{kind:?}: {tries} sessions may be left behind in ten minutes");
    }
}

#[test]
fn a_missing_permission_never_logs_in_and_is_named() {
    let mut rig = Rig::new(own());
    rig.log_in();
    rig.answer(CallKind::CreateSession, Err(failure(FailureKind::Forbidden)));
    rig.pass(59 * SECOND);
    assert_eq!((rig.kinds(), rig.rejected.len()), (vec![], 0));
    assert!(rig.agent.snapshot().forbidden.contains_key(&CallKind::CreateSession));
    rig.event(Event::Command(Command::Reloaded));
    assert_eq!(rig.kinds(), [CallKind::CreateSession], "after SIGHUP at once");
}

#[test]
fn a_refused_token_is_told_once_and_the_call_goes_again_with_the_next() {
    let mut rig = Rig::new(own());
    rig.log_in();
    rig.answer(CallKind::CreateSession, Err(failure(FailureKind::Unauthorised)));
    assert_eq!((rig.kinds(), rig.rejected.clone()), (vec![], vec![Generation(1)]));
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::CreateSession]);
}

#[test]
fn a_session_of_an_earlier_life_is_followed_by_another() {
    let mut rig = Rig::new(own());
    rig.log_in();
    rig.answer(CallKind::CreateSession, Ok(made()));
    rig.attach();
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    let mut rig = Rig::restarted(own(), {
        let mut durable = remembered(&rig);
        durable.apply(&Record::Closed);
        durable
    });
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::CreateSession]);
}

#[test]
fn only_a_missing_permission_is_named_as_one_and_a_reload_is_for_what_was_refused() {
    for (kind, named) in [(FailureKind::Forbidden, true), (FailureKind::Rejected, false), (FailureKind::Server, false)]
    {
        let mut rig = Rig::new(own());
        rig.log_in();
        rig.answer(CallKind::CreateSession, Err(failure(kind)));
        let warned = rig.notes.iter().any(|note| matches!(note, Note::Warning { cause: "permission", .. }));
        assert_eq!(warned, named, "{kind:?}");
        rig.event(Event::Command(Command::Reloaded));
        assert_eq!(rig.kinds().is_empty(), kind == FailureKind::Server, "{kind:?}: what fails is not ours to mend");
    }
}
