use super::*;
use crate::core::tests::rig::params;

const SECOND: Duration = Duration::from_secs(1);

/// One probe every 5 s with a time limit of 1 s, `unhealthy_after` 3, a grace of 60 s and a heartbeat time-out of 15 s.
fn probed(failure: Health) -> Params {
    let probe = ProbeParams { name: "a2s".to_owned(), interval: 5 * SECOND, timeout: SECOND, failure };
    Params { probes: vec![probe], ..params() }
}

struct Bench {
    params: Params,
    fusion: Fusion,
    now: Instant,
}

impl Bench {
    fn new(params: Params, known: Known) -> Self {
        let now = crate::clock::now();
        Self { fusion: Fusion::new(&params, known, now), params, now }
    }

    /// Past its start-up grace, with what is known of the process, and just found healthy.
    fn settled(params: Params, known: Known) -> Self {
        let mut bench = Self::new(params, known);
        bench.now += bench.params.startup_grace - 5 * SECOND;
        bench.probe(Healthy);
        bench
    }

    fn probe(&mut self, health: Health) -> Health {
        self.now += 5 * SECOND;
        let result = ProbeResult { health, reason: "nothing came back".to_owned(), players: None };
        self.fusion.probed(&self.params, 0, &result, self.now);
        self.health()
    }

    fn probes(&mut self, health: Health, times: usize) -> Vec<Health> {
        (0..times).map(|_| self.probe(health)).collect()
    }

    fn says(&mut self, health: Health) -> Health {
        self.fusion.says(health, Arc::from("it said so"), self.now);
        self.health()
    }

    fn is(&mut self, known: Known) -> Health {
        self.fusion.process_is(known, self.now);
        self.health()
    }

    fn pass(&mut self, duration: Duration) -> Health {
        let end = self.now + duration;
        while let Some(at) = self.fusion.poll_timeout(&self.params, self.now).filter(|at| *at <= end) {
            assert!(at > self.now, "a deadline in the past");
            self.now = at;
            self.health();
        }
        let before = self.fusion.verdict().health;
        self.now = end;
        assert_eq!(self.health(), before, "the verdict changed at a moment that no deadline had told");
        before
    }

    fn health(&mut self) -> Health {
        self.fusion.judge(&self.params, self.now);
        self.fusion.verdict().health
    }

    fn reason(&self) -> &str {
        &self.fusion.verdict().reason
    }
}

use Health::{Degraded, Healthy, Unhealthy};

#[test]
fn a_silent_query_of_a_living_game_is_degraded_first() {
    let mut bench = Bench::new(probed(Unhealthy), Known::Idle);
    bench.is(Known::Running);
    bench.now += bench.params.startup_grace;
    assert_eq!(bench.probe(Healthy), Healthy);
    assert_eq!(
        bench.probes(Unhealthy, 7),
        [Healthy, Healthy, Degraded, Degraded, Degraded, Unhealthy, Unhealthy],
        "damped, then degraded, then dead"
    );
    assert_eq!(bench.reason(), "a2s: nothing came back (7 times in a row)");
    assert_eq!(bench.probe(Healthy), Healthy);
}

#[test]
fn a_fresh_heartbeat_is_a_sign_of_life_too() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Nothing);
    for (turn, wanted) in [Healthy, Healthy, Degraded, Degraded, Degraded, Unhealthy].into_iter().enumerate() {
        bench.says(Healthy);
        assert_eq!(bench.probe(Unhealthy), wanted, "{turn}");
    }
}

#[test]
fn where_nothing_else_tells_of_life_failing_probes_are_its_end() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Nothing);
    assert_eq!(bench.probes(Unhealthy, 3), [Healthy, Healthy, Unhealthy]);
    assert_eq!(bench.fusion.verdict().cause, Cause::Probe);
}

#[test]
fn a_probe_whose_failure_is_degraded_never_makes_more_of_it() {
    let mut bench = Bench::settled(probed(Degraded), Known::Nothing);
    assert_eq!(bench.probes(Unhealthy, 3), [Healthy, Healthy, Degraded]);
    assert_eq!(bench.probes(Unhealthy, 20), [Degraded; 20]);
}

#[test]
fn degraded_results_never_make_unhealthy() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Nothing);
    assert_eq!(bench.probes(Degraded, 20)[2..], [Degraded; 18]);
}

#[test]
fn flapping_changes_nothing() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Nothing);
    for _ in 0..20 {
        assert_eq!(bench.probe(Unhealthy), Healthy);
        assert_eq!(bench.probe(Unhealthy), Healthy);
        assert_eq!(bench.probe(Healthy), Healthy);
    }
}

#[test]
fn healthy_after_is_waited_for() {
    let mut bench = Bench::settled(Params { healthy_after: 3, ..probed(Unhealthy) }, Known::Nothing);
    bench.probes(Unhealthy, 3);
    assert_eq!(bench.probes(Healthy, 3), [Unhealthy, Unhealthy, Healthy]);
    bench.probes(Unhealthy, 3);
    assert_eq!(bench.probes(Healthy, 2), [Unhealthy, Unhealthy]);
    assert_eq!(bench.probe(Unhealthy), Unhealthy);
}

#[test]
fn nothing_counts_before_the_grace_is_over_and_then_at_once() {
    for known in [Known::Nothing, Known::Running] {
        let mut bench = Bench::new(probed(Unhealthy), Known::Idle);
        bench.is(known.clone());
        assert_eq!(bench.probes(Unhealthy, 11), [Healthy; 11], "{known:?}");
        let begun = bench.now;
        assert_eq!(bench.pass(5 * SECOND), Unhealthy, "{known:?}: the end of the grace is a deadline of its own");
        assert_eq!(bench.now - begun, 5 * SECOND);
    }
}

#[test]
fn the_grace_begins_with_the_process() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Idle);
    assert_eq!(bench.is(Known::Awaited), Healthy);
    assert_eq!(bench.pass(59 * SECOND), Healthy);
    assert_eq!(bench.is(Known::Running), Healthy);
    assert_eq!(bench.probes(Unhealthy, 11), [Healthy; 11]);
}

#[test]
fn a_process_that_is_not_found_is_no_game() {
    let mut bench = Bench::new(params(), Known::Idle);
    assert_eq!(bench.pass(3600 * SECOND), Healthy, "nobody has asked for it");
    bench.is(Known::Awaited);
    assert_eq!(bench.pass(60 * SECOND), Unhealthy);
    assert_eq!(bench.reason(), "the game's process is not there");
    assert_eq!(bench.is(Known::Running), Healthy);
}

#[test]
fn a_dead_process_outweighs_everything_at_once() {
    let mut bench = Bench::new(probed(Unhealthy), Known::Idle);
    bench.is(Known::Running);
    assert_eq!(bench.is(Known::Gone(Arc::from("the game has crashed: SIGSEGV"))), Unhealthy, "also in the grace");
    assert_eq!(bench.says(Healthy), Unhealthy);
    assert_eq!(bench.probe(Healthy), Unhealthy);
    assert_eq!(bench.reason(), "the game has crashed: SIGSEGV");
    assert_eq!(bench.fusion.poll_timeout(&bench.params, bench.now), None);
}

#[test]
fn what_the_game_says_counts_at_once_and_the_worst_wins() {
    let mut bench = Bench::new(probed(Degraded), Known::Nothing);
    assert_eq!(bench.says(Unhealthy), Unhealthy, "its own word needs no grace");
    assert_eq!(bench.reason(), "it said so");
    assert_eq!(bench.says(Degraded), Degraded);
    assert_eq!(bench.says(Healthy), Healthy);
    bench.now += bench.params.startup_grace;
    bench.says(Healthy);
    bench.probes(Unhealthy, 3);
    bench.says(Healthy);
    assert_eq!(bench.health(), Degraded);
    assert_eq!(bench.reason(), "a2s: nothing came back (3 times in a row)");
    assert_eq!(bench.says(Unhealthy), Unhealthy);
    assert_eq!(bench.fusion.verdict().cause, Cause::Said);
}

#[test]
fn a_heartbeat_that_stops_is_noticed_on_time() {
    let mut bench = Bench::settled(params(), Known::Nothing);
    assert_eq!(bench.pass(3600 * SECOND), Healthy, "one that never began is not missed");
    bench.says(Healthy);
    assert_eq!(bench.pass(15 * SECOND - Duration::from_millis(1)), Healthy);
    assert_eq!(bench.pass(Duration::from_millis(1)), Unhealthy);
    assert_eq!(bench.fusion.verdict().cause, Cause::Silence);
    assert_eq!(bench.says(Healthy), Healthy);
}

#[test]
fn a_probe_that_does_not_answer_any_more_is_not_believed() {
    for (last, before) in [(Healthy, Healthy), (Unhealthy, Unhealthy)] {
        let mut bench = Bench::settled(probed(Unhealthy), Known::Nothing);
        bench.probes(last, 3);
        assert_eq!(bench.pass(16 * SECOND - Duration::from_millis(1)), before);
        assert_eq!(bench.pass(Duration::from_millis(1)), Degraded, "three intervals and its time limit");
        assert_eq!(bench.reason(), "a2s: it has not answered for more than 16 s");
        let shown = bench.fusion.probes(&bench.params);
        assert_eq!((shown[0].health, shown[0].reason.as_ref()), (Some(Degraded), bench.reason()));
        assert_eq!(bench.probes(Unhealthy, 3), [Degraded, Degraded, Unhealthy], "counted from the beginning");
        assert_eq!(bench.probe(Healthy), Healthy);
    }
}

#[test]
fn a_probe_that_never_answered_is_given_the_grace_too() {
    let mut bench = Bench::new(probed(Unhealthy), Known::Nothing);
    assert_eq!(bench.pass(60 * SECOND - Duration::from_millis(1)), Healthy);
    assert_eq!(bench.fusion.probes(&bench.params)[0].health, None);
    assert_eq!(bench.pass(Duration::from_millis(1)), Degraded);
}

#[test]
fn what_is_found_while_no_process_is_there_is_about_something_else() {
    let mut bench = Bench::new(probed(Unhealthy), Known::Idle);
    bench.probe(Healthy);
    bench.is(Known::Awaited);
    bench.probe(Healthy);
    assert!(!bench.fusion.is_found_healthy());
    bench.is(Known::Running);
    bench.probe(Unhealthy);
    assert!(!bench.fusion.is_found_healthy());
    bench.probe(Healthy);
    assert!(bench.fusion.is_found_healthy());
}

#[test]
fn every_probe_must_have_found_it_healthy() {
    let mut two = probed(Unhealthy);
    two.probes.push(ProbeParams { name: "tcp".to_owned(), ..two.probes[0].clone() });
    let mut bench = Bench::new(two, Known::Nothing);
    bench.probe(Healthy);
    assert!(!bench.fusion.is_found_healthy());
    let result = ProbeResult { health: Healthy, reason: String::new(), players: None };
    bench.fusion.probed(&bench.params, 1, &result, bench.now);
    assert!(bench.fusion.is_found_healthy());
    bench.fusion.probed(&bench.params, 2, &result, bench.now);
    assert!(!Bench::new(params(), Known::Nothing).fusion.is_found_healthy(), "nobody is not everybody");
}

#[test]
fn the_words_say_who_vouches_for_it() {
    let mut bench = Bench::new(probed(Unhealthy), Known::Running);
    bench.health();
    assert_eq!(bench.reason(), "the game's process runs");
    bench.probe(Unhealthy);
    assert_eq!(bench.reason(), "the game's process runs", "no probe has found it healthy");
    bench.probe(Healthy);
    assert_eq!(bench.reason(), "its probes find the game healthy");
    bench.is(Known::Awaited);
    assert_eq!(bench.reason(), "the game is being started", "they were about another process");
    let mut bench = Bench::settled(probed(Unhealthy), Known::Running);
    bench.probes(Degraded, 3);
    assert_eq!(bench.reason(), "a2s: nothing came back (3 times in a row)");
    bench.params.healthy_after = 2;
    bench.probe(Healthy);
    assert_eq!(bench.reason(), "a2s: nothing came back, after it had failed");
}

#[test]
fn a_probe_that_finds_nothing_worse_than_the_game_says_adds_no_words() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Running);
    bench.says(Degraded);
    bench.probes(Degraded, 5);
    bench.says(Degraded);
    assert_eq!((bench.health(), bench.reason()), (Degraded, "it said so"));
}

#[test]
fn a_process_that_is_seen_again_and_again_gets_no_new_grace() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Running);
    let all: Vec<Health> = (0..3)
        .map(|_| {
            bench.is(Known::Running);
            bench.probe(Degraded)
        })
        .collect();
    assert_eq!(all, [Healthy, Healthy, Degraded]);
}

#[test]
fn a_probe_that_fell_silent_is_not_forgotten_to_have_found_it_healthy() {
    let mut bench = Bench::settled(probed(Unhealthy), Known::Running);
    assert_eq!(bench.pass(100 * SECOND), Degraded);
    bench.probe(Degraded);
    assert!(bench.fusion.is_found_healthy(), "it was ready once");
}

#[test]
fn a_probe_that_never_answered_has_its_patience_also_without_a_grace() {
    let mut bench = Bench::new(Params { startup_grace: Duration::ZERO, ..probed(Unhealthy) }, Known::Running);
    assert_eq!(bench.health(), Healthy);
    assert_eq!(bench.pass(15 * SECOND), Healthy, "three intervals and its time limit");
    assert_eq!(bench.pass(2 * SECOND), Degraded);
}
