//! Signals: the first SIGTERM or SIGINT asks for a drain, the second one ends the process at once, SIGHUP asks for a reload,
//! SIGUSR2 for an end that leaves the instance to the next agent.
//!
//! The second one is handled in the signal handler itself: it works even if the runtime is stuck. SIGPIPE stays ignored, as
//! Rust's start-up leaves it; a broken pipe is an error of the write.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalEvent {
    /// Drain, then end. The name of the signal, for the reason.
    Drain(&'static str),
    /// Read secret files and the log level again.
    Reload,
    /// End now; the instance stays as it is.
    Leave,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    leave: Signal,
}

impl Signals {
    /// Takes the signals over. Called first of all, within the runtime; a failure must end the start: an agent that cannot be
    /// stopped in good order should not run.
    ///
    /// From here on the second SIGTERM or SIGINT, in any combination, ends the process at once with 143 or 130. "Second"
    /// counts deliveries: the kernel merges two that are pending at the same moment.
    ///
    /// # Errors
    /// If the kernel or the runtime refuses.
    pub fn register() -> io::Result<Self> {
        // The streams before the flag: a signal in between is then an event and does not count, instead of the reverse.
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            leave: signal(SignalKind::user_defined2())?,
        };
        let stopping = Arc::new(AtomicBool::new(false));
        for number in [SIGTERM, SIGINT] {
            // The order matters: the handlers run in the order of registration. The other way round the first would end us.
            let status = 128 + number;
            flag::register_conditional_shutdown(number, status, Arc::clone(&stopping))?;
            flag::register(number, Arc::clone(&stopping))?;
        }
        Ok(signals)
    }

    /// Waits for the next one. Cancelling loses nothing: a signal stays noted in its stream. Repeated ones that nobody has
    /// fetched yet are one, so there is no queue that could grow.
    pub async fn next(&mut self) -> SignalEvent {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<SignalEvent> {
        let streams = [
            (&mut self.terminate, SignalEvent::Drain("SIGTERM")),
            (&mut self.interrupt, SignalEvent::Drain("SIGINT")),
            (&mut self.hangup, SignalEvent::Reload),
            (&mut self.leave, SignalEvent::Leave),
        ];
        for (stream, event) in streams {
            if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
