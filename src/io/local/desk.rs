//! Asking one instance, with a limit: what every way into the local API shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;
use crate::core::event::{Denied, Granted, Request};
use crate::ports::{AskError, InstanceHandle};

/// Where the calls of one instance ask it.
#[derive(Debug)]
pub(crate) struct Desk {
    handle: InstanceHandle,
    patience: Duration,
    /// Whether the core knows that somebody is there.
    seen: AtomicBool,
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotGranted {
    /// The core says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The core could not be asked.
    #[error(transparent)]
    Unasked(#[from] AskError),
    /// The core has not answered in time.
    #[error(
        "no verdict within {} s; it may still be carried out, and asking again does no harm (for a fubar or a duty: with the same key)",
        patience.as_secs_f64()
    )]
    TooSlow {
        /// The limit.
        patience: Duration,
    },
}

impl Desk {
    /// A desk that waits for a verdict for at most `patience`.
    pub(crate) fn new(handle: InstanceHandle, patience: Duration) -> Self {
        Self { handle, patience, seen: AtomicBool::new(false) }
    }

    /// The instance.
    pub(crate) fn handle(&self) -> &InstanceHandle {
        &self.handle
    }

    /// Asks the core. When the caller hangs up this is dropped and the core carries on: it answers to nobody.
    pub(crate) async fn ask(&self, request: Request) -> Result<Granted, NotGranted> {
        tokio::select! {
            biased;
            asked = self.handle.ask(request) => Ok(asked??),
            () = clock::sleep(self.patience) => Err(NotGranted::TooSlow { patience: self.patience }),
        }
    }

    /// Tells the core once that a game is there: a drain then waits for it.
    pub(crate) async fn meet(&self) {
        if self.seen.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::select! {
            biased;
            asked = self.handle.ask(Request::ClientSeen) => match asked {
                // The next call tries again.
                Err(AskError::Busy | AskError::Ended) => self.seen.store(false, Ordering::Release),
                Ok(_) => {}
            },
            () = clock::sleep(self.patience) => {}
        }
    }
}
