//! What the kernel says about the agent itself (proc(5)). Each figure is 0 where `/proc` does not give it.

use std::fs;

/// Ticks in a second of what `/proc` counts in ticks: USER_HZ, which is 100 on every machine that we build for.
const TICKS: f64 = 100.0;

/// The agent's own use of its host.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Own {
    /// Processor time, in seconds.
    pub(super) cpu: f64,
    /// Resident memory, in bytes.
    pub(super) memory: u64,
    /// Open file descriptors.
    pub(super) fds: u64,
}

impl Own {
    /// Reads three small things of procfs, which takes some ten microseconds and never waits for a disk.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // One of them is the directory that is being read.
        let fds = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1));
        Self { cpu: cpu(&stat), memory: memory(&status), fds: u64::try_from(fds).unwrap_or(u64::MAX) }
    }
}

/// Fields 14 and 15; the second one is a name in parentheses that may have spaces in it.
fn cpu(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
    ticks.map(f64::from).sum::<f64>() / TICKS
}

fn memory(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok());
    kib.unwrap_or(0_u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc_are_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 25 5 6 20 0 3 0 99 1 2 3";
        assert!((cpu(stat) - 1.75).abs() < 1e-9);
        assert_eq!(memory("VmHWM:\t  99 kB\nVmRSS:\t    5120 kB\n"), 5120 * 1024);
        assert_eq!((cpu(""), memory("VmRSS: lots")), (0.0, 0));
    }

    #[test]
    fn this_process_has_some_of_each() {
        let own = Own::read();
        assert!(own.memory > 1 << 20 && own.fds >= 3 && own.cpu >= 0.0, "{own:?}");
    }
}
