//! A game that the agent starts itself, with the drop-in for that: what becomes of it when the agent is upgraded, killed, stopped.

use serde_json::{Value, json};

use crate::machine::{Machine, UNIT};
use crate::until;

/// Writes down that it was told to stop.
const SERVER: &str = "#!/bin/sh\n\
    trap 'echo $$ >>/srv/game/told; exit 0' TERM\n\
    rallyhere-agent ready --public-conn-str 192.0.2.1:7777\n\
    while :; do sleep 0.1; done\n";

/// The game's process, as the agent shows it, once it serves.
async fn until_served(machine: &Machine, other_than: u64) -> u64 {
    let pid = until("the game", machine, || {
        let said = machine.try_run("rallyhere-agent status --json");
        let status = serde_json::from_str::<Value>(&said.out).ok()?;
        status["game"]["pid"].as_u64().filter(|pid| *pid != other_than)
    })
    .await;
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    pid
}

fn runs(machine: &Machine, pid: u64) -> bool {
    machine.try_run(&format!("kill -0 {pid}")).code == 0
}

fn told(machine: &Machine) -> String {
    machine.try_run("cat /srv/game/told").out
}

#[tokio::test]
async fn it_outlives_an_upgrade_ends_with_a_killed_agent_and_is_told_to_stop() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.write("/srv/game/server", SERVER);
    machine.run(&format!(
        "chmod 755 /srv/game/server; chown rallyhere-agent /srv/game; mkdir -p /etc/systemd/system/{UNIT}.d; \
        sed -i 's|^command = .*|command = [\"/srv/game/server\"]|' /etc/rallyhere-agent/agent.toml; \
        cp /usr/share/doc/rallyhere-agent/examples/run-the-game.conf /etc/systemd/system/{UNIT}.d/; systemctl daemon-reload"
    ));
    machine.start(UNIT).await;
    let first = until_served(&machine, 0).await;
    let agent = machine.number(UNIT, "MainPID");
    let instance = machine.instance("demo");

    // An upgrade touches neither: the agent goes on as the old version.
    let said = machine.install("RALLYHERE_DEB_NEXT");
    assert!(said.contains("rallyhere-agent.service runs a game"), "{said}");
    machine.until_beats(2).await;
    assert_eq!((machine.number(UNIT, "MainPID"), until_served(&machine, 0).await), (agent, first));
    assert_eq!((machine.instance("demo"), told(&machine)), (instance.clone(), String::new()));
    let program = |pid: u64| machine.run(&format!("readlink /proc/{pid}/exe"));
    assert!(program(agent).contains("(deleted)"), "the old version");

    // An agent that is killed takes its game with it, untold; the next one starts a game for the same instance.
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGKILL {UNIT}"));
    let second = until_served(&machine, first).await;
    assert!(!runs(&machine, first), "it lives on without an agent");
    assert_eq!(told(&machine), "");
    assert_eq!(machine.number(UNIT, "NRestarts"), 1);
    assert_eq!(machine.instance("demo")["instance_id"], instance["instance_id"]);
    assert_eq!((machine.calls("register"), machine.calls("unregister")), (1, 0));
    assert!(!program(machine.number(UNIT, "MainPID")).contains("(deleted)"), "the new version");

    // A stop tells it, and waits for it, also for longer than the manager was to wait.
    machine.drop_in(UNIT, "zz-impatient", "[Service]\nTimeoutStopSec=2s\n");
    machine.write("/srv/game/server", &SERVER.replace("exit 0", "sleep 5; echo $$ ends >>/srv/game/told; exit 0"));
    // Its players have a second more, because it has used the local API.
    machine.run("sed -i 's/^drain_timeout = .*/drain_timeout = \"1s\"/' /etc/rallyhere-agent/agent.toml");
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGKILL {UNIT}"));
    let third = until_served(&machine, second).await;
    machine.run(&format!("systemctl stop {UNIT}"));
    assert_eq!(told(&machine), format!("{third}\n{third} ends\n"));
    assert_eq!((machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")), ("success".into(), "0".into()));
    assert_eq!(machine.statuses().last().map(String::as_str), Some("closed"));
    assert_eq!(machine.ledger()["fubars"], json!([]), "nothing of this is a failure of the game");
}
