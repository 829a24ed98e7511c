//! A command of the operator's: exit code 0 is healthy, 1 degraded, 2 unhealthy; anything else is a failure of the probe.
//! The first line that it prints is the reason.
//!
//! It has a process group of its own, which is killed when the run ends, for whatever reason: what a probe has started does
//! not outlive its run. It inherits the agent's environment without what was meant for the agent only, and has
//! `RALLYHERE_GAME_PID` where the game's process is known.

use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::{Finding, Found, Progress, REASON_LIMIT};
use crate::clock;
use crate::core::instance::Health;
use crate::io::child::is_withheld;

/// How the command learns the game's process id.
const GAME_PID: &str = "RALLYHERE_GAME_PID";
/// How long what is still in the pipe may take after the command has ended. It is there already, unless somebody who left
/// the process group holds the pipe open.
const REST: Duration = Duration::from_millis(100);
/// The most bytes of the first line that are kept: all that could fill a reason.
const LINE_LIMIT: usize = 4 * REASON_LIMIT;

/// A command that has run to its end.
pub(in crate::io) struct Ran {
    pub(in crate::io) status: ExitStatus,
    /// The first line that it printed, if it is not empty; cut to some kilobytes.
    pub(in crate::io) line: Option<String>,
}

impl Ran {
    /// How it ended, in words.
    pub(in crate::io) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

pub(super) async fn ask(command: &[String], pid: Option<u32>, progress: &mut Progress) -> Found {
    progress.is("the command runs, and is killed now");
    verdict(run(command, pid).await?)
}

/// Runs a command of the operator's. Dropping the future kills it, and everything in its process group.
///
/// # Errors
/// In words, if it cannot be run.
pub(in crate::io) async fn run(command: &[String], pid: Option<u32>) -> Result<Ran, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("there is no command".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_withheld(name)) {
        command.env_remove(name);
    }
    match pid {
        Some(pid) => command.env(GAME_PID, pid.to_string()),
        None => command.env_remove(GAME_PID),
    };
    let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
    let group = Group::of(child.id());
    let mut line = Line::default();
    let mut output = child.stdout.take();
    let status = {
        let printing = async {
            if let Some(output) = &mut output {
                line.read(output).await;
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            status = child.wait() => status,
            never = printing => match never {},
        }
    };
    drop(group);
    if let Some(output) = &mut output {
        tokio::select! {
            biased;
            () = clock::sleep(REST) => {}
            () = line.read_to_its_end(output) => {}
        }
    }
    let status = status.map_err(|error| format!("cannot wait for {program}: {error}"))?;
    Ok(Ran { status, line: line.text() })
}

fn verdict(ran: Ran) -> Found {
    let how = ran.how();
    let Ran { status, line } = ran;
    let health = match status.code() {
        Some(0) => Health::Healthy,
        Some(1) => Health::Degraded,
        Some(2) => Health::Unhealthy,
        Some(_) | None => return Err(line.map_or_else(|| how.clone(), |line| format!("{how}: {line}"))),
    };
    Ok(Finding { health, reason: line.unwrap_or(how), players: None })
}

/// A process group that ends with its owner. As long as anybody is in it, its number belongs to nobody else; where its leader
/// was the last and is waited for already, the number is free, but the kernel gives all others out first.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error says that nobody is left.
            let _nobody = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The first line of some output. What follows is read and thrown away, so that its writer is not held up.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    whole: bool,
}

impl Line {
    /// Reads until the output ends.
    async fn read(&mut self, output: &mut (impl AsyncRead + Unpin)) {
        while self.read_some(output).await {}
    }

    /// Reads until the line or the output ends.
    async fn read_to_its_end(&mut self, output: &mut (impl AsyncRead + Unpin)) {
        while !self.whole && self.read_some(output).await {}
    }

    async fn read_some(&mut self, output: &mut (impl AsyncRead + Unpin)) -> bool {
        let mut piece = [0; 4096];
        let read = output.read(&mut piece).await.unwrap_or_default();
        for byte in piece.iter().take(read) {
            self.whole |= *byte == b'\n' || self.bytes.len() == LINE_LIMIT;
            if self.whole {
                break;
            }
            self.bytes.push(*byte);
        }
        read > 0
    }

    fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}
