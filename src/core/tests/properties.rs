//! Properties of the core: on random sequences of events, and in a model of the world with faults.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{Faults, World};
use super::rig::*;
use super::words::FAILURES;
use crate::core::call::{Answer, CallKind, Failure};
use crate::core::duty::Duty;
use crate::core::event::{Command, Event, Request, Said, StoreFault};
use crate::core::ids::NotificationId;
use crate::core::instance::{Health, HealthConfig, InstanceInfo, JoinStatus};
use crate::core::params::{Deliver, Params, ProbeParams, Process, Readiness};
use crate::core::process::{End, EndStatus, Figures, GameEvent, Order, ProbeResult, Untaken};
use crate::core::{Machine as _, Outcome, Phase};

/// Everything that can go wrong at once, and what must hold all the same.
fn storm(seed: u64, faults: Faults, params: Params) -> World {
    let mut world = World::new(params, seed, faults);
    world.request(Request::Ready(Said::default()));
    for _ in 0..120 {
        world.run(Duration::from_secs(10));
        if world.rng.u32(0..4) == 0 {
            world.publish();
        }
        if world.rng.u32(0..8) == 0 {
            world.report();
        }
        if world.rng.u32(0..8) == 0 {
            world.begin();
        }
        if world.rng.u32(0..3) == 0 {
            world.take();
        }
        // A crash may have come before the game was heard: it says it again, as a game would after a refused call.
        world.request(Request::Ready(Said::default()));
    }
    // The world is good again.
    world.faults = Faults { delay: 50, ..Faults::default() };
    for _ in 0..40 {
        world.run(Duration::from_secs(60));
        world.take();
    }
    world
}

fn check(world: &World, seed: u64) {
    assert_eq!(world.exit, None, "seed {seed}: nobody asked it to end");
    assert_eq!(world.agent.snapshot().phase, Phase::Serving, "seed {seed}");
    assert_eq!(
        world.instance.as_ref().map(|shown| shown.join_status.clone()),
        Some(JoinStatus::Joinable),
        "seed {seed}"
    );
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for error in &world.ledger.fubars {
        *copies.entry(error).or_default() += 1;
    }
    for error in &world.accepted {
        assert!(copies.contains_key(error.as_str()), "seed {seed}: {error} was accepted and lost");
    }
    let extra: usize = copies.values().map(|count| count - 1).sum();
    assert!(
        extra <= world.ledger.ambiguous_reports + world.crashes as usize,
        "seed {seed}: {extra} copies, {} ambiguous outcomes",
        world.ledger.ambiguous_reports
    );
    let mut matches = world.ledger.matches.clone();
    matches.dedup();
    matches.retain(|name| world.begun.contains(name));
    assert_eq!(matches, world.begun, "seed {seed}: duties go out in the order of their acceptance, none is lost");
    let mut seen = Vec::new();
    for id in &world.taken {
        if !seen.contains(id) {
            assert!(seen.last() < Some(id), "seed {seed}: {id} out of order");
            seen.push(id.clone());
        }
    }
    assert_eq!(seen.len(), world.published.len(), "seed {seed}: a notification was lost");
    if world.crashes == 0 {
        assert_eq!(world.taken.len(), seen.len(), "seed {seed}: a repeat without a crash");
    }
    assert_eq!(world.ledger.writes_on_others, 0, "seed {seed}");
}

#[test]
fn a_bad_network_loses_nothing() {
    for seed in 0..60 {
        let faults = Faults { lost: 60, cut: 60, server: 60, throttled: 20, token: 1, crash: 0, delay: 3000 };
        check(&storm(seed, faults, params()), seed);
    }
}

#[test]
fn crashes_lose_nothing_that_was_accepted() {
    for seed in 0..60 {
        let faults = Faults { lost: 30, cut: 30, server: 30, throttled: 10, token: 1, crash: 4, delay: 1000 };
        let world = storm(seed, faults, params());
        check(&world, seed);
    }
}

#[test]
fn without_faults_everything_happens_exactly_once() {
    for seed in 0..20 {
        let world = storm(seed, Faults { delay: 20, ..Faults::default() }, params());
        check(&world, seed);
        assert_eq!(world.ledger.registrations, 1, "seed {seed}");
        assert_eq!(world.ledger.fubars, world.accepted, "seed {seed}: exactly one each, in order");
        assert_eq!(world.ledger.matches, world.begun, "seed {seed}: exactly one each, in order");
        // One login, and the refreshes that an hour of lifetime asks for.
        assert!(world.ledger.logins.len() <= 4, "seed {seed}: {} logins in an hour", world.ledger.logins.len());
        let mut gaps: Vec<Duration> = world.ledger.health.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        gaps.sort();
        assert!(*gaps.last().unwrap() <= Duration::from_millis(12_500), "seed {seed}: {:?}", gaps.last());
    }
}

#[test]
fn a_failing_agent_sends_no_more_than_a_healthy_one() {
    let count = |faults: Faults| {
        let mut total = 0;
        for seed in 0..20 {
            let mut world = World::new(params(), seed, Faults { delay: 20, ..Faults::default() });
            world.request(Request::Ready(Said::default()));
            world.run(Duration::from_secs(120));
            world.faults = faults;
            let before = world.ledger.requests.len();
            world.run(Duration::from_secs(1800));
            total += world.ledger.requests.len() - before;
        }
        total
    };
    let healthy = count(Faults { delay: 20, ..Faults::default() });
    for faults in [
        Faults { server: 1000, delay: 20, ..Faults::default() },
        Faults { cut: 1000, delay: 20, ..Faults::default() },
        Faults { throttled: 1000, delay: 20, ..Faults::default() },
    ] {
        let failing = count(faults);
        assert!(failing * 10 <= healthy * 11, "{failing} requests with {faults:?}, {healthy} without");
    }
}

#[test]
fn a_stop_at_any_moment_ends_in_time_and_closed() {
    for seed in 0..200 {
        let faults = Faults { lost: 20, cut: 20, delay: 400, ..Faults::default() };
        let mut world = World::new(params(), seed, faults);
        let moment = Duration::from_millis(world.rng.u64(0..40_000));
        world.run(moment);
        if world.rng.bool() {
            world.request(Request::Ready(Said::default()));
        }
        world.stop();
        let begun = world.now;
        while world.exit.is_none() && world.now - begun < Duration::from_secs(30) {
            world.run(Duration::from_millis(100));
        }
        assert_eq!(world.exit, Some(Outcome::Ended), "seed {seed}");
        assert!(world.now - begun <= Duration::from_secs(10), "seed {seed}: {:?}", world.now - begun);
        let open = world.instance.as_ref().is_some_and(|shown| shown.join_status == JoinStatus::Joinable);
        assert!(!open, "seed {seed}: it must not stay joinable");
    }
}

#[test]
fn a_crash_at_any_moment_is_told_or_durable_and_ends_the_agent_with_its_code() {
    for seed in 0..200 {
        let faults = Faults { lost: 20, cut: 20, delay: 400, ..Faults::default() };
        let params = Params { process: Process::Ours, readiness: Readiness::Immediate, ..params() };
        let mut world = World::new(params, seed, faults);
        world.game(GameEvent::Started { pid: 1 });
        let moment = Duration::from_millis(world.rng.u64(0..30_000));
        world.run(moment);
        world.game(random_game_event(103));
        let begun = world.now;
        while world.exit.is_none() && world.now - begun < Duration::from_secs(60) {
            world.run(Duration::from_millis(100));
        }
        assert_eq!(world.exit, Some(Outcome::Game(139)), "seed {seed}");
        assert!(world.now - begun <= Duration::from_secs(30), "seed {seed}: {:?}", world.now - begun);
        let waiting = world.durable.outbox.iter().filter(|report| report.content.label() == "game_crashed").count();
        let told = world.ledger.fubars.iter().filter(|error| *error == "game_crashed").count();
        assert!(waiting + told >= 1, "seed {seed}: the crash was lost");
        // One that was sent, and whose answer was lost, is sent again.
        let ambiguous = world.ledger.ambiguous_reports + 1;
        assert!(told <= ambiguous, "seed {seed}: {told} copies, {ambiguous} ambiguous outcomes");
        let open = world.instance.as_ref().is_some_and(|shown| shown.join_status == JoinStatus::Joinable);
        assert!(!open, "seed {seed}: it must not stay joinable");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let faults = Faults { lost: 60, cut: 60, server: 60, throttled: 20, token: 1, crash: 2, delay: 3000 };
        let world = storm(42, faults, params());
        let first = world.ledger.requests[0].0;
        world.ledger.requests.iter().map(|(at, kind)| (*at - first, *kind)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// One random thing that can happen to an agent, sensible or not.
#[derive(Debug, Clone)]
enum Op {
    LogIn,
    LogOut,
    Answer(usize, u8),
    AnswerNobody,
    Pass(u64),
    Repeat,
    Request(u8),
    Stored(bool),
    HandedOver(u8),
    Stop,
    Reload,
    Game(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::LogIn),
        1 => Just(Op::LogOut),
        12 => (0usize..4, any::<u8>()).prop_map(|(at, how)| Op::Answer(at, how)),
        1 => Just(Op::AnswerNobody),
        8 => (0u64..40_000).prop_map(Op::Pass),
        2 => Just(Op::Repeat),
        5 => any::<u8>().prop_map(Op::Request),
        4 => any::<bool>().prop_map(Op::Stored),
        3 => any::<u8>().prop_map(Op::HandedOver),
        1 => Just(Op::Stop),
        1 => Just(Op::Reload),
        4 => any::<u8>().prop_map(Op::Game),
    ]
}

fn random_answer(kind: CallKind, how: u8) -> Result<Answer, Failure> {
    let shown = |how: u8| -> Option<InstanceInfo> {
        match how % 6 {
            0 => None,
            1 => Some(foreign_info()),
            2 => Some(info(JoinStatus::Closed)),
            _ => Some(info(JoinStatus::Joinable)),
        }
    };
    if how >= 200 {
        return Err(failure(FAILURES[usize::from(how) % FAILURES.len()]));
    }
    Ok(match kind {
        CallKind::FindSession | CallKind::ReadSession if how.is_multiple_of(7) => Answer::NotModified,
        CallKind::FindSession | CallKind::ReadSession => session(shown(if how < 150 { 0 } else { how })),
        CallKind::Register | CallKind::Update => instance(info(JoinStatus::Pending)),
        CallKind::Unregister => Answer::Unregistered,
        CallKind::HealthConfig => Answer::HealthConfig(HealthConfig { cadence: Duration::from_secs(u64::from(how)) }),
        CallKind::PostHealth => Answer::HealthAccepted(Health::Degraded),
        CallKind::Fubar
        | CallKind::PostEvent
        | CallKind::Audit
        | CallKind::Match
        | CallKind::Browser
        | CallKind::UpdateSession
        | CallKind::RemovePlayer => Answer::Accepted,
        CallKind::Poll => Answer::Page(crate::core::call::Page {
            notifications: (0..how % 3).map(|n| notification(&format!("n{how}-{n}"))).collect(),
            unusable: u32::from(how % 2),
            last_id: None,
        }),
        // An answer that belongs to another call.
        CallKind::Login => Answer::Accepted,
        CallKind::CreateSession => Answer::SessionMade(session_id()),
        CallKind::SicRegister | CallKind::SicState => Answer::Sic(Box::default()),
    })
}

fn random_duty(how: u8) -> Duty {
    match how % 7 {
        0 => super::duties::begin("m-1"),
        1 => Duty::EndMatch,
        2 | 3 => super::duties::list(),
        4 => Duty::UpdateBrowser(super::duties::listing(&[])),
        5 => Duty::UnlistBrowser,
        _ => Duty::UpdateSession { custom_data: None, joinable: Some(true) },
    }
}

fn random_request(how: u8) -> Request {
    match how % 11 {
        9 | 10 => Request::Duty { duty: random_duty(how / 11), key: None },
        0 | 1 => Request::Ready(Said::default()),
        2 => Request::Health { status: Health::Unhealthy, reason: None },
        3 => Request::Instance(Said { joinable: Some(how > 100), ..Said::default() }),
        4 => Request::Fubar { error: format!("f{how}"), key: Some(format!("k{}", how % 3)) },
        5 => Request::Event { event_code: "e".to_owned(), description: None, custom_data: BTreeMap::new() },
        6 => Request::Ack(NotificationId::parse("n1-0").unwrap()),
        7 => Request::ClientSeen,
        _ if how > 250 => Request::Shutdown { reason: None },
        _ => Request::Health { status: Health::Healthy, reason: None },
    }
}

fn random_game_event(how: u8) -> GameEvent {
    let status = match how % 5 {
        0 => EndStatus::Code(0),
        1 => EndStatus::Code(3),
        2 => EndStatus::Signal(9),
        3 => EndStatus::Signal(11),
        _ => EndStatus::Unknown,
    };
    let health = [Health::Healthy, Health::Degraded, Health::Unhealthy][usize::from(how) % 3];
    match how {
        0..60 => GameEvent::Started { pid: u32::from(how) + 1 },
        60..70 => GameEvent::NotStarted { why: "no".to_owned() },
        70..100 => GameEvent::ReadyLine,
        100..130 => GameEvent::Ended(Box::new(End {
            status,
            oom_killed: how.is_multiple_of(2),
            core: None,
            uptime: Duration::from_secs(1),
            figures: Figures::default(),
            tail: vec!["last words".to_owned()],
        })),
        130..=240 => GameEvent::Probed {
            // One of them is not there.
            probe: usize::from(how % 3),
            result: ProbeResult { health, reason: "found".to_owned(), players: None },
        },
        _ => GameEvent::Figures(Figures { memory: Some(u64::from(how)), ..Figures::default() }),
    }
}

/// A game of ours that has not ended, as far as was told, when the agent ends: it was at least ordered to be killed.
fn is_left_running(orders: &[Order], ended: bool) -> bool {
    orders.iter().any(|order| matches!(order, Order::Start { .. })) && !ended && !orders.contains(&Order::Kill)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    /// Points 2 to 7 of the contract of the core: early, late and repeated time-outs are harmless; every call is closed once and
    /// unknown answers are ignored; there is always a deadline or a call; the exit comes once and nothing after it. The rig itself
    /// asserts that no deadline spins, that no action follows the exit, and that only calls in flight are cancelled.
    #[test]
    fn the_contract_of_the_core_holds_on_any_sequence(
        ops in prop::collection::vec(op(), 1..120),
        fenced in any::<bool>(),
        process in prop::sample::select(vec![Process::Unknown, Process::Ours, Process::Watched]),
        readiness in prop::sample::select(vec![Readiness::Sdk, Readiness::Immediate, Readiness::Probe, Readiness::Log]),
        push in any::<bool>(),
    ) {
        let deliver = if push { Deliver::Push } else { Deliver::Api };
        let probe = |failure| ProbeParams {
            name: "tcp".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            failure,
        };
        let probes = vec![probe(Health::Unhealthy), probe(Health::Degraded)];
        let params = if fenced { allocated() } else { params() };
        let mut rig = Rig::new(Params { process, readiness, probes, deliver, ..params });
        rig.store = None;
        let (mut ended, mut superseded) = (false, None);
        let mut answered = Vec::new();
        for op in ops {
            match op {
                Op::LogIn => rig.log_in(),
                Op::LogOut => rig.event(Event::Auth(Default::default())),
                Op::Answer(at, how) => {
                    if let Some((id, call)) = rig.calls.get(at).cloned() {
                        rig.calls.remove(at);
                        answered.push(id.clone());
                        rig.event(Event::Answered { id, result: random_answer(call.kind(), how) });
                    }
                }
                Op::AnswerNobody => {
                    if let Some(id) = answered.last().cloned() {
                        let before = rig.agent.snapshot();
                        rig.event(Event::Answered { id, result: Ok(Answer::Unregistered) });
                        prop_assert_eq!(rig.agent.snapshot(), before);
                    }
                }
                Op::Pass(millis) => rig.pass(Duration::from_millis(millis)),
                Op::Repeat => {
                    let before = rig.agent.snapshot();
                    rig.agent.handle_timeout(rig.now);
                    prop_assert!(rig.agent.poll_action().is_none(), "a repeated time-out did something");
                    prop_assert_eq!(rig.agent.snapshot(), before);
                }
                Op::Request(how) => {
                    rig.request(random_request(how));
                }
                Op::Stored(good) => {
                    if !rig.tickets.is_empty() && rig.exit.is_none() {
                        rig.stored(if good { Ok(()) } else { Err(StoreFault::Failed) });
                    }
                }
                Op::HandedOver(how) => {
                    if let Some(what) = rig.pushed.pop_front() {
                        let result = match how % 3 {
                            0 => Ok(()),
                            1 => Err(Untaken::Absent("away".into())),
                            _ => Err(Untaken::Refused("no".into())),
                        };
                        rig.event(Event::HandedOver { id: what.notification.notification_id.clone(), result });
                    }
                }
                Op::Stop => rig.event(Event::Command(Command::Drain { reason: "test".to_owned() })),
                Op::Reload => rig.event(Event::Command(Command::Reloaded)),
                Op::Game(how) => {
                    let event = random_game_event(how);
                    let ends = matches!(event, GameEvent::Ended(_) | GameEvent::NotStarted { .. });
                    ended |= ends && !rig.orders.is_empty() && rig.exit.is_none();
                    rig.event(Event::Game(event));
                }
            }
            let starts = rig.orders.iter().filter(|order| matches!(order, Order::Start { .. })).count();
            prop_assert!(starts <= 1, "the game is started {} times", starts);
            match process {
                Process::Unknown => prop_assert!(rig.orders.is_empty()),
                Process::Watched => prop_assert_eq!(rig.orders.len(), starts),
                Process::Ours => prop_assert!(rig.exit.is_none() || !is_left_running(&rig.orders, ended)),
            }
            if ended && process != Process::Unknown {
                prop_assert!(!rig.agent.snapshot().ready, "a dead game is not ready");
                prop_assert_eq!(rig.agent.snapshot().health.verdict, Health::Unhealthy);
            }
            if rig.phase() == Phase::Superseded {
                prop_assert!(rig.calls.is_empty(), "a call of a superseded agent");
                let seen = *superseded.get_or_insert(rig.now);
                // Stop, then Kill, then nobody waits any more.
                prop_assert!(rig.exit.is_some() || rig.now - seen <= Duration::from_secs(35));
            }
            for kind in CallKind::ALL {
                let in_flight = rig.kinds().iter().filter(|other| **other == kind).count();
                prop_assert!(in_flight <= 1, "{} calls of kind {} in flight", in_flight, kind);
            }
            match rig.exit {
                None => prop_assert!(rig.agent.poll_timeout().is_some(), "it waits for nothing"),
                Some(_) => {
                    prop_assert!(rig.calls.is_empty(), "calls are left over after the exit");
                    prop_assert!(rig.agent.poll_timeout().is_none());
                }
            }
        }
    }
}
