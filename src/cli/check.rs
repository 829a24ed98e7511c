//! `check`: validates the configuration and prints what it adds up to.

use std::path::PathBuf;

use super::values::{KeyValue, key_value};
use super::{CommandError, Terminal, finish};
use crate::config::{self, Sources, Surroundings};
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
pub fn run(args: &Args, surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    let sources =
        Sources { file: args.config.clone(), set: args.set.iter().map(ToString::to_string).collect(), host: false };
    let (text, exit) = check(&sources, surroundings);
    if exit == Exit::Done {
        return finish(terminal, |terminal| terminal.say(text.trim_end()).map_err(CommandError::Output));
    }
    terminal.complain(text.trim_end());
    exit
}

/// Loads the configuration. With [`Exit::Done`] the text is the merged settings as TOML, secrets redacted, warnings as
/// comments on top: for standard output. With [`Exit::Config`] it is the list of mistakes: for standard error.
pub fn check(sources: &Sources, surroundings: &Surroundings) -> (String, Exit) {
    match config::load(sources, surroundings) {
        Ok(loaded) => {
            let mut lines: Vec<String> = if loaded.files.is_empty() {
                vec!["# No configuration file was read.".to_owned()]
            } else {
                loaded
                    .files
                    .iter()
                    .map(|file| format!("# Read from {}", file.to_string_lossy().escape_debug()))
                    .collect()
            };
            lines.extend(loaded.warnings.iter().map(|warning| format!("# Warning: {warning}")));
            (format!("{}\n\n{}", lines.join("\n"), loaded.merged), Exit::Done)
        }
        Err(error) => (format!("{error}\n"), Exit::Config),
    }
}
