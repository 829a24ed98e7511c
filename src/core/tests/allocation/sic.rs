//! RallyHere's own hosting.

use super::*;
use crate::core::allocation::{SicAnswer, SicEntry, SicState};
use crate::core::call::Failure;
use crate::core::ids::Generation;

fn hosted_at(host: &str, port: u16) -> Params {
    waiting(Source::Sic(Box::new(SicEntry {
        profile_id: "p-1".to_owned(),
        server_id: "s-77".to_owned(),
        hostname: "h".to_owned(),
        own_id: None,
        address: Address::parse(host, port).unwrap(),
    })))
}

fn hosted() -> Params {
    hosted_at("203.0.113.7", 7777)
}

fn taken() -> Result<Answer, Failure> {
    Ok(Answer::Sic(Box::new(SicAnswer { success: true, ..SicAnswer::default() })))
}

fn refused(error_code: i64) -> Result<Answer, Failure> {
    let message = Some("no".to_owned());
    Ok(Answer::Sic(Box::new(SicAnswer { success: false, error_code, message, ..SicAnswer::default() })))
}

fn shows(state: SicState) -> Result<Answer, Failure> {
    let ids = matches!(state, SicState::Allocated);
    Ok(Answer::Sic(Box::new(SicAnswer {
        success: true,
        state: Some(state),
        allocation_id: ids.then(allocation_id),
        session_id: None,
        ..SicAnswer::default()
    })))
}

fn shows_other(id: &AllocationId) -> Result<Answer, Failure> {
    Ok(Answer::Sic(Box::new(SicAnswer {
        success: true,
        state: Some(SicState::Allocated),
        allocation_id: Some(id.clone()),
        ..SicAnswer::default()
    })))
}

fn other() -> AllocationId {
    AllocationId::parse("a-2").unwrap()
}

fn bare_403() -> Failure {
    Failure { status: Some(403), ..failure(FailureKind::Forbidden) }
}

/// Registered, and asked for the first time.
fn registered(params: Params) -> Rig {
    let mut rig = Rig::new(params);
    rig.log_in();
    rig.answer(CallKind::SicRegister, taken());
    assert_eq!(rig.kinds(), [CallKind::SicState]);
    rig
}

/// Allocated, and loading.
fn allocated_by_sic() -> Rig {
    let mut rig = registered(hosted());
    rig.answer(CallKind::SicState, shows(SicState::Allocated));
    rig.attach_beside();
    rig
}

impl Rig {
    /// As [`Rig::attach`], while SIC is asked on.
    fn attach_beside(&mut self) {
        self.answer(CallKind::FindSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
        self.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Pending))));
        assert_eq!(self.phase(), Phase::Loading);
    }

    /// Answers SIC's questions for a while.
    fn sic_says(&mut self, seconds: u32, answer: impl Fn() -> Result<Answer, Failure>) -> u32 {
        let mut asked = 0;
        for _ in 0..seconds * 10 {
            self.pass(Duration::from_millis(100));
            self.keep_quiet(true);
            while self.kinds().contains(&CallKind::SicState) {
                asked += 1;
                self.answer(CallKind::SicState, answer());
            }
            if self.exit.is_some() || self.phase() == Phase::Closing {
                break;
            }
        }
        asked
    }
}

#[test]
fn it_registers_once_and_asks_every_second_until_it_is_allocated() {
    let mut rig = Rig::new(hosted());
    assert_eq!(rig.kinds(), []);
    rig.log_in();
    let Call::SicRegister { entry } = rig.call(CallKind::SicRegister).clone() else { panic!("no registration") };
    assert_eq!(
        (entry.id().as_str(), entry.group_tags().as_str()),
        ("sic_s-77_7777", "profile_id:p-1,server_id:s-77,hostname:h")
    );
    rig.answer(CallKind::SicRegister, taken());
    let asked = rig.sic_says(60, || shows(SicState::Deallocated));
    assert!((59..=61).contains(&asked), "{asked} questions in a minute");
    assert_eq!(detail(&rig), "waiting for SIC to allocate sic_s-77_7777; it says deallocated");
    rig.sic_says(5, || shows(SicState::Allocating));
    assert_eq!((rig.phase(), rig.kinds().contains(&CallKind::FindSession)), (Phase::Resolving, false));
    rig.pass(SECOND);
    rig.answer(CallKind::SicState, shows(SicState::Allocated));
    rig.attach_beside();
    let asked = rig.sic_says(60, || shows(SicState::Allocated));
    assert!((59..=61).contains(&asked), "and on, {asked} times a minute: a deallocation must be noticed");
    assert_eq!(rig.phase(), Phase::Loading);
}

#[test]
fn being_allocated_is_no_failure() {
    let mut rig = Rig::new(hosted());
    rig.log_in();
    rig.answer(CallKind::SicRegister, refused(6));
    assert_eq!(rig.kinds(), [CallKind::SicState]);
    rig.answer(CallKind::SicState, refused(6));
    rig.pass(SECOND);
    rig.answer(CallKind::SicState, shows(SicState::Allocated));
    rig.attach_beside();
}

#[test]
fn a_refused_registration_is_tried_slowly_and_told_with_its_code() {
    let mut rig = Rig::new(hosted());
    rig.log_in();
    rig.answer(CallKind::SicRegister, refused(4));
    rig.pass(14 * SECOND);
    assert_eq!(rig.kinds(), []);
    assert!(rig.notes.iter().any(|note| format!("{note:?}").contains("error_code 4: no")));
    rig.pass(30 * SECOND);
    assert_eq!(rig.kinds(), [CallKind::SicRegister]);
}

#[test]
fn a_deallocation_ends_the_instance_in_good_order_and_only_if_it_is_said_twice() {
    let mut rig = allocated_by_sic();
    rig.pass(SECOND);
    rig.answer(CallKind::SicState, shows(SicState::Deallocated));
    rig.pass(SECOND);
    rig.answer(CallKind::SicState, shows(SicState::Allocated));
    rig.pass(SECOND);
    assert_eq!(rig.phase(), Phase::Loading, "once is a slip");
    rig.sic_says(3, || shows(SicState::Deallocated));
    assert_eq!((rig.phase(), detail(&rig).as_str()), (Phase::Closing, "SIC has deallocated this server"));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { panic!("no update") };
    assert_eq!(update.join_status, JoinStatus::Closed);
}

#[test]
fn another_allocation_ends_the_first() {
    let mut rig = allocated_by_sic();
    rig.sic_says(2, || shows_other(&other()));
    assert_eq!(
        (rig.phase(), detail(&rig).as_str()),
        (Phase::Closing, "its source gave this server away: allocation a-2")
    );
}

#[test]
fn an_outage_of_sic_never_ends_a_match() {
    let mut rig = allocated_by_sic();
    for kind in [FailureKind::Unreachable, FailureKind::Server, FailureKind::NotFound, FailureKind::Malformed] {
        rig.sic_says(60, || Err(failure(kind)));
    }
    assert_eq!(rig.phase(), Phase::Loading);
    let before = rig.agent.snapshot().counters.calls_failed;
    assert!(before < 480, "{before}: no more than in peace");
}

#[test]
fn a_sic_that_has_forgotten_us_is_told_again_and_a_match_goes_on() {
    let mut rig = allocated_by_sic();
    rig.pass(SECOND);
    rig.answer(CallKind::SicState, refused(3));
    rig.pass(3 * SECOND);
    rig.answer(CallKind::SicRegister, taken());
    rig.sic_says(60, || shows(SicState::Deallocated));
    assert_eq!(rig.phase(), Phase::Loading, "it only knows us from our own word");
    rig.sic_says(2, || shows(SicState::Allocated));
    rig.sic_says(3, || shows(SicState::Deallocated));
    assert_eq!(rig.phase(), Phase::Closing, "once it knew again, it is believed");
}

#[test]
fn a_401_and_a_bare_403_lead_to_one_login_and_a_missing_permission_to_none() {
    let missing = || Failure { code: Some("insufficient_role".into()), ..bare_403() };
    for (what, failure, logins) in [
        ("401", failure(FailureKind::Unauthorised), 1),
        ("403 without a word", bare_403(), 1),
        ("403 insufficient_role", missing(), 0),
    ] {
        for before in [CallKind::SicRegister, CallKind::SicState] {
            let mut rig = Rig::new(hosted());
            rig.log_in();
            if before == CallKind::SicState {
                rig.answer(CallKind::SicRegister, taken());
            }
            rig.answer(before, Err(failure.clone()));
            assert_eq!(rig.rejected.len(), logins, "{what} to {before}");
            if logins == 1 {
                assert_eq!(rig.kinds(), [], "nothing goes out with the refused token");
                rig.log_in();
                assert_eq!(rig.kinds(), [before], "{what}");
            }
        }
    }
}

#[test]
fn bare_403s_without_end_make_no_storm_of_logins() {
    let mut rig = Rig::new(hosted());
    rig.log_in();
    let (mut told, mut asked) = (0, 0);
    for _ in 0..3600 {
        for kind in rig.kinds() {
            asked += 1;
            rig.answer(kind, Err(bare_403()));
        }
        if rig.rejected.len() > told {
            told = rig.rejected.len();
            rig.log_in();
        }
        rig.pass(SECOND);
    }
    assert!((2..=13).contains(&told), "{told} logins in an hour");
    assert!(asked < 150, "{asked} calls in an hour");
    assert_eq!(rig.rejected.last(), Some(&Generation(u64::try_from(told).unwrap())));
}

#[test]
fn a_sic_that_refuses_every_token_neither_stops_health_nor_makes_a_storm() {
    let mut rig = allocated_by_sic();
    let (mut told, mut beats) = (0, 0);
    for _ in 0..280 {
        while rig.kinds().contains(&CallKind::SicState) {
            rig.answer(CallKind::SicState, Err(failure(FailureKind::Unauthorised)));
        }
        if rig.rejected.len() > told {
            told = rig.rejected.len();
            rig.log_in();
        }
        beats += rig.kinds().iter().filter(|kind| **kind == CallKind::PostHealth).count();
        rig.keep_quiet(true);
        rig.pass(SECOND);
    }
    assert!((1..=5).contains(&told), "{told} logins in five minutes");
    assert!(beats >= 27, "{beats} health posts, one every ten seconds");
    assert_eq!(rig.phase(), Phase::Loading);
}

#[test]
fn every_port_and_every_host_comes_through() {
    for (host, port, public, private) in [
        ("203.0.113.7", 1, "unreal://203.0.113.7:1", ""),
        ("203.0.113.7", 32768, "unreal://203.0.113.7:32768", ""),
        ("203.0.113.7", 65535, "unreal://203.0.113.7:65535", ""),
        ("10.0.0.9", 65535, "", "unreal://10.0.0.9:65535"),
        ("2001:db8::9", 65535, "unreal://[2001:db8::9]:65535", ""),
        ("game.example.org", 40000, "unreal://game.example.org:40000", ""),
    ] {
        let mut rig = Rig::new(hosted_at(host, port));
        rig.log_in();
        let Call::SicRegister { entry } = rig.call(CallKind::SicRegister).clone() else { panic!("no registration") };
        assert_eq!(
            (entry.address.host.as_str(), entry.address.port, entry.id()),
            (host, port, format!("sic_s-77_{port}"))
        );
        rig.answer(CallKind::SicRegister, taken());
        rig.answer(CallKind::SicState, shows(SicState::Allocated));
        let shown = rig.agent.snapshot().instance.join_params;
        assert_eq!((shown.public_conn_str.as_str(), shown.private_conn_str.as_str()), (public, private));
    }
}

#[test]
fn a_restart_asks_before_it_takes_up_the_match_and_does_not_wait_for_a_sic_that_is_gone() {
    let durable = remembered(&allocated_by_sic());
    let mut rig = Rig::restarted(hosted(), durable.clone());
    rig.log_in();
    assert_eq!((rig.kinds(), state(&rig)), (vec![CallKind::SicRegister], AllocationState::Confirming));
    rig.answer(CallKind::SicRegister, taken());
    rig.answer(CallKind::SicState, shows(SicState::Allocated));
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);

    let mut rig = Rig::restarted(hosted(), durable.clone());
    rig.log_in();
    rig.pass(2 * SECOND);
    assert!(rig.kinds().contains(&CallKind::ReadSession), "{:?}", rig.kinds());

    let mut rig = Rig::restarted(hosted(), durable);
    rig.log_in();
    rig.answer(CallKind::SicRegister, taken());
    rig.answer(CallKind::SicState, shows_other(&other()));
    let Call::FindSession { allocation } = rig.call(CallKind::FindSession) else { panic!("no look") };
    assert_eq!(allocation.as_str(), "a-2", "another one is another life, at once");
}

#[test]
fn a_kill_between_registration_and_allocation_changes_nothing() {
    let rig = registered(hosted());
    assert_eq!(rig.records, [], "nothing is remembered of waiting");
    let mut again = Rig::restarted(hosted(), remembered(&rig));
    again.log_in();
    assert_eq!(again.kinds(), [CallKind::SicRegister]);
}

#[test]
fn after_a_refusal_it_is_neither_asked_nor_registered_at_once_and_a_reload_does_that() {
    let mut rig = Rig::new(hosted());
    rig.log_in();
    rig.answer(CallKind::SicRegister, refused(5));
    assert_eq!(rig.kinds(), []);
    rig.pass(14 * SECOND);
    assert_eq!(rig.kinds(), [], "slowly");
    rig.event(Event::Command(Command::Reloaded));
    rig.answer(CallKind::SicRegister, taken());
    for _ in 0..3 {
        let asked = rig.now;
        rig.answer(CallKind::SicState, refused(5));
        rig.event(Event::Command(Command::Reloaded));
        assert_eq!(rig.kinds(), [], "it took the call: there is nothing to reload");
        while rig.kinds().is_empty() {
            rig.pass(SECOND / 10);
        }
        assert!(rig.now - asked >= SECOND * 9 / 10, "{:?}", rig.now - asked);
        rig.answer(CallKind::SicRegister, taken());
    }
}

#[test]
fn allocated_for_nothing_is_no_allocation_and_deallocated_once_ends_nothing_that_is_remembered() {
    let mut rig = registered(hosted());
    let nothing = SicAnswer { success: true, state: Some(SicState::Allocated), ..SicAnswer::default() };
    rig.answer(CallKind::SicState, Ok(Answer::Sic(Box::new(nothing))));
    assert_eq!((state(&rig), rig.records.len()), (AllocationState::Waiting, 0));
    assert!(detail(&rig).contains("not for what"), "{}", detail(&rig));
    let mut rig = Rig::restarted(hosted(), remembered(&allocated_by_sic()));
    rig.log_in();
    rig.answer(CallKind::SicRegister, taken());
    rig.answer(CallKind::SicState, shows(SicState::Deallocated));
    assert_eq!((state(&rig), rig.exit), (AllocationState::Confirming, None));
    assert!(rig.agent.snapshot().drain.is_none());
}
