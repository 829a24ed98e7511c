//! The end of the game: what is told of it, and what the agent ends with.

use super::*;
use crate::core::call::{Failure, FailureKind};
use crate::core::event::StoreFault;

/// Where in its life the instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Loading,
    Serving,
    /// Told to stop; the game reads of it, and no signal was sent.
    Draining,
}

fn at(stage: Stage, params: Params) -> Rig {
    match stage {
        Stage::Loading => loading(params),
        Stage::Serving => serving(params),
        Stage::Draining => {
            let mut rig = serving(params);
            rig.sigterm();
            rig.answer_all();
            rig
        }
    }
}

const STAGES: [Stage; 3] = [Stage::Loading, Stage::Serving, Stage::Draining];

#[test]
fn each_end_at_each_stage() {
    for stage in STAGES {
        for (event, fubar, code) in [
            (ended(EndStatus::Code(0)), None, 0),
            (ended(EndStatus::Code(3)), Some("game_exited"), 3),
            (ended(SEGV), Some("game_crashed"), 139),
            (out_of_memory(), Some("game_oom_killed"), 137),
            (ended(EndStatus::Signal(15)), None, 143),
            (ended(EndStatus::Signal(9)), None, 137),
        ] {
            let mut rig = at(stage, ours());
            rig.game(event.clone());
            assert!(rig.phase() >= Phase::Closing, "{stage:?} {event:?}: {:?}", rig.phase());
            let told = rig.answer_all();
            let fubars: Vec<_> = told.fubars.iter().map(String::as_str).collect();
            assert_eq!(fubars, fubar.into_iter().collect::<Vec<_>>(), "{stage:?} {event:?}");
            let quiet = code == 0 && stage != Stage::Loading;
            assert_eq!(told.codes(), if quiet { vec![] } else { vec!["game_ended"] }, "{stage:?} {event:?}");
            assert_eq!(
                told.health,
                fubar.map(|_| Health::Unhealthy),
                "{stage:?} {event:?}: never a word for a dead game"
            );
            let outcome = if stage == Stage::Draining { Outcome::Ended } else { Outcome::Game(code) };
            assert_eq!((rig.exit, rig.ordered()), (Some(outcome), vec![]), "{stage:?} {event:?}");
        }
    }
}

#[test]
fn a_watched_game_that_vanishes_while_it_serves_is_reported() {
    for (stage, fubars) in [(Stage::Serving, vec!["game_vanished".to_owned()]), (Stage::Loading, vec![])] {
        let mut rig = at(stage, watched());
        rig.game(ended(EndStatus::Unknown));
        let told = rig.answer_all();
        assert_eq!((told.fubars, told.events.len()), (fubars, 1), "{stage:?}");
        assert_eq!(rig.exit, Some(Outcome::Ended));
    }
}

#[test]
fn nothing_vouches_for_a_dead_game() {
    let mut rig = serving(ours());
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    rig.game(ended(SEGV));
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    let snapshot = rig.agent.snapshot();
    assert_eq!((snapshot.health.verdict, snapshot.ready), (Health::Unhealthy, false));
    assert_eq!(snapshot.health.reason.as_ref(), "the game has crashed: SIGSEGV");
    assert_eq!(snapshot.game.ended.as_deref(), Some("the game has crashed: SIGSEGV"));
    assert_eq!(snapshot.game.pid, None);
    assert_eq!(rig.answer_all().health, Some(Health::Unhealthy));
}

#[test]
fn the_event_has_all_that_helps_and_nothing_empty() {
    let probes = probes(&[Health::Unhealthy]);
    let mut rig = serving(Params { probes, ..ours() });
    rig.request(Request::Health { status: Health::Degraded, reason: Some("low on ticks".to_owned()) });
    rig.game(found(0, Health::Unhealthy));
    let end = End {
        core: Some("/var/cores/game.1".to_owned()),
        figures: Figures {
            memory: Some(1000),
            memory_peak: Some(2000),
            memory_limit: Some(4000),
            cpu: Some(Duration::from_millis(1250)),
            cores: Some(0.5),
        },
        tail: vec!["loading".to_owned(), "fatal: no such map".to_owned()],
        ..end(SEGV)
    };
    rig.game(GameEvent::Ended(Box::new(end)));
    let told = rig.answer_all();
    let mut data = told.events[0].custom_data.clone();
    data.remove("report_id").unwrap();
    let found: Vec<(&str, &str)> = data.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        found,
        [
            ("core", "/var/cores/game.1"),
            ("count", "1"),
            ("cpu_seconds", "1.2"),
            ("error", "game_crashed"),
            ("health", "degraded"),
            ("health_reason", "low on ticks"),
            ("log", "loading\nfatal: no such map"),
            ("memory", "1000"),
            ("memory_limit", "4000"),
            ("memory_peak", "2000"),
            ("phase", "serving"),
            ("probes", "a2s: unhealthy: nothing came back"),
            ("signal", "SIGSEGV"),
            ("uptime_seconds", "61.5"),
        ]
    );
    assert_eq!(told.events[0].description.as_deref(), Some("the game has crashed: SIGSEGV"));

    let mut rig = loading(ours());
    rig.game(GameEvent::Ended(Box::new(End { core: Some(String::new()), ..super::end(EndStatus::Code(139)) })));
    let data = rig.answer_all().events.remove(0).custom_data;
    assert!(data.values().all(|value| !value.is_empty()));
    assert_eq!((data["exit_code"].as_str(), data["signal"].as_str(), data["core"].as_str()), ("139", "SIGSEGV", "yes"));
}

#[test]
fn report_event_and_count_are_one_batch_and_on_disk_before_anything_else() {
    let mut rig = serving(ours());
    rig.store = None;
    rig.records.clear();
    rig.game(ended(SEGV));
    let what: Vec<_> = rig
        .records
        .iter()
        .map(|record| match record {
            Record::Accepted(report) => report.content.what(),
            Record::Failures { failures: Some(failures) } if failures.count == 1 => "count",
            Record::Closed => "closed",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(what, ["fubar", "event", "count", "closed"]);
    assert_eq!(rig.tickets.len(), 2, "and the count is in the batch of the reports");
    assert!(!rig.kinds().contains(&CallKind::Fubar), "not before the disk has it");
    rig.stored(Ok(()));
    assert!(rig.kinds().contains(&CallKind::Fubar));
}

#[test]
fn a_disk_that_refuses_does_not_keep_the_report_from_the_backend() {
    let mut rig = serving(ours());
    rig.store = Some(Err(StoreFault::Full));
    rig.game(ended(SEGV));
    let told = rig.answer_all();
    assert_eq!((told.fubars.len(), told.events.len()), (1, 1));
    assert_eq!(rig.exit, Some(Outcome::Game(139)));
}

#[test]
fn an_end_while_draining_is_told_with_its_reason() {
    let mut rig = serving(ours());
    rig.game(ended(EndStatus::Code(3)));
    assert_eq!(rig.agent.snapshot().drain.unwrap().reason, "the game has failed: exit code 3");
}

#[test]
fn a_game_ends_once() {
    let mut rig = serving(ours());
    rig.game(ended(SEGV));
    rig.game(ended(EndStatus::Code(3)));
    rig.game(GameEvent::NotStarted { why: "late".to_owned() });
    rig.game(GameEvent::Started { pid: 7 });
    assert_eq!(rig.agent.snapshot().game.pid, None);
    assert_eq!(rig.answer_all().fubars, ["game_crashed"]);
    assert_eq!(rig.exit, Some(Outcome::Game(139)));
}

#[test]
fn a_hung_game_that_had_to_be_killed_is_told_with_what_was_known() {
    let mut rig = serving(ours());
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    rig.pass_quietly(70 * SECOND, true);
    assert_eq!(rig.answer_all().fubars, ["heartbeat_lost"]);
    rig.sigterm();
    rig.answer_all();
    rig.pass_quietly(90 * SECOND, true);
    assert_eq!(rig.ordered(), [Order::Stop, Order::Kill]);
    rig.game(ended(EndStatus::Signal(9)));
    let told = rig.answer_all();
    assert_eq!((told.fubars.len(), told.codes()), (0, vec!["game_ended"]), "its report is out already");
    assert_eq!(told.events[0].custom_data["error"], "heartbeat_lost");
    assert_eq!(told.events[0].description.as_deref(), Some("the game hung and was killed: SIGKILL"));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

/// The simulation found it: a game crashed while the backend had asked for peace, and the last word did not wait.
#[test]
fn the_last_word_is_not_for_a_backend_that_asked_for_peace() {
    let mut rig = serving(ours());
    rig.pass(11 * SECOND);
    let busy = Failure { retry_after: Some(600 * SECOND), ..failure(FailureKind::Throttled) };
    rig.answer(CallKind::PostHealth, Err(busy));
    rig.game(ended(SEGV));
    let told = rig.answer_all();
    assert_eq!((told.health, told.fubars.len()), (None, 1), "the report of the crash still goes");
}
