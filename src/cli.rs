//! The command line: what may be said, and which command does it (design.md section 5).
//!
//! One file per command. The client commands speak to a running agent through `client`; they share nothing with the daemon
//! but the shape of `GET /v1/status`. Standard output and standard error reach a command as a [`Terminal`], never as a macro.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::pin::{Pin, pin};

use clap::{Parser, Subcommand};

use crate::config::settings::Surroundings;
use crate::exit::Exit;

#[cfg(not(feature = "simulator"))]
mod absent;
mod allocate;
pub mod check;
mod client;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod doctor;
mod drain;
mod event;
mod fubar;
mod health;
mod instance;
mod notifications;
mod outbox;
mod ready;
pub mod run;
#[cfg(feature = "simulator")]
pub mod simulate;
mod status;
pub mod values;

pub use notifications::lines as notification_lines;

use client::{Client, ClientError, Connect};

/// Everything that may be said.
#[derive(Debug, Parser)]
#[command(
    name = "rallyhere-agent",
    version,
    about = "The agent beside a dedicated game server on RallyHere",
    after_help = "Exit codes: 0 done or stopped on command, 1 failure, 2 usage, 75 state directory in use, 76 superseded, 78 configuration, 79 left on SIGUSR2."
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent.
    Run(run::Args),
    /// Show it at work: a simulated environment, a small game and the agent, narrated.
    #[cfg(feature = "simulator")]
    Demo(demo::Args),
    /// The game of the demo.
    #[cfg(feature = "simulator")]
    #[command(hide = true)]
    DemoGame(demo::game::Args),
    /// Run only the simulated environment.
    #[cfg(feature = "simulator")]
    Simulate(simulate::Args),
    /// Not in this build.
    #[cfg(not(feature = "simulator"))]
    #[command(hide = true, alias = "simulate", disable_help_flag = true)]
    Demo(absent::Args),
    /// Validate the configuration and print the merged settings, secrets redacted.
    Check(check::Args),
    /// Look at everything that the agent needs, and say what to do about what is missing.
    Doctor(doctor::Args),
    /// List, add and take away the instances of a host.
    Instance(instance::Args),
    /// Show how a running agent is doing.
    Status(status::Args),
    /// Say that the game is ready for players.
    Ready(ready::Args),
    /// Say how the game is; counts as a heartbeat.
    Health(health::Args),
    /// Report that the instance has failed.
    Fubar(fubar::Args),
    /// Record a session event.
    Event(event::Args),
    /// Give this server to a session, where instance.source is "local"; or take it back.
    Allocate(allocate::Args),
    /// Let nobody new in, wait for the game, close, end.
    Drain(drain::Args),
    /// List the reports that wait for the backend and those that it will never take; put such a one back, or forget it.
    Outbox(outbox::Args),
    /// Print what waits for the game, one JSON object a line.
    Notifications(notifications::Args),
}

/// Where a command writes.
pub struct Terminal<'a> {
    /// Standard output: what was asked for.
    pub out: &'a mut dyn Write,
    /// Standard error: everything else.
    pub err: &'a mut dyn Write,
    /// Whether a person looks at `out`.
    pub interactive: bool,
}

impl fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("interactive", &self.interactive).finish_non_exhaustive()
    }
}

impl Terminal<'_> {
    /// Writes one line to standard output, at once.
    ///
    /// # Errors
    /// If it cannot be written; a pipe whose reader has gone is one of these cases.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Writes one line to standard error. There is nobody to tell if that fails.
    pub fn complain(&mut self, line: &str) {
        let _nobody = writeln!(self.err, "{line}");
        let _nobody = self.err.flush();
    }
}

/// All that may be said, for what is made from it at package time: the manual and the completions.
pub fn command() -> clap::Command {
    <Line as clap::CommandFactory>::command()
}

/// Does what the arguments say, with the process's own standard output and error.
pub fn main(args: impl IntoIterator<Item = OsString>, surroundings: &Surroundings) -> Exit {
    // Not locked: the daemon's log lines go the same way, from other threads.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let interactive = out.is_terminal();
    execute(args, surroundings, &mut Terminal { out: &mut out, err: &mut err, interactive })
}

/// Does what the arguments say.
pub fn execute(
    args: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
    terminal: &mut Terminal<'_>,
) -> Exit {
    let line = match Line::try_parse_from(args) {
        Ok(line) => line,
        // Also --help and --version come this way; they are no mistakes.
        Err(error) if error.use_stderr() => {
            terminal.complain(error.render().to_string().trim_end());
            return Exit::Usage;
        }
        Err(error) => return finish(terminal, |terminal| Ok(terminal.say(error.render().to_string().trim_end())?)),
    };
    match line.command {
        Command::Run(args) => run::run(args, surroundings, terminal),
        #[cfg(feature = "simulator")]
        Command::Demo(args) => demo::run(&args, surroundings, terminal),
        #[cfg(feature = "simulator")]
        Command::DemoGame(args) => demo::game::run(&args, terminal),
        #[cfg(feature = "simulator")]
        Command::Simulate(args) => simulate::run(&args, surroundings, terminal),
        #[cfg(not(feature = "simulator"))]
        Command::Demo(args) => absent::run(&args, terminal),
        Command::Check(args) => check::run(&args, surroundings, terminal),
        Command::Doctor(args) => doctor::run(&args, surroundings, terminal),
        Command::Instance(args) => instance::run(&args, surroundings, terminal),
        Command::Status(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            status::run(&args, client, terminal).await
        }),
        Command::Ready(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            ready::run(&args, client, terminal).await
        }),
        Command::Health(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            health::run(&args, client, terminal).await
        }),
        Command::Fubar(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            fubar::run(&args, client, terminal).await
        }),
        Command::Event(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            event::run(&args, client, terminal).await
        }),
        Command::Allocate(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            allocate::run(&args, client, terminal).await
        }),
        Command::Drain(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            drain::run(&args, client, terminal).await
        }),
        Command::Outbox(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            outbox::run(&args, client, terminal).await
        }),
        Command::Notifications(args) => talk(surroundings, terminal, &args.connect, async |client, terminal| {
            notifications::run(&args, client, terminal).await
        }),
    }
}

/// Why a client command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The agent.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was waited for did not come.
    #[error("{0}")]
    NotDone(String),
    /// Somebody else has the session now.
    #[error("superseded: somebody else holds the session or the allocation; the instance was not closed")]
    Superseded,
    /// Our own output.
    #[error("standard output cannot be written")]
    Output(#[from] io::Error),
    /// Our own runtime.
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
    /// The simulator.
    #[cfg(feature = "simulator")]
    #[error("the simulator could not run")]
    Simulator(#[source] crate::simulator::RunError),
    /// The demo did not come to its end.
    #[cfg(feature = "simulator")]
    #[error("{0}")]
    Demo(String),
}

/// Runs a client command against the agent that the arguments or the surroundings name.
fn talk(
    surroundings: &Surroundings,
    terminal: &mut Terminal<'_>,
    connect: &Connect,
    command: impl AsyncFnOnce(&Client, &mut Terminal<'_>) -> Result<(), CommandError>,
) -> Exit {
    finish(terminal, |terminal| {
        let client = Client::find(connect, surroundings)?;
        let mut command = pin!(command(&client, terminal));
        // The runtime's loop is compiled once for every type of future that it is given: here they are one.
        let command: Pin<&mut dyn Future<Output = _>> = command.as_mut();
        runtime()?.block_on(command)
    })
}

/// A runtime for a command that is not the daemon.
fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For the address of a name in --url.
        .max_blocking_threads(1)
        .build()
        .map_err(CommandError::Runtime)
}

/// Turns how it went into words and an exit code.
fn finish(terminal: &mut Terminal<'_>, work: impl FnOnce(&mut Terminal<'_>) -> Result<(), CommandError>) -> Exit {
    match work(terminal) {
        Ok(()) => Exit::Done,
        // `| head` has seen enough.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            let exit = match error {
                CommandError::Usage(_) => Exit::Usage,
                CommandError::Superseded => Exit::Superseded,
                CommandError::Client(_)
                | CommandError::NotDone(_)
                | CommandError::Output(_)
                | CommandError::Runtime(_) => Exit::Failure,
                #[cfg(feature = "simulator")]
                CommandError::Simulator(_) | CommandError::Demo(_) => Exit::Failure,
            };
            let line = format!("rallyhere-agent: {}", Chain(&error));
            terminal.complain(&line);
            exit
        }
    }
}

/// An error and its causes in one line.
#[derive(Debug)]
pub struct Chain<'a>(
    /// The outermost.
    pub &'a dyn Error,
);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A text from elsewhere, safe to show: control characters are escaped, so that none of it steers the terminal.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _infallible = write!(clean, "{}", character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}
