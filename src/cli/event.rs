//! `event`: something happened in the session.

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Connect};
use super::values::{KeyValue, key_value, map};
use super::{CommandError, Terminal};

/// What may be said to `event`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// What sort of thing; at most 256 characters.
    code: String,
    /// In words; at most 4096 characters.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Data of the event. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    data: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    event_id: String,
}

/// Prints the event's id, and nothing else, so that a script can keep it.
pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let data = map(&args.data).map_err(CommandError::Usage)?;
    let body = json!({"event_code": args.code, "description": args.description, "custom_data": data});
    let accepted: Accepted = client.post("/v1/events", &body).await?;
    Ok(terminal.say(&super::clean(&accepted.event_id))?)
}
