//! The demo's game: a process that is handed the path of a socket and knows nothing else.
//!
//! It stands for the ten lines that a real game needs: say ready, beat, take notifications, acknowledge, report a failure,
//! say when it is done.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::cli::client::{Client, ClientError};
use crate::cli::{CommandError, Terminal, finish, runtime};
use crate::exit::Exit;

/// What may be said to `demo-game`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The agent's socket.
    #[arg(long)]
    socket: PathBuf,
}

/// Starts the game as a process of its own.
pub(super) fn start(socket: &Path) -> io::Result<Child> {
    let ourselves = std::env::current_exe()?;
    Command::new(ourselves)
        .arg("demo-game")
        .arg("--socket")
        .arg(socket)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // A Ctrl-C in the terminal is for the demo, which then ends the game in good order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Runs the game.
pub(in crate::cli) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Exit {
    finish(terminal, |terminal| runtime()?.block_on(play(&Client::at(args.socket.clone()), terminal)))
}

async fn play(agent: &Client, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    terminal.say("loading the map")?;
    agent.post::<Value>("/v1/ready", &json!({"custom_data": {"map": "canyon"}})).await?;
    terminal.say("ready for players")?;
    loop {
        agent.post::<Value>("/v1/health", &json!({"status": "healthy"})).await?;
        let wait = Duration::from_secs(1);
        let page: Value = agent.wait("/v1/notifications?wait=1", wait).await?;
        for notification in page["notifications"].as_array().into_iter().flatten() {
            take(agent, notification, terminal).await?;
        }
        let status: Value = agent.get("/v1/status").await?;
        if status["phase"] == "draining" {
            terminal.say("told to stop: the match is saved, goodbye")?;
            agent.post::<Value>("/v1/shutdown", &json!({"reason": "the match is saved"})).await?;
            return Ok(());
        }
    }
}

async fn take(agent: &Client, notification: &Value, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let mut message = notification["message"].as_str().unwrap_or_default().to_owned();
    if message == "session_changed" {
        // The environment has no notifications: the agent tells that the session changed, and the news is in there.
        let session: Value = agent.get("/v1/session").await?;
        if let Some(news) = session["custom_data"]["news"].as_str() {
            news.clone_into(&mut message);
        }
    }
    terminal.say(&format!("got the notification \"{message}\""))?;
    if message == "test your crash handler" {
        terminal.say("oh no: the physics are not a number")?;
        let body = json!({"error": "physics_nan", "key": "demo-crash"});
        let accepted: Result<Value, ClientError> = agent.post("/v1/fubar", &body).await;
        let report = accepted?["report_id"].as_str().unwrap_or_default().to_owned();
        terminal.say(&format!("reported it; the agent has it on disk as {report}"))?;
    }
    let id = notification["notification_id"].as_str().unwrap_or_default();
    agent.post::<Value>("/v1/notifications/ack", &json!({"notification_id": id})).await?;
    Ok(())
}
