//! What the service manager is told of our end: that it has begun, and that it goes on.
//!
//! `STOPPING=1` goes out when the end has become certain, whoever wanted it: a signal, an operator, the game. From then on a
//! unit is "deactivating": a start that is wanted meanwhile, such as by a game that was restarted (`Wants=` in its unit), waits
//! for our end instead of being taken for done. From then on also the manager's patience (TimeoutStopSec=) runs, and we ask
//! for more of it while we drain, stop a game of ours, superseded or not, and say our last words. All of these are bounded by
//! the settings, and so is the asking: an end that does not come is left to the manager.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::settings::Instance;
use crate::core::params::Params;
use crate::core::phase::Phase;
use crate::core::snapshot::Snapshot;
use crate::io::notify::Notifier;

/// Asked of the manager at each look of the supervision, which is every 5 s.
const EXTENSION: Duration = Duration::from_secs(15);

/// What the end of an instance takes beside its settings: 20 s until there is a host to tell of a game that failed at once,
/// 5 s for SIGKILL, 9 s for the last words, 4 s for what is taken apart then, and a little.
const SLACK: Duration = Duration::from_secs(45);

/// The end of the process, as the service manager is told of it.
#[derive(Debug)]
pub(super) struct Farewell {
    /// What it may take.
    limit: Duration,
    begun: Option<Instant>,
}

impl Farewell {
    pub(super) fn new<'a>(instances: impl Iterator<Item = &'a Instance>) -> Self {
        Self { limit: instances.map(|instance| limit(&instance.params)).max().unwrap_or_default(), begun: None }
    }

    /// The same, for the instances that are there now.
    pub(super) fn of<'a>(self, instances: impl Iterator<Item = &'a Instance>) -> Self {
        Self { begun: self.begun, ..Self::new(instances) }
    }

    /// It has begun.
    pub(super) fn begin(&mut self, notifier: &Notifier, words: &str) {
        if self.begun.is_none() {
            self.begun = Some(clock::now());
            notifier.stopping(words);
            self.extend(notifier);
        }
    }

    /// It has begun, if no instance will stay.
    pub(super) fn look(&mut self, notifier: &Notifier, snapshots: &[Arc<Snapshot>]) {
        if self.begun.is_none() && !snapshots.is_empty() && snapshots.iter().all(|snapshot| ends(snapshot)) {
            self.begin(notifier, &super::words::status(snapshots));
        }
    }

    /// Asks for more time, if it has begun and goes on no longer than it may.
    pub(super) fn extend(&self, notifier: &Notifier) {
        if self.begun.is_some_and(|begun| clock::now() < begun + self.limit) {
            notifier.extend_timeout(EXTENSION);
        }
    }
}

/// What the end of an instance may take: see the table of `core::game::life`.
fn limit(params: &Params) -> Duration {
    params.drain_timeout + 2 * params.stop_timeout + SLACK
}

/// Whether an instance is certain to end: nothing leads back from here.
pub(super) fn ends(snapshot: &Snapshot) -> bool {
    match snapshot.phase {
        Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => true,
        // Its game is gone: it is only told of yet.
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => snapshot.game.ended.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::config::settings::Surroundings;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_does_not_come_is_left_to_the_manager() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let env = [("NOTIFY_SOCKET".to_owned(), path.display().to_string())].into();
        let notifier = Notifier::new(&Surroundings { env });
        let heard = || {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let mut farewell = Farewell { limit: Duration::from_secs(60), begun: None };
        farewell.extend(&notifier);
        farewell.look(&notifier, &[]);
        assert_eq!(heard(), None, "nothing ends");
        farewell.begin(&notifier, "draining");
        farewell.begin(&notifier, "draining");
        assert_eq!(heard().as_deref(), Some("STOPPING=1\nSTATUS=draining\n"));
        assert_eq!(heard().as_deref(), Some("EXTEND_TIMEOUT_USEC=15000000\n"));
        assert_eq!(heard(), None, "it begins once");
        tokio::time::advance(Duration::from_secs(59)).await;
        farewell.extend(&notifier);
        assert_eq!(heard().as_deref(), Some("EXTEND_TIMEOUT_USEC=15000000\n"));
        tokio::time::advance(Duration::from_secs(1)).await;
        farewell.extend(&notifier);
        assert_eq!(heard(), None);
    }
}
