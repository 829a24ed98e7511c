//! The login of the process: one machine for all instances.

use std::time::Instant;

use super::ids::Generation;

/// The login, seen from the instances and from outside. It never holds a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthView {
    /// Where it stands.
    pub state: AuthState,
    /// The login whose token is in use, if there is one.
    pub generation: Option<Generation>,
    /// What is wrong, in words, with the backend's error code; what to do.
    pub detail: Option<String>,
    /// When it is tried again, if it is waiting.
    pub retry_at: Option<Instant>,
    /// Logins that were tried since the start.
    pub attempts: u64,
}

/// Where the login stands (design.md section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthState {
    /// Not begun, or failed for now.
    None,
    /// At work on the first token, or on one after a rejection.
    LoggingIn,
    /// There is a token.
    Valid,
    /// There is a token, and a newer one is on its way.
    Refreshing,
    /// The credentials were refused.
    Denied,
}

impl AuthState {
    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LoggingIn => "logging_in",
            Self::Valid => "valid",
            Self::Refreshing => "refreshing",
            Self::Denied => "denied",
        }
    }

    /// Whether a call may be sent.
    pub fn has_token(self) -> bool {
        match self {
            Self::Valid | Self::Refreshing => true,
            Self::None | Self::LoggingIn | Self::Denied => false,
        }
    }
}

impl Default for AuthView {
    fn default() -> Self {
        Self { state: AuthState::None, generation: None, detail: None, retry_at: None, attempts: 0 }
    }
}
