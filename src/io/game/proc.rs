//! What `/proc` tells of a process (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: USER_HZ, 100 on every architecture that we build for.
const TICKS: u64 = 100;

/// What `/proc/PID/stat` holds, as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// The kernel's name of it: at most 15 bytes.
    pub(super) name: String,
    /// Its parent; 0 if that is not in our PID namespace.
    pub(super) parent: u32,
    /// It has ended, and nobody has collected it.
    pub(super) zombie: bool,
    /// Processor time so far.
    pub(super) cpu: Duration,
    /// When it began, in ticks since the machine's start: with the pid it names one process for ever.
    pub(super) start: u64,
    /// What it will leave to its parent, as wait(2) gives it; 0 while it lives, and where we may not know.
    pub(super) status: i32,
}

impl Stat {
    /// Of a process; `None` if there is none, or nothing can be known of it.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&read(pid, "stat")?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, also parentheses and spaces: it ends at the last one.
        let (before, after) = text.rsplit_once(')')?;
        let (_pid, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        // The numbers are those of the manual page, where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let ticks = |number: usize| field(number).and_then(|ticks| ticks.parse::<u64>().ok());
        Some(Self {
            name: name.to_owned(),
            parent: field(4)?.parse().ok()?,
            zombie: matches!(field(3)?, "Z" | "X"),
            cpu: duration(ticks(14)?.saturating_add(ticks(15)?)),
            start: ticks(22)?,
            status: field(52).and_then(|status| status.parse().ok()).unwrap_or_default(),
        })
    }
}

/// Ticks as a duration.
pub(super) fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000 / TICKS))
}

/// Resident memory now and at most so far, in bytes.
pub(super) fn memory(pid: u32) -> (Option<u64>, Option<u64>) {
    read(pid, "status").map_or((None, None), |status| (bytes(&status, "VmRSS:"), bytes(&status, "VmHWM:")))
}

fn bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The program as it was named when it was started, without its path.
pub(super) fn program(pid: u32) -> Option<String> {
    let line = read(pid, "cmdline")?;
    let first = line.split('\0').next()?;
    first.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A file of a process, whatever bytes are in it.
pub(super) fn read(pid: u32, file: &str) -> Option<String> {
    let path: PathBuf = ["/proc", &pid.to_string(), file].iter().collect();
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Every process that we can see. A large host has a few thousand.
pub(super) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_anything() {
        // Fields 4 to 52, as the manual page numbers them.
        let fields = |state: &str| {
            let value = |number: usize| match number {
                4 => 7,
                14 => 250,
                15 => 50,
                22 => 8877,
                52 => 768,
                _ => 1,
            };
            let numbers: Vec<String> = (4..=52).map(|number| value(number).to_string()).collect();
            format!("{state} {}", numbers.join(" "))
        };
        for name in ["sh", "a b) S 1 (c", "(", ")", ""] {
            let stat = Stat::parse(&format!("42 ({name}) {}\n", fields("S"))).unwrap();
            assert_eq!((stat.name.as_str(), stat.parent, stat.zombie), (name, 7, false));
            assert_eq!((stat.cpu, stat.start, stat.status), (Duration::from_secs(3), 8877, 768));
        }
        assert!(Stat::parse(&format!("42 (x) {}", fields("Z"))).unwrap().zombie);
        for bad in ["", "42", "42 (x", "42 (x) S", "42 (x) S 1 2 3", "42 (x) S a"] {
            assert_eq!(Stat::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn we_see_ourselves() {
        let me = std::process::id();
        let stat = Stat::of(me).unwrap();
        assert!(!stat.zombie && stat.start > 0 && stat.parent > 0, "{stat:?}");
        let (now, peak) = memory(me);
        assert!(now.unwrap() > 100_000 && peak >= now, "{now:?} {peak:?}");
        assert!(all().any(|pid| pid == me));
        assert!(program(me).unwrap().starts_with(&stat.name[..stat.name.len().min(4)]));
        assert_eq!(Stat::of(u32::MAX), None);
    }
}
