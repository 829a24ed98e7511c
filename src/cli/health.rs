//! `health`: how the game is.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::{CommandError, Terminal};

/// What may be said to `health`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// How it is.
    state: State,
    /// Why, in words; at most 256 characters.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Healthy,
    Degraded,
    Unhealthy,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let state = args.state.as_str();
    client.post::<Value>("/v1/health", &json!({"status": state, "reason": args.reason})).await?;
    Ok(terminal.say(&format!("the agent knows that the game is {state}"))?)
}
