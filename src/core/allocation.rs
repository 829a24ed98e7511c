//! Ways to be allocated: what an allocation is, where it comes from, and the region that waits for it.
//!
//! All ways end in the same three things: session, allocation id, connection address. With `instance.source = "fixed"` they are
//! in the configuration; everywhere else the instance waits in [`super::Phase::Resolving`] until its source has given it one, and
//! from then on lives as if that had been configured. What each way is:
//!
//! | source | who says it | machine |
//! |---|---|---|
//! | fixed | the configuration | none |
//! | session | we make the session ourselves | [`made`] |
//! | sic | RallyHere's own hosting, asked every second | [`sic`] |
//! | multiplay, file | a file on this host, watched by an adapter | none: it says [`Word`]s |
//! | local | `POST /v1/allocate` | none: requests |
//!
//! An allocation is on disk before it is used, so that a restart takes up the same life; with another one it is another life.

use serde::{Deserialize, Serialize};

use super::ids::{AllocationId, SessionId};
use super::instance::JoinParams;
use super::params::Target;

mod clerk;
mod made;
mod sic;

pub(super) use clerk::Clerk;

/// Characters of a host name (RFC 1035, section 2.3.4).
pub const HOST_LIMIT: usize = 253;
/// What stands for the host in a format of connection strings.
pub const HOST_MARK: &str = "{host}";
/// What stands for the port in a format of connection strings.
pub const PORT_MARK: &str = "{port}";

/// Where players reach the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// An IPv4 or IPv6 address (without brackets), or a name.
    pub host: String,
    /// 1..65535
    pub port: u16,
}

/// What is wrong with an allocation: the field, as callers name it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Which field.
    pub field: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

impl Address {
    /// Takes a host and a port. An IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// If the host is no name and no address.
    pub fn parse(host: &str, port: u16) -> Result<Self, Invalid> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let wrong = |reason: &str| Err(Invalid { field: "public_host", reason: reason.to_owned() });
        if bare.is_empty() || bare.len() > HOST_LIMIT {
            return wrong("must have 1 to 253 characters");
        }
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let sixth = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        let good = if bare.contains(':') {
            bare.matches(':').count() > 1 && bare.chars().all(sixth)
        } else {
            bare.chars().all(name) && bare == host
        };
        if !good {
            return wrong("is neither a name nor an address, such as game1.example.org, 203.0.113.7 or 2001:db8::7");
        }
        if port == 0 {
            return Err(Invalid { field: "public_port", reason: "must be 1 to 65535".to_owned() });
        }
        Ok(Self { host: bare.to_owned(), port })
    }

    /// A private IPv4 address (RFC 1918): what RallyHere's own client calls site-local. Everything else is for players outside.
    fn is_private(&self) -> bool {
        let parts: Vec<Option<u8>> = self.host.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_slice() {
            [Some(10), Some(_), Some(_), Some(_)] | [Some(192), Some(168), Some(_), Some(_)] => true,
            [Some(172), Some(second), Some(_), Some(_)] => (16..32).contains(second),
            _ => false,
        }
    }

    /// The connection strings: a private IPv4 address makes the private one, anything else the public one; the other is empty.
    pub fn join_params(&self, format: &str) -> JoinParams {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let text = format.replace(HOST_MARK, &host).replace(PORT_MARK, &self.port.to_string());
        if self.is_private() {
            JoinParams { private_conn_str: text, ..JoinParams::default() }
        } else {
            JoinParams { public_conn_str: text, ..JoinParams::default() }
        }
    }
}

/// What a source gives: which session this server is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The session, where the source knows it; it, or the allocation id, is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What the session's instance is bound to; the fence of every PATCH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<AllocationId>,
    /// Where players reach it, where the source knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

impl Allocation {
    /// Takes what somebody wrote. Empty texts stand for nothing.
    ///
    /// # Errors
    /// Names the field that is wrong: no id at all, an id that is none, a host without a port or a port without a host.
    pub fn read(
        session_id: Option<&str>,
        allocation_id: Option<&str>,
        host: Option<&str>,
        port: Option<u16>,
    ) -> Result<Self, Invalid> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let wrong = |field, reason: String| Invalid { field, reason };
        let session_id = given(session_id)
            .map(|id| SessionId::parse(&id))
            .transpose()
            .map_err(|error| wrong("session_id", error.to_string()))?;
        let allocation_id = given(allocation_id)
            .map(|id| AllocationId::parse(&id))
            .transpose()
            .map_err(|error| wrong("allocation_id", error.to_string()))?;
        if session_id.is_none() && allocation_id.is_none() {
            let reason = "is required, or allocation_id: one of them says which session this server is for";
            return Err(wrong("session_id", reason.to_owned()));
        }
        let address = match (given(host), port) {
            (Some(host), Some(port)) => Some(Address::parse(&host, port)?),
            (Some(_), None) => return Err(wrong("public_port", "is required with public_host".to_owned())),
            (None, Some(_)) => return Err(wrong("public_host", "is required with public_port".to_owned())),
            (None, None) => None,
        };
        Ok(Self { session_id, allocation_id, address })
    }

    /// What the life cycle looks for.
    pub fn target(&self) -> Target {
        match (&self.session_id, &self.allocation_id) {
            (Some(session), allocation) => Target::Session { session: session.clone(), allocation: allocation.clone() },
            (None, Some(allocation)) => Target::Allocation(allocation.clone()),
            // Nobody makes one without either.
            (None, None) => Target::Awaited,
        }
    }

    /// Whether both mean the same: an id that both have is the same, and there is one. A source may learn one of them later.
    pub fn is_same(&self, other: &Self) -> bool {
        let sessions = self.session_id.as_ref().zip(other.session_id.as_ref()).map(|(one, other)| one == other);
        let allocations =
            self.allocation_id.as_ref().zip(other.allocation_id.as_ref()).map(|(one, other)| one == other);
        let both = [sessions, allocations];
        both.contains(&Some(true)) && !both.contains(&Some(false))
    }

    /// In words, for logs and status.
    pub fn words(&self) -> String {
        match (&self.allocation_id, &self.session_id) {
            (Some(allocation), Some(session)) => format!("allocation {allocation} for session {session}"),
            (Some(allocation), None) => format!("allocation {allocation}"),
            (None, Some(session)) => format!("session {session}"),
            (None, None) => "no allocation".to_owned(),
        }
    }
}

/// What a source says. It may say the same again as often as it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// This server is allocated.
    Given(Allocation),
    /// It is not, or not any more.
    Nothing,
    /// It cannot tell, for a while already; what was said before stands. In words: what is wrong and what to do.
    Unreadable(String),
}

/// Where allocations come from (`instance.source`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// The configuration names the session or the allocation.
    #[default]
    Fixed,
    /// We make the session.
    Made(Box<SessionWish>),
    /// RallyHere's own hosting.
    Sic(Box<SicEntry>),
    /// Somebody on this host says it.
    Told(Teller),
}

/// Who on this host says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Teller {
    /// Multiplay's server.json.
    Multiplay,
    /// A file of our own format.
    File,
    /// The local API.
    Local,
}

impl Source {
    /// The word in the configuration, status and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Made(_) => "session",
            Self::Sic(_) => "sic",
            Self::Told(Teller::Multiplay) => "multiplay",
            Self::Told(Teller::File) => "file",
            Self::Told(Teller::Local) => "local",
        }
    }

    /// Whether it can say after a restart what holds now; the others say a thing once, and what is on disk stands.
    fn repeats(&self) -> bool {
        match self {
            Self::Sic(_) | Self::Told(Teller::Multiplay | Teller::File) => true,
            Self::Fixed | Self::Made(_) | Self::Told(Teller::Local) => false,
        }
    }
}

/// The session that we make (POST /session/v1/session; in none of the contract's documents, known from the public clients).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWish {
    /// Its type, as the environment has it.
    pub session_type: String,
    /// The region; "" to leave it to the backend.
    pub region: String,
    /// What players must run.
    pub client_version: String,
    /// The platform of the host, such as "Basic".
    pub platform: String,
    /// Its input, such as "keyboardandmouse".
    pub input: String,
}

/// What SIC is told of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SicEntry {
    /// Of the hosting.
    pub profile_id: String,
    /// Of the hosting.
    pub server_id: String,
    /// The name of this host.
    pub hostname: String,
    /// Its id with SIC, where it is not made of server and port.
    pub own_id: Option<String>,
    /// Where players reach it.
    pub address: Address,
}

impl SicEntry {
    /// Its id with SIC. RallyHere's adapter takes the port on which the game listens, which an agent does not know: of the two it has
    /// the one that players reach, unless [`own_id`](Self::own_id) says otherwise.
    pub fn id(&self) -> String {
        let made = || format!("sic_{}_{}", self.server_id, self.address.port);
        self.own_id.clone().unwrap_or_else(made)
    }

    /// Its group tags with SIC.
    pub fn group_tags(&self) -> String {
        format!("profile_id:{},server_id:{},hostname:{}", self.profile_id, self.server_id, self.hostname)
    }
}

/// What SIC answers for one server, to a registration and to a question for its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SicAnswer {
    /// Whether it took what was said.
    pub success: bool,
    /// 6: it is being allocated, which is fine too. Others have no documented meaning.
    pub error_code: i64,
    /// In its own words, cut.
    pub message: Option<String>,
    /// Only for its state.
    pub state: Option<SicState>,
    /// Once allocated.
    pub allocation_id: Option<AllocationId>,
    /// Once allocated, if it knows.
    pub session_id: Option<SessionId>,
}

/// The state of a server with SIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SicState {
    /// It waits.
    Deallocated,
    /// It is about to be allocated.
    Allocating,
    /// It is.
    Allocated,
    /// A word that we do not know.
    Other(String),
}

/// The settings of the way in which the instance is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationParams {
    /// `instance.source`
    pub source: Source,
    /// `allocation.public_host` and `public_port`: for an allocation that comes without an address.
    pub address: Option<Address>,
    /// `allocation.conn_str`: how an address becomes a connection string, with [`HOST_MARK`] and [`PORT_MARK`].
    pub conn_str: String,
    /// `game.start` is "waiting": the game is started before there is an allocation.
    pub game_waits: bool,
}

impl Default for AllocationParams {
    fn default() -> Self {
        Self { source: Source::Fixed, address: None, conn_str: "unreal://{host}:{port}".to_owned(), game_waits: false }
    }
}

/// Where an allocation stands, seen from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AllocationState {
    /// There is none yet.
    Waiting,
    /// After a restart: the source is asked whether the one that is remembered still holds.
    Confirming,
    /// There is one. Also for a fixed one.
    #[default]
    Allocated,
    /// It was taken back: the instance ends.
    Deallocated,
}

impl AllocationState {
    /// Every state, for tables of metrics.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Confirming, Self::Allocated, Self::Deallocated];

    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Confirming => "confirming",
            Self::Allocated => "allocated",
            Self::Deallocated => "deallocated",
        }
    }
}

/// The way in which the instance is allocated, seen from outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllocationView {
    /// The word of the source.
    pub source: &'static str,
    /// Where it stands.
    pub state: AllocationState,
    /// What is waited for, in words, or why it ended; `None` while all is as it should be.
    pub detail: Option<std::sync::Arc<str>>,
}

#[cfg(test)]
mod tests;
