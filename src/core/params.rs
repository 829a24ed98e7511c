//! What the core is told at its birth: the validated settings of one instance, as plain data.

use std::time::Duration;

use super::ids::{AllocationId, InstanceId, InstanceName, SessionId};
use super::instance::{CustomData, JoinParams, StartupParams};

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
}

impl Target {
    /// The allocation id, where there is one.
    pub fn allocation(&self) -> Option<&AllocationId> {
        match self {
            Self::Session { allocation, .. } => allocation.as_ref(),
            Self::Allocation(id) => Some(id),
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
}

/// The settings of one instance that its machines need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Its name in the configuration; "default" where there is only one.
    pub name: InstanceName,
    /// instance.session_id, instance.allocation_id
    pub target: Target,
    /// instance.instance_id; where it is absent one is made and kept in the store.
    pub instance_id: Option<InstanceId>,
    /// instance.host_type
    pub host_type: String,
    /// instance.region; "" if not set.
    pub region: String,
    /// instance.version; semver.
    pub version: Option<String>,
    /// instance.public_conn_str, instance.private_conn_str
    pub join_params: JoinParams,
    /// instance.custom_data
    pub custom_data: CustomData,
    /// instance.startup_params
    pub startup_params: Option<StartupParams>,
    /// instance.matchmaking_profile_id
    pub matchmaking_profile_id: Option<String>,
    /// instance.source_provider
    pub source_provider: Option<String>,
    /// game.ready
    pub readiness: Readiness,
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
    /// notifications.enabled
    pub notifications: bool,
    /// notifications.page_size, 1..100
    pub page_size: u8,
    /// notifications.deadline, whole seconds
    pub poll_deadline: Duration,
    /// notifications.inbox_limit
    pub inbox_limit: usize,
    /// fubar.automatic
    pub automatic_fubar: bool,
    /// shutdown.drain_timeout
    pub drain_timeout: Duration,
}
