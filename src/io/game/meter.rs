//! What a game uses, measured now and then, and what its control group knows of its end.
//!
//! A process that has ended has no memory any more, so the figures of its last moments are those of the last measurement.

use std::time::{Duration, Instant};

use super::cgroup::{Cgroup, Mounts};
use super::proc::{self, Stat};
use crate::clock;
use crate::core::process::Figures;

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// How soon the first one is: a game that dies young has been measured all the same.
pub(super) const FIRST: Duration = Duration::from_millis(200);

/// A change of memory that is worth telling: a sixteenth, and at least this much.
const BYTES: u64 = 1024 * 1024;

/// A change of load that is worth telling, in cores.
const CORES: f64 = 0.05;

/// Measures one process.
#[derive(Debug)]
pub(super) struct Meter {
    pid: u32,
    mounts: Mounts,
    cgroup: Cgroup,
    /// Kills in this control group before the process was in it.
    kills: Option<u64>,
    /// Processor time, and when that was.
    before: Option<(Instant, Duration)>,
    last: Figures,
    told: Option<Figures>,
}

impl Meter {
    /// Begins with a process that has just started or was just found.
    pub(super) fn begin(pid: u32) -> Self {
        let mounts = Mounts::look();
        let cgroup = mounts.cgroup(pid);
        let kills = cgroup.oom_kills();
        Self { pid, mounts, cgroup, kills, before: None, last: Figures::default(), told: None }
    }

    /// The control group that it was in last.
    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Measures; gives the figures if they are worth telling, because much has changed since they were told last.
    pub(super) fn measure(&mut self) -> Option<Figures> {
        let stat = Stat::of(self.pid)?;
        // Of one that has ended cgroup v1 says that it is in the root.
        if !stat.zombie {
            self.moved();
        }
        let (memory, memory_peak) = proc::memory(self.pid);
        let now = clock::now();
        let cores = self.before.and_then(|(then, cpu)| {
            let passed = now.saturating_duration_since(then).as_secs_f64();
            // Ticks are coarse: over a shorter time they would only be noise.
            (passed >= 0.5).then(|| stat.cpu.saturating_sub(cpu).as_secs_f64() / passed)
        });
        self.before = Some((now, stat.cpu));
        self.last = Figures {
            // Once it has ended there is no memory to be measured: what was last seen stays.
            memory: memory.or(self.last.memory),
            memory_peak: memory_peak.or(self.last.memory_peak),
            memory_limit: self.cgroup.memory_limit(),
            cpu: Some(stat.cpu),
            cores: cores.or(self.last.cores),
        };
        if self.told.is_some_and(|told| !differs(&told, &self.last)) {
            return None;
        }
        self.told = Some(self.last);
        self.told
    }

    /// The figures at its end, and whether the kernel has killed in its control group. Called before the process is collected.
    pub(super) fn close(&mut self) -> (Figures, bool) {
        let _told_with_the_end = self.measure();
        let killed = self.cgroup.oom_kills().zip(self.kills).is_some_and(|(now, before)| now > before);
        (self.last, killed)
    }

    /// A game may be put into another control group after its start: what was killed in there before was not this game.
    fn moved(&mut self) {
        let cgroup = self.mounts.cgroup(self.pid);
        if cgroup != self.cgroup && cgroup != Cgroup::default() {
            self.kills = cgroup.oom_kills();
            self.cgroup = cgroup;
        }
    }
}

fn differs(told: &Figures, now: &Figures) -> bool {
    let bytes = |told: Option<u64>, now: Option<u64>| match (told, now) {
        (Some(told), Some(now)) => told.abs_diff(now) >= (told / 16).max(BYTES),
        (told, now) => told.is_some() != now.is_some(),
    };
    let cores = match (told.cores, now.cores) {
        (Some(told), Some(now)) => (told - now).abs() >= CORES,
        (told, now) => told.is_some() != now.is_some(),
    };
    bytes(told.memory, now.memory) || told.memory_limit != now.memory_limit || cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_told() {
        let told = Figures {
            memory: Some(64 << 20),
            memory_peak: Some(64 << 20),
            memory_limit: None,
            cpu: Some(Duration::from_secs(1)),
            cores: Some(0.5),
        };
        assert!(!differs(&told, &told));
        for same in [
            Figures { cpu: Some(Duration::from_secs(9)), ..told },
            Figures { memory: Some(67 << 20), ..told },
            Figures { cores: Some(0.54), ..told },
        ] {
            assert!(!differs(&told, &same), "{same:?}");
        }
        for other in [
            Figures { memory: Some(68 << 20), ..told },
            Figures { memory: Some(60 << 20), ..told },
            Figures { memory: None, ..told },
            Figures { memory_limit: Some(1), ..told },
            Figures { cores: Some(0.56), ..told },
            Figures { cores: None, ..told },
        ] {
            assert!(differs(&told, &other), "{other:?}");
        }
        let small = Figures { memory: Some(1 << 20), ..told };
        assert!(!differs(&small, &Figures { memory: Some((2 << 20) - 1), ..told }), "a sixteenth of little is nothing");
    }

    #[tokio::test]
    async fn we_are_measured() {
        let mut meter = Meter::begin(std::process::id());
        let first = meter.measure().unwrap();
        assert!(first.memory.unwrap() > 100_000 && first.memory_peak >= first.memory, "{first:?}");
        assert_eq!((first.cpu.is_some(), first.cores), (true, None));
        let (last, killed) = meter.close();
        assert!(last.memory.is_some() && !killed);
        assert_eq!(Meter::begin(u32::MAX).measure(), None);
    }
}
