//! A game that the kernel kills for want of memory, in a control group of the test's own.

use std::io;

use rallyhere_agent::core::process::EndStatus;

use super::*;

const BOUND: u64 = 32 << 20;

/// A control group; gone with the test.
struct Group(PathBuf);

impl Group {
    /// Makes one whose memory is bounded, in whichever hierarchy has the controller; says why it cannot.
    fn make() -> Result<Self, String> {
        let name = format!("rallyhere-agent-test-{}", std::process::id());
        let ours = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let old = ours.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
        let (group, limits) = match old {
            Some(path) => {
                let above = format!("/sys/fs/cgroup/memory{path}");
                (Path::new(&above).join(name), ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
            }
            None => (Path::new("/sys/fs/cgroup").join(name), ["memory.max", "memory.swap.max"]),
        };
        let told = |error: io::Error| format!("{}: {error}", group.display());
        fs::create_dir(&group).map_err(told)?;
        let group = Self(group);
        let [limit, swap] = limits;
        fs::write(group.0.join(limit), BOUND.to_string()).map_err(|error| format!("{limit}: {error}"))?;
        // With swap the bound is only of what is in memory; there may be none.
        let _none = fs::write(group.0.join(swap), if old.is_some() { BOUND } else { 0 }.to_string());
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _left_for_the_next_start_of_the_machine = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_kill_for_want_of_memory_is_told() {
    let group = match Group::make() {
        Ok(group) => group,
        Err(why) => {
            eprintln!("skipped: this machine lets nobody make a control group with a memory bound: {why}");
            return;
        }
    };
    let text = format!(
        "echo $$ > {}/cgroup.procs; until [ -e DIR/go ]; do sleep 0.02; done; exec tail /dev/zero",
        group.0.display()
    );
    let mut game = Kept::new(&script(&text));
    game.start();
    game.started().await;
    loop {
        let event = within(game.events.recv()).await.unwrap();
        let GameEvent::Figures(figures) = *event else { panic!("{event:?}") };
        if figures.memory_limit == Some(BOUND) {
            break;
        }
    }
    fs::write(game.path("go"), "").unwrap();
    let end = game.ended().await;
    assert_eq!((end.status, end.oom_killed), (EndStatus::Signal(9), true));
    assert_eq!(end.figures.memory_limit, Some(BOUND));

    // The same end, but by hand.
    fs::remove_file(game.path("go")).unwrap();
    game.start();
    game.started().await;
    game.side.order(Order::Kill);
    let end = game.ended().await;
    assert_eq!((end.status, end.oom_killed), (EndStatus::Signal(9), false));
}
