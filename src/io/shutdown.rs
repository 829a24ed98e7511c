//! The host's own ways to ask for a drain: a file, a command that watches for the end of the machine, logind.
//!
//! Each is looked at by a task of its own, and each ends in the same: a reason, in words, for every instance to drain. What
//! is found is judged in [`crate::core::shutdown`].
//!
//! **Architecture invariant:** nothing that fails here drains an instance, and nothing here waits for the backend.

mod bus;
mod logind;
mod message;
mod notice;
mod trigger;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::settings::{Inhibit, NoticeCommand, Shutdown, Surroundings};
use crate::core::shutdown::Notice;
use crate::ports::boxed;

pub use bus::Address;

/// Reasons that may wait: each of the three says one, and logind perhaps another when a shutdown was called off.
const REASONS: usize = 8;

/// Why every instance should drain, as they come.
#[derive(Debug)]
pub struct Reasons(mpsc::Receiver<String>);

impl Reasons {
    /// The next one; for ever where nobody asks. Cancelling loses nothing.
    pub async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

/// Begins to look, until `stopped` is over. `holds` says whether a shutdown of the host should wait for us;
/// `drain_timeout` is how long players may finish, to be compared with what logind grants.
pub fn watch<S: Future<Output = ()> + Send + 'static>(
    settings: &Shutdown,
    surroundings: &Surroundings,
    holds: watch::Receiver<bool>,
    drain_timeout: Duration,
    tasks: &mut JoinSet<()>,
    stopped: impl Fn() -> S,
) -> Reasons {
    let (reasons, wanted) = mpsc::channel(REASONS);
    if let Some(path) = settings.trigger_file.clone() {
        tasks.spawn(boxed(until(trigger::run(path, reasons.clone()), stopped())));
    }
    if let Some(notice) = settings.notice.clone() {
        tasks.spawn(boxed(until(notice::run(notice, reasons.clone()), stopped())));
    }
    let must = match settings.inhibit {
        Inhibit::Off => return Reasons(wanted),
        Inhibit::Auto => false,
        Inhibit::On => true,
    };
    let address = Address::of(surroundings);
    tasks.spawn(boxed(until(logind::run(address, must, drain_timeout, holds, reasons), stopped())));
    Reasons(wanted)
}

/// Runs the command of `shutdown.notice` once: what it means, and how it ended.
///
/// # Errors
/// In words, if it could not be run, or took too long.
pub async fn ask_once(command: &NoticeCommand) -> Result<(Notice, String), String> {
    notice::ask(command).await
}

/// Why a shutdown of the host would not wait.
#[derive(Debug, thiserror::Error)]
pub enum NoLock {
    /// There is no system bus: a container, or a host without systemd.
    #[error("there is no system bus")]
    NoBus,
    /// The bus or logind, in words.
    #[error("{0}")]
    Refused(String),
}

/// Takes logind's lock and gives it back at once; tells for how long a shutdown of the host would wait at most.
///
/// # Errors
/// If there is nobody who gives it.
pub async fn lock_once(surroundings: &Surroundings) -> Result<Duration, NoLock> {
    logind::try_once(&Address::of(surroundings)).await
}

async fn until(work: impl Future<Output = ()>, stopped: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stopped => {}
        () = work => {}
    }
}

#[cfg(test)]
mod tests;
