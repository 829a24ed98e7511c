//! A call of the game's own that the agent passes on: which path it may name, and which headers go each way.
//!
//! The path is taken apart once, here, and only in the one form in which everybody on the way reads the same in it: no `.` or
//! `..`, no empty segment, no `;`, and nothing percent-encoded that would mean something else once decoded, or that needs no
//! encoding. So what the patterns see is what the backend sees.

use std::fmt;

use jiff::Timestamp;

use super::{Reply, failure};
use crate::core::call::FailureKind;
use crate::core::proxy::{Pattern, Verb, is_plain};

/// A path and query that may be passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    path: String,
    query: Option<String>,
}

/// Why a call of the game is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The path is not in the form that everybody reads alike.
    #[error(
        "the path must be plain: no empty segment, no \".\" or \"..\", no \\ or ;, and %XX only for what needs it (not for / \\ . % ;)"
    )]
    Path,
    /// The agent makes this call itself.
    #[error("{0}")]
    Reserved(&'static str),
    /// No pattern allows it.
    #[error("no pattern of proxy.allow allows this method and path")]
    NotAllowed,
}

impl Target {
    /// Takes what follows the prefix of the proxy: `/inventory/v1/x?y=z`.
    ///
    /// # Errors
    /// If the path is not plain. The query is not looked at.
    pub fn parse(path_and_query: &str) -> Result<Self, Unfit> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let segments = path.strip_prefix('/').ok_or(Unfit::Path)?;
        // One slash may end a path: the contract has a call whose does.
        let inner = segments.strip_suffix('/').unwrap_or(segments);
        if inner.split('/').all(is_segment) { Ok(Self { path: path.to_owned(), query }) } else { Err(Unfit::Path) }
    }

    /// The path without the query: what may be logged.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Both, byte for byte as they came.
    pub fn path_and_query(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }

    /// Whether the game may call it.
    ///
    /// # Errors
    /// If it may not, and why.
    pub fn permit(&self, verb: Verb, allow: &[Pattern]) -> Result<(), Unfit> {
        let segments: Vec<&str> = self.path.trim_start_matches('/').split('/').collect();
        if let Some(why) = reserved(verb, &segments) {
            return Err(Unfit::Reserved(why));
        }
        if allow.iter().any(|pattern| pattern.allows(verb, &segments)) { Ok(()) } else { Err(Unfit::NotAllowed) }
    }
}

impl fmt::Debug for Target {
    /// Without the query, which may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.path).finish()
    }
}

fn is_segment(segment: &str) -> bool {
    if matches!(segment, "" | "." | "..") {
        return false;
    }
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let good = if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit(), digit());
            high.zip(low)
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .is_some_and(is_encoded_for_a_reason)
        } else {
            is_plain(byte) || byte == b'*'
        };
        if !good {
            return false;
        }
    }
    true
}

/// Whether a byte may stand encoded: decoded it is no separator, no dot, no control, nothing that would be decoded again, and
/// nothing that could as well stand there as it is (RFC 3986, 2.3), or one path would have many spellings.
fn is_encoded_for_a_reason(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !(unreserved || byte.is_ascii_control() || b"/\\%;".contains(&byte))
}

/// Calls that are the agent's own, whatever a pattern says: two writers would undo each other's work, two readers of one stream
/// take each other's place, and a login answers with tokens. Compared without case, should a backend be lenient.
fn reserved(verb: Verb, segments: &[&str]) -> Option<&'static str> {
    let segments = match segments.split_last() {
        Some((&"", before)) => before,
        _ => segments,
    };
    let lower: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let path: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (path.as_slice(), verb.is_safe()) {
        (["users", _, "login" | "oauth", ..], _) => Some("logging in is the agent's business"),
        (["notification", _, "instance", ..], _) => {
            Some("notifications are the agent's business: ask its own GET /v1/notifications")
        }
        (["instances", "sic_registration", ..], _) => Some("the registration of the host is the agent's business"),
        (["session", _, "session", _], false) => {
            Some("the agent writes to the session itself: use its own PATCH /v1/session")
        }
        (["session", _, "session", _, "instance", ..], false) => Some(
            "the agent writes to the instance itself: use its own /v1/ready, /v1/instance, /v1/health and /v1/fubar",
        ),
        (["session", _, "session", _, "match", ..], false) => {
            Some("the agent writes to the session's match itself: use its own /v1/match")
        }
        (["session", _, "session", _, "browser", ..], false) => {
            Some("the agent writes to the session's listing itself: use its own /v1/browser")
        }
        _ => None,
    }
}

/// Headers that mean one connection only (RFC 9110, 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"];

/// Headers of the game that are not passed on. Its length is counted anew; its answer comes uncompressed, so that what is in it can
/// be looked at; the rest would speak for somebody else, or name another method or path than the one that was checked.
const NOT_OURS: [&str; 26] = [
    "authorization",
    "cookie",
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "user-agent",
    "origin",
    "referer",
    "forwarded",
    "via",
    "max-forwards",
    "client-ip",
    "true-client-ip",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-user",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-authorization",
    "x-auth-token",
    "x-api-key",
];
const NOT_OURS_BEGIN: [&str; 6] = ["proxy-", "sec-", "x-forwarded-", "x-original-", "x-rewrite-", "cf-"];

/// Headers of the answer that are not passed on: what has to do with who we are, and what is said of the backend's own host.
const NOT_THE_GAMES: [&str; 9] = [
    "set-cookie",
    "set-cookie2",
    "authorization",
    "www-authenticate",
    "authentication-info",
    "x-auth-token",
    "strict-transport-security",
    "alt-svc",
    "clear-site-data",
];

/// The headers that a message's own `Connection` calls hop-by-hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hops(Vec<String>);

impl Hops {
    /// Reads the values of `Connection`.
    pub fn of<'a>(connection: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let values = connection.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        Self(values.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect())
    }

    fn has(&self, name: &str) -> bool {
        HOP_BY_HOP.contains(&name) || self.0.iter().any(|hop| hop == name)
    }

    /// Whether the connection itself is to become something else.
    pub fn upgrades(&self) -> bool {
        self.0.iter().any(|hop| hop == "upgrade")
    }

    /// Whether a header of the game goes to the backend; the name is in lower case.
    pub fn forwards(&self, name: &str) -> bool {
        !self.has(name)
            && !NOT_OURS.contains(&name)
            && !NOT_OURS_BEGIN.iter().any(|begin| name.starts_with(begin))
            // Some servers read `x_forwarded_for` as `x-forwarded-for`.
            && !name.contains('_')
    }

    /// Whether a header of the backend goes to the game; the name is in lower case.
    pub fn returns(&self, name: &str) -> bool {
        !self.has(name) && !NOT_THE_GAMES.contains(&name) && !name.starts_with("proxy-")
    }
}

/// Whether an answer refuses the token, as opposed to the call (backend.md, trap 1).
pub fn refuses_token(status: u16, body: &[u8]) -> bool {
    // The wall clock is only for a Retry-After, which is not read here.
    matches!(status, 401 | 403)
        && failure::refused(&Reply { status, body, ..Reply::default() }, Timestamp::UNIX_EPOCH).kind
            == FailureKind::Unauthorised
}

/// Whether bytes hold a secret.
pub fn holds(bytes: &[u8], secret: &str) -> bool {
    !secret.is_empty() && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

#[cfg(test)]
mod tests;
