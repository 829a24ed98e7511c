//! What the host says of the game's process: whether it is there, and what its cgroup waits for.
//!
//! A few reads below /proc and /sys, which are answered from memory.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Finding, Found};
use crate::config::settings::PressureKind;

/// Where to look.
#[derive(Debug, Clone)]
pub(super) struct Host {
    proc: PathBuf,
    /// Where cgroup v2 may be mounted; the second is where it is beside v1.
    cgroups: Vec<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroups: vec!["/sys/fs/cgroup".into(), "/sys/fs/cgroup/unified".into()] }
    }
}

impl Host {
    #[cfg(test)]
    pub(super) fn below(root: &Path) -> Self {
        Self { proc: root.join("proc"), cgroups: vec![root.join("cgroup"), root.join("cgroup/unified")] }
    }

    /// Whether a process is there and is more than a zombie.
    pub(super) fn is_alive(&self, pid: Option<u32>) -> Found {
        let stat = self.of(pid, "stat")?;
        // pid (name) state …; the name may hold anything, parentheses too (proc_pid_stat(5)).
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        match state {
            Some('Z' | 'X' | 'x') => Err("the process has ended and waits for its parent (it is a zombie)".to_owned()),
            Some(_) => Ok(Finding::healthy("the process is there")),
            None => Err("the kernel says nothing of the process's state".to_owned()),
        }
    }

    /// A file of a process.
    fn of(&self, pid: Option<u32>, name: &str) -> Result<String, String> {
        let pid = pid.ok_or("nobody has said which process is the game's")?;
        let path = self.proc.join(pid.to_string()).join(name);
        // A process that ends between opening and reading gives ESRCH.
        let is_gone = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
        };
        let bytes = fs::read(&path).map_err(|error| {
            if is_gone(&error) {
                format!("there is no process {pid}")
            } else {
                format!("cannot read {}: {error}", path.display())
            }
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Pressure stall information of the game's cgroup (kernel documentation, accounting/psi and cgroup-v2).
#[derive(Debug)]
pub(super) struct Pressure {
    host: Host,
    resource: PressureKind,
    percent: u8,
    /// It was said in the log that it cannot be measured.
    told: bool,
}

impl Pressure {
    pub(super) fn new(host: Host, resource: PressureKind, percent: u8) -> Self {
        Self { host, resource, percent, told: false }
    }

    pub(super) fn ask(&mut self, pid: Option<u32>) -> Found {
        let groups = self.host.of(pid, "cgroup")?;
        let resource = self.name();
        let waited = match self.measure(&groups) {
            Ok(waited) => waited,
            Err(why) => {
                let reason = format!("not measured: {why}");
                if !self.told {
                    self.told = true;
                    tracing::warn!(resource, "the pressure on the game's cgroup cannot be probed: {why}");
                }
                return Ok(Finding::healthy(reason));
            }
        };
        let (limit, words) = (self.percent, format!("{waited:.1} % of the last 10 s waiting for {resource}"));
        if waited > f64::from(limit) {
            return Err(format!("{words}, more than {limit} %"));
        }
        Ok(Finding::healthy(words))
    }

    fn name(&self) -> &'static str {
        match self.resource {
            PressureKind::Cpu => "cpu",
            PressureKind::Memory => "memory",
        }
    }

    /// Per cent of the last ten seconds in which something in the cgroup waited; in words, why nobody can say.
    fn measure(&self, groups: &str) -> Result<f64, String> {
        // The line of cgroup v2 is `0::/path` (cgroups(7)).
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let group = Path::new(group.ok_or("the game is in no cgroup v2")?);
        // One that is outside of our cgroup namespace begins with `/..`.
        if !group.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err("the game's cgroup cannot be seen from here".to_owned());
        }
        let mut why = None;
        for root in &self.host.cgroups {
            let path = root.join(group).join(format!("{}.pressure", self.name()));
            match fs::read_to_string(&path) {
                Ok(text) => {
                    return average(&text)
                        .ok_or_else(|| format!("{} is not in the form of the kernel", path.display()));
                }
                Err(error) => why = why.or_else(|| Some(format!("cannot read {}: {error}", path.display()))),
            }
        }
        Err(why.unwrap_or_default())
    }
}

/// `avg10` of the line `some`.
fn average(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average: f64 = line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
    average.is_finite().then_some(average)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::Health;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_process_is_alive_until_it_is_gone_or_a_zombie() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::below(root.path());
        write(root.path(), "proc/7/stat", "7 (a) Z (b) S 1 7 7 0 -1");
        write(root.path(), "proc/8/stat", "8 (game) Z 1 8 8 0 -1");
        write(root.path(), "proc/9/stat", "9 (game");
        assert_eq!(host.is_alive(Some(7)).unwrap().health, Health::Healthy);
        assert!(host.is_alive(Some(8)).unwrap_err().contains("zombie"));
        assert!(host.is_alive(Some(9)).is_err());
        assert_eq!(host.is_alive(Some(10)).unwrap_err(), "there is no process 10");
        assert!(host.is_alive(None).unwrap_err().contains("nobody has said"));
        assert!(Host::default().is_alive(Some(std::process::id())).is_ok());
    }

    #[test]
    fn pressure_is_bad_above_its_limit_only() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/7/cgroup", "4:memory:/v1\n0::/system.slice/game.service\n");
        let file = "cgroup/unified/system.slice/game.service/memory.pressure";
        let mut pressure = Pressure::new(Host::below(root.path()), PressureKind::Memory, 40);
        for (average, good) in [("0.00", true), ("40.00", true), ("40.01", false), ("100.00", false)] {
            write(
                root.path(),
                file,
                &format!("some avg10={average} avg60=1.00 avg300=0.00 total=1\nfull avg10=99.00\n"),
            );
            let found = pressure.ask(Some(7));
            assert_eq!(found.is_ok(), good, "{found:?}");
        }
        assert_eq!(pressure.ask(Some(7)).unwrap_err(), "100.0 % of the last 10 s waiting for memory, more than 40 %");
    }

    #[test]
    fn what_cannot_be_measured_says_so_and_harms_nobody() {
        let root = tempfile::tempdir().unwrap();
        let mut pressure = Pressure::new(Host::below(root.path()), PressureKind::Cpu, 1);
        for (groups, why) in [
            ("4:memory:/v1\n", "no cgroup v2"),
            ("0::/../other\n", "cannot be seen"),
            ("0::/game\n", "No such file"),
            ("0::/odd\n", "not in the form"),
        ] {
            write(root.path(), "proc/7/cgroup", groups);
            write(root.path(), "cgroup/odd/cpu.pressure", "some avg10=nan\n");
            let found = pressure.ask(Some(7)).unwrap();
            assert_eq!(found.health, Health::Healthy);
            assert!(found.reason.starts_with("not measured: ") && found.reason.contains(why), "{}", found.reason);
        }
        assert_eq!(pressure.ask(Some(8)).unwrap_err(), "there is no process 8", "a dead game is not vouched for");
    }
}
