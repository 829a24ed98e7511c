//! Collecting those whose parents are gone.
//!
//! PID 1 of a container inherits every process whose parent has ended, and so does whoever says so (PR_SET_CHILD_SUBREAPER).
//! One that nobody collects stays a zombie, and zombies fill the table of processes. A game that starts helpers which start
//! helpers leaves some.
//!
//! Our own children must be left to those who wait for them: else their exit status would be lost, or worse, that of
//! another process with the same number be taken for it. They are told apart by what tokio does with them: it holds a pidfd
//! for each of its children, and `/proc/self/fdinfo` names the process of each pidfd. Who is a zombie, a child of ours, and
//! held by nobody, is an orphan. No child can be started between the last look and the collecting, because both happen in
//! one step of the only thread that starts children.
//!
//! **Architecture invariant:** every child of the agent is started by `tokio::process`, in the runtime's thread. Where the
//! kernel has no pidfds nothing is collected.

use std::fs;
use std::future::Future;
use std::io;
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};
use tokio::signal::unix::{SignalKind, signal};

use super::grip::{number, pidfds_work};
use super::proc::{self, Stat};
use crate::clock;

/// How long those who wait for a child of ours have to collect it, before anybody looks. Also keeps a game that makes many
/// orphans from keeping us busy.
const GRACE: Duration = Duration::from_millis(200);

/// How soon it is looked again while there is a zombie that must not be collected.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether this process is the first of its PID namespace: the orphans of all others are its own.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Takes in the orphans of everything below this process, and collects them once they have ended, until `stopped` is over.
pub async fn run(stopped: impl Future<Output = ()>) {
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "what a game leaves behind goes to the first process of this system, not to the agent");
    }
    if !pidfds_work() {
        tracing::warn!("this kernel has no pidfds: what a game leaves behind is not collected");
        return;
    }
    tokio::select! {
        () = stopped => {}
        outcome = collect() => if let Err(error) = outcome {
            tracing::warn!(%error, "what a game leaves behind is not collected");
        },
    }
}

async fn collect() -> io::Result<()> {
    let mut died = signal(SignalKind::child())?;
    loop {
        clock::sleep(GRACE).await;
        if !somebody_waits()? {
            // One who dies here is told at once: the stream remembers.
            died.recv().await;
            continue;
        }
        // Reading all of /proc takes a while on a large host.
        let zombies = tokio::task::spawn_blocking(zombies).await.unwrap_or_default();
        let left = reap(&zombies)?;
        if left {
            tokio::select! {
                _died = died.recv() => {}
                () = clock::sleep(AGAIN) => {}
            }
        }
    }
}

/// Whether any child has ended and was not collected. One call, whatever the number of processes.
fn somebody_waits() -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::All, options) {
        Ok(child) => Ok(child.is_some()),
        Err(rustix::io::Errno::CHILD) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Our children that have ended.
fn zombies() -> Vec<u32> {
    let me = std::process::id();
    proc::all().filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.zombie && stat.parent == me)).collect()
}

/// Collects the orphans among them; says whether there were others.
fn reap(zombies: &[u32]) -> io::Result<bool> {
    let held = held()?;
    for pid in zombies.iter().filter(|pid| !held.contains(pid)) {
        let Some(orphan) = number(*pid) else { continue };
        match waitid(WaitId::Pid(orphan), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(_) => tracing::debug!(pid, "an orphan has ended"),
            // tokio has collected it: nobody waited for that child any more.
            Err(error) => tracing::debug!(pid, %error, "an orphan was collected by somebody else"),
        }
    }
    Ok(zombies.iter().any(|pid| held.contains(pid)))
}

/// The processes of all pidfds of ours (proc_pid_fdinfo(5)).
fn held() -> io::Result<Vec<u32>> {
    let mut held = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // One may be closed while we look.
        let Ok(text) = entry.and_then(|entry| fs::read_to_string(entry.path())) else { continue };
        held.extend(text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok()));
    }
    Ok(held)
}
