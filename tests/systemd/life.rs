//! The life of a unit: it is ready, hangs, is killed, reloads, is stopped, and is not restarted where that would not help.

use serde_json::json;

use crate::machine::{Machine, SECRET, UNIT};
use crate::until;

#[tokio::test]
async fn it_is_ready_without_a_backend_and_says_in_words_how_it_is() {
    let Some(machine) = Machine::boot().await else { return };
    machine.install("RALLYHERE_DEB");
    machine.configure();
    machine.run(&format!("systemctl start {UNIT}"));
    assert_eq!(machine.show(UNIT, "ActiveState"), "active", "READY=1 does not wait for the backend");
    machine.until_shown(UNIT, "StatusText", |text| text == "looking for its session; no login yet").await;

    // The only login that is good there is the one with the secret of the credential.
    machine.simulate("").await;
    machine.until_shown(UNIT, "StatusText", |text| text.starts_with("session demo: the game is loading")).await;
    machine.run("rallyhere-agent ready --public-conn-str 192.0.2.1:7777");
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    assert_eq!(machine.number(UNIT, "NRestarts"), 0);
    let shown = machine.run(&format!("systemctl show {UNIT}; systemctl status {UNIT}"));
    let log = machine.log(UNIT);
    assert!(!shown.contains(SECRET) && !log.contains(SECRET), "the secret is shown");
    assert_eq!(
        machine.run("stat -c '%U %a' /run/credentials/rallyhere-agent.service/client-secret"),
        "rallyhere-agent 400\n"
    );

    // The socket is for root and for the group, and for nobody else.
    machine.run("useradd player && useradd --groups rallyhere-agent game");
    machine.run("setpriv --reuid game --regid game --init-groups rallyhere-agent status");
    let refused = machine.try_run("setpriv --reuid player --regid player --init-groups rallyhere-agent status");
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[tokio::test]
async fn an_outage_of_the_backend_restarts_nothing() {
    let Some(machine) = Machine::with_agent().await else { return };
    // Many times over in what follows.
    machine.drop_in(UNIT, "watchdog", "[Service]\nWatchdogSec=1s\n");
    machine.start(UNIT).await;
    let pid = machine.show(UNIT, "MainPID");
    machine.control("POST", "outage", &json!({"mode": "refuse"}));
    let refused = |machine: &Machine| machine.ledger()["refused_connections"].as_u64().unwrap();
    let before = refused(&machine);
    until("ten refused connections", &machine, || (refused(&machine) >= before + 10).then_some(())).await;
    machine.control("POST", "outage", &json!({"mode": "none"}));
    machine.until_beats(2).await;
    assert_eq!((machine.number(UNIT, "NRestarts"), machine.show(UNIT, "MainPID")), (0, pid));
}

#[tokio::test]
async fn a_hang_is_ended_by_the_watchdog() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.drop_in(UNIT, "watchdog", "[Service]\nWatchdogSec=2s\n");
    machine.start(UNIT).await;
    let pid = machine.show(UNIT, "MainPID");
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGSTOP {UNIT}"));
    machine.until_shown(UNIT, "MainPID", |now| now != "0" && now != pid).await;
    machine.until_beats(2).await;
    assert_eq!(machine.number(UNIT, "NRestarts"), 1);
    let log = machine.log(UNIT);
    assert!(log.contains("Watchdog timeout"), "{log}");
}

#[tokio::test]
async fn it_posts_health_within_a_second_of_its_restart_after_a_kill() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.start(UNIT).await;
    machine.run("rallyhere-agent ready --public-conn-str 192.0.2.1:7777");
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    // Both clocks in milliseconds; the environment's begins a little after its process.
    let began = machine.number("simulator.service", "ExecMainStartTimestampMonotonic") / 1000;
    for _ in 0..5 {
        let pid = machine.show(UNIT, "MainPID");
        let beats = machine.beats();
        machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGKILL {UNIT}"));
        machine.until_shown(UNIT, "MainPID", |now| now != "0" && now != pid).await;
        let seen = until("health", &machine, || {
            let ledger = machine.ledger();
            let posts = ledger["health"].as_array().unwrap();
            // One may have been on its way when the kill came.
            let restarted = machine.number(UNIT, "ExecMainStartTimestampMonotonic") / 1000;
            let posts = posts.iter().skip(beats).map(|post| began + post["at_ms"].as_u64().unwrap());
            posts.into_iter().find(|at| *at >= restarted)
        })
        .await;
        let killed = machine.number(UNIT, "ActiveExitTimestampMonotonic") / 1000;
        let restarted = machine.number(UNIT, "ExecMainStartTimestampMonotonic") / 1000;
        let active = machine.number(UNIT, "ActiveEnterTimestampMonotonic") / 1000;
        eprintln!(
            "restart after {} ms, active {} ms later, health {} ms later",
            restarted - killed,
            active - restarted,
            seen - restarted
        );
        assert!(seen - restarted <= 1000, "health only {} ms after the restart", seen - restarted);
    }
    assert_eq!(machine.number(UNIT, "NRestarts"), 5);
    // Nothing of it was seen by the backend: neither a login nor another instance, nor a step back to pending.
    assert_eq!(machine.calls("register"), 1, "{}", machine.ledger()["calls"]);
    assert_eq!(machine.ledger()["logins"].as_array().unwrap().len(), 1);
    assert_eq!(machine.instance("demo")["join_status"], json!("joinable"));
}

#[tokio::test]
async fn a_stop_closes_the_instance_and_ends_in_order() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.start(UNIT).await;
    let asked: u64 = machine.run("cut -d' ' -f1 /proc/uptime | tr -d .").trim().parse().unwrap();
    machine.run(&format!("systemctl stop {UNIT}"));
    let done: u64 = machine.run("cut -d' ' -f1 /proc/uptime | tr -d .").trim().parse().unwrap();
    eprintln!("stopped in {} ms", (done - asked) * 10);
    assert!(done - asked <= 500, "with nothing to wait for, {} ms", (done - asked) * 10);
    assert_eq!(machine.statuses().last().map(String::as_str), Some("closed"));
    assert_eq!(machine.instance("demo"), json!(null), "what it registered itself is taken away");
    assert_eq!(
        (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")),
        ("success".to_owned(), "0".to_owned())
    );
    assert_eq!(machine.ledger()["rejections"], json!([]));
}

#[tokio::test]
async fn a_reload_reads_the_log_level_again() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.start(UNIT).await;
    let pid = machine.show(UNIT, "MainPID");
    machine.run("sed -i 's/^level = .*/level = \"debug\"/' /etc/rallyhere-agent/agent.toml");
    machine.run(&format!("systemctl reload {UNIT}"));
    until("the reload", &machine, || machine.log(UNIT).contains("secrets and log level were read again").then_some(()))
        .await;
    machine.until_beats(1).await;
    assert_eq!((machine.show(UNIT, "MainPID"), machine.show(UNIT, "ActiveState")), (pid, "active".to_owned()));
}

#[tokio::test]
async fn what_a_restart_does_not_cure_is_not_restarted() {
    let Some(machine) = Machine::with_agent().await else { return };
    // No secret: the agent says so itself; systemd would only say 243/CREDENTIALS.
    machine.run("mv /etc/rallyhere-agent/client-secret /root/");
    assert_ne!(machine.try_run(&format!("systemctl start {UNIT}")).code, 0);
    machine.until_shown(UNIT, "ActiveState", |state| state == "failed").await;
    assert_eq!((machine.number(UNIT, "ExecMainStatus"), machine.number(UNIT, "NRestarts")), (78, 0));
    assert!(machine.log(UNIT).contains("auth.client_secret: is required"), "{}", machine.log(UNIT));

    machine.run("mv /root/client-secret /etc/rallyhere-agent/");
    machine.start(UNIT).await;
    machine.control("PUT", "sessions/demo/instance", &json!({}));
    machine.until_shown(UNIT, "ActiveState", |state| state == "failed").await;
    assert_eq!((machine.number(UNIT, "ExecMainStatus"), machine.number(UNIT, "NRestarts")), (76, 0));
}
