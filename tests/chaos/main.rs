//! The agent as a black box, against everything that can go wrong around it.
//!
//! ```text
//! cargo run --example chaos                       every scenario, about fifteen minutes
//! cargo run --example chaos -- quick              the selection of CI, below four
//! cargo run --example chaos -- rest               all but that
//! cargo run --example chaos -- storm half-open    the scenarios with one of these words in their names
//! cargo run --example chaos -- --list             their names, and why some cannot be played here
//! cargo run --example chaos -- fleet [--long]     many agents, and every connection cut at once: a table of peaks; with refused, 503,
//!                                                 hole or blip behind it only these cuts
//! cargo run --example chaos -- soak [COUNT]       a million notifications, ten thousand reconnects: a table of slopes
//! cargo run --example chaos -- --judge FILE       the oracle over the time line of an earlier run
//!
//!   --release       a release build of the agent; else a debug build
//!   --agent PATH    this binary, such as a packaged one
//!   --jobs N        so many scenarios at once (12)
//! ```
//!
//! A scenario runs the agent's binary against the simulator and spoils something: the front before the simulator breaks connections at
//! any step (`front`, `ills`), the simulator gives wrong answers, the machine takes away network, clock, time, descriptors, memory, disk.
//! Meanwhile a game listens and reports. All that happens is written into one time line (`timeline`), below `target/chaos/`; one oracle
//! (`oracle`) judges every one of them by the same rules. It is itself tried in `cargo test`, on time lines that break each rule.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may end by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule is about some entries of a time line, and not about the others"
)]

mod build;
mod door;
mod fleet;
mod front;
mod game;
mod ills;
mod oracle;
mod program;
mod run;
mod scan;
mod scenarios;
mod soak;
mod table;
mod timeline;
mod wires;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use oracle::{Verdict, judge};
use run::{Ground, Run, fresh_dir};
use scenarios::Scenario;

/// What was asked for.
struct Wanted {
    words: Vec<String>,
    release: bool,
    agent: Option<PathBuf>,
    jobs: usize,
    list: bool,
    long: bool,
    judge: Option<PathBuf>,
}

impl Wanted {
    fn read() -> Self {
        let mut wanted =
            Self { words: Vec::new(), release: false, agent: None, jobs: 12, list: false, long: false, judge: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs something behind it"));
            match argument.as_str() {
                "--release" => wanted.release = true,
                "--agent" => wanted.agent = Some(PathBuf::from(value())),
                "--jobs" => wanted.jobs = value().parse().expect("a number of scenarios at once"),
                "--list" => wanted.list = true,
                "--long" => wanted.long = true,
                "--judge" => wanted.judge = Some(PathBuf::from(value())),
                option if option.starts_with("--") => {
                    panic!("{option} is no option; see the top of tests/chaos/main.rs")
                }
                _ => wanted.words.push(argument),
            }
        }
        wanted
    }
}

fn main() -> ExitCode {
    let wanted = Wanted::read();
    if let Some(file) = &wanted.judge {
        return end(table::print(&[(file.display().to_string(), judge(&timeline::read(file)))]));
    }
    let first = wanted.words.first().map_or("", String::as_str);
    if wanted.list {
        for scenario in chosen(&wanted.words) {
            println!("{:40} {}", scenario.name, scenario.obstacle.unwrap_or_default());
        }
        return ExitCode::SUCCESS;
    }
    let agent = build::agent(wanted.agent.as_deref(), wanted.release);
    // Short, because a socket's path must be.
    let dir = tempfile::Builder::new().prefix("chaos").tempdir().unwrap();
    println!("{}", build::describe(&agent));
    match first {
        "fleet" => end(fleet::run(&agent, dir.path(), wanted.long, &wanted.words[1..])),
        "soak" => end(soak::run(&agent, dir.path(), wanted.words.get(1).map(|count| count.parse().expect("a count")))),
        _ => end(play(chosen(&wanted.words), &agent, wanted.release, dir.path(), wanted.jobs)),
    }
}

fn end(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn chosen(words: &[String]) -> Vec<Scenario> {
    let said = |wanted: &str| words.iter().any(|word| word == wanted);
    let named: Vec<&String> = words.iter().filter(|word| !["quick", "rest"].contains(&word.as_str())).collect();
    let fits = |name: &str| named.is_empty() || named.iter().any(|word| name.contains(word.as_str()));
    let wanted = |scenario: &Scenario| (scenario.quick || !said("quick")) && (!scenario.quick || !said("rest"));
    scenarios::all().into_iter().filter(|scenario| wanted(scenario) && fits(&scenario.name)).collect()
}

/// Plays them, several at once, each in a thread of its own.
fn play(scenarios: Vec<Scenario>, agent: &Path, release: bool, dir: &Path, jobs: usize) -> bool {
    assert!(!scenarios.is_empty(), "no scenario has such a name; --list shows them");
    let kept = fresh_dir(Path::new(env!("CARGO_MANIFEST_DIR")), "target/chaos");
    let (total, open) = (scenarios.len(), Arc::new(Mutex::new(VecDeque::from(scenarios))));
    let done: Arc<Mutex<Vec<(String, Verdict)>>> = Arc::default();
    let skipped: Arc<Mutex<Vec<String>>> = Arc::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(total) {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = open.lock().unwrap().pop_front() else { return };
                    let name = scenario.name.clone();
                    if let Some(obstacle) = &scenario.obstacle {
                        skipped.lock().unwrap().push(format!("{name}: {obstacle}"));
                        continue;
                    }
                    let slug = name.replace(' ', "-");
                    let ground = Ground { agent: agent.to_owned(), release, dir: fresh_dir(dir, &slug) };
                    let verdict = one(scenario, &ground, &kept.join(&slug));
                    eprintln!("{} {name}", if verdict.findings.is_empty() { "ok  " } else { "BAD " });
                    done.lock().unwrap().push((name, verdict));
                }
            });
        }
    });
    let done = done.lock().unwrap();
    let good = table::print(&done);
    for words in skipped.lock().unwrap().iter() {
        println!("NOT PLAYED  {words}");
    }
    println!("time lines are in {}", kept.display());
    good
}

fn one(scenario: Scenario, ground: &Ground, kept: &Path) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (entries, log) = runtime.block_on(async {
        let mut run = Run::prepare(ground, &scenario.plan).await;
        (scenario.play)(&mut run).await;
        let log = run.home.log();
        (run.finish(), log)
    });
    timeline::write(&kept.with_extension("jsonl"), &entries);
    let verdict = judge(&entries);
    if !verdict.findings.is_empty() {
        // The log of a good run is large, and nobody reads it.
        let _only_for_reading = std::fs::copy(log, kept.with_extension("log"));
    }
    let _space = std::fs::remove_dir_all(&ground.dir);
    verdict
}
