//! `demo`: a simulated environment, a small game and the agent in one command, narrated.
//!
//! Nothing is pretended: the agent is the one of `run`, the simulator is the one of `simulate`, and the game is a process of its
//! own that knows nothing but the path of a socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::run::running::{Running, StartError};
use super::{Chain, CommandError, Terminal, finish, runtime};
use crate::config::settings::Surroundings;
use crate::config::{self, ConfigError, Sources};
use crate::exit::Exit;
use crate::simulator::{AllocationSpec, ClientSpec, Generation, Options, SessionSpec, Simulator};

pub(super) mod game;
mod script;
mod timeline;

use script::Script;
use timeline::Timeline;

/// What may be said to `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay when the instance serves, to play with it; Ctrl-C ends it.
    #[arg(long)]
    pub hold: bool,
    /// Which generation of the API the environment has: 2023-11, between or 2026-08.
    #[arg(long, value_name = "GENERATION", default_value_t)]
    pub api: Generation,
}

/// The session that the demo hosts.
const SESSION: &str = "demo";
/// The credentials of the simulated environment; worth nothing anywhere else.
const CLIENT: &str = "demo-agent";
const SECRET: &str = "only-good-for-the-demo";

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// Our own machine.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// Our own configuration.
    #[error("the demo's configuration was not taken: {0}")]
    Config(ConfigError),
    /// The agent.
    #[error("the agent did not start")]
    Start(#[from] StartError),
    /// A step did not happen.
    #[error("after {seconds} s the demo still waited for this: {what}")]
    Late {
        /// What.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The agent ended in another way than it should.
    #[error("the agent ended with exit code {0}")]
    Ended(u8),
    /// Standard output.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::Io { what, source }
}

/// Runs the demo.
pub fn run(args: &Args, surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    // The agent's warnings and errors; the story itself is told by the timeline.
    let log = crate::telemetry::log::init(&super::run::quiet_log());
    let exit = finish(terminal, |terminal| {
        let place = Place::make(surroundings).map_err(CommandError::demo)?;
        let told = runtime()?.block_on(tell(args, &place, terminal));
        match told {
            Err(DemoError::Output(source)) => Err(CommandError::Output(source)),
            other => other.map_err(CommandError::demo),
        }
    });
    if let Ok(log) = log {
        log.flush(crate::telemetry::log::FLUSH_LIMIT);
    }
    exit
}

impl CommandError {
    fn demo(error: DemoError) -> Self {
        Self::Demo(Chain(&error).to_string())
    }
}

/// A directory of the demo's own, gone with it.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn make(surroundings: &Surroundings) -> Result<Self, DemoError> {
        let parent = surroundings.env.get("TMPDIR").map_or("/tmp", String::as_str);
        let dir = Path::new(parent).join(format!("rallyhere-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).map_err(io_error("make a directory for the demo"))?;
        let place = Self { dir };
        for folder in ["runtime", "state"] {
            std::fs::create_dir(place.dir.join(folder)).map_err(io_error("make a directory for the demo"))?;
        }
        Ok(place)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is a few small files in the folder for temporary things.
        let _left = std::fs::remove_dir_all(&self.dir);
    }
}

async fn tell(args: &Args, place: &Place, terminal: &mut Terminal<'_>) -> Result<(), DemoError> {
    let simulator = Simulator::new(&Options {
        api: args.api,
        clients: vec![ClientSpec::new(CLIENT, SECRET)],
        sessions: vec![SessionSpec::new(SESSION)],
        allocations: Vec::<AllocationSpec>::new(),
        health_cadence_seconds: 1,
        ..Options::default()
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(io_error("listen for the simulator"))?;
    let environment = listener.local_addr().map_err(io_error("listen for the simulator"))?;
    let mut timeline = Timeline::new(simulator.subscribe());
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    servers.spawn(simulator.serve(listener, async move {
        let mut stopped = stopped;
        let _gone = stopped.wait_for(|stopped| *stopped).await;
    }));

    let running = Running::start(
        settings(place, &format!("http://{environment}"), args.hold)?,
        &Surroundings::default(),
        None,
        None,
    )?;
    let socket = running.stations.iter().find_map(|station| station.local.socket.clone());
    let socket =
        socket.ok_or(DemoError::Io { what: "open the socket of the game", source: io::Error::other("none") })?;
    timeline.follow(running.stations.first().map(|station| &station.member.handle));
    let game = game::start(&socket).map_err(io_error("start the game"))?;
    timeline.listen_to(game);

    let mut script = Script { terminal, timeline, simulator: &simulator, reports: 0 };
    script.title()?;
    if args.hold {
        script.hold(&running, environment, &socket).await?;
    } else {
        script.play(&running).await?;
    }
    running.host.drain("the demo is over");
    script.end(running).await?;
    stop.send_replace(true);
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// The demo's configuration goes the way of every other: a file, read by the same code.
fn settings(place: &Place, environment: &str, hold: bool) -> Result<config::Settings, DemoError> {
    let file = place.file("agent.toml");
    let listen = if hold { "127.0.0.1:0" } else { "" };
    let text = format!(
        "environment.url = \"{environment}\"\n\
         auth.client_id = \"{CLIENT}\"\n\
         auth.client_secret_file = \"{secret}\"\n\
         instance.session_id = \"{SESSION}\"\n\
         instance.version = \"1.0.0\"\n\
         instance.public_conn_str = \"127.0.0.1:7777\"\n\
         local_api.listen = \"{listen}\"\n\
         admin.listen = \"{listen}\"\n\
         state.dir = \"{state}\"\n\
         notifications.session_interval = \"1s\"\n\
         shutdown.drain_timeout = \"5s\"\n",
        secret = place.file("client-secret").display(),
        state = place.file("state").display(),
    );
    std::fs::write(place.file("client-secret"), SECRET).map_err(io_error("write the demo's secret"))?;
    std::fs::write(&file, text).map_err(io_error("write the demo's configuration"))?;
    for private in ["client-secret", "state"] {
        private_to_us(&place.file(private)).map_err(io_error("close the demo's files to others"))?;
    }
    let mut surroundings = Surroundings::default();
    surroundings.env.insert("RUNTIME_DIRECTORY".to_owned(), place.file("runtime").display().to_string());
    let sources = Sources { file: Some(file), ..Sources::default() };
    Ok(config::load(&sources, &surroundings).map_err(DemoError::Config)?.settings)
}

fn private_to_us(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// How long one step may take; the whole demo stays below 20 s.
const STEP: Duration = Duration::from_secs(10);
