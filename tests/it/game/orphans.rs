//! Processes whose parents are gone, in a process of the test's own: what it inherits and collects must not be another test's.

use std::process::{Command, Stdio};

use rallyhere_agent::core::process::EndStatus;
use rallyhere_agent::io::game::reaper;

use super::*;

/// Set for the process that does the work.
const CHILD: &str = "RALLYHERE_AGENT_TEST_ORPHANS_CHILD";

#[test]
fn orphans_are_collected_and_children_left_to_those_who_wait_for_them() {
    if std::env::var(CHILD).is_ok() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(inherit());
        return;
    }
    let name = "game::orphans::orphans_are_collected_and_children_left_to_those_who_wait_for_them";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn inherit() {
    let (stop, mut stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(reaper::run(async move {
        let _gone = stopped.wait_for(|stopped| *stopped).await;
    }));
    // Ours, and ended before anybody waits for it: its status must not be lost.
    let mut ours = tokio::process::Command::new("/bin/sh").args(["-c", "exit 9"]).spawn().unwrap();
    let ours_pid = ours.id().unwrap();
    eventually(|| state(ours_pid).is_some_and(|(state, _)| state == 'Z').then_some(())).await;

    // A double fork: the one in between ends at once. One orphan stays in the group of the game, one leaves it.
    let orphan = |file: &str, end: &str| {
        format!("(sh -c 'echo $$ > DIR/{file}; until [ -e DIR/{end} ]; do sleep 0.02; done' &)")
    };
    let text = format!(
        "{}; setsid sh -c \"{}\"; until [ -e DIR/go ]; do sleep 0.02; done; exit 5",
        orphan("inside", "end"),
        orphan("outside", "end").replace('$', "\\$")
    );
    let mut game = Kept::new(&script(&text));
    game.start();
    game.started().await;
    let me = std::process::id();
    let mut orphans: Vec<u32> = Vec::new();
    for file in ["inside", "outside"] {
        let pid = game.written(file).await.parse().unwrap();
        eventually(|| state(pid).filter(|(_, parent)| *parent == me)).await;
        orphans.push(pid);
    }
    fs::write(game.path("end"), "").unwrap();
    for pid in &orphans {
        eventually(|| state(*pid).is_none().then_some(())).await;
    }
    assert_eq!(state(ours_pid).map(|(state, _)| state), Some('Z'), "left to those who wait for it");
    assert_eq!(ours.wait().await.unwrap().code(), Some(9));

    fs::write(game.path("go"), "").unwrap();
    assert_eq!(game.ended().await.status, EndStatus::Code(5), "the game's own status is not taken away");
    // Dropped without being waited for: nobody's any more.
    let forgotten = tokio::process::Command::new("/bin/true").spawn().unwrap().id().unwrap();
    eventually(|| state(forgotten).is_none().then_some(())).await;
    stop.send_replace(true);
    within(tasks.join_next()).await.unwrap().unwrap();
}

/// A process's state and parent; `None` once it has been collected.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
