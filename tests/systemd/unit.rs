//! A game that is another unit of systemd, watched by the packaged agent in the sandbox as it is shipped.

use serde_json::{Value, json};

use crate::machine::{Machine, UNIT};
use crate::until;

const GAME: &str = "game.service";

/// Becomes ready as soon as an agent takes that, then plays until somebody ends it.
const SERVER: &str = "#!/bin/sh\n\
    until rallyhere-agent ready --public-conn-str 192.0.2.1:7777 >/dev/null 2>&1; do sleep 0.1; done\n\
    exec sleep 1000\n";

/// Brings the game as the example has it, under a name, and lets the agent watch it. Neither is started.
fn with_game(machine: &Machine, unit: &str) {
    machine.write("/srv/game/server", SERVER);
    machine.run(&format!(
        "useradd --system game; chmod 755 /srv/game/server; \
        cp /usr/share/doc/rallyhere-agent/examples/game.service /etc/systemd/system/; systemctl daemon-reload; \
        sed -i 's/^unit = .*/unit = \"{unit}\"/' /etc/rallyhere-agent/agent.toml"
    ));
}

/// What the agent shows of its game.
fn shown(machine: &Machine) -> Value {
    let said = machine.try_run("rallyhere-agent status --json");
    serde_json::from_str::<Value>(&said.out).map_or(Value::Null, |mut status| status["game"].take())
}

/// What the agent is to host from its next start on: a session is over with its instance, and the next match is another one.
fn next_session(machine: &Machine, session: &str) {
    machine.control("POST", "sessions", &json!({"session_id": session}));
    machine.run(&format!("sed -i 's/^session_id = .*/session_id = \"{session}\"/' /etc/rallyhere-agent/agent.toml"));
}

/// Waits until the agent has found the main process of the game, and serves.
async fn until_followed(machine: &Machine, unit: &str, session: &str) -> u64 {
    until("the game's main process, seen by the agent", machine, || {
        let pid = machine.number(unit, "MainPID");
        (pid > 0 && shown(machine)["pid"] == json!(pid)).then_some(())
    })
    .await;
    machine.until_shown(UNIT, "StatusText", |text| text == format!("session {session}: serving, healthy")).await;
    machine.number(unit, "MainPID")
}

/// The words of the reports so far, and when the last one came, in milliseconds since the start of the machine.
fn fubars(machine: &Machine) -> (Vec<String>, u64) {
    let began = machine.number("simulator.service", "ExecMainStartTimestampMonotonic") / 1000;
    let ledger = machine.ledger();
    let reports = ledger["fubars"].as_array().unwrap();
    let words = reports.iter().map(|report| report["body"]["error"].as_str().unwrap().to_owned()).collect();
    (words, began + reports.last().map_or(0, |report| report["at_ms"].as_u64().unwrap()))
}

async fn until_told(machine: &Machine, count: usize) -> (String, u64) {
    let (mut words, at) = until("a report", machine, || {
        let (words, at) = fubars(machine);
        (words.len() >= count).then_some((words, at))
    })
    .await;
    (words.pop().unwrap(), at)
}

#[tokio::test]
async fn it_is_found_its_crash_is_told_and_the_next_one_is_followed() {
    let Some(machine) = Machine::with_agent().await else { return };
    with_game(&machine, GAME);
    machine.start(UNIT).await;
    assert_eq!(shown(&machine)["pid"], json!(null), "nobody has started it");
    machine.run(&format!("systemctl start {GAME}"));
    let first = until_followed(&machine, GAME, "demo").await;
    until("figures of another user's process", &machine, || shown(&machine)["memory_bytes"].as_u64()).await;

    // An agent that was killed finds it again, and asks it for nothing.
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGKILL {UNIT}"));
    machine.until_shown(UNIT, "NRestarts", |restarts| restarts == "1").await;
    assert_eq!(until_followed(&machine, GAME, "demo").await, first);
    assert_eq!(machine.calls("register"), 1, "{}", machine.ledger()["calls"]);

    next_session(&machine, "two");
    // How soon: by the clock of systemd, which is the first to know.
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SEGV {GAME}"));
    let (word, told) = until_told(&machine, 1).await;
    let ended = machine
        .number(GAME, "InactiveEnterTimestampMonotonic")
        .max(machine.number(GAME, "ActiveExitTimestampMonotonic"))
        / 1000;
    assert_eq!(word, "game_crashed");
    eprintln!("the crash was with the backend after {} ms", told.saturating_sub(ended));
    assert!(told <= ended + 1000, "after {} ms", told - ended);
    let event = machine.ledger()["events"][0]["body"].clone();
    assert_eq!(event["custom_data"]["signal"], json!("SIGSEGV"), "{event}");

    // systemd starts it again, and for its sake (`Wants=`) the agent: both are there again without anybody's help.
    machine.until_shown(GAME, "NRestarts", |restarts| restarts == "1").await;
    let second = until_followed(&machine, GAME, "two").await;
    assert_ne!(first, second);

    next_session(&machine, "three");
    // Also if the game is back before the agent has ended, because the backend does not answer.
    machine.control("POST", "faults", &json!({"match": {"call": "update"}, "fault": {"status": {"code": 503}}}));
    machine.run(&format!("systemctl kill --kill-whom=main --signal=ABRT {GAME}"));
    machine.until_shown(GAME, "NRestarts", |restarts| restarts == "2").await;
    machine.until_shown(GAME, "ActiveState", |state| state == "active").await;
    assert_eq!(machine.show(UNIT, "ActiveState"), "deactivating");
    machine.control("DELETE", "faults", &json!({}));
    until_followed(&machine, GAME, "three").await;
    assert_eq!(fubars(&machine).0, ["game_crashed"], "the second one in a row is not told of");
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SEGV {GAME}"));
    assert_eq!(until_told(&machine, 2).await.0, "crash_loop");
    assert_eq!((machine.show(UNIT, "NRestarts"), machine.show(UNIT, "Result")), ("0".into(), "success".into()));
}

#[tokio::test]
async fn what_cannot_be_found_is_said_and_looked_for_on() {
    let Some(machine) = Machine::with_agent().await else { return };
    with_game(&machine, "other@one.service");
    machine.start(UNIT).await;
    until("a word about it", &machine, || {
        machine.log(UNIT).contains("systemd knows no unit other@one.service").then_some(())
    })
    .await;
    // There, at last; and there is nobody to be asked: only its control group tells.
    machine.run(
        "systemctl stop dbus.socket dbus.service; \
        cp /etc/systemd/system/game.service /etc/systemd/system/other@.service; systemctl daemon-reload; \
        systemctl start other@one.service",
    );
    until_followed(&machine, "other@one.service", "demo").await;
    machine.run("systemctl kill --kill-whom=main --signal=SEGV other@one.service");
    let (word, _) = until_told(&machine, 1).await;
    assert_eq!(word, "game_vanished", "how it ended is not known");
    let log = machine.log(UNIT);
    assert!(log.contains("how the game ended is not known: systemctl show other@one.service failed"), "{log}");
}
