//! The names of things: every identifier has a type of its own, so that one can never stand where another belongs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty; every identifier has at least one character.
    #[error("is empty")]
    Empty,
    /// The text is longer than the backend takes.
    #[error("has {length} characters, at most {limit} are allowed")]
    TooLong {
        /// Characters in the text.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// The text has a control character, which no log line or URL should carry.
    #[error("contains a control character")]
    Control,
}

fn checked(text: &str, limit: usize) -> Result<Arc<str>, IdError> {
    let length = text.chars().count();
    if length == 0 {
        Err(IdError::Empty)
    } else if length > limit {
        Err(IdError::TooLong { length, limit })
    } else if text.chars().any(char::is_control) {
        Err(IdError::Control)
    } else {
        Ok(Arc::from(text))
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $limit:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters that this identifier may have.
            pub const LIMIT: usize = $limit;

            /// Takes a text as an identifier.
            ///
            /// # Errors
            /// If it is empty, too long, or has a control character.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                checked(text, Self::LIMIT).map(Self)
            }

            /// A UUID as an identifier: 36 characters, which fits every limit here.
            pub fn from_uuid(id: uuid::Uuid) -> Self {
                Self(Arc::from(id.hyphenated().to_string()))
            }

            /// The text, byte for byte as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

identifier!(
    /// A session of the environment (2023-11 contract: 1..128 characters).
    SessionId, 128
);
identifier!(
    /// The host relationship of one game server with one session (2023-11 contract: 1..128 characters).
    InstanceId, 128
);
identifier!(
    /// What the allocation system handed out; the fence of every PATCH (2023-11 contract: 1..128 characters).
    AllocationId, 128
);
identifier!(
    /// A match of a session. The 2023-11 contract gives no limit where the match is begun; 1..128 characters is what the later
    /// contract has wherever it names one.
    MatchId, 128
);
identifier!(
    /// A notification's id. Opaque: it is echoed byte for byte as the cursor, never parsed.
    /// The contract gives no limit; 512 is ours.
    NotificationId, 512
);
identifier!(
    /// The version tag of a resource, as the backend wrote it (quotes included). The limit is ours.
    Etag, 512
);
identifier!(
    /// A fubar report or session event that we accepted; made by us, carried in the event's custom_data.
    ReportId, 64
);
identifier!(
    /// The name of an instance in the configuration, also in logs, metrics and the store.
    InstanceName, 64
);

/// A player: a UUID (2023-11 contract, player_uuid). Written in the usual form with hyphens, however it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlayerId(uuid::Uuid);

impl PlayerId {
    /// Takes a text as a player's UUID.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(text).map(Self)
    }
}

impl TryFrom<String> for PlayerId {
    type Error = uuid::Error;
    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Self::parse(&text)
    }
}

impl From<PlayerId> for String {
    fn from(id: PlayerId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for PlayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// One call in flight. Made by the core, unique for the life of the process.
///
/// Not `Copy`: who holds one waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

/// One request of the local API that waits for the core's verdict. Made by the driver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One batch of records on its way to the store. Made by the core.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Which login a token came from; a rejection of an older one is old news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct Generation(pub u64);

/// Hands out the numbers of calls and tickets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Counter(u64);

impl Counter {
    /// The next call's id.
    pub fn call(&mut self) -> CallId {
        self.0 += 1;
        CallId(self.0)
    }

    /// The next ticket.
    pub fn ticket(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_counted_in_characters() {
        assert!(SessionId::parse(&"ü".repeat(128)).is_ok());
        assert_eq!(SessionId::parse(&"ü".repeat(129)), Err(IdError::TooLong { length: 129, limit: 128 }));
        assert_eq!(SessionId::parse(""), Err(IdError::Empty));
        assert_eq!(SessionId::parse("a\nb"), Err(IdError::Control));
    }

    #[test]
    fn no_two_calls_and_no_two_tickets_have_the_same_number() {
        let mut ids = Counter::default();
        let tickets: Vec<Ticket> = (0..3).map(|_| ids.ticket()).collect();
        let calls: Vec<CallId> = (0..3).map(|_| ids.call()).collect();
        assert!(tickets.windows(2).all(|pair| pair[0] < pair[1]) && calls.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
