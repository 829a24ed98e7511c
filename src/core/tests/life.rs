//! The life of an instance: registering, serving, being superseded, ending.

use std::time::Duration;

use super::rig::*;
use crate::core::action::Note;
use crate::core::call::{Answer, Call, CallKind, FailureKind};
use crate::core::durable::{Content, Durable, Record, Report};
use crate::core::event::{Command, Denied, Event, Granted, Request, Said};
use crate::core::ids::{AllocationId, ReportId, SessionId};
use crate::core::instance::{Health, JoinStatus};
use crate::core::params::{Params, Readiness, Target};
use crate::core::phase::{self, Phase, Trigger};
use crate::core::{Machine as _, Outcome};

fn drain() -> Event {
    Event::Command(Command::Drain { reason: "SIGTERM".to_owned() })
}

#[test]
fn every_pair_of_phase_and_trigger_is_as_the_drawing_says() {
    use Phase::{Closing, Draining, Ended, Loading, Registering, Resolving, Serving, Superseded};
    let drawn = [
        (Resolving, Trigger::Found, Registering),
        (Resolving, Trigger::Stop, Closing),
        (Registering, Trigger::Attached, Loading),
        (Registering, Trigger::Stop, Closing),
        (Loading, Trigger::Ready, Serving),
        (Loading, Trigger::Vanished, Registering),
        (Loading, Trigger::Stop, Draining),
        (Serving, Trigger::Vanished, Registering),
        (Serving, Trigger::Stop, Draining),
        (Draining, Trigger::Drained, Closing),
        (Closing, Trigger::Finished, Ended),
    ];
    for phase in Phase::ALL {
        for trigger in Trigger::ALL {
            let expected = if trigger == Trigger::Fenced {
                phase.outcome().is_none().then_some(Superseded)
            } else {
                drawn.iter().find(|(from, by, _)| (*from, *by) == (phase, trigger)).map(|(_, _, to)| *to)
            };
            assert_eq!(phase::next(phase, trigger), expected, "{phase:?} {trigger:?}");
        }
    }
}

#[test]
fn a_self_registered_instance_posts_once_then_loads() {
    let mut rig = Rig::new(params());
    assert!(rig.kinds().is_empty(), "nothing is sent before the login");
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert!(matches!(rig.records.as_slice(), [Record::Identity { .. }]), "who we are is on disk before the POST");
    assert_eq!(rig.kinds(), [CallKind::Register]);
    let Call::Register { registration, .. } = rig.call(CallKind::Register).clone() else { unreachable!() };
    assert_eq!(registration.instance_id, instance_id());
    assert_eq!(registration.host_type, "dedicated");
    rig.registered();
    assert_eq!(rig.phase(), Phase::Loading);
    // Version and connection are news to the backend; health, its configuration and the poll begin at once.
    assert_eq!(rig.kinds(), [CallKind::Update, CallKind::HealthConfig, CallKind::PostHealth, CallKind::Poll]);
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Pending);
    assert_eq!(update.allocation_id, None);
    assert_eq!(update.version.as_deref(), Some("1.2.3"));
}

#[test]
fn the_registration_waits_for_the_record_of_who_we_are() {
    let mut rig = Rig::new(params());
    rig.store = None;
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert!(rig.kinds().is_empty(), "a crash after the POST must find the id on disk");
    rig.stored(Ok(()));
    assert_eq!(rig.kinds(), [CallKind::Register]);
}

#[test]
fn who_was_written_over_withdraws_before_it_writes_anything_else() {
    let mut rig = Rig::new(Params { readiness: Readiness::Immediate, ..params() });
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    // Both had looked before either wrote. The other's POST came after ours.
    rig.answer(CallKind::Register, Ok(instance(info(JoinStatus::Pending))));
    assert_eq!(rig.kinds(), [], "nothing is written on what may be somebody else's");
    rig.settle(Ok(session(Some(foreign_info()))));
    assert_eq!((rig.phase(), rig.exit), (Phase::Superseded, Some(Outcome::Superseded)));
}

#[test]
fn a_look_that_is_too_old_is_no_leave_to_register() {
    let mut rig = Rig::new(params());
    rig.store = None;
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    // The disk takes its time over who we are.
    rig.pass(Duration::from_millis(300));
    rig.stored(Ok(()));
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    rig.answer(CallKind::ReadSession, Ok(session(Some(foreign_info()))));
    assert_eq!(rig.phase(), Phase::Superseded);
}

#[test]
fn a_full_disk_does_not_stop_the_registration() {
    let mut rig = Rig::new(params());
    rig.store = Some(Err(crate::core::event::StoreFault::Full));
    rig.log_in();
    rig.attach();
    assert_eq!(rig.agent.snapshot().store.state(), "full");
}

#[test]
fn an_allocated_instance_is_attached_by_a_fenced_patch_only() {
    let mut rig = Rig::new(allocated());
    rig.log_in();
    // Not bound yet, and half-made: wait, about a second each time.
    rig.answer(CallKind::FindSession, Err(failure(FailureKind::NotFound)));
    assert!(rig.kinds().is_empty());
    rig.pass(Duration::from_millis(1200));
    rig.answer(
        CallKind::FindSession,
        Ok(session(Some(crate::core::instance::InstanceInfo {
            instance_id: None,
            ..allocated_info(JoinStatus::Requested)
        }))),
    );
    rig.pass(Duration::from_millis(1200));
    rig.answer(CallKind::FindSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
    assert_eq!(rig.kinds(), [CallKind::Update]);
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.allocation_id, Some(allocation_id()));
    assert_eq!(update.join_status, JoinStatus::Pending);
    rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Pending))));
    assert_eq!(rig.phase(), Phase::Loading);
}

#[test]
fn ready_makes_joinable_with_everything_that_we_own() {
    let mut rig = Rig::loading(params());
    let said = Said { public_conn_str: Some("9.9.9.9:1".to_owned()), ..Said::default() };
    assert_eq!(rig.ask(Request::Ready(said)), Ok(Granted::Done));
    assert_eq!(rig.phase(), Phase::Serving);
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Joinable);
    assert_eq!(update.join_params.unwrap().public_conn_str, "9.9.9.9:1");
    assert_eq!(update.version.as_deref(), Some("1.2.3"));
    assert_eq!(update.custom_data["mode"], "test");
}

#[test]
fn ready_without_a_connection_string_is_refused_with_the_field() {
    let mut rig = Rig::loading(Params { join_params: Default::default(), ..params() });
    let verdict = rig.ask(Request::Ready(Said::default()));
    assert!(matches!(verdict, Err(Denied::Field { field: "public_conn_str", .. })), "{verdict:?}");
    assert_eq!(rig.phase(), Phase::Loading);
    let said = Said { private_conn_str: Some("10.0.0.1:1".to_owned()), ..Said::default() };
    assert_eq!(rig.ask(Request::Ready(said)), Ok(Granted::Done));
    assert_eq!(rig.phase(), Phase::Serving);
}

#[test]
fn a_burst_of_changes_becomes_one_patch_and_one_is_in_flight() {
    let mut rig = Rig::serving(params());
    for turn in 0..50 {
        let data = [("turn".to_owned(), turn.to_string())].into();
        rig.request(Request::Instance(Said { custom_data: Some(data), ..Said::default() }));
    }
    let first = rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    let Call::Update { update, .. } = first else { unreachable!() };
    assert_eq!(update.custom_data["turn"], "0");
    let second = rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    let Call::Update { update, .. } = second else { unreachable!() };
    assert_eq!(update.custom_data["turn"], "49");
    assert_eq!(update.custom_data["mode"], "test");
    assert_eq!(rig.kinds(), [CallKind::Poll]);
}

#[test]
fn an_unanswered_registration_is_looked_at_before_it_is_repeated() {
    for kind in [FailureKind::TimedOut, FailureKind::Cut, FailureKind::Server] {
        let mut rig = Rig::new(params());
        rig.log_in();
        rig.answer(CallKind::ReadSession, Ok(session(None)));
        rig.answer(CallKind::Register, Err(failure(kind)));
        rig.pass(Duration::from_secs(3));
        assert_eq!(rig.kinds(), [CallKind::ReadSession], "{kind:?}: look first");
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
        assert_eq!(rig.phase(), Phase::Loading, "{kind:?}: it had been carried out");
    }
}

#[test]
fn somebody_elses_instance_is_never_posted_over() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(foreign_info()))));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    assert!(rig.kinds().is_empty());
    assert!(rig.records.contains(&Record::Superseded));
}

#[test]
fn every_sign_of_being_superseded_ends_all_writes() {
    let signs: Vec<(&str, Result<Answer, crate::core::call::Failure>)> = vec![
        ("another instance", Ok(session_tagged(Some(foreign_info()), "\"e2\""))),
        ("closed by somebody", Ok(session_tagged(Some(allocated_info(JoinStatus::Closed)), "\"e2\""))),
        ("no instance", Ok(session_tagged(None, "\"e2\""))),
        ("session gone", Err(session_not_found())),
    ];
    for (sign, answer) in signs {
        let mut rig = Rig::serving(allocated());
        rig.pass(Duration::from_secs(70));
        while rig.kinds().contains(&CallKind::PostHealth) {
            rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
        }
        rig.answer(CallKind::ReadSession, answer);
        assert_eq!(rig.exit, Some(Outcome::Superseded), "{sign}");
        assert!(rig.kinds().is_empty(), "{sign}: calls in flight are taken back");
        assert_eq!(rig.phase(), Phase::Superseded);
        rig.pass(Duration::from_secs(3600));
        assert!(rig.kinds().is_empty(), "{sign}");
    }
}

#[test]
fn an_outage_never_closes_a_live_match() {
    let mut rig = Rig::serving(allocated());
    for _ in 0..600 {
        rig.pass(Duration::from_secs(3));
        for kind in rig.kinds() {
            let kinds = [FailureKind::Server, FailureKind::TimedOut, FailureKind::Unreachable, FailureKind::NotFound];
            rig.answer(kind, Err(failure(kinds[rig.calls.len() % kinds.len()])));
        }
        assert_eq!(rig.phase(), Phase::Serving);
    }
}

#[test]
fn a_vanished_self_registered_instance_comes_back_under_the_same_id() {
    let mut rig = Rig::serving(params());
    rig.pass(Duration::from_secs(70));
    while rig.kinds().contains(&CallKind::PostHealth) {
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
    }
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e2\"")));
    assert_eq!(rig.phase(), Phase::Registering);
    let Call::Register { registration, .. } = rig.registered() else { unreachable!() };
    assert_eq!(registration.instance_id, instance_id());
    assert_eq!(rig.phase(), Phase::Serving, "the game need not repeat itself");
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Joinable);
}

#[test]
fn sigterm_with_nothing_to_drain_closes_looks_and_deletes_a_self_registered_instance() {
    let mut rig = Rig::loading(params());
    rig.event(drain());
    assert_eq!(rig.phase(), Phase::Closing, "no game was ever there");
    let Call::Update { update, .. } = rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed)))) else {
        unreachable!()
    };
    assert_eq!(update.join_status, JoinStatus::Closed);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
    assert_eq!(rig.kinds(), [CallKind::Unregister]);
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(rig.kinds().is_empty());
}

#[test]
fn an_allocated_instance_is_closed_by_patch_and_never_deleted() {
    let mut rig = Rig::serving(allocated());
    rig.event(drain());
    assert_eq!(rig.phase(), Phase::Draining, "the game is there and may finish");
    rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Closed))));
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(!rig.kinds().contains(&CallKind::Unregister));
}

#[test]
fn somebody_else_between_closing_and_deleting_is_left_alone() {
    let mut rig = Rig::loading(params());
    rig.event(drain());
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e9\"")));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    assert!(rig.kinds().is_empty());
}

#[test]
fn sigterm_before_anything_was_registered_ends_at_once() {
    let mut rig = Rig::new(params());
    rig.event(drain());
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(!rig.records.contains(&Record::Closed), "the next start must be able to serve");
}

#[test]
fn sigterm_during_an_unanswered_registration_still_ends_in_closed() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.event(drain());
    assert_eq!(rig.phase(), Phase::Closing);
    rig.registered();
    let Call::Update { update, .. } = rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed)))) else {
        unreachable!()
    };
    assert_eq!(update.join_status, JoinStatus::Closed);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn a_lost_registration_is_looked_for_while_closing() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.event(drain());
    rig.answer(CallKind::Register, Err(failure(FailureKind::Cut)));
    rig.pass(Duration::from_millis(100));
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn with_the_backend_gone_the_end_comes_within_ten_seconds() {
    let mut rig = Rig::loading(params());
    let begun = rig.now;
    rig.event(drain());
    for _ in 0..200 {
        if rig.exit.is_some() {
            break;
        }
        for kind in rig.kinds() {
            rig.answer(kind, Err(failure(FailureKind::Unreachable)));
        }
        rig.pass(Duration::from_millis(100));
    }
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(rig.now - begun <= Duration::from_secs(10), "{:?}", rig.now - begun);
}

#[test]
fn a_game_that_never_ends_is_cut_off_when_the_drain_time_is_over() {
    let mut rig = Rig::serving(allocated());
    rig.event(drain());
    rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Closed))));
    rig.pass(Duration::from_secs(59));
    assert_eq!(rig.phase(), Phase::Draining);
    assert!(rig.agent.snapshot().drain.is_some());
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn ready_while_draining_is_denied() {
    let mut rig = Rig::serving(allocated());
    rig.event(drain());
    assert!(matches!(rig.ask(Request::Ready(Said::default())), Err(Denied::Phase(_))));
}

#[test]
fn a_game_that_never_gets_ready_is_reported_and_closed() {
    let mut rig = Rig::loading(params());
    rig.pass(Duration::from_secs(299));
    assert_eq!(rig.phase(), Phase::Loading);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.phase(), Phase::Closing);
    let Call::Fubar { report, .. } = rig.call(CallKind::Fubar).clone() else { unreachable!() };
    assert_eq!((report.error.as_str(), report.region.as_str()), ("never_ready", "eu"));
}

#[test]
fn immediate_readiness_needs_no_word_of_the_game() {
    let mut rig = Rig::new(Params { readiness: Readiness::Immediate, ..params() });
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Serving);
}

fn remembered(target: &Params, ready: bool) -> Durable {
    let mut durable = Durable { session: Some(session_id()), instance: Some(instance_id()), ..Durable::default() };
    durable.allocation = target.target.allocation().cloned();
    durable.attached = true;
    durable.said.ready = ready;
    durable
}

/// A report that waits for the backend.
fn report() -> Report {
    let content = Content::Fubar {
        error: "left".to_owned(),
        source_provider: None,
        matchmaking_profile_id: None,
        region: "eu".to_owned(),
    };
    Report { id: ReportId::parse("r-1").unwrap(), key: None, accepted: wall(), content }
}

#[test]
fn a_restarted_agent_takes_its_instance_up_without_moving_it() {
    for params in [params(), allocated()] {
        let mut rig = Rig::restarted(params.clone(), remembered(&params, true));
        rig.log_in();
        assert_eq!(rig.kinds(), [CallKind::ReadSession]);
        let shown = crate::core::instance::InstanceInfo {
            allocation_id: params.target.allocation().cloned(),
            ..info(JoinStatus::Joinable)
        };
        rig.answer(CallKind::ReadSession, Ok(session(Some(shown))));
        assert_eq!(rig.phase(), Phase::Serving);
        assert!(!rig.kinds().contains(&CallKind::Register));
        let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
        assert_eq!(update.join_status, JoinStatus::Joinable);
    }
}

#[test]
fn a_restart_after_closing_only_takes_down_what_is_left() {
    let params = params();
    let durable = Durable { closed: true, ..remembered(&params, true) };
    let mut rig = Rig::restarted(params, durable);
    assert_eq!(rig.phase(), Phase::Closing);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn a_start_after_closing_warns_of_what_is_configured_and_says_what_to_do() {
    let warnings = |params: Params| {
        let mut rig = Rig::restarted(params.clone(), Durable { closed: true, ..remembered(&params, true) });
        rig.log_in();
        rig.pass(Duration::from_secs(60));
        let words = rig.notes.iter().filter_map(|note| match note {
            Note::Warning { cause: "closed_before", words } => Some(words.clone()),
            _ => None,
        });
        words.collect::<Vec<_>>()
    };
    let said = warnings(params());
    assert!(said.len() == 1 && said[0].contains(SESSION) && said[0].contains("instance.recycle"), "{said:?}");
    assert_eq!(warnings(allocated()).len(), 1);
}

#[test]
fn closed_is_on_disk_before_the_backend_hears_of_it() {
    for params in [params(), allocated()] {
        let mut rig = Rig::serving(params);
        rig.store = None;
        rig.event(Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
        rig.pass(Duration::from_millis(900));
        assert!(!rig.kinds().contains(&CallKind::Update));
        assert!(rig.records.contains(&Record::Closed));
        rig.stored(Ok(()));
        let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
        assert_eq!(update.join_status, JoinStatus::Closed);
    }
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_from_closing() {
    let mut rig = Rig::serving(allocated());
    rig.store = None;
    rig.event(Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
    rig.pass(Duration::from_millis(1100));
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Closed);
}

#[test]
fn superseded_is_final_across_a_restart() {
    for params in [params(), allocated()] {
        let mut rig = Rig::serving(params.clone());
        let mut durable = remembered(&params, true);
        let sign = session_tagged(Some(foreign_info()), "\"e2\"");
        rig.pass(Duration::from_secs(70));
        rig.answer(CallKind::ReadSession, Ok(sign));
        assert_eq!(rig.exit, Some(Outcome::Superseded));
        // What it wrote down is all that the next one knows.
        rig.records.iter().for_each(|record| durable.apply(record));
        let rig = Rig::restarted(params, durable);
        assert_eq!(rig.exit, Some(Outcome::Superseded));
        assert!(rig.kinds().is_empty());
    }
}

#[test]
fn another_session_or_allocation_is_another_life() {
    let other = SessionId::parse("s-2").unwrap();
    let by_id = Params { target: Target::Session { session: other.clone(), allocation: None }, ..params() };
    let by_allocation = Params { target: Target::Allocation(AllocationId::parse("a-2").unwrap()), ..params() };
    for (before, after) in
        [(params(), &by_id), (allocated(), &by_id), (params(), &by_allocation), (allocated(), &by_allocation)]
    {
        for end in [Durable { closed: true, ..Durable::default() }, Durable { superseded: true, ..Durable::default() }]
        {
            let mut durable = Durable { closed: end.closed, superseded: end.superseded, ..remembered(&before, true) };
            durable.outbox.push_back(report());
            let rig = Rig::restarted(after.clone(), durable.clone());
            assert_eq!((rig.phase(), rig.exit), (Phase::Resolving, None));
            // The disk learns it too, and a crash right here changes nothing.
            rig.records.iter().for_each(|record| durable.apply(record));
            assert_eq!(
                (durable.closed, durable.superseded, durable.attached, durable.said.ready),
                (false, false, false, false)
            );
            assert_eq!((durable.outbox.len(), durable.dead.len()), (0, 1), "it is not sent in the new one's name");
            assert_eq!((&durable.session, &durable.instance), (&None, &None));
        }
    }
    let mut rig = Rig::restarted(by_id, Durable { closed: true, ..remembered(&params(), true) });
    rig.log_in();
    assert_eq!(*rig.call(CallKind::ReadSession), Call::ReadSession { session: other, etag: None });
}

#[test]
fn who_was_superseded_before_it_was_anybody_is_so_in_that_place_only() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(foreign_info()))));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    let mut durable = Durable::default();
    rig.records.iter().for_each(|record| durable.apply(record));
    assert_eq!(Rig::restarted(params(), durable.clone()).exit, Some(Outcome::Superseded));
    let target = Target::Session { session: SessionId::parse("s-2").unwrap(), allocation: None };
    assert_eq!(Rig::restarted(Params { target, ..params() }, durable).exit, None);
}

#[test]
fn a_session_with_both_ids_is_read_by_id_and_fenced() {
    let target = Target::Session { session: session_id(), allocation: Some(allocation_id()) };
    let mut rig = Rig::new(Params { target, ..params() });
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.allocation_id, Some(allocation_id()));
}

#[test]
fn an_old_look_does_not_outweigh_a_newer_write() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    // A look begins while the POST is in flight, and comes back after it, showing the time before.
    rig.pass(Duration::from_secs(1));
    rig.agent.handle_timeout(rig.now);
    rig.event(Event::Command(Command::Reloaded));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Loading);
}

#[test]
fn before_an_unfenced_write_the_session_is_looked_at_again() {
    let mut rig = Rig::serving(params());
    rig.pass(Duration::from_secs(20));
    while rig.kinds().contains(&CallKind::PostHealth) {
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
    }
    rig.request(Request::Instance(Said { joinable: Some(false), ..Said::default() }));
    assert!(!rig.kinds().contains(&CallKind::Update), "the last sighting is old, and a PATCH here has no fence");
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e2\"")));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
}

/// The login is lost: nothing can be sent until the next one.
fn log_out(rig: &mut Rig) {
    rig.event(Event::Auth(Default::default()));
}

#[test]
fn a_registration_that_had_to_wait_for_a_login_looks_again_first() {
    let mut rig = Rig::new(params());
    rig.log_in();
    log_out(&mut rig);
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.pass(Duration::from_secs(30));
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession], "half a minute ago it was free; a POST has no fence");
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e2\"")));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
}

#[test]
fn a_registration_whose_token_was_refused_looks_again_first() {
    let mut rig = Rig::new(params());
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.answer(CallKind::Register, Err(failure(FailureKind::Unauthorised)));
    rig.pass(Duration::from_secs(30));
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e2\"")));
    assert_eq!(rig.kinds(), [CallKind::Register]);
}

#[test]
fn a_delete_that_had_to_wait_for_a_login_looks_again_first() {
    let mut rig = Rig::loading(params());
    rig.event(drain());
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    log_out(&mut rig);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(info(JoinStatus::Closed)), "\"e9\"")));
    rig.pass(Duration::from_secs(6));
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession], "six seconds ago it was ours; a DELETE has no fence");
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e10\"")));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
}

#[test]
fn an_instance_that_we_never_spoke_for_is_not_ours_to_close() {
    let mut rig = Rig::new(allocated());
    rig.store = None;
    rig.request(Request::Fubar { error: "crash".to_owned(), key: None });
    rig.log_in();
    rig.event(drain());
    assert_eq!(rig.phase(), Phase::Closing, "a report is on its way to the disk");
    rig.answer(CallKind::FindSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
    // The rig says no to a deadline that stays where it is.
    rig.pass(Duration::from_secs(1));
    rig.stored(Ok(()));
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(rig.kinds().is_empty());
}
