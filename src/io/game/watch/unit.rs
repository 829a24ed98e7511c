//! The game as a unit of systemd: `systemctl show` tells its main process, and how that ended.
//!
//! It is run as a child with a limit: a D-Bus library would cost a tenth of the agent's whole size. While the unit is down,
//! its control group is looked at each second, which costs nothing, and systemctl is asked only now and then. Where there is
//! no systemctl, or it has nobody to talk to, the main process is the one that nobody else in the control group has started.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::{Ending, group_of, main_of};
use crate::clock;
use crate::core::process::EndStatus;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(1);

/// How often systemctl is asked while the control group says that nothing runs.
const ASK: Duration = Duration::from_secs(30);

/// How long, and how often, systemd is asked how its process ended: it has to collect it first.
const PATIENCE: Duration = Duration::from_millis(600);
const PAUSE: Duration = Duration::from_millis(50);

/// Where services are, if nobody has said otherwise.
const SLICE: &str = "system.slice";

/// One unit.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    name: String,
    systemctl: PathBuf,
    /// Where its control group is, once asked.
    slice: Option<String>,
    asked: Option<Instant>,
}

impl Unit {
    pub(super) fn new(name: String) -> Self {
        Self { name, systemctl: "systemctl".into(), slice: None, asked: None }
    }

    /// Its main process, if it runs.
    pub(super) async fn main_pid(&mut self) -> Option<u32> {
        let slice = self.slice.clone().unwrap_or_else(|| SLICE.to_owned());
        let name = self.name.clone();
        let look = move || {
            let group = group_of(&name, &slice)?;
            group.is_dir().then(|| main_of(&group))
        };
        let in_group = tokio::task::spawn_blocking(look).await.ok().flatten();
        let now = clock::now();
        if in_group.is_none() && self.asked.is_some_and(|asked| now < asked + ASK) {
            return None;
        }
        self.asked = Some(now);
        let Some(shown) = self.show("MainPID,Slice").await else { return in_group.flatten() };
        if let Some(slice) = value(&shown, "Slice").filter(|slice| !slice.is_empty()) {
            self.slice = Some(slice.to_owned());
        }
        value(&shown, "MainPID")?.parse().ok().filter(|pid| *pid > 0)
    }

    /// How this process of it ended; `None` if systemd cannot say, or has another one already.
    pub(super) async fn ending(&self, pid: u32) -> Option<Ending> {
        let until = clock::now() + PATIENCE;
        loop {
            let shown = self.show("MainPID,ExecMainPID,ExecMainCode,ExecMainStatus,Result").await?;
            if value(&shown, "ExecMainPID")?.parse() != Ok(pid) {
                return None;
            }
            if let Some(ending) = ending(&shown) {
                return Some(ending);
            }
            if clock::now() >= until {
                return None;
            }
            clock::sleep(PAUSE).await;
        }
    }

    async fn show(&self, properties: &str) -> Option<String> {
        let mut command = Command::new(&self.systemctl);
        command
            .args(["show", "--property", properties, "--", &self.name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        tokio::select! {
            output = command.output() => {
                let output = output.ok().filter(|output| output.status.success())?;
                String::from_utf8(output.stdout).ok()
            }
            () = clock::sleep(LIMIT) => {
                tracing::debug!(unit = self.name, "systemctl did not answer in time");
                None
            }
        }
    }
}

fn value<'a>(shown: &'a str, name: &str) -> Option<&'a str> {
    shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// org.freedesktop.systemd1(5): ExecMainCode is si_code of the end (waitid(2)), 0 while it has not ended.
fn ending(shown: &str) -> Option<Ending> {
    let number = |name: &str| value(shown, name)?.parse::<i32>().ok();
    let status = number("ExecMainStatus")?;
    let (status, dumped) = match number("ExecMainCode")? {
        1 => (EndStatus::Code(status), false),
        2 => (EndStatus::Signal(status), false),
        3 => (EndStatus::Signal(status), true),
        _ => return None,
    };
    Some(Ending { status, dumped, oom_killed: value(shown, "Result") == Some("oom-kill") })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// A unit whose systemctl is a script.
    fn unit(dir: &Path, script: &str) -> Unit {
        let path = dir.join("systemctl");
        // Written under another name first: a program that is open for writing cannot be started.
        std::fs::write(dir.join("new"), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(dir.join("new"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(dir.join("new"), &path).unwrap();
        Unit { systemctl: path, ..Unit::new("no-such-game-7f3a.service".to_owned()) }
    }

    #[tokio::test]
    async fn systemctl_tells_the_main_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut running = unit(
            dir.path(),
            r#"[ "$*" = "show --property MainPID,Slice -- no-such-game-7f3a.service" ] && printf 'MainPID=42\nSlice=a-b.slice\n'"#,
        );
        assert_eq!(running.main_pid().await, Some(42));
        assert_eq!(running.slice.as_deref(), Some("a-b.slice"));
        assert_eq!(running.main_pid().await, None, "no control group, and asked a moment ago");
        let mut down = unit(dir.path(), "printf 'MainPID=0\\nSlice=\\n'");
        assert_eq!((down.main_pid().await, down.slice), (None, None));
        for broken in ["exit 1", "printf 'MainPID=x'", "printf '\\377'", "true"] {
            assert_eq!(unit(dir.path(), broken).main_pid().await, None, "{broken}");
        }
        let mut absent = Unit { systemctl: dir.path().join("absent"), ..unit(dir.path(), "") };
        assert_eq!(absent.main_pid().await, None);
    }

    #[tokio::test]
    async fn systemctl_tells_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let shown = |code: i32, status: i32, result: &str| {
            format!(
                "printf 'MainPID=0\\nExecMainPID=42\\nExecMainCode={code}\\nExecMainStatus={status}\\nResult={result}\\n'"
            )
        };
        for (script, status, dumped, oom_killed) in [
            (shown(1, 3, "exit-code"), EndStatus::Code(3), false, false),
            (shown(1, 0, "success"), EndStatus::Code(0), false, false),
            (shown(2, 9, "oom-kill"), EndStatus::Signal(9), false, true),
            (shown(3, 11, "core-dump"), EndStatus::Signal(11), true, false),
        ] {
            let ending = unit(dir.path(), &script).ending(42).await;
            assert_eq!(ending, Some(Ending { status, dumped, oom_killed }), "{script}");
        }
        assert_eq!(unit(dir.path(), &shown(1, 3, "")).ending(43).await, None, "systemd has started another");
        assert_eq!(unit(dir.path(), &shown(0, 0, "")).ending(42).await, None, "systemd has not noticed");
        // The first answer comes before systemd has collected it.
        let seen = dir.path().join("seen");
        let script =
            format!("if [ -e {0} ]; then {1}; else : > {0}; {2}; fi", seen.display(), shown(1, 7, ""), shown(0, 0, ""));
        assert_eq!(unit(dir.path(), &script).ending(42).await.unwrap().status, EndStatus::Code(7));
    }
}
