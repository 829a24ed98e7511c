//! The real logind on a real message bus, both of the test's own: where there is root, and no logind that is somebody's.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::super::home::Home;
use super::super::stage::{Stage, until};
use super::{drains_for, on_its_bus, with_a_game};

const LOGIND: &str = "/lib/systemd/systemd-logind";

/// It ends with its value: logind and the bus are one process group.
struct RealLogind {
    logind: Child,
    bus: String,
}

impl RealLogind {
    /// `None` on a machine where that cannot be, or should not.
    fn start(home: &Home) -> Option<Self> {
        let is_booted = Path::new("/run/systemd/system").exists();
        if is_booted || !rustix::process::geteuid().is_root() || !Path::new(LOGIND).exists() {
            return None;
        }
        let works = |command: &str, args: &[&str]| {
            let mut command = Command::new(command);
            command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        if !works("dbus-daemon", &["--version"]) || !works("unshare", &["--mount", "true"]) {
            return None;
        }
        let bus = format!("unix:path={}", home.path("bus").display());
        // A /run of its own: what logind writes down is gone with it.
        let script = "mount -t tmpfs tmpfs /run
            mkdir -p /run/systemd/seats /run/systemd/users /run/systemd/sessions /run/systemd/inhibit /run/systemd/machines
            dbus-daemon --system --nofork --nopidfile --address=\"$1\" &
            until [ -S \"${1#unix:path=}\" ]; do :; done
            DBUS_SYSTEM_BUS_ADDRESS=$1 exec \"$2\"";
        // No namespace of process ids: the bus has to know who the agent is.
        let logind = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-c", script, "sh", &bus, LOGIND])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Some(Self { logind, bus })
    }

    /// Speaks to it as systemd's own tools do.
    fn call(&self, arguments: &[&str]) -> Output {
        let place = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
        Command::new("busctl")
            .args([&format!("--address={}", self.bus), arguments[0]])
            .args(place)
            .args(&arguments[1..])
            .output()
            .unwrap()
    }

    fn locks(&self) -> String {
        String::from_utf8(self.call(&["call", "ListInhibitors"]).stdout).unwrap()
    }
}

impl Drop for RealLogind {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.logind.id().try_into().unwrap()).unwrap();
        kill_process_group(group, Signal::KILL).unwrap();
        self.logind.wait().unwrap();
    }
}

#[tokio::test]
async fn a_real_logind_gives_the_lock_and_takes_it_back() {
    let stage = Stage::start().await;
    let home = on_its_bus(Home::new(&stage).alone().set("shutdown.inhibit", "on"));
    let Some(logind) = RealLogind::start(&home) else { return };
    until("logind", async || logind.call(&["get-property", "InhibitDelayMaxUSec"]).status.success().then_some(()))
        .await;
    let mut agent = with_a_game(&home).await;
    agent.until_says("a shutdown of the host waits for the match now").await;
    agent.until_says("waits for 5 s at most, shutdown.drain_timeout is 60 s").await;
    let locks = logind.locks();
    assert!(locks.contains(r#""shutdown" "rallyhere-agent""#) && locks.contains(r#""delay""#), "{locks}");
    // A reboot needs systemd itself, which is not on this bus: what follows its news is tried with a logind of our own.
    agent.terminate();
    drains_for(&mut agent, &stage, "SIGTERM").await;
    assert!(logind.locks().contains("rallyhere-agent"), "players are still there");
    agent.finish().await;
    until("the lock given back", async || (!logind.locks().contains("rallyhere-agent")).then_some(())).await;
}
