//! Games that somebody else started.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rallyhere_agent::clock;
use rallyhere_agent::core::process::EndStatus;

use super::*;

/// A game that is not the keeper's. Its end is in the hands of the test: it ends when its input does.
struct Foreign(Child);

impl Foreign {
    fn start(program: &Path, script: &str) -> Self {
        let mut command = Command::new(program);
        Self(command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn shell(script: &str) -> Self {
        Self::start(Path::new("/bin/sh"), script)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it go on to its end; not collected yet.
    fn end(&mut self) -> Instant {
        drop(self.0.stdin.take());
        clock::now()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[tokio::test]
async fn a_pid_file_leads_to_the_game_and_to_the_next_one() {
    let mut game = Kept::new("pid_file = \"DIR/game.pid\"");
    game.start();
    let mut first = Foreign::shell("read line; exit 3");
    fs::write(game.path("game.pid"), format!("{}\n", first.pid())).unwrap();
    assert_eq!(game.started().await, first.pid());
    assert_eq!(game.watched.borrow().as_ref().map(|watched| watched.pid), Some(first.pid()));
    // It is not ours to stop.
    game.side.order(Order::Stop);
    game.side.order(Order::Kill);
    // The file may say something else by now: the process is the same.
    let mut second = Foreign::shell("read line; kill -KILL $$");
    fs::write(game.path("game.pid"), second.pid().to_string()).unwrap();
    let told = first.end();
    let end = game.ended().await;
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!((end.status, end.oom_killed, end.tail.len()), (EndStatus::Code(3), false, 0));
    assert!(end.figures.cpu.is_some());
    first.0.wait().unwrap();

    assert_eq!(game.started().await, second.pid());
    second.end();
    assert_eq!(game.ended().await.status, EndStatus::Signal(9));
    second.0.wait().unwrap();
    assert_eq!(*game.watched.borrow(), None);
}

#[tokio::test]
async fn who_is_collected_at_once_has_ended_all_the_same() {
    let mut game = Kept::new("pid_file = \"DIR/game.pid\"");
    game.start();
    let mut foreign = Foreign::shell("read line; exit 3");
    fs::write(game.path("game.pid"), foreign.pid().to_string()).unwrap();
    game.started().await;
    foreign.end();
    // Whoever is first: the parent, or we.
    foreign.0.wait().unwrap();
    let end = game.ended().await;
    assert!(matches!(end.status, EndStatus::Unknown | EndStatus::Code(3)), "{:?}", end.status);
}

#[tokio::test]
async fn nothing_is_looked_for_before_it_is_ordered() {
    let mut game = Kept::new("pid_file = \"DIR/game.pid\"");
    let foreign = Foreign::shell("read line");
    fs::write(game.path("game.pid"), foreign.pid().to_string()).unwrap();
    game.side.order(Order::Stop);
    assert!(tokio::time::timeout(Duration::from_millis(100), game.events.recv()).await.is_err());
    game.start();
    game.start();
    assert_eq!(game.started().await, foreign.pid());
    // It outlives the keeper.
    game.stop().await;
    assert!(runs(foreign.pid()));
}

#[tokio::test]
async fn the_only_process_with_the_name_is_the_game() {
    let name = format!("game-{}", std::process::id());
    let mut game = Kept::new(&format!("process_name = \"{name}\""));
    let program = game.path(&name);
    fs::copy("/bin/sh", &program).unwrap();
    game.start();
    let mut foreign = Foreign::start(&program, "read line; exit 5");
    assert_eq!(game.started().await, foreign.pid());
    let told = foreign.end();
    assert_eq!(game.ended().await.status, EndStatus::Code(5));
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_unit_that_nobody_has_is_waited_for() {
    let mut game = Kept::new("unit = \"no-such-game-7f3a\"");
    game.start();
    assert!(tokio::time::timeout(Duration::from_millis(300), game.events.recv()).await.is_err());
    game.stop().await;
}
