//! `ready`: the game is ready for players.

use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::values::{KeyValue, key_value, map};
use super::{CommandError, Terminal};

/// What may be said to `ready`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// How players outside reach the game.
    #[arg(long, value_name = "TEXT")]
    public_conn_str: Option<String>,
    /// How players in the same network reach it.
    #[arg(long, value_name = "TEXT")]
    private_conn_str: Option<String>,
    /// Data of the game; replaces what it said before. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    data: Vec<KeyValue>,
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let data = map(&args.data).map_err(CommandError::Usage)?;
    let body = json!({
        "public_conn_str": args.public_conn_str,
        "private_conn_str": args.private_conn_str,
        "custom_data": if data.is_empty() { Value::Null } else { json!(data) },
    });
    client.post::<Value>("/v1/ready", &body).await?;
    Ok(terminal.say("the agent knows that the game is ready")?)
}
