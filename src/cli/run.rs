//! `run`: the daemon.

use std::path::PathBuf;

use super::Terminal;
use super::values::{KeyValue, key_value};
use crate::config::settings::Surroundings;
use crate::exit::Exit;

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

/// Runs the agent.
pub fn run(_args: Args, _surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    terminal.complain("rallyhere-agent: `run` is not built yet");
    Exit::Failure
}
