//! What the kernel says about a process.

use std::collections::BTreeMap;
use std::fs;

/// The memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Everything that is mapped in.
    pub(crate) rss: f64,
    /// The same, with each shared page counted in parts.
    pub(crate) pss: f64,
    /// What belongs to this process alone because it was written: what one more agent costs.
    pub(crate) anonymous: f64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| number(&rollup, name);
    Memory { rss: field("Rss:"), pss: field("Pss:"), anonymous: field("Anonymous:") }
}

pub(crate) fn threads(pid: u32) -> f64 {
    number(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "Threads:")
}

pub(crate) fn descriptors(pid: u32) -> f64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64
}

fn number(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// What the threads of a process have used since they began.
#[derive(Debug, Clone)]
pub(crate) struct Activity(BTreeMap<String, Used>);

#[derive(Debug, Clone, Copy)]
struct Used {
    /// On a CPU, in nanoseconds.
    cpu: f64,
    /// How often it went to sleep by itself; each is a wake-up later.
    slept: f64,
}

/// What was used between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// On a CPU, in milliseconds.
    pub(crate) cpu: f64,
    /// Voluntary context switches.
    pub(crate) wakes: f64,
}

impl Activity {
    pub(crate) fn read(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let threads = tasks.filter_map(|task| {
            let task = task.ok()?;
            // A thread that has ended since the folder was read is left out.
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            // schedstat counts in nanoseconds; stat only in ticks, as long as the whole of what an idle agent uses.
            let cpu = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let cpu = cpu.split(' ').next()?.parse().ok()?;
            let slept = number(&status, "voluntary_ctxt_switches:");
            Some((task.file_name().into_string().ok()?, Used { cpu, slept }))
        });
        Self(threads.collect())
    }

    /// What was used since an earlier reading. A thread that came and went in between is not seen.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let mut spent = Spent::default();
        for (thread, used) in &self.0 {
            let begun = before.0.get(thread).copied().unwrap_or(Used { cpu: 0.0, slept: 0.0 });
            spent.cpu += (used.cpu - begun.cpu) / 1e6;
            spent.wakes += used.slept - begun.slept;
        }
        spent
    }
}
