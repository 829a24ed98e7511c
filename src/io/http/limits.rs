//! How long anything may take. The sizes are in [`crate::wire`].

use std::time::Duration;

/// The limits of the adapter. A call has one of its own besides, given with it; whichever ends first counts. Tests shrink them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the moment a request leaves to the head of its answer. 10 s (backend.md, trap 15). Not for the long poll, which waits
    /// by design: there only the call's own limit counts.
    pub header: Duration,
    /// From one piece of a body to the next. 10 s (backend.md, trap 15). For the long poll from its first piece on.
    pub body_idle: Duration,
    /// A whole login, with connecting: 15 s, which leaves 10 s for the answer after a slow connect of 5 s.
    pub login: Duration,
    /// How long an unused connection is kept: 15 s, shorter than the 20 s after which the most impatient proxies cut it (backend.md,
    /// trap 5), so that we are the ones to close it.
    pub pool_idle: Duration,
    /// How long connections are used, ± 20 %: 5 min (backend.md, numbers), so that agents spread over a backend's new machines.
    pub connection_age: Duration,
    /// On HTTP/2: after how long a silence with a call in flight the server is asked whether it is there. 10 s, as with TCP.
    pub ping: Duration,
    /// How long it may take to say so; then the connection is over. 5 s: with the silence, within the 20 s of a half-open one
    /// (backend.md, trap 16).
    pub pong: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(10),
            login: Duration::from_secs(15),
            pool_idle: Duration::from_secs(15),
            connection_age: Duration::from_secs(5 * 60),
            ping: Duration::from_secs(10),
            pong: Duration::from_secs(5),
        }
    }
}
