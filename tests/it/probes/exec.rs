//! Commands.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rallyhere_agent::config::settings::ProbeKind;
use rallyhere_agent::core::instance::Health;

use super::{LONG, Probing, fails_at_once, is_cut, once};
use crate::process::stage::until;

fn sh(script: &str) -> ProbeKind {
    ProbeKind::Exec(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

/// Waits until the processes whose ids stand in a file are gone, or were at least killed.
async fn all_gone(file: &Path) {
    let pids = fs::read_to_string(file).unwrap();
    assert!(pids.lines().count() >= 2, "{pids:?}");
    for pid in pids.lines() {
        let stat = format!("/proc/{pid}/stat");
        until(&format!("the end of {pid}"), async || {
            let stat = fs::read_to_string(&stat).unwrap_or_default();
            // Whoever inherits them may take his time to wait for them.
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_exit_code_is_the_verdict_and_the_first_line_the_reason() {
    for (script, health, reason) in [
        ("exit 0", Health::Healthy, "exit code 0"),
        ("echo all is well; echo really; exit 0", Health::Healthy, "all is well"),
        ("echo slow; exit 1", Health::Degraded, "slow"),
        ("exit 1", Health::Degraded, "exit code 1"),
        ("printf 'no line end'; exit 2", Health::Unhealthy, "no line end"),
        ("echo; echo second; exit 2", Health::Unhealthy, "exit code 2"),
        ("echo lost >&2; exit 2", Health::Unhealthy, "exit code 2"),
        ("printf '\\033[31mred\\tand more\\n'", Health::Healthy, "\\u{1b}[31mred\\tand more"),
    ] {
        let result = once(sh(script), LONG).await;
        assert_eq!((result.health, result.reason.as_str()), (health, reason), "{script}");
        assert_eq!(result.players, None);
    }
}

#[tokio::test]
async fn any_other_end_is_a_failure() {
    fails_at_once(sh("exit 3"), "exit code 3").await;
    fails_at_once(sh("echo no database; exit 255"), "exit code 255: no database").await;
    fails_at_once(sh("kill -SEGV $$"), "ended by signal 11").await;
    fails_at_once(ProbeKind::Exec(vec!["/nowhere/to/be/found".to_owned()]), "cannot run /nowhere/to/be/found: ").await;
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let disk = tempfile::tempdir().unwrap();
    let pids = disk.path().join("pids");
    let script =
        format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; trap '' TERM HUP; echo begun; wait", pids.display());
    is_cut(sh(&script), "the command runs, and is killed now").await;
    all_gone(&pids).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it_and_holds_up_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let pids = disk.path().join("pids");
    // The one that stays holds the pipe open.
    let script = format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; printf well", pids.display());
    let result = once(sh(&script), LONG).await;
    assert_eq!((result.health, result.reason.as_str()), (Health::Healthy, "well"));
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_probe_that_is_stopped_kills_its_command() {
    let disk = tempfile::tempdir().unwrap();
    let pids = disk.path().join("pids");
    let script = format!("sleep 1000 & echo $! > {0}.new; echo $$ >> {0}.new; mv {0}.new {0}; wait", pids.display());
    let probing = Probing::start(sh(&script), Duration::from_secs(3600), Duration::from_secs(3600), None);
    until("the command's file", async || pids.exists().then_some(())).await;
    probing.stop().await;
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_million_lines_are_read_and_thrown_away() {
    let result = once(sh("yes 'a line of text' | head -n 1000000"), Duration::from_secs(60)).await;
    assert_eq!((result.health, result.reason.as_str()), (Health::Healthy, "a line of text"));
    let result = once(sh("head -c 3000000 /dev/zero | tr '\\0' x"), Duration::from_secs(60)).await;
    assert_eq!((result.health, result.reason.chars().count()), (Health::Healthy, 256));
    is_cut(sh("yes"), "the command runs, and is killed now").await;
}

#[tokio::test]
async fn a_command_gets_the_games_process_id_where_it_is_known() {
    let script = sh("echo game ${RALLYHERE_GAME_PID-nowhere}");
    let mut probing = Probing::start(script.clone(), Duration::from_secs(3600), LONG, Some(4711));
    assert_eq!(probing.result().await.reason, "game 4711");
    assert_eq!(once(script, LONG).await.reason, "game nowhere");
}

#[tokio::test]
async fn a_command_that_is_killed_leaves_no_zombie_of_ours() {
    let disk = tempfile::tempdir().unwrap();
    let pid = disk.path().join("pid");
    is_cut(sh(&format!("echo $$ > {}; exec sleep 1000", pid.display())), "killed").await;
    let stat = format!("/proc/{}/stat", fs::read_to_string(pid).unwrap().trim());
    until("its end", async || (!Path::new(&stat).exists()).then_some(())).await;
}
