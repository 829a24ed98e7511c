//! `status`: how a running agent is doing, for people or as JSON.

use std::time::Duration;

use serde_json::Value;

use super::client::{Client, ClientError, Connect};
use super::{CommandError, Terminal};
use crate::clock;
use crate::io::local::status::Status;

mod text;

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What may be said to `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Print the agent's answer itself, one line of JSON.
    #[arg(long)]
    json: bool,
    /// Show it again every two seconds, until stopped.
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let mut first = true;
    loop {
        let shown = show(args, client).await?;
        if args.watch && !args.json {
            if terminal.interactive {
                write!(terminal.out, "{CLEAR}")?;
            } else if !first {
                terminal.say("")?;
            }
        }
        terminal.say(&shown)?;
        if !args.watch {
            return Ok(());
        }
        first = false;
        clock::sleep(WATCH).await;
    }
}

async fn show(args: &Args, client: &Client) -> Result<String, ClientError> {
    if args.json {
        // Not through `Status`: what a newer agent adds stays in it.
        return client.get::<Value>("/v1/status").await.map(|status| status.to_string());
    }
    let status: Status = client.get("/v1/status").await?;
    Ok(text::render(&status, clock::wall()))
}
