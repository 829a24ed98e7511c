//! `allocate`: give this server to a session, where `instance.source` is "local"; `--end` takes it back.

use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::{CommandError, Terminal};

/// What may be said to `allocate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// The session that this server is for.
    #[arg(long, value_name = "ID", required_unless_present_any = ["allocation", "end"])]
    session: Option<String>,
    /// The allocation that it is bound to.
    #[arg(long, value_name = "ID")]
    allocation: Option<String>,
    /// Where players reach this server: an address or a name.
    #[arg(long, value_name = "HOST", requires = "port")]
    host: Option<String>,
    /// With which port, 1 to 65535.
    #[arg(long, value_name = "PORT", requires = "host")]
    port: Option<u16>,
    /// Take the allocation back: the instance drains, closes and ends.
    #[arg(long, conflicts_with_all = ["session", "allocation", "host", "port"])]
    end: bool,
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    if args.end {
        client.delete::<Value>("/v1/allocate").await?;
        return Ok(terminal.say("deallocated: the instance drains and ends")?);
    }
    let mut body = serde_json::Map::new();
    let texts = [("session_id", &args.session), ("allocation_id", &args.allocation), ("public_host", &args.host)];
    for (field, text) in texts {
        if let Some(text) = text {
            body.insert(field.to_owned(), json!(text));
        }
    }
    if let Some(port) = args.port {
        body.insert("public_port".to_owned(), json!(port));
    }
    client.post::<Value>("/v1/allocate", &Value::Object(body)).await?;
    Ok(terminal.say("allocated; `rallyhere-agent status` shows how far it is")?)
}
