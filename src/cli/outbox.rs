//! `outbox`: what waits for the backend, and what it will never take.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::{CommandError, Terminal, clean};

/// What may be said to `outbox`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Print the list as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Put a dead report back: it waits again, behind all others.
    Retry {
        /// Its id, as listed.
        id: String,
    },
    /// Forget a dead report.
    Drop {
        /// Its id, as listed.
        id: String,
    },
}

#[derive(Debug, Deserialize)]
struct Outbox {
    waiting_total: usize,
    waiting: Vec<Entry>,
    dead: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    report_id: String,
    kind: String,
    label: String,
    accepted: String,
    reason: Option<String>,
}

impl Entry {
    fn line(&self, state: &str) -> String {
        let Self { report_id, kind, label, accepted, reason } = self;
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        clean(&format!("{state}  {report_id}  {kind} {label}, accepted {accepted}{reason}"))
    }
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    match &args.action {
        Some(Action::Retry { id }) => {
            client.post::<Value>("/v1/outbox/retry", &json!({"report_id": id})).await?;
            Ok(terminal.say("it waits again, behind all others")?)
        }
        Some(Action::Drop { id }) => {
            client.post::<Value>("/v1/outbox/drop", &json!({"report_id": id})).await?;
            Ok(terminal.say("it is forgotten")?)
        }
        None if args.json => Ok(terminal.say(&client.get::<Value>("/v1/outbox").await?.to_string())?),
        None => list(&client.get("/v1/outbox").await?, terminal),
    }
}

fn list(outbox: &Outbox, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    for entry in &outbox.waiting {
        terminal.say(&entry.line("waits"))?;
    }
    let more = outbox.waiting_total.saturating_sub(outbox.waiting.len());
    if more > 0 {
        terminal.say(&format!("waits  {more} more"))?;
    }
    for entry in &outbox.dead {
        terminal.say(&entry.line("dead "))?;
    }
    Ok(terminal.say(&format!("{} waiting, {} dead", outbox.waiting_total, outbox.dead.len()))?)
}
