//! The phases of an instance, and the one table that says how it moves between them.
//!
//! ```text
#![doc = include_str!("phase.txt")]
//! ```

use super::action::Outcome;

/// Where in its life an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Finding the session.
    Resolving,
    /// Becoming its host.
    Registering,
    /// Host; the game is starting. The backend sees `pending`.
    Loading,
    /// The game is ready. The backend sees `joinable`.
    Serving,
    /// Told to stop: no new players, the game may finish, bounded. The backend sees `closed`. Over with a game of our own only
    /// once that has ended, or could not be ended by force.
    Draining,
    /// Last words: the outbox is flushed, the instance is taken down. A game that was started before we were the host is
    /// stopped meanwhile.
    Closing,
    /// Over.
    Ended,
    /// Over: somebody else holds the session or the allocation. Nothing is written any more. The exit waits for the end of a
    /// game that we started.
    Superseded,
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Resolving,
        Self::Registering,
        Self::Loading,
        Self::Serving,
        Self::Draining,
        Self::Closing,
        Self::Ended,
        Self::Superseded,
    ];

    /// The word in status, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Registering => "registering",
            Self::Loading => "loading",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Ended => "ended",
            Self::Superseded => "superseded",
        }
    }

    /// Whether the backend has us as its host, as far as we know, and we speak for the instance.
    pub fn is_attached(self) -> bool {
        match self {
            Self::Loading | Self::Serving | Self::Draining => true,
            Self::Resolving | Self::Registering | Self::Closing | Self::Ended | Self::Superseded => false,
        }
    }

    /// How it ended, if it did; with a game of our own `Ended` may be [`Outcome::Game`].
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Ended => Some(Outcome::Ended),
            Self::Superseded => Some(Outcome::Superseded),
            Self::Resolving | Self::Registering | Self::Loading | Self::Serving | Self::Draining | Self::Closing => {
                None
            }
        }
    }
}

/// What moves an instance from phase to phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// The session was found, and it is free for us or ours already.
    Found,
    /// The backend has us as its host.
    Attached,
    /// The game is ready and can be reached.
    Ready,
    /// Our self-registered instance vanished from the session; nobody else is there.
    Vanished,
    /// Told to stop: by command, by the game, or because the game has ended or did not become ready.
    Stop,
    /// The game is done, or its time is over.
    Drained,
    /// The last words are said, or their time is over.
    Finished,
    /// Somebody else holds the session or the allocation, or the session is gone.
    Fenced,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 8] = [
        Self::Found,
        Self::Attached,
        Self::Ready,
        Self::Vanished,
        Self::Stop,
        Self::Drained,
        Self::Finished,
        Self::Fenced,
    ];

    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Attached => "attached",
            Self::Ready => "ready",
            Self::Vanished => "vanished",
            Self::Stop => "stop",
            Self::Drained => "drained",
            Self::Finished => "finished",
            Self::Fenced => "fenced",
        }
    }
}

/// The phase that follows, or `None` where the trigger means nothing in this phase.
///
/// **Architecture invariant:** every pair is spelled out; a new phase or trigger does not compile until its row is written.
pub fn next(phase: Phase, trigger: Trigger) -> Option<Phase> {
    match (phase, trigger) {
        (Phase::Resolving, Trigger::Found) => Some(Phase::Registering),
        (Phase::Resolving, Trigger::Stop) => Some(Phase::Closing),
        (Phase::Resolving, Trigger::Fenced) => Some(Phase::Superseded),
        (
            Phase::Resolving,
            Trigger::Attached | Trigger::Ready | Trigger::Vanished | Trigger::Drained | Trigger::Finished,
        ) => None,

        (Phase::Registering, Trigger::Attached) => Some(Phase::Loading),
        (Phase::Registering, Trigger::Stop) => Some(Phase::Closing),
        (Phase::Registering, Trigger::Fenced) => Some(Phase::Superseded),
        (
            Phase::Registering,
            Trigger::Found | Trigger::Ready | Trigger::Vanished | Trigger::Drained | Trigger::Finished,
        ) => None,

        (Phase::Loading, Trigger::Ready) => Some(Phase::Serving),
        (Phase::Loading, Trigger::Vanished) => Some(Phase::Registering),
        (Phase::Loading, Trigger::Stop) => Some(Phase::Draining),
        (Phase::Loading, Trigger::Fenced) => Some(Phase::Superseded),
        (Phase::Loading, Trigger::Found | Trigger::Attached | Trigger::Drained | Trigger::Finished) => None,

        (Phase::Serving, Trigger::Vanished) => Some(Phase::Registering),
        (Phase::Serving, Trigger::Stop) => Some(Phase::Draining),
        (Phase::Serving, Trigger::Fenced) => Some(Phase::Superseded),
        (
            Phase::Serving,
            Trigger::Found | Trigger::Attached | Trigger::Ready | Trigger::Drained | Trigger::Finished,
        ) => None,

        (Phase::Draining, Trigger::Drained) => Some(Phase::Closing),
        (Phase::Draining, Trigger::Fenced) => Some(Phase::Superseded),
        (
            Phase::Draining,
            Trigger::Found | Trigger::Attached | Trigger::Ready | Trigger::Vanished | Trigger::Stop | Trigger::Finished,
        ) => None,

        (Phase::Closing, Trigger::Finished) => Some(Phase::Ended),
        (Phase::Closing, Trigger::Fenced) => Some(Phase::Superseded),
        (
            Phase::Closing,
            Trigger::Found | Trigger::Attached | Trigger::Ready | Trigger::Vanished | Trigger::Stop | Trigger::Drained,
        ) => None,

        (
            Phase::Ended | Phase::Superseded,
            Trigger::Found
            | Trigger::Attached
            | Trigger::Ready
            | Trigger::Vanished
            | Trigger::Stop
            | Trigger::Drained
            | Trigger::Finished
            | Trigger::Fenced,
        ) => None,
    }
}
