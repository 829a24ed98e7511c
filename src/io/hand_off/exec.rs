//! `notifications.deliver = "exec"`: a command gets one notification as a line of JSON on its standard input.
//!
//! Exit code 0 takes it. Anything else is a failed try, and what the command has left running is killed before the next one;
//! a command that exits with 0 may leave something running. It has a process group of its own, so that all of it can be killed.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::clock;
use crate::core::process::{HandOver, Untaken};
use crate::io::child::is_withheld;
use crate::wire::for_people;

/// How many lines of its output are logged, of both streams together.
const LINES: u32 = 20;
/// Characters of such a line; the rest is cut.
const LINE: usize = 500;
/// How long its last words may take once it has ended: what it started may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long it may take to be gone after SIGKILL; a process that hangs in the kernel does not keep us.
const KILLED: Duration = Duration::from_millis(300);

/// Runs the command for one notification.
pub(super) async fn run(command: &[String], limit: Duration, what: &HandOver) -> Result<(), Untaken> {
    let mut input = super::json(what)?;
    input.push(b'\n');
    let Some((program, arguments)) = command.split_first() else {
        return Err(Untaken::Absent(Box::from("no command is configured")));
    };
    let deadline = clock::now() + limit;
    let mut child = prepared(program, arguments, what)
        .spawn()
        .map_err(|error| Untaken::Absent(for_people(&format!("{program} cannot be started: {error}"), &[]).into()))?;
    let mut group = Group::of(&child);
    let mut complaint = String::new();
    let ended = {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let told = Told { id: what.notification.notification_id.as_str(), lines: AtomicU32::new(0) };
        let mut other = String::new();
        let pipes = async {
            tokio::join!(
                feed(stdin, &input),
                listen(stdout, "stdout", &told, &mut other),
                listen(stderr, "stderr", &told, &mut complaint)
            );
        };
        tokio::pin!(pipes);
        let mut open = true;
        let ended = loop {
            tokio::select! {
                biased;
                status = child.wait() => break Some(status),
                () = &mut pipes, if open => open = false,
                () = clock::sleep_until(Some(deadline)) => break None,
            }
        };
        if matches!(&ended, Some(Ok(status)) if status.success()) {
            group.leave();
        } else {
            // At once: a process id that nobody has any more is given to others some day.
            group.kill();
        }
        if ended.is_none() {
            tokio::select! {
                biased;
                _reaped = child.wait() => {}
                () = clock::sleep(KILLED) => {}
            }
        }
        tokio::select! {
            biased;
            () = &mut pipes, if open => {}
            () = clock::sleep(LAST_WORDS) => {}
        }
        ended
    };
    let failed = match ended {
        Some(Ok(status)) if status.success() => return Ok(()),
        Some(Ok(status)) => format!("{program} {}", how(status)),
        Some(Err(error)) => format!("{program} was lost: {error}"),
        None => format!("{program} did not end within {limit:?}; it and what it had started were killed"),
    };
    let words = if complaint.is_empty() { failed } else { format!("{failed}: {complaint}") };
    Err(Untaken::Refused(for_people(&words, &[]).into()))
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn prepared(program: &str, arguments: &[String], what: &HandOver) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    // The names only, to take them away: whatever was configured through them may be a secret.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_withheld(name)) {
        command.env_remove(name);
    }
    command.env("RALLYHERE_NOTIFICATION_ID", what.notification.notification_id.as_str());
    command.env("RALLYHERE_NOTIFICATION_ATTEMPT", what.attempt.to_string());
    command
}

/// Writes the notification and closes. Whether it is read is the command's business: one that has ended or does not listen
/// breaks the pipe, and its exit code says the rest.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _broken = stdin.write_all(input).await;
    }
}

/// What has been told of one run.
struct Told<'a> {
    id: &'a str,
    lines: AtomicU32,
}

impl Told<'_> {
    fn tell(&self, stream: &'static str, line: &str) {
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            ..LINES => tracing::info!(id = self.id, stream, "the notification command says: {line}"),
            LINES => tracing::info!(id = self.id, "the notification command says more, which is left out"),
            _ => {}
        }
    }
}

/// Reads a stream to its end, so that the command never waits for us; logs its first lines, and leaves its last one behind.
async fn listen(from: Option<impl AsyncRead + Unpin>, stream: &'static str, told: &Told<'_>, last: &mut String) {
    let Some(mut from) = from else { return };
    let mut chunk = [0; 1024];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        for byte in chunk.iter().take(count) {
            if *byte == b'\n' {
                close(&mut line, stream, told, last);
            } else if line.len() < 4 * LINE {
                line.push(*byte);
            }
        }
    }
    close(&mut line, stream, told, last);
}

fn close(line: &mut Vec<u8>, stream: &'static str, told: &Told<'_>, last: &mut String) {
    let text: String = String::from_utf8_lossy(line).trim_end().chars().take(LINE).collect();
    line.clear();
    if !text.is_empty() {
        told.tell(stream, &text);
        *last = text;
    }
}

/// The command and everything that it starts, unless that leaves the group by itself. Killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        // Its leader is the child: the group has its id.
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // Nobody left to kill is as good.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }

    /// It may go on.
    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
