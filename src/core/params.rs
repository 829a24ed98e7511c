//! What the core is told at its birth: the validated settings of one instance, as plain data.

use std::time::Duration;

use super::allocation::AllocationParams;
use super::api::Choice;
use super::ids::{AllocationId, InstanceId, InstanceName, SessionId};
use super::instance::{CustomData, Health, JoinParams, StartupParams};

/// How the session is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its id. The instance registers itself, unless an allocation id is given too.
    Session {
        /// The session.
        session: SessionId,
        /// The fence, where the host was allocated and also told the session.
        allocation: Option<AllocationId>,
    },
    /// By the allocation that it will be bound to.
    Allocation(AllocationId),
    /// Not known yet: `instance.source` will say ([`super::allocation`]).
    Awaited,
}

impl Target {
    /// The session id, where it is known from the start.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Session { session, .. } => Some(session),
            Self::Allocation(_) | Self::Awaited => None,
        }
    }

    /// The allocation id, where there is one.
    pub fn allocation(&self) -> Option<&AllocationId> {
        match self {
            Self::Session { allocation, .. } => allocation.as_ref(),
            Self::Allocation(id) => Some(id),
            Self::Awaited => None,
        }
    }
}

/// When the game counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It says so through the local API.
    Sdk,
    /// As soon as the instance is registered.
    Immediate,
    /// A probe finds it healthy.
    Probe,
    /// A line of its output says so (`game.ready_log`).
    Log,
}

/// Whose the game's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Nobody has told us where it is: only what the game says and what probes find is known.
    Unknown,
    /// We start it, and it ends with us.
    Ours,
    /// Somebody else started it; we only look.
    Watched,
}

/// A probe, as far as the core must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeParams {
    /// Kind and target in words, such as "a2s 127.0.0.1:7777": for reasons, status and logs.
    pub name: String,
    /// How often it runs.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// What its failure means: `Degraded` or `Unhealthy`.
    pub failure: Health,
}

/// Who begins the hand-over of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// The game asks the local API, and acknowledges.
    Api,
    /// We push each one, in order, and its success acknowledges it.
    Push,
}

/// The settings of one instance that its machines need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Its name in the configuration; "default" where there is only one.
    pub name: InstanceName,
    /// environment.api
    pub api: Choice,
    /// instance.session_id, instance.allocation_id; [`Target::Awaited`] with any source but "fixed".
    pub target: Target,
    /// instance.source, allocation.*, game.start
    pub allocation: AllocationParams,
    /// instance.instance_id; where it is absent one is made and kept in the store.
    pub instance_id: Option<InstanceId>,
    /// instance.host_type: dedicated, standalone or preallocated
    pub host_type: String,
    /// instance.region; "" if not set.
    pub region: String,
    /// instance.version; semver.
    pub version: Option<String>,
    /// instance.public_conn_str, instance.private_conn_str
    pub join_params: JoinParams,
    /// instance.custom_data
    pub custom_data: CustomData,
    /// instance.publish_players: under which name of the listing's custom_data the players are shown; `None` for not at all.
    pub publish_players: Option<String>,
    /// instance.publish_labels: which labels and annotations of the game go into custom_data.
    pub publish_labels: Vec<String>,
    /// instance.startup_params
    pub startup_params: Option<StartupParams>,
    /// instance.matchmaking_profile_id
    pub matchmaking_profile_id: Option<String>,
    /// instance.source_provider
    pub source_provider: Option<String>,
    /// game.ready
    pub readiness: Readiness,
    /// game.command, game.pid_file, game.unit, game.process_name
    pub process: Process,
    /// game.stop_timeout
    pub stop_timeout: Duration,
    /// game.ready_timeout
    pub ready_timeout: Duration,
    /// health.default_cadence
    pub default_cadence: Duration,
    /// health.startup_grace
    pub startup_grace: Duration,
    /// health.heartbeat_timeout
    pub heartbeat_timeout: Duration,
    /// health.unhealthy_after
    pub unhealthy_after: u32,
    /// health.healthy_after
    pub healthy_after: u32,
    /// health.probes
    pub probes: Vec<ProbeParams>,
    /// notifications.deliver
    pub deliver: Deliver,
    /// notifications.enabled
    pub notifications: bool,
    /// notifications.page_size, 1..100
    pub page_size: u8,
    /// notifications.deadline, whole seconds
    pub poll_deadline: Duration,
    /// notifications.session_interval: how often the session is read where its notifications are gone.
    pub session_interval: Duration,
    /// notifications.inbox_limit
    pub inbox_limit: usize,
    /// fubar.automatic
    pub automatic_fubar: bool,
    /// shutdown.drain_timeout
    pub drain_timeout: Duration,
}
