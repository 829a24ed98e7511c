//! Told to stop in good time, and ended by force if it must be.

use super::*;
use crate::core::event::{Denied, Granted};

/// The orders with the time of each, in seconds from now, until the exit.
fn orders_until_the_exit(rig: &mut Rig) -> (Vec<(u64, Order)>, u64) {
    let begun = rig.now;
    let mut orders = Vec::new();
    loop {
        let at = (rig.now - begun).as_secs();
        orders.extend(rig.ordered().into_iter().map(|order| (at, order)));
        if rig.exit.is_some() {
            return (orders, at);
        }
        assert!(at < 1000, "it does not end");
        rig.pass(SECOND);
        rig.answer_all();
    }
}

#[test]
fn a_game_that_talks_to_us_is_told_there_and_its_players_have_the_drain_time() {
    let mut rig = serving(ours());
    rig.sigterm();
    let Call::Update { update, .. } = rig.call(CallKind::Update).clone() else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Closed, "no new players");
    let (orders, exit) = orders_until_the_exit(&mut rig);
    assert_eq!(orders, [(60, Order::Stop), (90, Order::Kill)]);
    assert_eq!((exit, rig.exit), (95, Some(Outcome::Ended)), "what SIGKILL does not end is left behind");
}

#[test]
fn a_game_that_never_talked_to_us_is_told_by_its_signal_at_once() {
    let mut rig = loading(Params { readiness: Readiness::Log, ..ours() });
    rig.game(GameEvent::ReadyLine);
    rig.answer_all();
    rig.sigterm();
    assert_eq!(rig.phase(), Phase::Draining);
    let (orders, _) = orders_until_the_exit(&mut rig);
    assert_eq!(orders, [(0, Order::Stop), (60, Order::Kill)], "the drain time is the longer one");

    let mut rig = loading(Params { drain_timeout: 5 * SECOND, ..ours() });
    rig.sigterm();
    let (orders, _) = orders_until_the_exit(&mut rig);
    assert_eq!(orders, [(0, Order::Stop), (30, Order::Kill)], "here the time to stop is");
}

#[test]
fn a_game_that_says_it_is_done_may_end_by_itself() {
    let mut rig = serving(ours());
    assert_eq!(rig.ask(Request::Shutdown { reason: None }), Ok(Granted::Draining));
    let (orders, _) = orders_until_the_exit(&mut rig);
    assert_eq!(orders, [(30, Order::Stop), (60, Order::Kill)]);
    assert_eq!(rig.exit, Some(Outcome::Game(137)));

    for code in [0, 3] {
        let mut rig = serving(ours());
        rig.request(Request::Shutdown { reason: None });
        rig.pass(10 * SECOND);
        rig.answer_all();
        rig.game(ended(EndStatus::Code(code)));
        assert_eq!(rig.answer_all(), Told::default(), "it was asked for");
        assert_eq!((rig.exit, rig.ordered()), (Some(Outcome::Game(u8::try_from(code).unwrap())), vec![]));
    }
}

#[test]
fn the_end_of_the_game_ends_the_drain_at_any_point() {
    for seconds in [0, 30, 59, 61, 89, 91] {
        let mut rig = serving(ours());
        rig.sigterm();
        rig.answer_all();
        rig.pass_quietly(seconds * SECOND, true);
        assert_eq!(rig.phase(), Phase::Draining);
        rig.game(ended(EndStatus::Signal(if seconds < 90 { 15 } else { 9 })));
        rig.answer_all();
        assert_eq!(rig.exit, Some(Outcome::Ended), "after {seconds} s");
    }
}

#[test]
fn an_agent_that_was_told_to_stop_ends_in_good_order_whatever_its_game_ends_with() {
    for status in [EndStatus::Code(0), EndStatus::Code(3), EndStatus::Signal(15), EndStatus::Signal(9), SEGV] {
        let mut rig = loading(ours());
        rig.sigterm();
        assert_eq!(rig.ordered(), [Order::Stop]);
        rig.game(ended(status));
        rig.answer_all();
        assert_eq!(rig.exit, Some(Outcome::Ended), "{status:?}");
    }
    let mut rig = loading(ours());
    rig.game(ended(EndStatus::Code(3)));
    rig.sigterm();
    rig.answer_all();
    assert_eq!(rig.exit, Some(Outcome::Game(3)), "the game was first");
}

#[test]
fn a_game_without_an_instance_is_stopped_before_the_agent_ends() {
    let mut rig = Rig::new(Params { process: Process::Ours, ..params() });
    rig.game(GameEvent::Started { pid: PID });
    rig.ordered();
    rig.sigterm();
    assert_eq!((rig.phase(), rig.exit), (Phase::Closing, None));
    assert_eq!(rig.ordered(), [Order::Stop]);
    rig.pass(29 * SECOND);
    assert_eq!((rig.ordered(), rig.exit), (vec![], None));
    rig.pass(SECOND);
    assert_eq!(rig.ordered(), [Order::Kill]);
    rig.game(ended(EndStatus::Signal(9)));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn a_game_that_is_still_being_started_is_stopped_too() {
    let mut rig = Rig::loading(ours());
    rig.answer_all();
    rig.ordered();
    rig.sigterm();
    assert_eq!(rig.ordered(), [Order::Stop]);
    rig.game(GameEvent::Started { pid: PID });
    rig.pass_quietly(60 * SECOND, true);
    assert_eq!((rig.ordered(), rig.exit), (vec![Order::Kill], None));
    rig.game(ended(EndStatus::Signal(9)));
    rig.answer_all();
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn a_game_that_never_gets_ready_is_reported_stopped_and_never_a_success() {
    for (status, code) in [(EndStatus::Code(0), 1), (EndStatus::Signal(15), 143), (EndStatus::Signal(9), 137)] {
        let mut rig = loading(ours());
        rig.pass_quietly(300 * SECOND, true);
        let told = rig.answer_all();
        assert_eq!((told.fubars, rig.phase()), (vec!["never_ready".to_owned()], Phase::Draining));
        assert_eq!(rig.ordered(), [Order::Stop], "there are no players to wait for");
        rig.game(ended(status));
        let told = rig.answer_all();
        assert_eq!((told.fubars.len(), told.codes()), (0, vec!["game_ended"]), "with what is known now");
        assert_eq!(told.events[0].custom_data["error"], "never_ready");
        assert_eq!(rig.exit, Some(Outcome::Game(code)), "{status:?}");
    }
}

/// Superseded while it serves.
fn superseded(params: Params) -> Rig {
    let mut rig = serving(params);
    rig.pass(66 * SECOND);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e2\"")));
    assert_eq!(rig.phase(), Phase::Superseded);
    rig
}

#[test]
fn superseded_stops_the_game_and_writes_nothing_meanwhile() {
    let mut rig = superseded(ours());
    assert_eq!((rig.ordered(), rig.exit), (vec![Order::Stop], None));
    assert_eq!(rig.agent.snapshot().outcome, Some(Outcome::Superseded));
    assert!(rig.records.contains(&Record::Superseded));
    assert!(!rig.agent.is_over());
    rig.pass(29 * SECOND);
    assert_eq!(rig.ordered(), []);
    rig.pass(SECOND);
    assert_eq!((rig.ordered(), rig.exit), (vec![Order::Kill], None));
    assert!(rig.kinds().is_empty());
    rig.game(ended(SEGV));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    assert!(rig.kinds().is_empty());
    assert!(rig.agent.is_over());
}

#[test]
fn superseded_does_not_wait_for_ever() {
    let mut rig = superseded(ours());
    rig.pass(35 * SECOND);
    assert_eq!(rig.exit, Some(Outcome::Superseded));
}

#[test]
fn superseded_in_a_drain_does_not_wait_for_players_any_more() {
    let mut rig = loading(Params { drain_timeout: 1000 * SECOND, ..ours() });
    rig.sigterm();
    rig.answer_all();
    rig.ordered();
    rig.pass(66 * SECOND);
    rig.answer(CallKind::ReadSession, Ok(session_tagged(Some(foreign_info()), "\"e2\"")));
    assert_eq!((rig.phase(), rig.ordered()), (Phase::Superseded, vec![]), "its signal has gone out before");
    rig.pass(30 * SECOND);
    assert_eq!(rig.ordered(), [Order::Kill]);
}

#[test]
fn who_asks_a_superseded_agent_that_waits_is_answered() {
    let mut rig = superseded(ours());
    assert!(matches!(rig.ask(Request::Ready(Said::default())), Err(Denied::Phase(_))));
    assert!(matches!(rig.ask(Request::Fubar { error: "x".to_owned(), key: None }), Err(Denied::Phase(_))));
    assert_eq!(rig.ask(Request::Health { status: Health::Healthy, reason: None }), Ok(Granted::Done));
    assert_eq!(rig.ask(Request::Shutdown { reason: None }), Ok(Granted::Draining));
    assert!(rig.kinds().is_empty());
    rig.log_in();
    assert!(rig.kinds().is_empty());
}

#[test]
fn a_watched_game_is_never_signalled_and_not_waited_for() {
    let mut rig = superseded(watched());
    assert_eq!((rig.ordered(), rig.exit), (vec![], Some(Outcome::Superseded)));

    let mut rig = serving(watched());
    rig.sigterm();
    rig.answer_all();
    rig.pass_quietly(59 * SECOND, true);
    assert_eq!(rig.phase(), Phase::Draining);
    rig.pass(SECOND);
    assert_eq!((rig.ordered(), rig.exit), (vec![], Some(Outcome::Ended)));

    let mut rig = serving(watched());
    rig.sigterm();
    rig.answer_all();
    rig.game(ended(EndStatus::Unknown));
    assert_eq!(rig.answer_all(), Told::default(), "nobody expected it to stay");
    assert_eq!(rig.exit, Some(Outcome::Ended));
}
