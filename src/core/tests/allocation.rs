//! Waiting for an allocation, living by it, losing it, and taking it up again.

use std::time::Duration;

use super::rig::*;
use crate::core::agent::{Agent, Birth};
use crate::core::allocation::{Address, Allocation, AllocationParams, AllocationState, Source, Teller, Word};
use crate::core::call::{Answer, Call, CallKind, FailureKind};
use crate::core::durable::{Content, Record, Report};
use crate::core::event::{Command, Denied, Event, Granted, Request, Said, StoreFault};
use crate::core::ids::{AllocationId, ReportId, SessionId};
use crate::core::instance::{Health, JoinParams, JoinStatus};
use crate::core::params::{Params, Process, Target};
use crate::core::process::{GameEvent, Order};
use crate::core::{Machine as _, Note, Outcome, Phase, roll};

mod made;
mod sic;

const SECOND: Duration = Duration::from_secs(1);

/// An instance that waits for a source, without a connection string of its own.
fn waiting(source: Source) -> Params {
    Params {
        target: Target::Awaited,
        allocation: AllocationParams { source, ..AllocationParams::default() },
        join_params: JoinParams::default(),
        ..params()
    }
}

fn local() -> Params {
    waiting(Source::Told(Teller::Local))
}

fn file() -> Params {
    waiting(Source::Told(Teller::File))
}

fn to_session() -> Allocation {
    Allocation::read(Some(SESSION), None, Some("203.0.113.7"), Some(7777)).unwrap()
}

fn to_allocation(id: &str) -> Allocation {
    Allocation::read(None, Some(id), Some("10.0.0.4"), Some(7777)).unwrap()
}

fn state(rig: &Rig) -> AllocationState {
    rig.agent.snapshot().allocation.state
}

fn detail(rig: &Rig) -> String {
    rig.agent.snapshot().allocation.detail.map(|detail| detail.to_string()).unwrap_or_default()
}

fn waiting_report(id: &str) -> Report {
    let content = Content::Fubar {
        error: "stuck".to_owned(),
        source_provider: None,
        matchmaking_profile_id: None,
        region: "eu".to_owned(),
    };
    Report { id: ReportId::parse(id).unwrap(), key: None, accepted: wall(), content }
}

/// What the store remembers of all that was written: what a restart finds.
fn remembered(rig: &Rig) -> crate::core::durable::Durable {
    let mut durable = crate::core::durable::Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    durable
}

#[test]
fn an_instance_without_an_allocation_waits_and_says_for_what() {
    for (params, words) in [
        (local(), "waiting for POST /v1/allocate of the local API"),
        (file(), "waiting for an allocation in allocation.file"),
        (
            waiting(Source::Told(Teller::Multiplay)),
            "waiting for a session in Multiplay's server.json (allocation.file)",
        ),
    ] {
        let mut rig = Rig::new(params);
        rig.log_in();
        rig.pass(600 * SECOND);
        assert_eq!(rig.kinds(), [], "nothing is asked of the backend");
        assert_eq!(
            (rig.phase(), state(&rig), detail(&rig).as_str()),
            (Phase::Resolving, AllocationState::Waiting, words)
        );
        assert_eq!(rig.records, []);
    }
}

#[test]
fn an_allocation_of_the_local_api_is_on_disk_before_it_is_answered_and_used() {
    let mut rig = Rig::new(local());
    rig.log_in();
    rig.store = None;
    let id = rig.request(Request::Give(to_session()));
    assert_eq!((rig.replies.len(), rig.kinds()), (0, vec![]));
    rig.stored(Ok(()));
    assert_eq!(rig.verdict(&id), Ok(Granted::Allocated { fresh: true }));
    assert_eq!(rig.records, [Record::Given(to_session())]);
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    assert_eq!(state(&rig), AllocationState::Allocated);
    rig.store = Some(Ok(()));
    rig.attach();
    rig.request(Request::Ready(Said::default()));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { panic!("no update") };
    assert_eq!(update.join_status, JoinStatus::Joinable);
    assert_eq!(update.join_params.as_ref().unwrap().public_conn_str, "unreal://203.0.113.7:7777");
}

#[test]
fn an_allocation_that_the_disk_refuses_has_not_happened() {
    let mut rig = Rig::new(local());
    rig.log_in();
    rig.store = Some(Err(StoreFault::Full));
    assert_eq!(rig.ask(Request::Give(to_session())), Err(Denied::Store(StoreFault::Full)));
    assert_eq!((state(&rig), rig.kinds()), (AllocationState::Waiting, vec![]));
    rig.store = Some(Ok(()));
    assert_eq!(rig.ask(Request::Give(to_allocation("a-2"))), Ok(Granted::Allocated { fresh: true }));
}

#[test]
fn the_same_allocation_twice_is_one_and_another_is_refused() {
    let mut rig = Rig::new(local());
    rig.log_in();
    rig.store = None;
    let (first, second) = (rig.request(Request::Give(to_session())), rig.request(Request::Give(to_session())));
    let other = rig.request(Request::Give(to_allocation("a-9")));
    assert!(matches!(rig.verdict(&other), Err(Denied::Allocated(_))), "also while the first is on its way to the disk");
    rig.stored(Ok(()));
    assert_eq!([rig.verdict(&first), rig.verdict(&second)], [const { Ok(Granted::Allocated { fresh: true }) }; 2]);
    rig.store = Some(Ok(()));
    assert_eq!(rig.ask(Request::Give(to_session())), Ok(Granted::Allocated { fresh: false }));
    assert!(matches!(rig.ask(Request::Give(to_allocation("a-9"))), Err(Denied::Allocated(_))));
}

#[test]
fn only_the_local_source_takes_allocations_through_the_local_api() {
    for params in [params(), allocated(), file()] {
        let mut rig = Rig::new(params);
        assert!(matches!(rig.ask(Request::Give(to_session())), Err(Denied::Phase(_))));
        assert!(matches!(rig.ask(Request::TakeBack), Err(Denied::Phase(_))));
    }
    let mut rig = Rig::new(local());
    assert_eq!(rig.ask(Request::TakeBack), Err(Denied::Phase("there is no allocation to take back".to_owned())));
}

#[test]
fn an_allocation_that_is_taken_back_ends_in_good_order_and_says_why() {
    let mut rig = Rig::new(local());
    rig.log_in();
    rig.ask(Request::Give(to_session())).unwrap();
    rig.attach();
    assert_eq!(rig.ask(Request::TakeBack), Ok(Granted::Draining));
    assert_eq!(rig.phase(), Phase::Closing, "no game is there that could need time");
    assert_eq!(state(&rig), AllocationState::Deallocated);
    assert_eq!(detail(&rig), "deallocated through the local API");
    assert!(matches!(rig.ask(Request::Give(to_allocation("a-2"))), Err(Denied::Phase(_))));
}

#[test]
fn a_file_gives_and_takes_an_allocation() {
    let mut rig = Rig::new(file());
    rig.log_in();
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    assert_eq!(state(&rig), AllocationState::Waiting);
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    assert_eq!(rig.kinds(), [CallKind::FindSession]);
    rig.attach();
    // Said again and again, and with the session that the writer learnt meanwhile.
    let more = Allocation { session_id: Some(session_id()), ..to_allocation(ALLOCATION) };
    rig.ask(Request::Source(Word::Given(more))).unwrap();
    assert_eq!(rig.phase(), Phase::Loading);
    rig.ask(Request::Source(Word::Unreadable("it is half-written".to_owned()))).unwrap();
    assert_eq!(rig.phase(), Phase::Loading, "what it said before stands");
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    assert_eq!((rig.phase(), detail(&rig).as_str()), (Phase::Closing, "allocation.file names no allocation any more"));
}

#[test]
fn another_allocation_in_the_file_ends_the_first_life() {
    let mut rig = Rig::new(file());
    rig.log_in();
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    rig.attach();
    rig.ask(Request::Source(Word::Given(to_allocation("a-2")))).unwrap();
    assert_eq!(detail(&rig), "its source gave this server away: allocation a-2");
    assert_eq!(rig.phase(), Phase::Closing);
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { panic!("no update") };
    assert_eq!(update.allocation_id.as_ref().map(AllocationId::as_str), Some(ALLOCATION), "the fence is the old one's");
}

/// kill -9 in the middle of a life by a file.
fn killed_while_serving() -> crate::core::durable::Durable {
    let mut rig = Rig::new(file());
    rig.log_in();
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    rig.attach();
    rig.request(Request::Ready(Said::default()));
    remembered(&rig)
}

#[test]
fn a_restart_takes_up_the_allocation_that_still_holds() {
    let mut rig = Rig::restarted(file(), killed_while_serving());
    rig.log_in();
    assert_eq!((rig.kinds(), state(&rig)), (vec![], AllocationState::Confirming));
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    assert_eq!(rig.kinds(), [CallKind::ReadSession]);
    rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Joinable)))));
    assert_eq!(rig.phase(), Phase::Serving, "what the game said is remembered");
    let shown = rig.agent.snapshot().instance.join_params;
    assert_eq!(shown.private_conn_str, "unreal://10.0.0.4:7777", "and where it is");
}

#[test]
fn a_restart_does_not_wait_for_a_source_that_is_silent() {
    let mut rig = Rig::restarted(file(), killed_while_serving());
    rig.log_in();
    rig.pass(1999 * Duration::from_millis(1));
    assert_eq!(rig.kinds(), []);
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.kinds(), state(&rig)), (vec![CallKind::ReadSession], AllocationState::Allocated));
}

#[test]
fn a_restart_with_another_allocation_is_another_life() {
    let mut before = killed_while_serving();
    let report = waiting_report("r-1");
    before.apply(&Record::Accepted(report));
    let mut rig = Rig::restarted(file(), before);
    rig.log_in();
    rig.ask(Request::Source(Word::Given(to_allocation("a-2")))).unwrap();
    let Call::FindSession { allocation } = rig.call(CallKind::FindSession) else { panic!("no look") };
    assert_eq!(allocation.as_str(), "a-2");
    let durable = remembered(&rig);
    assert_eq!((durable.session, durable.attached, durable.said.ready), (None, false, false));
    assert_eq!(durable.given, Some(to_allocation("a-2")));
    assert_eq!(rig.agent.snapshot().outbox.dead, 1, "its reports name another instance: they are kept aside");
}

#[test]
fn a_restart_after_the_allocation_was_taken_back_closes_it() {
    let mut rig = Rig::restarted(file(), killed_while_serving());
    rig.log_in();
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Joinable)))));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { panic!("no update") };
    assert_eq!(update.join_status, JoinStatus::Closed);
    rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Closed))));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn an_allocation_that_was_never_used_is_dropped_when_its_source_takes_it_back() {
    let mut rig = Rig::new(file());
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    let mut rig = Rig::restarted(file(), remembered(&rig));
    rig.log_in();
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    assert_eq!((rig.phase(), state(&rig), rig.kinds()), (Phase::Resolving, AllocationState::Waiting, vec![]));
}

/// Serves an allocation to its end; what is on disk then.
fn served_to_the_end(params: Params) -> crate::core::durable::Durable {
    let mut rig = Rig::new(params);
    rig.log_in();
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    rig.attach();
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Closed))));
    assert_eq!(rig.exit, Some(Outcome::Ended));
    remembered(&rig)
}

#[test]
fn an_allocation_that_is_over_is_not_taken_again_before_its_source_has_let_go_of_it() {
    let mut rig = Rig::restarted(file(), served_to_the_end(file()));
    rig.log_in();
    assert_eq!(
        (rig.phase(), state(&rig), rig.exit),
        (Phase::Resolving, AllocationState::Waiting, None),
        "the next life"
    );
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    assert_eq!((state(&rig), rig.kinds()), (AllocationState::Waiting, vec![]));
    assert_eq!(detail(&rig), "waiting for an allocation in allocation.file; allocation a-1 is over");
    rig.ask(Request::Source(Word::Given(to_allocation("a-2")))).unwrap();
    assert_eq!(rig.kinds(), [CallKind::FindSession], "another one is taken");

    let mut rig = Rig::restarted(file(), served_to_the_end(file()));
    rig.log_in();
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    assert_eq!(rig.kinds(), [CallKind::FindSession], "and the same one, once there was none in between");
}

#[test]
fn an_end_with_reports_that_still_wait_is_taken_up_once_more() {
    let mut durable = served_to_the_end(file());
    durable.apply(&Record::Accepted(waiting_report("r-1")));
    let mut rig = Rig::restarted(file(), durable);
    rig.log_in();
    assert_eq!(rig.phase(), Phase::Closing);
    let event = rig.kinds().into_iter().find(|kind| matches!(kind, CallKind::PostEvent | CallKind::Fubar)).unwrap();
    rig.answer(event, Ok(Answer::Accepted));
    if rig.kinds().contains(&CallKind::ReadSession) {
        rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Closed)))));
    }
    assert_eq!(rig.exit, Some(Outcome::Ended));
    assert!(remembered(&rig).outbox.is_empty());
}

#[test]
fn the_next_life_of_one_that_is_recycled_does_not_wait_for_reports_that_nobody_takes() {
    let mut durable = served_to_the_end(file());
    durable.apply(&Record::Accepted(waiting_report("r-1")));
    for refused in [false, true] {
        let birth = Birth { durable: durable.clone(), fresh_id: instance_id(), seed: 7, wall: wall() };
        let agent = Agent::recycled(file(), birth, refused, crate::clock::now());
        let shown = agent.snapshot();
        let waits = shown.allocation.state == AllocationState::Waiting;
        let expected = if refused { (true, 0, 1) } else { (false, 1, 0) };
        assert_eq!((waits, shown.outbox.waiting, shown.outbox.dead), expected);
    }
}

#[test]
fn a_life_that_was_superseded_is_over_too() {
    let mut durable = killed_while_serving();
    durable.apply(&Record::Superseded);
    let mut rig = Rig::restarted(file(), durable);
    rig.log_in();
    rig.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    assert_eq!((rig.phase(), rig.kinds()), (Phase::Resolving, vec![]), "never written to again");
    rig.ask(Request::Source(Word::Given(to_allocation("a-2")))).unwrap();
    assert_eq!(rig.kinds(), [CallKind::FindSession]);
}

#[test]
fn an_allocation_by_the_local_api_is_taken_up_at_once_by_a_restart() {
    let mut rig = Rig::new(local());
    rig.ask(Request::Give(to_session())).unwrap();
    let mut rig = Rig::restarted(local(), remembered(&rig));
    rig.log_in();
    assert_eq!((rig.kinds(), state(&rig)), (vec![CallKind::ReadSession], AllocationState::Allocated));
}

#[test]
fn a_fixed_configuration_after_a_life_by_a_source_is_judged_as_ever() {
    let durable = killed_while_serving();
    let same = Params { join_params: JoinParams::default(), ..allocated() };
    let mut rig = Rig::restarted(same, durable.clone());
    rig.log_in();
    assert_eq!(rig.kinds(), [CallKind::ReadSession], "the same allocation is the same life");
    let other = Target::Session { session: SessionId::parse("s-2").unwrap(), allocation: None };
    let rig = Rig::restarted(Params { target: other, ..params() }, durable);
    assert_eq!(remembered(&rig).given, None);
}

#[test]
fn a_stop_while_it_waits_ends_at_once() {
    for durable in [Default::default(), killed_while_serving()] {
        let hosted = durable.attached;
        let mut rig = Rig::restarted(file(), durable);
        rig.log_in();
        rig.event(Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
        if hosted {
            // What it was asked about is closed in good order.
            rig.answer(CallKind::ReadSession, Ok(session(Some(allocated_info(JoinStatus::Joinable)))));
            rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Closed))));
        }
        assert_eq!((rig.exit, rig.kinds()), (Some(Outcome::Ended), vec![]));
    }
}

#[test]
fn a_report_of_a_game_that_waits_goes_out_under_the_allocation() {
    let mut rig = Rig::new(local());
    rig.log_in();
    let fubar = Request::Fubar { error: "warm_up_slow".to_owned(), key: None };
    assert!(matches!(rig.ask(fubar), Ok(Granted::Accepted(_))));
    rig.pass(60 * SECOND);
    assert_eq!(rig.kinds(), []);
    rig.ask(Request::Give(to_session())).unwrap();
    rig.attach();
    let Call::Fubar { session, .. } = rig.call(CallKind::Fubar) else { panic!("no report") };
    assert_eq!(*session, session_id());
}

#[test]
fn a_game_is_started_with_its_allocation_or_before_it() {
    let order = |rig: &Rig| rig.orders.iter().find(|order| matches!(order, Order::Start { .. })).cloned();
    let cold = Params { process: Process::Ours, ..local() };
    let mut rig = Rig::new(cold.clone());
    rig.log_in();
    rig.pass(60 * SECOND);
    assert_eq!(order(&rig), None);
    rig.ask(Request::Give(to_session())).unwrap();
    let Some(Order::Start { session, .. }) = order(&rig) else { panic!("not started") };
    assert_eq!(session, Some(session_id()));

    let warm = AllocationParams { game_waits: true, ..cold.allocation.clone() };
    let mut rig = Rig::new(Params { allocation: warm, ..cold });
    let wanted = Order::Start { session: None, instance: None, allocation: None };
    assert_eq!(order(&rig), Some(wanted), "not even a login is waited for");
    rig.event(Event::Game(GameEvent::Started { pid: 7 }));
    // It is ready before anybody knows for whom, or where players reach it.
    assert_eq!(rig.ask(Request::Ready(Said::default())), Ok(Granted::Done));
    rig.pass(3600 * SECOND);
    assert_eq!((rig.phase(), rig.exit), (Phase::Resolving, None), "no time to become ready runs yet");
    rig.log_in();
    rig.ask(Request::Give(to_session())).unwrap();
    rig.answer(CallKind::ReadSession, Ok(session_of_nobody()));
    rig.registered();
    assert_eq!(rig.phase(), Phase::Serving, "a warm game serves at once");
}

fn session_of_nobody() -> Answer {
    session(None)
}

#[test]
fn a_game_that_dies_while_it_waits_ends_the_instance_at_once() {
    let warm = AllocationParams { game_waits: true, ..local().allocation };
    let mut rig = Rig::new(Params { process: Process::Ours, allocation: warm, ..local() });
    rig.log_in();
    rig.event(Event::Game(GameEvent::Started { pid: 7 }));
    rig.event(Event::Game(GameEvent::Ended(Box::new(super::game::end(crate::core::process::EndStatus::Code(3))))));
    assert_eq!(rig.exit, Some(Outcome::Game(3)), "nobody else will ever hear of it");
}

#[test]
fn what_is_configured_counts_more_than_any_address() {
    let configured = JoinParams { public_conn_str: "game.example.org".to_owned(), ..JoinParams::default() };
    let mut rig = Rig::new(Params { join_params: configured.clone(), ..local() });
    rig.ask(Request::Give(to_session())).unwrap();
    assert_eq!(rig.agent.snapshot().instance.join_params, configured);

    let elsewhere = Address::parse("2001:db8::1", 65535).unwrap();
    let allocation =
        AllocationParams { address: Some(elsewhere), conn_str: "{host}:{port}".to_owned(), ..local().allocation };
    let mut rig = Rig::new(Params { allocation, ..local() });
    rig.ask(Request::Give(Allocation { address: None, ..to_session() })).unwrap();
    assert_eq!(rig.agent.snapshot().instance.join_params.public_conn_str, "[2001:db8::1]:65535");
}

#[test]
fn the_whole_life_by_a_file_is_that_of_a_fixed_allocation() {
    let mut by_file = Rig::new(file());
    by_file.log_in();
    by_file.ask(Request::Source(Word::Given(to_allocation(ALLOCATION)))).unwrap();
    let address = to_allocation(ALLOCATION).address.unwrap();
    let mut fixed = Rig::new(Params { join_params: address.join_params("unreal://{host}:{port}"), ..allocated() });
    fixed.log_in();
    for rig in [&mut by_file, &mut fixed] {
        rig.attach();
        rig.request(Request::Ready(Said::default()));
        rig.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Joinable))));
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
        assert_eq!(rig.phase(), Phase::Serving);
    }
    assert_eq!(by_file.kinds(), fixed.kinds());
    assert_eq!(by_file.agent.snapshot().instance, fixed.agent.snapshot().instance);
}

#[test]
fn a_source_that_cannot_tell_is_warned_of_and_shown() {
    let mut rig = Rig::new(file());
    rig.ask(Request::Source(Word::Unreadable("server.json is a directory".to_owned()))).unwrap();
    assert_eq!(detail(&rig), "server.json is a directory");
    assert!(rig.notes.iter().any(|note| format!("{note:?}").contains("allocation_source")));
    rig.ask(Request::Source(Word::Nothing)).unwrap();
    assert_eq!(detail(&rig), "waiting for an allocation in allocation.file");
}

#[test]
fn a_source_that_repeats_itself_is_written_down_once() {
    let mut rig = Rig::new(file());
    for _ in 0..3 {
        rig.request(Request::Source(Word::Nothing));
    }
    assert_eq!(rig.records, [], "nothing was there, and nothing is");
    rig.store = None;
    for _ in 0..3 {
        rig.request(Request::Source(Word::Given(to_session())));
    }
    assert_eq!(rig.records, [Record::Given(to_session())], "also while the disk thinks");
    rig.stored(Ok(()));
    rig.store = Some(Ok(()));
    assert_eq!((state(&rig), rig.records.len()), (AllocationState::Allocated, 1));
}

#[test]
fn a_host_counts_those_that_wait_and_every_phase_also_where_nobody_is() {
    let waiting = Rig::new(file()).agent.snapshot();
    let resolving = Rig::new(params()).agent.snapshot();
    let serving = Rig::serving(params()).agent.snapshot();
    let roll = roll::call([&waiting, &serving, &resolving, &serving].into_iter());
    assert_eq!(roll[0], ("waiting", 1));
    assert_eq!(roll.len(), Phase::ALL.len() + 1);
    for (word, count) in &roll[1..] {
        let expected = match *word {
            "resolving" => 1,
            "serving" => 2,
            _ => 0,
        };
        assert_eq!(*count, expected, "{word}");
    }
    let words = [&waiting, &serving].map(|snapshot| (snapshot.allocation.source, snapshot.allocation.state.as_str()));
    assert_eq!(words, [("file", "waiting"), ("fixed", "allocated")]);
}
