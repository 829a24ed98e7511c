//! `run`: the daemon.

use std::path::PathBuf;

use super::values::{KeyValue, key_value};
use super::{Chain, Terminal};
use crate::config::settings::Surroundings;
#[cfg(feature = "simulator")]
use crate::config::settings::{Log, LogFormat};
use crate::config::{self, Loaded, Sources};
use crate::exit::Exit;
use crate::io::notify::Notifier;
use crate::io::signals::Signals;
use crate::telemetry::log::{self, LogHandle};

mod farewell;
mod observe;
pub(super) mod running;
mod station;
mod supervise;
mod turnover;
mod words;

use running::Running;

/// Threads for what blocks: names (getaddrinfo), and files that are read again.
const BLOCKING_THREADS: usize = 4;

/// What may be said to `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this configuration file; without it /etc/rallyhere-agent/agent.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, over everything else: `--set instance.session_id=abc`. May be repeated. Not for secrets.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<KeyValue>,
    /// Replay a run: the seed of all jitter.
    #[arg(long, hide = true)]
    pub rng_seed: Option<u64>,
    /// The game to start and supervise, with its arguments; overrides game.command.
    #[arg(last = true, value_name = "GAME")]
    pub game: Vec<String>,
}

impl Args {
    fn sources(&self) -> Sources {
        let mut set: Vec<String> = self.set.iter().map(ToString::to_string).collect();
        if !self.game.is_empty() {
            // One list of arguments, in TOML's own quoting: what the shell took apart stays apart.
            let words: Vec<toml::Value> = self.game.iter().cloned().map(toml::Value::String).collect();
            set.push(format!("game.command={}", toml::Value::Array(words)));
        }
        Sources { file: self.config.clone(), set, host: false }
    }
}

/// Runs the agent.
pub fn run(args: Args, surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    let sources = args.sources();
    let loaded = match config::load(&sources, surroundings) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            terminal.complain(&mistakes.to_string());
            return Exit::Config;
        }
    };
    let log = match log::init(&loaded.settings.log) {
        Ok(log) => log,
        Err(error) => {
            terminal.complain(&format!("rallyhere-agent: {}", Chain(&error)));
            return Exit::Failure;
        }
    };
    let exit = start(loaded, sources, surroundings, &log, args.rng_seed);
    log.flush(log::FLUSH_LIMIT);
    exit
}

fn start(loaded: Loaded, sources: Sources, surroundings: &Surroundings, log: &LogHandle, seed: Option<u64>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("blocking")
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime could not be started");
            return Exit::Failure;
        }
    };
    let exit = runtime.block_on(async {
        // Before anything else: a SIGTERM during the start must drain, not kill.
        let signals = match Signals::register() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "the signals could not be taken over");
                return Exit::Failure;
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("the configuration: {warning}");
        }
        let notifier = Notifier::new(surroundings);
        match Running::start(loaded.settings, surroundings, seed, Some(log.clone())) {
            Ok(running) => supervise::supervise(running, signals, notifier, &sources, surroundings, log).await,
            Err(error) => {
                tracing::error!("the agent cannot start: {}", Chain(&error));
                error.exit()
            }
        }
    });
    // A name that is being looked up may hang in getaddrinfo: it must not hold the end.
    runtime.shutdown_background();
    exit
}

#[cfg(feature = "simulator")]
/// A log for a command that is not the daemon: warnings as text.
pub(super) fn quiet_log() -> Log {
    Log { format: LogFormat::Text, level: "warn".to_owned() }
}
