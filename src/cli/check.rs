//! `check`: validate the configuration and print what it adds up to.

use std::path::PathBuf;

use super::Terminal;
use super::values::{KeyValue, key_value};
use crate::config::settings::Surroundings;
use crate::exit::Exit;

/// What may be said to `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this configuration file; without it /etc/rallyhere-agent/agent.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, over everything else. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<KeyValue>,
}

/// Validates and prints.
pub fn run(_args: Args, _surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    terminal.complain("rallyhere-agent: `check` is not built yet");
    Exit::Failure
}
