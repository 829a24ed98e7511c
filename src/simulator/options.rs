//! What a simulated environment is made of, and the flags of `simulate` that say so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// The permissions that a client has unless it is given others: everything that an instance agent may need.
pub const ALL_PERMISSIONS: [&str; 3] = ["session:*", "session:instance:health", "notification:instance:*"];

/// The session that is there when none is asked for.
pub const DEMO_SESSION: &str = "demo";

/// The most characters of an id (2023-11 contract).
const ID_LIMIT: usize = 128;

/// Which generation of the API an environment has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Generation {
    /// All of the 2023-11 contract.
    #[default]
    V2023_11,
    /// Without fubar, as the service was from March to August 2024; else as before.
    Between,
    /// Today's: no notifications, fubar, events and match of an instance; audit events, `unjoinable`, `match_id`.
    V2026_08,
}

impl Generation {
    /// Every one, the oldest first.
    pub const ALL: [Self; 3] = [Self::V2023_11, Self::Between, Self::V2026_08];

    /// The word of the flag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2023_11 => "2023-11",
            Self::Between => "between",
            Self::V2026_08 => "2026-08",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Generation {
    type Err = FlagError;
    fn from_str(text: &str) -> Result<Self, FlagError> {
        let found = Self::ALL.into_iter().find(|generation| generation.as_str() == text);
        found.ok_or_else(|| FlagError::Generation(text.to_owned()))
    }
}

/// What the simulated environment is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which generation of the API it has.
    pub api: Generation,
    /// Who may log in. Empty: any credentials are good, with [`ALL_PERMISSIONS`].
    pub clients: Vec<ClientSpec>,
    /// Who may log in with the grant `basic`. Empty: any user and password are good.
    pub users: Vec<UserSpec>,
    /// The sessions. Empty: one named [`DEMO_SESSION`].
    pub sessions: Vec<SessionSpec>,
    /// The allocations. A session that one names and that is not there is made.
    pub allocations: Vec<AllocationSpec>,
    /// How long an access token lives, in whole seconds, at least one.
    pub token_lifetime: Duration,
    /// How often a health post is expected, in seconds, at least one.
    pub health_cadence_seconds: u32,
    /// How long a session lives without being refreshed; `None` is for ever.
    pub session_ttl: Option<Duration>,
    /// How many notifications an instance's stream keeps; older ones are trimmed.
    pub notifications_kept: usize,
    /// Whether POST /users/v2/oauth/token gives a refresh token too (the contract leaves it open).
    pub oauth_refresh_tokens: bool,
    /// Whether POST /users/v1/login takes `client_credentials`. The real service does for its own hosting, but
    /// the contract does not know it (backend.md, "How a server gets allocated").
    pub undocumented_login: bool,
    /// Whether POST /users/v1/login takes the grants `basic` and `refresh` without HTTP Basic. The contract wants it; RallyHere's own
    /// adapter sends none with them, and its tests log in so at environments of RallyHere. What the service makes of it is not published.
    pub login_without_basic: bool,
    /// Seed of every generated id and token; `None` takes one from the system.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api: Generation::default(),
            clients: Vec::new(),
            users: Vec::new(),
            sessions: Vec::new(),
            allocations: Vec::new(),
            token_lifetime: Duration::from_secs(3600),
            health_cadence_seconds: 10,
            session_ttl: None,
            notifications_kept: 10_000,
            oauth_refresh_tokens: false,
            undocumented_login: false,
            login_without_basic: false,
            seed: None,
        }
    }
}

/// A client of the environment: HTTP Basic at the login.
#[derive(Clone)]
pub struct ClientSpec {
    /// The user name of HTTP Basic.
    pub id: String,
    /// The password of HTTP Basic.
    pub secret: SecretString,
    /// What it may do, as the contract writes it.
    pub permissions: Vec<String>,
}

impl ClientSpec {
    /// A client that may do everything.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: SecretString::from(secret.into()),
            permissions: ALL_PERMISSIONS.map(str::to_owned).to_vec(),
        }
    }

    /// The same client with only these permissions.
    #[must_use]
    pub fn with_permissions(mut self, permissions: &[&str]) -> Self {
        self.permissions = permissions.iter().map(|&permission| permission.to_owned()).collect();
        self
    }
}

impl fmt::Debug for ClientSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSpec")
            .field("id", &self.id)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// A user of the grant `basic`.
#[derive(Clone)]
pub struct UserSpec {
    /// Before the colon of `portal_access_token`; no colon in it.
    pub name: String,
    /// After it.
    pub password: SecretString,
    /// Whether a login must accept EULA, terms and privacy policy, or is refused with `user_needs_agreements`.
    pub needs_agreements: bool,
}

impl UserSpec {
    /// A user who has accepted everything.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: SecretString::from(password.into()), needs_agreements: false }
    }
}

impl fmt::Debug for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// 1..128 characters.
    pub session_id: String,
    /// The name of its template.
    #[serde(default = "default_type")]
    pub session_type: String,
    /// The region it prefers; `None` for a session that names none.
    #[serde(default = "default_region")]
    pub region_id: Option<String>,
}

fn default_type() -> String {
    "match".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn default_region() -> Option<String> {
    Some("us-east".to_owned())
}

impl SessionSpec {
    /// A session with the usual type and region.
    pub fn new(session_id: impl Into<String>) -> Self {
        Self { session_id: session_id.into(), session_type: default_type(), region_id: default_region() }
    }
}

/// An allocation, and the session it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationSpec {
    /// 1..128 characters.
    pub allocation_id: String,
    /// `None`: not bound yet, so that a client has to wait for it.
    #[serde(default)]
    pub session_id: Option<String>,
    /// The instance that the session gets with it; made up if `None`.
    #[serde(default)]
    pub instance_id: Option<String>,
}

impl AllocationSpec {
    /// An allocation that is bound from the start.
    pub fn bound(allocation_id: impl Into<String>, session_id: impl Into<String>) -> Self {
        Self { allocation_id: allocation_id.into(), session_id: Some(session_id.into()), instance_id: None }
    }

    /// An allocation that nobody has bound yet.
    pub fn unbound(allocation_id: impl Into<String>) -> Self {
        Self { allocation_id: allocation_id.into(), session_id: None, instance_id: None }
    }
}

/// Why a flag cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// `--client` without a colon, or with nothing before it. The text is not shown: it may be a secret.
    #[error("a client is written ID:SECRET, for example agent:s3cret")]
    Client,
    /// `--allocation` without an equals sign.
    #[error("an allocation is written ALLOCATION=SESSION, for example alloc-1=demo; got `{0}`")]
    Allocation(String),
    /// `--api` with another word.
    #[error("the generation is 2023-11, between or 2026-08; got `{0}`")]
    Generation(String),
    /// An id that no contract takes.
    #[error("{what} has {length} characters; it needs 1 to {ID_LIMIT}, none of them a control character")]
    Id {
        /// Which id.
        what: &'static str,
        /// Its length in characters.
        length: usize,
    },
}

/// Whether a text is an id of the contract, and fit for a URL and a log line.
pub(super) fn check_id(what: &'static str, id: &str) -> Result<(), FlagError> {
    let length = id.chars().count();
    if (1..=ID_LIMIT).contains(&length) && !id.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(FlagError::Id { what, length })
    }
}

impl FromStr for ClientSpec {
    type Err = FlagError;
    fn from_str(text: &str) -> Result<Self, FlagError> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() => Ok(Self::new(id, secret)),
            Some(_) | None => Err(FlagError::Client),
        }
    }
}

impl FromStr for SessionSpec {
    type Err = FlagError;
    fn from_str(text: &str) -> Result<Self, FlagError> {
        check_id("the session id", text)?;
        Ok(Self::new(text))
    }
}

impl FromStr for AllocationSpec {
    type Err = FlagError;
    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (allocation, session) = text.split_once('=').ok_or_else(|| FlagError::Allocation(text.to_owned()))?;
        check_id("the allocation id", allocation)?;
        check_id("the session id", session)?;
        Ok(Self::bound(allocation, session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_client_is_cut_at_its_first_colon() {
        let client: ClientSpec = "agent:a:b".parse().unwrap();
        assert_eq!((client.id.as_str(), client.secret.expose_secret()), ("agent", "a:b"));
        assert_eq!(":x".parse::<ClientSpec>().unwrap_err(), FlagError::Client);
        assert_eq!("agent".parse::<ClientSpec>().unwrap_err(), FlagError::Client);
    }

    #[test]
    fn an_allocation_names_its_session() {
        assert_eq!("a=s".parse::<AllocationSpec>().unwrap(), AllocationSpec::bound("a", "s"));
        assert_eq!(
            "a".parse::<AllocationSpec>().unwrap_err().to_string(),
            "an allocation is written ALLOCATION=SESSION, for example alloc-1=demo; got `a`"
        );
        assert_eq!("a=".parse::<AllocationSpec>().unwrap_err(), FlagError::Id { what: "the session id", length: 0 });
        assert!("x".repeat(129).parse::<SessionSpec>().is_err());
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let shown = format!("{:?} {:?}", ClientSpec::new("id", "hush"), UserSpec::new("name", "hush"));
        assert!(!shown.contains("hush"), "{shown}");
        assert!(!"hush-without-colon".parse::<ClientSpec>().unwrap_err().to_string().contains("hush"));
    }
}
