//! A running game that we started, from its start to the moment at which its end is told.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use regex_lite::Regex;
use rustix::process::{Signal, kill_process_group};
use tokio::process::Child;

use super::core_file::{self, Crashed};
use super::grip::{self, Grip};
use super::launch::Launched;
use super::meter::Meter;
use super::output::{Output, Sinks};
use crate::clock;
use crate::core::process::{End, EndStatus};

/// How long the pipes of a game that has ended are waited for. They end with its process group; something that has left the
/// group may hold them.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A game of ours.
///
/// **Invariant:** its leader is collected last of all. Until then the kernel gives neither its pid nor its process group to
/// anybody else, so that every signal reaches the game or nobody.
#[derive(Debug)]
pub(super) struct Ours {
    child: Child,
    pub(super) grip: Grip,
    pub(super) output: Output,
    pub(super) meter: Meter,
    working_dir: PathBuf,
    begun: Instant,
    collected: bool,
}

impl Ours {
    /// Takes over a game that has just been started.
    ///
    /// # Errors
    /// If the kernel has no descriptors or threads left; the game is then ended.
    pub(super) fn new(
        launched: Launched,
        sinks: Sinks,
        ready: Option<Regex>,
        tail: usize,
        working_dir: Option<&Path>,
    ) -> io::Result<Self> {
        let Launched { child, output } = launched;
        let gone = || io::Error::other("its process was collected by somebody else");
        let pid = child.id().ok_or_else(gone)?;
        let grip = Grip::take(pid)?.ok_or_else(gone)?;
        let output = Output::start(output, sinks, ready, tail)?;
        let working_dir = working_dir.map_or_else(|| std::env::current_dir().unwrap_or_default(), Path::to_owned);
        Ok(Self { child, grip, output, meter: Meter::begin(pid), working_dir, begun: clock::now(), collected: false })
    }

    /// Sends a signal to the game's leader only: how it tells its children is its own business.
    pub(super) fn stop(&self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number) else {
            tracing::error!(number, "there is no such signal; the game was not asked to stop");
            return;
        };
        match self.grip.signal(signal) {
            Ok(()) => tracing::info!(signal = number, pid = self.grip.pid(), "the game was asked to stop"),
            Err(error) => tracing::warn!(%error, signal = number, "the game could not be asked to stop"),
        }
    }

    /// Ends it and everything in its process group. What has left the group (setsid(2)) lives on.
    pub(super) fn kill(&self) {
        if self.collected {
            return;
        }
        // Nobody left to be ended: the leader is a zombie, and was alone.
        let group = grip::number(self.grip.pid());
        let _nobody = group.map(|group| kill_process_group(group, Signal::KILL));
    }

    /// Its leader has ended: ends what it left behind in its group, collects it, and says how it ended.
    pub(super) async fn end(&mut self, known: Vec<String>) -> End {
        let uptime = clock::now().saturating_duration_since(self.begun);
        // All of these must come before it is collected: then its pid means nothing any more.
        let (figures, oom_killed) = self.meter.close();
        let name = self.grip.stat().map(|stat| stat.name).unwrap_or_default();
        self.kill();
        let status = self.collect().await;
        let tail = self.output.last_lines(LAST_LINES, known).await;
        let core = status.filter(ExitStatusExt::core_dumped).map(|status| {
            let signal = status.signal().unwrap_or_default();
            core_file::find(&Crashed { pid: self.grip.pid(), name: &name, signal, working_dir: &self.working_dir })
        });
        End { status: status.map_or(EndStatus::Unknown, end_status), oom_killed, core, uptime, figures, tail }
    }

    async fn collect(&mut self) -> Option<ExitStatus> {
        let waited = self.child.wait().await;
        self.collected = true;
        waited.inspect_err(|error| tracing::warn!(%error, "how the game ended could not be learnt")).ok()
    }

    /// The keeper ends: ends the game, if it still runs, and gives what it printed a moment to be passed on. `limit` is for a
    /// game that the kernel cannot end at once, because it waits for a disk.
    pub(super) async fn abandon(&mut self, limit: Duration) {
        if !self.collected {
            tracing::warn!(pid = self.grip.pid(), "the agent ends, and with it the game");
            self.kill();
            let collected = async {
                self.grip.gone().await;
                self.kill();
                self.child.wait().await
            };
            let ended = tokio::select! {
                _status = collected => true,
                () = clock::sleep(limit) => false,
            };
            self.collected = ended;
        }
        self.output.finish().await;
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn end_status(status: ExitStatus) -> EndStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => EndStatus::Code(code),
        (None, Some(signal)) => EndStatus::Signal(signal),
        (None, None) => EndStatus::Unknown,
    }
}
