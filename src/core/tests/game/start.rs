//! Started once, and ready when it is.

use super::*;
use crate::core::call::FailureKind;
use crate::core::ids::InstanceId;
use crate::core::params::Target;

fn start(session: bool, instance: bool, allocation: bool) -> Order {
    Order::Start {
        session: session.then(session_id),
        instance: instance.then(instance_id),
        allocation: allocation.then(allocation_id),
    }
}

fn remembered(closed: bool, superseded: bool) -> Durable {
    Durable {
        session: Some(session_id()),
        instance: Some(instance_id()),
        allocation: Some(allocation_id()),
        attached: true,
        closed,
        superseded,
        ..Durable::default()
    }
}

#[test]
fn it_is_started_once_as_soon_as_its_environment_is_known() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    assert_eq!(rig.ordered(), [start(true, true, false)], "a session that is configured is not waited for");
    rig.log_in();
    rig.attach();
    rig.pass(60 * SECOND);
    assert_eq!(rig.ordered(), []);

    let mut rig = Rig::new(ours());
    rig.log_in();
    assert_eq!(rig.ordered(), [], "nobody knows yet for which session");
    rig.answer(CallKind::FindSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
    assert_eq!(rig.ordered(), [start(true, true, true)]);
    rig.pass(60 * SECOND);
    assert_eq!(rig.ordered(), []);

    let target = Target::Session { session: session_id(), allocation: Some(allocation_id()) };
    let mut rig = Rig::new(Params { target, ..ours() });
    assert_eq!(rig.ordered(), [start(true, false, true)], "its id comes from the backend, and is not waited for");

    let mut rig = Rig::restarted(watched(), remembered(false, false));
    assert_eq!(rig.ordered(), [start(true, true, true)], "what is remembered is not asked for again");
}

#[test]
fn the_configured_instance_id_is_the_game_s() {
    let id = InstanceId::parse("mine").unwrap();
    let mut rig = Rig::new(Params { process: Process::Ours, instance_id: Some(id.clone()), ..params() });
    let expected = Order::Start { session: Some(session_id()), instance: Some(id), allocation: None };
    assert_eq!(rig.ordered(), [expected]);
}

#[test]
fn without_a_process_of_which_we_know_nothing_is_ordered() {
    let mut rig = Rig::serving(allocated());
    rig.sigterm();
    rig.pass(100 * SECOND);
    assert_eq!(rig.ordered(), []);
}

#[test]
fn no_game_for_an_instance_that_is_over_or_is_to_end() {
    for (closed, superseded) in [(true, false), (false, true)] {
        let mut rig = Rig::restarted(ours(), remembered(closed, superseded));
        rig.log_in();
        assert_eq!(rig.ordered(), []);
    }
    let mut rig = Rig::new(ours());
    rig.log_in();
    rig.sigterm();
    assert_eq!((rig.exit, rig.ordered()), (Some(Outcome::Ended), vec![]));
}

#[test]
fn a_game_that_cannot_be_started_is_reported_and_ends_the_agent() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    rig.game(GameEvent::NotStarted { why: "./game: no such file".to_owned() });
    assert_eq!(rig.phase(), Phase::Resolving, "its news waits for somebody to hear it");
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Closing);
    let Call::Fubar { report, .. } = rig.answer(CallKind::Fubar, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(report.error, "game_not_started");
    let Call::PostEvent { event, .. } = rig.answer(CallKind::PostEvent, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(event.event_code, "game_not_started");
    assert_eq!(event.description.as_deref(), Some("the game could not be started: ./game: no such file"));
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e9\"")));
    assert_eq!(rig.exit, Some(Outcome::Game(127)));
    assert_eq!(rig.ordered().len(), 1, "what never ran is not stopped");
}

#[test]
fn the_news_of_a_game_that_failed_at_once_does_not_wait_for_ever() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    rig.game(GameEvent::NotStarted { why: "no".to_owned() });
    rig.pass(20 * SECOND);
    assert_eq!(rig.exit, Some(Outcome::Game(127)));
    let disk = rig.disk(&Durable::default());
    let labels: Vec<_> = disk.outbox.iter().map(|report| report.content.label()).collect();
    assert_eq!(labels, ["game_not_started", "game_not_started"], "the next start can tell it");
}

#[test]
fn a_watched_game_that_is_not_found_ends_in_good_order() {
    let mut rig = Rig::loading(watched());
    rig.answer_all();
    rig.game(GameEvent::NotStarted { why: "no such unit".to_owned() });
    assert_eq!(rig.answer_all().fubars, ["game_not_started"]);
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn a_line_of_its_log_makes_it_ready_and_is_remembered() {
    let mut rig = loading(Params { readiness: Readiness::Log, ..ours() });
    assert_eq!(rig.phase(), Phase::Loading);
    rig.game(GameEvent::ReadyLine);
    assert_eq!(rig.phase(), Phase::Serving);
    assert!(rig.disk(&Durable::default()).said.ready);

    let mut rig = loading(ours());
    rig.game(GameEvent::ReadyLine);
    assert_eq!(rig.phase(), Phase::Loading, "with another readiness a line is nothing");
}

#[test]
fn a_line_may_come_before_the_backend_has_taken_us() {
    let mut rig = Rig::new(Params { process: Process::Ours, readiness: Readiness::Log, ..params() });
    rig.game(GameEvent::Started { pid: PID });
    rig.game(GameEvent::ReadyLine);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(None)));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Serving);
}

#[test]
fn it_is_ready_when_every_probe_has_found_it_healthy_once() {
    let two = Params { readiness: Readiness::Probe, probes: probes(&[Health::Unhealthy, Health::Degraded]), ..ours() };
    let mut rig = loading(two);
    rig.game(found(0, Health::Healthy));
    rig.game(found(1, Health::Degraded));
    rig.game(found(7, Health::Healthy));
    assert_eq!(rig.phase(), Phase::Loading);
    rig.game(found(0, Health::Unhealthy));
    rig.game(found(1, Health::Healthy));
    assert_eq!(rig.phase(), Phase::Serving);
    assert!(rig.disk(&Durable::default()).said.ready);
}

#[test]
fn immediate_waits_for_a_process_that_is_known() {
    for params in [ours(), watched()] {
        let mut rig = Rig::loading(Params { readiness: Readiness::Immediate, ..params });
        assert!(!rig.agent.snapshot().ready);
        rig.game(GameEvent::Started { pid: PID });
        assert_eq!(rig.phase(), Phase::Serving);
        assert_eq!(rig.agent.snapshot().game.pid, Some(PID));
    }
}

fn restart(params: Params, readiness: Readiness) -> Rig {
    let mut durable = remembered(false, false);
    durable.said.ready = true;
    durable.said.public_conn_str = Some("5.6.7.8:7777".to_owned());
    let mut rig = Rig::restarted(Params { readiness, ..params }, durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Joinable)))));
    rig
}

#[test]
fn a_restart_takes_a_game_that_lived_on_up_as_it_was() {
    for readiness in [Readiness::Sdk, Readiness::Log, Readiness::Probe] {
        let rig = restart(watched(), readiness);
        assert_eq!(rig.phase(), Phase::Serving, "{readiness:?}");
    }
}

#[test]
fn a_restart_does_not_take_a_new_game_for_ready_and_its_instance_not_back_to_pending() {
    let mut rig = restart(ours(), Readiness::Log);
    assert_eq!(rig.phase(), Phase::Loading);
    assert!(!rig.kinds().contains(&CallKind::Update), "the backend shows it as joinable, and that stays");
    rig.game(GameEvent::Started { pid: PID });
    rig.game(GameEvent::ReadyLine);
    assert_eq!(rig.phase(), Phase::Serving);
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    let how = update.join_params.unwrap();
    assert_eq!((update.join_status, how.public_conn_str.as_str()), (JoinStatus::Joinable, "5.6.7.8:7777"));
}

#[test]
fn a_game_that_ends_well_before_anybody_was_told_ends_the_agent_at_once() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    rig.game(GameEvent::Started { pid: PID });
    rig.game(ended(EndStatus::Code(0)));
    assert_eq!(rig.exit, Some(Outcome::Game(0)));
}

#[test]
fn a_backend_that_fails_does_not_keep_a_failed_game_s_agent() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    rig.log_in();
    rig.game(GameEvent::Started { pid: PID });
    rig.game(ended(SEGV));
    let begun = rig.now;
    while rig.exit.is_none() {
        for kind in rig.kinds() {
            rig.answer(kind, Err(failure(FailureKind::Unreachable)));
        }
        rig.pass(SECOND / 4);
    }
    assert_eq!(rig.exit, Some(Outcome::Game(139)));
    assert!(rig.now - begun <= 30 * SECOND, "{:?}", rig.now - begun);
}
