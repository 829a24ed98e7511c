//! Retry-After binds every way to a call: a hint, a reload of secrets, an end, a detour over another phase.

use std::time::Duration;

use super::rig::*;
use crate::core::Phase;
use crate::core::call::{Answer, CallKind, Failure, FailureKind};
use crate::core::event::{Command, Event, Request};
use crate::core::instance::{Health, JoinStatus};

fn asking_for(seconds: u64, kind: FailureKind) -> Failure {
    Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(kind) }
}

/// Lets time pass, with health answered, and says whether such a call was sent.
fn sent_within(rig: &mut Rig, seconds: u64, kind: CallKind) -> bool {
    for _ in 0..seconds {
        rig.pass(Duration::from_secs(1));
        if rig.kinds().contains(&kind) {
            return true;
        }
        while rig.kinds().contains(&CallKind::PostHealth) {
            rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
        }
    }
    false
}

#[test]
fn a_look_that_was_put_off_is_not_made_for_the_sake_of_the_end() {
    let mut rig = Rig::serving(params());
    assert!(!sent_within(&mut rig, 40, CallKind::ReadSession));
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.phase(), Phase::Closing);
    // Nothing is written before a look, for nothing protects the write.
    rig.answer(CallKind::ReadSession, Err(asking_for(3, FailureKind::Server)));
    assert!(!sent_within(&mut rig, 2, CallKind::ReadSession), "{:?}", rig.kinds());
    assert!(sent_within(&mut rig, 3, CallKind::ReadSession), "but then it is, for there is little time");
}

#[test]
fn a_reload_of_the_secrets_does_not_cut_it_short() {
    let mut rig = Rig::serving(params());
    assert!(sent_within(&mut rig, 70, CallKind::ReadSession));
    rig.answer(CallKind::ReadSession, Err(asking_for(100, FailureKind::Forbidden)));
    rig.event(Event::Command(Command::Reloaded));
    assert!(!sent_within(&mut rig, 99, CallKind::ReadSession));
    assert!(sent_within(&mut rig, 5, CallKind::ReadSession), "what was forbidden is tried as soon as it may be");
}

#[test]
fn a_poll_that_was_put_off_stays_so_when_the_instance_vanishes_and_comes_back() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, Err(asking_for(537, FailureKind::Throttled)));
    assert!(sent_within(&mut rig, 70, CallKind::ReadSession));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e2\"")));
    assert_eq!(rig.phase(), Phase::Registering);
    rig.registered();
    assert_eq!(rig.phase(), Phase::Serving);
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    assert!(!sent_within(&mut rig, 30, CallKind::Poll), "{:?}", rig.kinds());
}
