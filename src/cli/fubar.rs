//! `fubar`: the instance has failed.

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Connect};
use super::{CommandError, Terminal};

/// What may be said to `fubar`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// What has failed, as one of few words: it becomes a graph's label. More than 128 characters are cut.
    error: String,
    /// The same key twice within a day is the same report.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    report_id: String,
    #[serde(default)]
    truncated: bool,
}

/// Prints the report's id, and nothing else, so that a script can keep it.
pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let body = json!({"error": args.error, "key": args.key});
    let accepted: Accepted = client.post("/v1/fubar", &body).await?;
    if accepted.truncated {
        terminal.complain("rallyhere-agent: the error was cut to 128 characters");
    }
    Ok(terminal.say(&super::clean(&accepted.report_id))?)
}
