//! What the game is told, in the words of Agones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::core::ids::{AllocationId, InstanceId, SessionId};
use crate::core::instance::{CustomData, JoinParams, Session, StartupParams};

/// The state that the game is told, in the words of Agones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Told {
    /// The session is looked for, or the instance is not registered yet.
    #[default]
    Starting,
    /// Registered; the game is loading.
    Scheduled,
    /// It said ready, and the backend does not show it yet.
    RequestReady,
    /// The backend lets players in.
    Ready,
    /// It keeps itself for somebody.
    Reserved,
    /// It is in use.
    Allocated,
    /// We do not vouch for it.
    Unhealthy,
    /// It is to end.
    Shutdown,
}

impl Told {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Scheduled => "Scheduled",
            Self::RequestReady => "RequestReady",
            Self::Ready => "Ready",
            Self::Reserved => "Reserved",
            Self::Allocated => "Allocated",
            Self::Unhealthy => "Unhealthy",
            Self::Shutdown => "Shutdown",
        }
    }
}

/// Everything that the game is told about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SdkView {
    /// Counts the changes since the start of the process, from 1.
    pub version: u64,
    /// Its state.
    pub state: Told,
    /// Its session, once known.
    pub session_id: Option<SessionId>,
    /// Its id, once known.
    pub instance_id: Option<InstanceId>,
    /// Its allocation, if it has one.
    pub allocation_id: Option<AllocationId>,
    /// Since when there is an agent for it.
    pub created: Timestamp,
    /// While draining: when that is over.
    pub deletion: Option<Timestamp>,
    /// By the key that the game gave.
    pub labels: Arc<BTreeMap<String, String>>,
    /// By the key that the game gave.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The instance's custom_data, as the backend gets it.
    pub custom_data: CustomData,
    /// What is configured; the session may say otherwise.
    pub startup_params: Option<StartupParams>,
    /// How players connect.
    pub join_params: JoinParams,
    /// The session as last seen.
    pub session: Option<Arc<Session>>,
    /// After so much silence of a heartbeat it is called unhealthy.
    pub heartbeat_timeout: Duration,
    /// But not before this has passed since the start.
    pub startup_grace: Duration,
}
