//! A lane: connections for one sort of call, renewed from time to time.
//!
//! On HTTP/1.1 every call in flight has a connection to itself, so that none waits for another. On HTTP/2 all share one: a call waits
//! where the server takes no more streams, and with a connection that is stuck all are. So a lane speaks HTTP/2 only where its
//! calls may wait a little, or where it is known that none has to ([`super::polls`]), and one of them that gets no answer in time
//! makes the next go on a new connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Client;
use rustls::ClientConfig;

use super::departure::Seen;
use super::{HttpSetupError, Limits};
use crate::clock;

/// Half-open TCP is noticed within 20 s (backend.md, trap 16): silence of 10 s, then a probe each 4 s, and at 18 s the end. Linux looks at
/// the user timeout only when a probe is due, so it lies before the one that shall be the last. With a last probe at 20 s it was
/// 20.2 s (`cargo run --example chaos -- half-open`).
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(4);
const KEEPALIVE_RETRIES: u32 = 2;
/// Also for bytes that nobody acknowledges.
const USER_TIMEOUT: Duration = Duration::from_secs(17);

/// How many unused connections are kept. After the start of a host of many there would be one for each.
const IDLE: usize = 32;

pub(super) struct Lane {
    plan: Plan,
    current: Mutex<Current>,
    seen: Arc<Seen>,
}

/// What a lane speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 if the server chooses it in the TLS handshake, else HTTP/1.1. Without TLS nobody chooses: HTTP/1.1.
    Http2IfOffered,
}

/// How much of an answer may be under way on HTTP/2, in bytes: as much as is read of it at most.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest head of an answer, in bytes.
const HEAD: u32 = 64 * 1024;

/// A lane's client, and which of them it is.
pub(super) struct Turn {
    pub(super) client: Client,
    number: u64,
}

/// All that a new client is made of.
struct Plan {
    /// A clone shares its roots and its session tickets with the original.
    tls: ClientConfig,
    speaks: Speaks,
    connect_timeout: Duration,
    limits: Limits,
}

struct Current {
    client: Client,
    number: u64,
    until: Instant,
}

impl Lane {
    pub(super) fn new(
        mut tls: ClientConfig,
        speaks: Speaks,
        connect_timeout: Duration,
        limits: Limits,
    ) -> Result<Self, HttpSetupError> {
        if speaks == Speaks::Http2IfOffered {
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        let plan = Plan { tls, speaks, connect_timeout, limits };
        let client = plan.client().map_err(HttpSetupError::Client)?;
        let current = Current { client, number: 0, until: plan.end_of_life() };
        Ok(Self { plan, current: Mutex::new(current), seen: Arc::default() })
    }

    /// The client for the next request. Calls in flight keep the one that they began with; when the last of them ends, its
    /// connections are closed.
    pub(super) fn turn(&self) -> Turn {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if clock::now() >= current.until {
            self.plan.renew(&mut current);
        }
        Turn { client: current.client.clone(), number: current.number }
    }

    /// A call got no answer in time. On HTTP/1.1 its connection ends with it. On HTTP/2 others would go on to use it, so the next
    /// one gets a new one; those in flight keep theirs.
    pub(super) fn doubt(&self, turn: &Turn) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Of many calls that were stuck together, the first has said it all.
        if self.plan.speaks == Speaks::Http2IfOffered && current.number == turn.number {
            self.plan.renew(&mut current);
        }
    }

    /// The connections that have carried a request.
    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Plan {
    fn client(&self) -> reqwest::Result<Client> {
        let builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("rallyhere-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // All retry policy is in the core. What is left below us repeats only what was never begun.
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.limits.pool_idle)
            .pool_max_idle_per_host(IDLE)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES);
        #[cfg(target_os = "linux")]
        let builder = builder.tcp_user_timeout(USER_TIMEOUT);
        match self.speaks {
            Speaks::Http1 => builder.http1_only(),
            Speaks::Http2IfOffered => builder
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_header_list_size(HEAD)
                // A connection without a call is let go after `pool_idle`, before anybody would have to ask.
                .http2_keep_alive_interval(self.limits.ping)
                .http2_keep_alive_timeout(self.limits.pong)
                .http2_keep_alive_while_idle(false),
        }
        .build()
    }

    fn renew(&self, current: &mut Current) {
        // What could be built once can be built again; if it cannot, the old one still works.
        if let Ok(client) = self.client() {
            current.client = client;
            current.number += 1;
        }
        current.until = self.end_of_life();
    }

    fn end_of_life(&self) -> Instant {
        clock::now() + self.limits.connection_age.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}
