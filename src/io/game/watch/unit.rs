//! The game as a unit of systemd: `systemctl show` tells its main process, and how that ended.
//!
//! It is run as a child with a limit: a D-Bus library would cost a tenth of the agent's whole size. While the unit is down,
//! its control group is looked at each second, which costs nothing, and systemctl is asked only now and then. Where there is
//! no systemctl, or it has nobody to talk to, the main process is the one that nobody else in the control group has started,
//! and how it ended is not known. For those who are not root, systemd has an ear only on the D-Bus of the system.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::{Ending, group_of, main_of};
use crate::clock;
use crate::core::process::EndStatus;
use crate::io::child::is_withheld;
use crate::wire::for_people;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(1);

/// How often systemctl is asked while the control group says that nothing runs.
const ASK: Duration = Duration::from_secs(30);

/// How long, and how often, systemd is asked how its process ended: it has to collect it first.
const PATIENCE: Duration = Duration::from_millis(600);
const PAUSE: Duration = Duration::from_millis(50);

/// Where services are that have no template.
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
    ///
    /// # Errors
    /// In words, if there is no such unit, or nobody can say.
    pub(super) async fn main_pid(&mut self) -> Result<Option<u32>, String> {
        let slice = self.slice.clone().unwrap_or_else(|| usual_slice(&self.name));
        let name = self.name.clone();
        let look = move || {
            let group = group_of(&name, &slice)?;
            group.is_dir().then(|| main_of(&group))
        };
        let in_group = tokio::task::spawn_blocking(look).await.ok().flatten();
        let now = clock::now();
        if in_group.is_none() && self.asked.is_some_and(|asked| now < asked + ASK) {
            return Ok(None);
        }
        self.asked = Some(now);
        let shown = match (self.show("MainPID,Slice,LoadState").await, in_group.flatten()) {
            (Ok(shown), _) => shown,
            (Err(_), Some(pid)) => return Ok(Some(pid)),
            (Err(why), None) => return Err(why),
        };
        if let Some(slice) = value(&shown, "Slice").filter(|slice| !slice.is_empty()) {
            self.slice = Some(slice.to_owned());
        }
        match (value(&shown, "MainPID").and_then(|pid| pid.parse().ok()), value(&shown, "LoadState")) {
            (Some(0) | None, Some("not-found")) => {
                Err(format!("systemd knows no unit {}; correct game.unit, or install it", self.name))
            }
            (Some(0) | None, Some("masked")) => Err(format!("{} is masked", self.name)),
            (pid, _) => Ok(pid.filter(|pid| *pid > 0)),
        }
    }

    /// How this process of it ended; `None` if systemd cannot say, or has another one already.
    pub(super) async fn ending(&self, pid: u32) -> Option<Ending> {
        let until = clock::now() + PATIENCE;
        loop {
            let shown = match self.show("MainPID,ExecMainPID,ExecMainCode,ExecMainStatus,Result").await {
                Ok(shown) => shown,
                Err(why) => {
                    tracing::warn!("how the game ended is not known: {why}");
                    return None;
                }
            };
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

    async fn show(&self, properties: &str) -> Result<String, String> {
        let mut command = Command::new(&self.systemctl);
        command.args(["show", "--property", properties, "--", &self.name]).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_withheld(name)) {
            command.env_remove(name);
        }
        let asked = || format!("systemctl show {}", self.name);
        tokio::select! {
            output = command.output() => {
                let output = output.map_err(|error| format!("{} could not be run: {error}", asked()))?;
                if !output.status.success() {
                    let said = for_people(&String::from_utf8_lossy(&output.stderr), &[]);
                    return Err(format!("{} failed ({}): {said}; it needs the D-Bus of the system", asked(), output.status));
                }
                String::from_utf8(output.stdout).map_err(|_not_text| format!("{} gave no text", asked()))
            }
            () = clock::sleep(LIMIT) => Err(format!("{} did not answer within {} s", asked(), LIMIT.as_secs())),
        }
    }
}

/// Where a service is, if nobody has said otherwise: those of a template have a slice of their own (systemd.special(7)).
fn usual_slice(name: &str) -> String {
    match name.split_once('@') {
        // In the name of a slice a hyphen would be a step down.
        Some((template, _)) => format!("system-{}.slice", template.replace('-', r"\x2d")),
        None => SLICE.to_owned(),
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
            r#"[ "$*" = "show --property MainPID,Slice,LoadState -- no-such-game-7f3a.service" ] && printf 'MainPID=42\nSlice=a-b.slice\n'"#,
        );
        assert_eq!(running.main_pid().await, Ok(Some(42)));
        assert_eq!(running.slice.as_deref(), Some("a-b.slice"));
        assert_eq!(running.main_pid().await, Ok(None), "no control group, and asked a moment ago");
        let mut down = unit(dir.path(), "printf 'MainPID=0\\nSlice=\\nLoadState=loaded\\n'");
        assert_eq!((down.main_pid().await, down.slice), (Ok(None), None));
        for nothing in ["printf 'MainPID=x'", "true"] {
            assert_eq!(unit(dir.path(), nothing).main_pid().await, Ok(None), "{nothing}");
        }
        for (broken, words) in [
            ("echo 'Failed to connect to bus' >&2; exit 1", "failed (exit status: 1): Failed to connect to bus"),
            ("printf '\\377'", "gave no text"),
            ("printf 'MainPID=0\\nLoadState=not-found\\n'", "knows no unit no-such-game-7f3a.service"),
            ("printf 'MainPID=0\\nLoadState=masked\\n'", "is masked"),
        ] {
            let said = unit(dir.path(), broken).main_pid().await.unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let mut absent = Unit { systemctl: dir.path().join("absent"), ..unit(dir.path(), "") };
        assert!(absent.main_pid().await.unwrap_err().contains("could not be run"));
    }

    #[test]
    fn services_of_a_template_have_a_slice_of_their_own() {
        assert_eq!(usual_slice("game.service"), "system.slice");
        assert_eq!(usual_slice("game@one.service"), "system-game.slice");
        assert_eq!(usual_slice("my-game@one-two.service"), r"system-my\x2dgame.slice");
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
