//! Years in minutes: many agents against a backend, a network, disks and clocks that fail in every way, in virtual time.
//!
//! ```text
//! cargo run --profile simulation --example simulation -- --days 2000        so many agent-days, from seed 0 on (or --from SEED)
//! cargo run --profile simulation --example simulation -- replay --seed 7    one world again, as the last line of a failure says
//! cargo run --profile simulation --example simulation -- fleet              10,000 agents are cut at once, and more
//! ```
//!
//! The machines are production's (agent, login, store); the loop around them does what the driver does, one event at a time. One
//! seed is one world is one trace: two runs have the same print. What is checked is in [`rules`] and [`ending`]. A world that
//! breaks a rule is made smaller ([`shrink`]), and the line that replays it is printed; such lines are kept in [`kept`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]
#![expect(clippy::wildcard_enum_match_arm, reason = "each rule names what it is about")]
#![expect(clippy::unwrap_used, reason = "a test program: what cannot be must not go on")]

mod backend;
mod chaos;
mod disk;
mod ending;
mod fleet;
mod game;
mod kept;
mod network;
mod node;
mod options;
mod process;
mod rules;
mod shrink;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rallyhere_agent::clock;

use options::{Fault, Options};
use world::Outcome;

const REPLAY: &str = "cargo run --profile simulation --example simulation -- replay";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"replay", rest)) => Options::parse(rest).map(|options| replay(&options)),
        Some((&"fleet", _)) => Ok(fleet::print()),
        _ => many(&words),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("{wrong}\nsee the top of tests/simulation/main.rs");
            ExitCode::from(2)
        }
    }
}

fn replay(options: &Options) -> bool {
    let outcome = world::run(options);
    println!(
        "{options}\nprint {:016x}, {} events, {} calls, {} faults",
        outcome.print, outcome.events, outcome.calls, outcome.faults
    );
    tell(&outcome);
    outcome.broken.is_none()
}

fn tell(outcome: &Outcome) {
    if let Some(broken) = &outcome.broken {
        println!("BROKEN after {:.3} s: {}", broken.after.as_secs_f64(), broken.words);
    }
}

/// Worlds from a seed on, until there were so many agent-days.
fn many(words: &[&str]) -> Result<bool, String> {
    let (mut days, mut from) = (100.0, 0);
    for pair in words.chunks(2) {
        match pair {
            ["--days", value] => days = value.parse().map_err(|_| format!("{value:?} is no number of days"))?,
            ["--from", value] => from = value.parse().map_err(|_| format!("{value:?} is no seed"))?,
            other => return Err(format!("{other:?} is not known here")),
        }
    }
    let worlds = (days / Options::new(0).agent_days()).ceil() as u64;
    let began = clock::now();
    let next = AtomicU64::new(0);
    let results: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= worlds {
                        break;
                    }
                    let outcome = world::run(&Options::new(from + at));
                    results.lock().unwrap().push((from + at, outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(seed, _)| *seed);
    let sum = |part: fn(&Outcome) -> u64| results.iter().map(|(_, outcome)| part(outcome)).sum::<u64>();
    let print = results.iter().fold(0_u64, |all, (_, outcome)| all.rotate_left(7) ^ outcome.print);
    for fault in Fault::ALL {
        print!(
            "{} {}  ",
            fault.word(),
            results.iter().map(|(_, outcome)| outcome.injected[fault as usize]).sum::<u64>()
        );
    }
    println!();
    println!(
        "{} worlds, {:.0} agent-days, {} events, {} calls, {} faults, {} crashes, {:.1} s; print {print:016x}",
        results.len(),
        results.len() as f64 * Options::new(0).agent_days(),
        sum(|outcome| outcome.events),
        sum(|outcome| outcome.calls),
        sum(|outcome| outcome.faults),
        sum(|outcome| outcome.crashes),
        began.elapsed().as_secs_f64(),
    );
    let mut rules: BTreeMap<String, (u64, u64, &Outcome)> = BTreeMap::new();
    for (seed, outcome) in &results {
        if let Some(rule) = shrink::rule(outcome) {
            rules.entry(rule).or_insert((*seed, 0, outcome)).1 += 1;
        }
    }
    for (seed, worlds, outcome) in rules.values() {
        println!("\nseed {seed}, and {} more:", worlds - 1);
        tell(outcome);
    }
    let Some((seed, _, outcome)) = rules.values().min_by_key(|(seed, _, _)| *seed) else {
        println!("no rule was broken");
        return Ok(true);
    };
    println!("\nseed {seed} is made smaller");
    let (smallest, outcome) = shrink::smallest(Options::new(*seed), (*outcome).clone());
    tell(&outcome);
    println!("{REPLAY} {smallest}");
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A world that a desk has the time for.
    fn small(seed: u64) -> Options {
        Options { agents: 4, span: Duration::from_secs(8 * 3600), ..Options::new(seed) }
    }

    #[test]
    fn one_seed_is_one_trace() {
        let (one, again, other) = (world::run(&small(1)), world::run(&small(1)), world::run(&small(2)));
        assert_eq!(one, again);
        assert_ne!(one.print, other.print);
        assert!(one.faults > 20 && one.calls > 2000, "{one:?}");
    }

    #[test]
    fn no_rule_is_broken_in_the_first_worlds() {
        for seed in 10..14 {
            let outcome = world::run(&small(seed));
            assert_eq!(outcome.broken, None, "{REPLAY} {}", small(seed));
        }
    }

    #[test]
    fn what_once_broke_a_rule_does_so_no_more() {
        for (line, what) in kept::KEPT {
            let words: Vec<&str> = line.split_whitespace().collect();
            let outcome = world::run(&Options::parse(&words).unwrap());
            assert_eq!(outcome.broken, None, "{what}: {REPLAY} {line}");
        }
    }

    #[test]
    fn the_line_of_a_world_gives_the_same_world() {
        let options = Options {
            absent: [1, 2].into(),
            without: [Fault::Kill, Fault::SlowDisk].into(),
            skip: options::Ranges::default().with(3, 9).with(20, 21),
            ..small(5)
        };
        let line = options.to_string();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(Options::parse(&words), Ok(options), "{line}");
    }
}
