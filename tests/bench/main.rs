//! What the agent costs: start, memory, size, latency. It prints, and asserts nothing that a slower machine would break.
//!
//! ```text
//! cargo bench --bench agent                        everything, about sixteen minutes: twelve are for `many`
//! cargo bench --bench agent -- --quick             the same with fewer runs, about three minutes
//! cargo bench --bench agent -- start handoff       only these groups; their names are in `GROUPS`
//! cargo bench --bench agent -- --agent PATH        another binary, such as a packaged one
//! cargo bench --bench agent -- --state DIR         another disk; on a tmpfs what is left is the agent's own part
//! ```
//!
//! The agent is the real binary in a process of its own, with its state on the disk below `target/tmp`. The simulated backend
//! is a thread of this process, the game another. Where there is something to compare with, the **floor** stands beside a
//! figure, measured in the same run: the smallest program that does the same HTTP work with the same crates (`floor.rs`), or
//! the disk alone. The runs of both alternate, so that a slower minute slows both.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may end by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]

mod calls;
mod disk;
mod door;
mod environment;
mod footprint;
mod front;
mod handoff;
mod machine;
mod many;
mod outbox;
mod proc;
mod program;
mod sdk;
mod start;
mod stats;
mod table;
mod turnover;

use std::path::PathBuf;

use rallyhere_agent::clock;
use tempfile::TempDir;

use program::{Place, Programs};
use table::Table;

/// What can be asked for by name.
const GROUPS: [&str; 10] = ["size", "start", "idle", "handoff", "calls", "disk", "sdk", "outbox", "turnover", "many"];

/// What every group is given.
struct Bench {
    programs: Programs,
    quick: bool,
    /// Where the agents keep their state.
    dir: TempDir,
}

impl Bench {
    /// A place for one more process.
    fn place(&self) -> Place {
        Place::new(self.dir.path())
    }

    /// How often to do something.
    fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// What was asked for.
#[derive(Default)]
struct Wanted {
    quick: bool,
    agent: Option<PathBuf>,
    state: Option<PathBuf>,
    groups: Vec<String>,
}

impl Wanted {
    /// `None`: nothing is to be measured. `cargo test --all-targets` runs this too, without --bench, and a test runner asks for
    /// a --list.
    fn read(arguments: &[String]) -> Option<Self> {
        let has = |word: &str| arguments.iter().any(|argument| argument == word);
        if !has("--bench") || has("--test") || has("--list") {
            return None;
        }
        let mut wanted = Self::default();
        let mut arguments = arguments.iter().filter(|argument| *argument != "--bench");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => wanted.quick = true,
                "--agent" => wanted.agent = arguments.next().map(PathBuf::from),
                "--state" => wanted.state = arguments.next().map(PathBuf::from),
                group if GROUPS.contains(&group) => wanted.groups.push(argument.clone()),
                other => panic!("{other} is no option and no group; the groups are {GROUPS:?}"),
            }
        }
        Some(wanted)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(wanted) = Wanted::read(&arguments) else { return };
    let programs = Programs::find(wanted.agent);
    let dir = TempDir::new_in(wanted.state.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())).unwrap();
    let bench = Bench { programs, quick: wanted.quick, dir };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(measure(&bench, &wanted.groups));
    println!("{}\n{}", machine::describe(&bench.programs.agent, bench.dir.path()), table.text());
    println!(
        "\nvalue: the median of the runs, or a quantile of all values of all rounds. min..max: of the runs, or of the rounds. \
         ratio: value to floor. Targets: promises of the README and of the issue; {} missed.",
        table.missed()
    );
}

async fn measure(bench: &Bench, groups: &[String]) -> Table {
    let mut table = Table::default();
    for group in GROUPS {
        if !groups.is_empty() && !groups.iter().any(|wanted| wanted == group) {
            continue;
        }
        let begun = clock::now();
        match group {
            "size" => footprint::size(bench, &mut table),
            "start" => start::measure(bench, &mut table).await,
            "idle" => footprint::measure(bench, &mut table).await,
            "handoff" => handoff::measure(bench, &mut table).await,
            "calls" => calls::measure(bench, &mut table).await,
            "disk" => disk::measure(bench, &mut table).await,
            "sdk" => sdk::measure(bench, &mut table).await,
            "many" => many::measure(bench, &mut table).await,
            "turnover" => turnover::measure(bench, &mut table).await,
            _ => {
                outbox::throughput(bench, &mut table).await;
                outbox::full(bench, &mut table).await;
            }
        }
        eprintln!("{group}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    table
}
