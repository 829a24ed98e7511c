//! What the backend knows of a session and its instance, in the core's own types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{AllocationId, Etag, InstanceId, NotificationId, SessionId};

/// String to string; values have 1..4096 characters (2023-11 contract, custom_data everywhere).
pub type CustomData = BTreeMap<String, String>;

/// The most characters of a custom_data value (2023-11 contract).
pub const CUSTOM_VALUE_LIMIT: usize = 4096;

/// The health of an instance, as we say it and as the backend answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is well.
    Healthy,
    /// It runs, but players may notice.
    Degraded,
    /// It must not be given players.
    Unhealthy,
    /// The backend's word when it has heard too little; never posted by us.
    Unknown,
}

impl Health {
    /// The word on the wire, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// The health that a word names; a word we do not know is `Unknown`, because unknown enum values are data.
    pub fn from_wire(word: &str) -> Self {
        match word {
            "healthy" => Self::Healthy,
            "degraded" => Self::Degraded,
            "unhealthy" => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }
}

/// The state of an instance in its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinStatus {
    /// The backend asked a provider for an instance.
    Requested,
    /// A provider allocated one; nobody has spoken for it yet.
    Allocated,
    /// The game is starting.
    Pending,
    /// Players may come.
    Joinable,
    /// No more players, for now or because it drains (2026-08 contract).
    Unjoinable,
    /// No more players; the instance is ending.
    Closed,
    /// A word of a newer backend.
    Other(String),
}

impl JoinStatus {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Requested => "requested",
            Self::Allocated => "allocated",
            Self::Pending => "pending",
            Self::Joinable => "joinable",
            Self::Unjoinable => "unjoinable",
            Self::Closed => "closed",
            Self::Other(word) => word,
        }
    }

    /// The status that a word names.
    pub fn from_wire(word: &str) -> Self {
        match word {
            "requested" => Self::Requested,
            "allocated" => Self::Allocated,
            "pending" => Self::Pending,
            "joinable" => Self::Joinable,
            "unjoinable" => Self::Unjoinable,
            "closed" => Self::Closed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// How players reach the game. At least one string must be non-empty before the instance may be joinable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinParams {
    /// For players outside; "" where there is none.
    pub public_conn_str: String,
    /// For players in the same network; "" where there is none.
    pub private_conn_str: String,
    /// Whatever the game adds.
    #[serde(default)]
    pub custom_data: CustomData,
}

impl JoinParams {
    /// Whether a player could connect with this (backend.md, trap 9).
    pub fn is_reachable(&self) -> bool {
        !self.public_conn_str.is_empty() || !self.private_conn_str.is_empty()
    }
}

/// What the host was asked to load (2023-11 contract, InstanceStartupParams).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StartupParams {
    /// Name of the map.
    pub map: String,
    /// Game mode, if any.
    pub mode: Option<String>,
    /// More parameters in one line.
    pub misc_params: String,
    /// Whatever else.
    #[serde(default)]
    pub custom_data: CustomData,
}

/// The instance resource of a session, as far as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceInfo {
    /// Who hosts; absent while a provider is still working on it.
    pub instance_id: Option<InstanceId>,
    /// The allocation it is bound to; absent for one that registered itself.
    pub allocation_id: Option<AllocationId>,
    /// Its state.
    pub join_status: JoinStatus,
    /// What the backend thinks of its health.
    pub health: Option<Health>,
}

/// A session, as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub session_id: SessionId,
    /// The region it prefers.
    pub region_id: Option<String>,
    /// Its instance, if it has one.
    pub instance: Option<InstanceInfo>,
    /// The whole document as the backend sent it, for `GET /v1/session`: fields that we do not know stay in it.
    pub document: Arc<str>,
    /// Of everything in the document but what a host writes itself: two documents of the same print differ in nothing that
    /// would be news to the game.
    pub print: u64,
    /// Whether the document has fields that came with the newer generation of the API.
    pub is_new: bool,
}

/// One notification, as the game gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Opaque id, also the cursor.
    pub notification_id: NotificationId,
    /// When the backend wrote it, as it wrote it.
    pub created: String,
    /// The message, at most 4096 characters by contract.
    pub message: String,
    /// The resource that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rh_url: Option<String>,
    /// The version of that resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Whatever else.
    #[serde(default)]
    pub custom_data: CustomData,
}

/// The backend's rules for health posts (2023-11 contract, InstanceHealthSettingsResponse).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthConfig {
    /// How often a post is expected. Clamped to 1..3600 s (backend.md, trap 10).
    pub cadence: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_health_is_read_as_it_is_written_and_an_unknown_word_is_data() {
        for health in [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Unknown] {
            assert_eq!(Health::from_wire(health.as_str()), health);
        }
        assert_eq!(Health::from_wire("splendid"), Health::Unknown);
    }
}
