//! The fused verdict on its way to the backend.

use super::*;

/// Time passes with a probe that finds the same at every interval; gives what was told.
fn probed(rig: &mut Rig, health: Health, times: usize) -> Told {
    let mut told = Told::default();
    for _ in 0..times {
        rig.pass(5 * SECOND);
        rig.game(found(0, health));
        rig.pass(SECOND / 100);
        let more = rig.answer_all();
        told.fubars.extend(more.fubars);
        told.health = more.health.or(told.health);
    }
    told
}

fn with_a_probe() -> Rig {
    let mut rig = serving(Params { probes: probes(&[Health::Unhealthy]), ..ours() });
    probed(&mut rig, Health::Healthy, 13);
    rig
}

#[test]
fn probes_that_fail_are_reported_once_an_episode() {
    let mut rig = with_a_probe();
    let told = probed(&mut rig, Health::Unhealthy, 5);
    assert_eq!((told.fubars.len(), told.health), (0, Some(Health::Degraded)), "the process lives: not dead yet");
    let told = probed(&mut rig, Health::Unhealthy, 20);
    assert_eq!((told.fubars, told.health), (vec!["probes_failed".to_owned()], Some(Health::Unhealthy)));
    assert_eq!(probed(&mut rig, Health::Healthy, 5).health, Some(Health::Healthy));
    assert_eq!(probed(&mut rig, Health::Unhealthy, 20).fubars, ["probes_failed"], "another episode");
    assert_eq!(rig.phase(), Phase::Serving, "whether to give up a game with players on it is not ours to decide");
}

#[test]
fn a_change_of_the_verdict_is_posted_within_a_second() {
    let mut rig = with_a_probe();
    probed(&mut rig, Health::Unhealthy, 2);
    rig.pass(5 * SECOND);
    rig.answer_all();
    rig.game(found(0, Health::Unhealthy));
    rig.pass(SECOND);
    let Call::PostHealth { health, .. } = rig.call(CallKind::PostHealth).clone() else { unreachable!() };
    assert_eq!(health, Health::Degraded);
}

#[test]
fn a_probe_that_falls_silent_is_noticed_without_any_event() {
    let mut rig = with_a_probe();
    rig.pass_quietly(17 * SECOND, true);
    let snapshot = rig.agent.snapshot();
    assert_eq!(snapshot.health.verdict, Health::Degraded);
    assert_eq!(snapshot.game.probes[0].reason.as_ref(), "a2s: it has not answered for more than 16 s");
}

#[test]
fn the_snapshot_shows_the_game() {
    let mut rig = serving(Params { probes: probes(&[Health::Unhealthy, Health::Degraded]), ..ours() });
    let players = |count| Some(Players { count, capacity: 16 });
    for count in [3, 5] {
        let result = ProbeResult { health: Health::Healthy, reason: "fine".to_owned(), players: players(count) };
        rig.game(GameEvent::Probed { probe: 1, result });
    }
    let figures = Figures { memory: Some(1 << 20), ..Figures::default() };
    rig.game(GameEvent::Figures(figures));
    let game = rig.agent.snapshot().game;
    assert_eq!((game.pid, game.ended, game.players, game.figures), (Some(PID), None, players(5), figures));
    let shown: Vec<_> = game.probes.iter().map(|probe| (probe.health, probe.reason.as_ref())).collect();
    assert_eq!(shown, [(None, "it has not answered yet"), (Some(Health::Healthy), "fine")]);
}

#[test]
fn a_silent_game_with_failing_probes_is_one_report_of_each_kind_at_most() {
    let mut rig = with_a_probe();
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    let told = probed(&mut rig, Health::Unhealthy, 60);
    assert_eq!(told.fubars, ["heartbeat_lost"], "the silence is the better word for it");
}

#[test]
fn the_operator_is_told_of_a_verdict_when_it_changes_and_only_then() {
    let mut rig = Rig::serving(params());
    let told = |rig: &Rig| rig.notes.iter().filter(|note| matches!(note, crate::core::Note::Verdict { .. })).count();
    assert_eq!(told(&rig), 0);
    for (status, count) in [(Health::Degraded, 1), (Health::Degraded, 1), (Health::Healthy, 2), (Health::Healthy, 2)] {
        rig.request(Request::Health { status, reason: Some("it said so".to_owned()) });
        assert_eq!(told(&rig), count, "{status:?}");
    }
}
