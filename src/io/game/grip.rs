//! A hold on one process: whoever gets its number after it is never taken for it.
//!
//! A pid is only a number, and is given to somebody else once its process has been collected. A pidfd (Linux 5.3) stays with
//! the process that it was opened for, tells when that has ended, and takes signals for it. Where the kernel, or a sandbox,
//! has none, the process is known by its pid and the moment of its start, and looked at four times a second.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::proc::Stat;
use crate::clock;

/// How often a process without a pidfd is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A hold on one process.
#[derive(Debug)]
pub(super) struct Grip {
    pid: Pid,
    /// See [`Stat::start`].
    start: u64,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Grip {
    /// Takes hold of whatever process has this pid now, also of one that has ended but was not collected. `None` if there is
    /// none. Must be called within the runtime.
    pub(super) fn take(pid: u32) -> io::Result<Option<Self>> {
        let Some((number, before)) = number(pid).zip(Stat::of(pid)) else { return Ok(None) };
        let fd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(fd) => Some(registered(fd)?),
            Err(Errno::SRCH) => return Ok(None),
            // An old kernel, or a seccomp filter that has not heard of it.
            Err(Errno::NOSYS | Errno::PERM) => None,
            Err(error) => return Err(error.into()),
        };
        // The one that we looked at may have gone before the pidfd was opened.
        let same = Stat::of(pid).is_some_and(|now| now.start == before.start);
        Ok(same.then_some(Self { pid: number, start: before.start, fd }))
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// When it began. See [`Stat::start`].
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// What `/proc` tells of it: `None` once it has been collected.
    pub(super) fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid()).filter(|stat| stat.start == self.start)
    }

    /// Waits until it has ended, be it collected or not. Cancelling loses nothing: what has ended stays so.
    pub(super) async fn gone(&self) {
        if let Some(fd) = &self.fd
            && fd.readable().await.is_ok()
        {
            return;
        }
        while self.stat().is_some_and(|stat| !stat.zombie) {
            clock::sleep(LOOK).await;
        }
    }

    /// Sends it a signal. Without a pidfd the kernel leaves a moment in which the number could have gone to another process;
    /// not for a child of ours that we have not collected.
    ///
    /// # Errors
    /// If it has been collected, or is not ours to signal.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.fd {
            Some(fd) => Ok(pidfd_send_signal(fd.get_ref().as_fd(), signal)?),
            None if self.stat().is_some() => Ok(kill_process(self.pid, signal)?),
            None => Err(Errno::SRCH.into()),
        }
    }
}

/// Lets the runtime wait for it.
#[expect(
    deprecated,
    reason = "its unsafe successor asks for a descriptor that stays the same and open as long as the AsyncFd lives, which \
              an OwnedFd does by its type; unsafe is forbidden in this crate"
)]
fn registered(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// A pid as the kernel has it.
pub(super) fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Whether this kernel, and whoever confines us, lets us have pidfds.
pub(super) fn pidfds_work() -> bool {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn child() -> std::process::Child {
        Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[tokio::test]
    async fn an_end_is_noticed_before_anybody_collects_it_and_signals_stop_there() {
        for with_pidfd in [true, false] {
            let mut child = child();
            let mut grip = Grip::take(child.id()).unwrap().unwrap();
            assert_eq!(grip.fd.is_some(), pidfds_work());
            if !with_pidfd {
                grip.fd = None;
            }
            assert!(grip.stat().is_some_and(|stat| !stat.zombie));
            grip.signal(Signal::KILL).unwrap();
            tokio::time::timeout(LIMIT, grip.gone()).await.unwrap();
            assert!(grip.stat().is_some_and(|stat| stat.zombie), "nobody has collected it");
            assert!(Grip::take(child.id()).unwrap().is_some());
            child.wait().unwrap();
            assert_eq!(grip.stat(), None);
            assert!(grip.signal(Signal::KILL).is_err());
            tokio::time::timeout(LIMIT, grip.gone()).await.unwrap();
            assert!(Grip::take(grip.pid()).unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn another_process_with_the_same_number_is_not_taken_for_it() {
        let mut child = child();
        let mut grip = Grip::take(child.id()).unwrap().unwrap();
        grip.fd = None;
        grip.start += 1;
        assert_eq!(grip.stat(), None);
        assert!(grip.signal(Signal::KILL).is_err());
        tokio::time::timeout(LIMIT, grip.gone()).await.unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "nobody killed it");
    }

    #[tokio::test]
    async fn numbers_that_cannot_be() {
        for pid in [0, u32::MAX, i32::MAX.unsigned_abs()] {
            assert!(Grip::take(pid).unwrap().is_none(), "{pid}");
        }
    }
}
