//! The game's process, its probes and its takers of notifications, as the core sees them: values that adapters tell and take.

use std::sync::Arc;
use std::time::Duration;

use super::ids::{AllocationId, InstanceId, SessionId};
use super::instance::{Health, Notification};

/// What the adapters tell of the game.
#[derive(Debug, Clone, PartialEq)]
pub enum GameEvent {
    /// Its process is there: we started it, or found the one that we were told to watch.
    Started {
        /// Its process id on this host.
        pid: u32,
    },
    /// It could not be started at all; nothing runs.
    NotStarted {
        /// What was tried and what came back, in words.
        why: String,
    },
    /// A line of its output matched `game.ready_log`.
    ReadyLine,
    /// Its process is gone.
    Ended(Box<End>),
    /// A probe has ended.
    Probed {
        /// Which, by its place in [`super::params::Params::probes`].
        probe: usize,
        /// What it found.
        result: ProbeResult,
    },
    /// What the game uses of its host, measured now and then.
    Figures(Figures),
}

/// How a process ended, and what is known of its last moments.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// What it left to its parent.
    pub status: EndStatus,
    /// The kernel killed something in its cgroup for want of memory (memory.events, or memory.oom_control).
    pub oom_killed: bool,
    /// Whether it left a core file; its path where it is known.
    pub core: Option<String>,
    /// How long it lived, as far as we saw.
    pub uptime: Duration,
    /// The last figures before its end.
    pub figures: Figures,
    /// The last lines of its output, oldest first; at most `game.log_tail`, and what looks like a secret is taken out.
    pub tail: Vec<String>,
}

/// What a process leaves to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndStatus {
    /// It exited with this code, 0..255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was not our child: only that it is gone is known.
    Unknown,
}

/// What a game uses of its host. `None` where it cannot be measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// The most of it so far, in bytes.
    pub memory_peak: Option<u64>,
    /// The bound of its cgroup, in bytes.
    pub memory_limit: Option<u64>,
    /// Processor time since its start.
    pub cpu: Option<Duration>,
    /// Cores used on average since the measurement before.
    pub cores: Option<f64>,
}

/// How many players there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Players {
    /// Connected now.
    pub count: u32,
    /// How many may be; 0 where nobody says.
    pub capacity: u32,
}

/// What one run of a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeResult {
    /// `Healthy`, `Degraded` or `Unhealthy`; never `Unknown`.
    pub health: Health,
    /// In words: what was asked and what came back. At most 256 characters.
    pub reason: String,
    /// Players, where the probe learns them (A2S).
    pub players: Option<Players>,
}

/// What the core wants done with the game.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Start it, or begin to look for it; answered by `Started` or `NotStarted`.
    Start {
        /// Our session, for its environment; `None` while the allocation is not bound to one.
        session: Option<SessionId>,
        /// Our instance, likewise.
        instance: Option<InstanceId>,
        /// The allocation, for an allocated one.
        allocation: Option<AllocationId>,
    },
    /// Ask it to end: `game.stop_signal` to the game. For a game that somebody else started: nothing.
    Stop,
    /// End it and all that it started: SIGKILL to its process group.
    Kill,
}

/// A notification to push to the game (`notifications.deliver` is exec, webhook or log); answered by `Event::HandedOver`.
#[derive(Debug, Clone, PartialEq)]
pub struct HandOver {
    /// What.
    pub notification: Arc<Notification>,
    /// Which try it is, from 1. It begins again after a restart of the agent; a taker that was not there was not asked.
    pub attempt: u32,
}

/// Why a notification was not taken. In words: what was tried and what came back, on one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// Whoever should take it is not there: nobody listens, the program cannot be started. It was not asked, so this says
    /// nothing about the notification.
    #[error("{0}")]
    Absent(Box<str>),
    /// It was asked, and refused, failed, or did not answer in time.
    #[error("{0}")]
    Refused(Box<str>),
}
