//! `drain`: nobody new, wait for the game, close, end. The command returns once that has begun; with `--wait` it shows how far
//! it is, and returns when the instance has ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, ClientError, Connect};
use super::{CommandError, Terminal};
use crate::clock;
use crate::io::local::status::Status;

mod progress;

/// How often it is looked how far the drain is.
const LOOK: Duration = Duration::from_millis(250);
/// A line that says nothing new is repeated so often where nobody watches, so that a log shows that it goes on.
const REPEAT: Duration = Duration::from_secs(10);
/// An agent that fell silent in the middle of a drain may be started again by its service manager. It has so long.
const SILENCE: Duration = Duration::from_secs(10);
/// Goes to the beginning of a terminal's line and clears it.
const AGAIN: &str = "\r\x1b[2K";

/// What may be said to `drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) connect: Connect,
    /// Why, in words; at most 256 characters.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show how far it is until the instance has ended. Ends with 0 then, with 76 if it was superseded, with 1 if the agent fell
    /// silent before. Stopping this command does not stop the drain.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: &Args, client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    client.post::<Value>("/v1/drain", &json!({"reason": args.reason})).await?;
    if args.wait {
        return wait(client, terminal).await;
    }
    Ok(terminal.say("draining; `rallyhere-agent status` shows how far it is, and `drain --wait` waits for the end")?)
}

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    /// Not there yet.
    OnTheWay,
    Ended,
    Superseded,
}

async fn wait(client: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let mut shown = Shown::default();
    let mut phase = String::new();
    let mut silent_since = None;
    loop {
        match client.get::<Status>("/v1/status").await {
            Ok(status) => {
                silent_since = None;
                phase = status.phase.to_string();
                shown.show(&progress::render(&status, clock::wall()), terminal)?;
                match far(&phase) {
                    Far::OnTheWay => {}
                    Far::Ended => return shown.end("ended", terminal),
                    Far::Superseded => {
                        shown.finish(terminal)?;
                        return Err(CommandError::Superseded);
                    }
                }
            }
            // It has said its last words, or has taken its socket away: an agent that crashes does neither.
            Err(error) if error.is_silence() && (error.is_gone() || phase == "closing" || client.is_tcp()) => {
                return shown.end("ended", terminal);
            }
            Err(error) if error.is_silence() => {
                let since = *silent_since.get_or_insert_with(clock::now);
                if clock::now().saturating_duration_since(since) > SILENCE {
                    shown.finish(terminal)?;
                    return Err(fell_silent(&phase, &error));
                }
            }
            Err(error) => {
                shown.finish(terminal)?;
                return Err(error.into());
            }
        }
        clock::sleep(LOOK).await;
    }
}

fn far(phase: &str) -> Far {
    match phase {
        "ended" => Far::Ended,
        "superseded" => Far::Superseded,
        _ => Far::OnTheWay,
    }
}

fn fell_silent(phase: &str, error: &ClientError) -> CommandError {
    let phase = if phase.is_empty() { "the drain began" } else { phase };
    CommandError::NotDone(format!(
        "the agent fell silent before it was done (last seen: {phase}); look at its log ({})",
        super::Chain(error)
    ))
}

/// What stands on the terminal.
#[derive(Debug, Default)]
struct Shown {
    gist: String,
    at: Option<Instant>,
}

impl Shown {
    fn show(&mut self, line: &progress::Line, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        if terminal.interactive {
            write!(terminal.out, "{AGAIN}{}", line.text)?;
            terminal.out.flush()?;
            self.at = Some(clock::now());
            return Ok(());
        }
        let is_old = self.at.is_some_and(|at| clock::now().saturating_duration_since(at) < REPEAT);
        if is_old && self.gist == line.gist {
            return Ok(());
        }
        self.gist.clone_from(&line.gist);
        self.at = Some(clock::now());
        Ok(terminal.say(&line.text)?)
    }

    /// Leaves the line that is written again and again.
    fn finish(&self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        if terminal.interactive && self.at.is_some() {
            terminal.say("")?;
        }
        Ok(())
    }

    fn end(&self, word: &str, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        self.finish(terminal)?;
        Ok(terminal.say(word)?)
    }
}
