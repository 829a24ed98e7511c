//! `drain`: nobody new, wait for the game, close, end. The command returns once that has begun.

use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::{CommandError, Terminal};

/// What may be said to `drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Why, in words; at most 256 characters.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    client.post::<Value>("/v1/drain", &json!({"reason": args.reason})).await?;
    Ok(terminal.say("draining; `rallyhere-agent status` shows how far it is")?)
}
