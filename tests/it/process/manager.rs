//! What the service manager hears of an end, on a socket of the test's own: that it has begun, and that it goes on.

use std::os::unix::net::UnixDatagram;

use rallyhere_agent::simulator::{Fault, Outage};
use serde_json::json;

use super::home::Home;
use super::stage::{SESSION, Stage, until};

/// A game that does not end before it is killed.
const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
/// Longer than the 5 s between two looks of the agent at itself.
const PATIENCE: &str = "6s";

/// A service manager, as far as it can be told something.
struct Manager(UnixDatagram);

impl Manager {
    fn of(home: Home) -> (Self, Home) {
        let path = home.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self(socket), home.env("NOTIFY_SOCKET", path.display().to_string()))
    }

    /// The next message that says something of the end, if it has come.
    fn hear(&self) -> Option<&'static str> {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.0.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let known = ["STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"];
            if let Some(word) = known.into_iter().find(|word| text.lines().any(|line| line == *word)) {
                return Some(word);
            }
        }
        None
    }

    async fn until(&self, word: &str) {
        until(&format!("{word} from the agent"), async || (self.hear()? == word).then_some(())).await;
    }

    /// The beginning of an end, and that more time is asked for at once and again, which is 5 s later.
    async fn until_asked_twice(&self) {
        self.until("STOPPING=1").await;
        for _ in 0..2 {
            self.until("EXTEND_TIMEOUT_USEC=15000000").await;
        }
    }
}

fn with_game(stage: &Stage) -> (Manager, Home) {
    let command: Vec<toml::Value> = ["/bin/sh", "-c", STUBBORN].map(|word| word.to_owned().into()).into();
    let home = Home::new(stage).alone().set("game.command", command).set("game.stop_timeout", PATIENCE);
    Manager::of(home.set("shutdown.drain_timeout", "0s"))
}

#[tokio::test]
async fn more_time_is_asked_for_in_every_part_of_an_end() {
    tokio::join!(while_it_drains(), while_it_closes(), while_it_is_superseded(), while_it_says_its_last_words());
}

async fn while_it_drains() {
    let stage = Stage::start().await;
    let (manager, home) = with_game(&stage);
    let mut agent = home.start();
    agent.until_phase("serving").await;
    agent.terminate();
    manager.until_asked_twice().await;
    assert_eq!(agent.status().await["phase"], "draining");
    assert_eq!(agent.exit_code().await, 0);
}

/// It was never the host, so there is nothing to drain; its game has to end all the same.
async fn while_it_closes() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let (manager, home) = with_game(&stage);
    let mut agent = home.start();
    agent.until("the game", |status| status["game"]["pid"].is_u64()).await;
    agent.terminate();
    manager.until_asked_twice().await;
    assert_eq!(agent.status().await["phase"], "closing");
    assert_eq!(agent.exit_code().await, 0);
}

/// Nobody has told it to stop: the manager hears of it all the same.
async fn while_it_is_superseded() {
    let stage = Stage::start().await;
    let (manager, home) = with_game(&stage);
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    manager.until_asked_twice().await;
    assert_eq!(agent.status().await["phase"], "superseded");
    assert_eq!(agent.exit_code().await, 76);
}

async fn while_it_says_its_last_words() {
    let stage = Stage::start().await;
    let (manager, home) = Manager::of(Home::new(&stage).alone());
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.inject(Fault::Hang {}.always());
    agent.post("/v1/fubar", json!({"error": "last_words"})).await;
    agent.post("/v1/shutdown", json!({})).await;
    manager.until_asked_twice().await;
    assert_eq!(agent.status().await["phase"], "closing");
    assert_eq!(agent.exit_code().await, 0);
}

/// Whoever starts the game anew, and the agent with it, must not find this agent and take it for the next one.
#[tokio::test]
async fn the_end_of_a_watched_game_is_told_as_the_beginning_of_ours() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let pid_file = home.path("game.pid");
    let (manager, home) = Manager::of(home.set("game.pid_file", pid_file.display().to_string()));
    let mut game = tokio::process::Command::new("/bin/sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
    std::fs::write(&pid_file, game.id().unwrap().to_string()).unwrap();
    let mut agent = home.start();
    agent.until("the game", |status| status["game"]["pid"].is_u64()).await;
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    // Its end goes on until the backend answers again.
    stage.inject(Fault::status(503).on("update"));
    game.kill().await.unwrap();
    manager.until("STOPPING=1").await;
    assert_eq!(agent.status().await["phase"], "closing");
    stage.simulator.clear_faults();
    assert_eq!(agent.exit_code().await, 0);
}
