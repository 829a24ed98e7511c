//! `notifications`: what waits for the game, one JSON object a line, oldest first; or what nobody would take.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Connect};
use super::{CommandError, Terminal};
use crate::wire::reader;

/// How long the agent holds one call while nothing comes.
const HELD: Duration = Duration::from_secs(25);

/// What may be said to `notifications`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Go on with what comes, until stopped.
    #[arg(long)]
    follow: bool,
    /// Acknowledge what was printed: the game will not get it any more.
    #[arg(long)]
    ack: bool,
    /// Print those that were pushed and that nobody would take, with the reason.
    #[arg(long, conflicts_with_all = ["follow", "ack"])]
    set_aside: bool,
}

#[derive(Debug, Deserialize)]
struct SetAside {
    set_aside: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Page {
    notifications: Vec<Entry>,
}

/// An entry is shown as it came; only its id is read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
struct Entry {
    id: String,
    line: String,
}

impl TryFrom<Value> for Entry {
    type Error = &'static str;

    fn try_from(entry: Value) -> Result<Self, Self::Error> {
        let id =
            entry.get("notification_id").and_then(Value::as_str).ok_or("a notification without notification_id")?;
        Ok(Self { id: id.to_owned(), line: shown(&entry.to_string()) })
    }
}

/// JSON for a terminal, and for readers that end a line at more than a line feed: what JSON leaves as it is although it is a control
/// character, a line of its own, or turns the text around it, as the escape that means the same.
fn shown(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                let _text_takes_all = write!(line, "\\u{:04x}", u32::from(character));
            }
            _ => line.push(character),
        }
    }
    line
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    if args.set_aside {
        let kept: SetAside = client.get("/v1/notifications/set_aside").await?;
        for entry in &kept.set_aside {
            terminal.say(&shown(&entry.to_string()))?;
        }
        return Ok(());
    }
    let held = if args.follow { HELD } else { Duration::ZERO };
    let mut path = path(held, None);
    loop {
        let page: Page = client.wait(&path, held).await?;
        // Each is on its way out before any is acknowledged: one that nobody saw is not gone.
        for entry in &page.notifications {
            terminal.say(&entry.line)?;
        }
        match page.notifications.last() {
            Some(last) => {
                if args.ack {
                    client.post::<Value>("/v1/notifications/ack", &json!({"notification_id": last.id})).await?;
                }
                path = self::path(held, Some(&last.id));
            }
            None if args.follow => {}
            None => return Ok(()),
        }
    }
}

/// The lines that `notifications` prints of one answer to it.
///
/// # Errors
/// If the answer is no list of notifications.
pub fn lines(answer: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    let page: Page = reader::document(answer)?;
    Ok(page.notifications.into_iter().map(|entry| entry.line).collect())
}

fn path(held: Duration, after: Option<&str>) -> String {
    let wait = held.as_secs();
    match after {
        Some(after) => {
            format!("/v1/notifications?limit=1000&wait={wait}&after={}", utf8_percent_encode(after, NON_ALPHANUMERIC))
        }
        None => format!("/v1/notifications?limit=1000&wait={wait}"),
    }
}
