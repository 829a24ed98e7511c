//! `demo`: simulator, a small game and the agent, narrated.

use super::Terminal;
use crate::config::settings::Surroundings;
use crate::exit::Exit;

/// What may be said to `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay up after the story until stopped, so that one can look around.
    #[arg(long)]
    pub hold: bool,
}

/// Runs the demo.
pub fn run(_args: Args, _surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    terminal.complain("rallyhere-agent: `demo` is not built yet");
    Exit::Failure
}
