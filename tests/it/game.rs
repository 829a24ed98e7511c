//! Tests: game. Real processes, kept by the adapter that the agent keeps them with: orders go in, events come out.

mod ends;
mod memory;
mod orphans;
mod output;
mod watched;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::config::settings::{GameSource, Instance, Surroundings};
use rallyhere_agent::config::{self, Sources};
use rallyhere_agent::core::ids::{AllocationId, InstanceId, SessionId};
use rallyhere_agent::core::process::{End, GameEvent, Order};
use rallyhere_agent::io::game::{self, GameSide, Reach, Watched};
use rallyhere_agent::ports::Side as _;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A test that waits longer has found something.
const LIMIT: Duration = Duration::from_secs(120);

const BASE: &str = r#"
environment.url = "https://demo.example.org"
auth.client_id = "client"
auth.client_secret = "S3CRET-of-the-client"
instance.session_id = "session"
instance.public_conn_str = "127.0.0.1:7777"
local_api.socket = "none"
"#;

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// The settings of a configuration, as the agent makes them.
fn settings(dir: &Path, game: &str) -> Instance {
    let path = dir.join("agent.toml");
    fs::write(&path, format!("{BASE}\n[game]\n{game}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    let env = [("STATE_DIRECTORY".to_owned(), dir.display().to_string())].into();
    let loaded = config::load(&sources, &Surroundings { env }).unwrap_or_else(|error| panic!("{error}"));
    Arc::unwrap_or_clone(loaded.settings.instances.into_iter().next().unwrap())
}

/// A shell script as game.command.
fn script(text: &str) -> String {
    format!("command = [\"/bin/sh\", \"-c\", {}]\n", toml::Value::String(text.to_owned()))
}

/// A keeper at work, and all that goes in and out of it.
struct Kept {
    dir: TempDir,
    side: GameSide,
    events: mpsc::Receiver<Box<GameEvent>>,
    watched: watch::Receiver<Option<Watched>>,
    stop: watch::Sender<bool>,
    keeper: JoinSet<()>,
}

impl Kept {
    /// Keeps a game; the configuration may name its directory as `DIR`.
    fn new(game: &str) -> Self {
        Self::with(game, |_| {}, environment())
    }

    /// Likewise, with settings changed behind the back of the configuration.
    fn with(game: &str, change: impl FnOnce(&mut Instance), env: BTreeMap<String, String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), &game.replace("DIR", dir.path().to_str().unwrap()));
        change(&mut settings);
        let (side, kept) = game::side(Arc::new(settings));
        let (events, keeper) = kept.expect("a game to keep");
        let file = |name: &str| OwnedFd::from(File::create(dir.path().join(name)).unwrap());
        let keeper = keeper.passing_to(file("stdout"), file("stderr"));
        let watched = keeper.watched();
        let (stop, mut stopped) = watch::channel(false);
        let reach = Reach { http: Some(([127, 0, 0, 1], 9358).into()), env, ..Reach::default() };
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run(reach, async move {
            let _gone = stopped.wait_for(|stopped| *stopped).await;
        }));
        Self { dir, side, events, watched, stop, keeper: tasks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    fn start(&self) {
        self.side.order(Order::Start {
            session: SessionId::parse("the-session").ok(),
            instance: InstanceId::parse("the-instance").ok(),
            allocation: AllocationId::parse("the-allocation").ok(),
        });
    }

    /// The next event that is not about what the game uses.
    async fn event(&mut self) -> GameEvent {
        loop {
            let event = *within(self.events.recv()).await.expect("the keeper lives");
            if !matches!(event, GameEvent::Figures(_)) {
                return event;
            }
        }
    }

    async fn started(&mut self) -> u32 {
        let event = self.event().await;
        let GameEvent::Started { pid } = event else { panic!("{event:?}") };
        pid
    }

    async fn ended(&mut self) -> End {
        let event = self.event().await;
        let GameEvent::Ended(end) = event else { panic!("{event:?}") };
        *end
    }

    /// From the start to the end of a game that does both by itself.
    async fn live(&mut self) -> End {
        self.start();
        self.started().await;
        self.ended().await
    }

    /// Waits until the game has written a file, and gives what is in it.
    async fn written(&self, name: &str) -> String {
        eventually(|| Some(self.read(name)).filter(|text| text.ends_with('\n'))).await.trim().to_owned()
    }

    /// Ends the keeper, as the end of the agent does.
    async fn stop(mut self) -> TempDir {
        self.stop.send_replace(true);
        within(async { while self.keeper.join_next().await.is_some() {} }).await;
        self.dir
    }
}

/// Waits for a condition.
async fn eventually<T>(mut what: impl FnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = what() {
                return found;
            }
            rallyhere_agent::clock::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Whether a process is there and runs: a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn environment() -> BTreeMap<String, String> {
    [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into()
}

/// Takes the place of the game's command.
fn command(settings: &mut Instance, words: &[&str]) {
    if let GameSource::Command(command) = &mut settings.game.source {
        command.command = words.iter().map(|word| (*word).to_owned()).collect();
    }
}
