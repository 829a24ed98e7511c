//! A lane: connections for one sort of call, renewed from time to time.

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
const IDLE: usize = 64;

pub(super) struct Lane {
    plan: Plan,
    current: Mutex<Current>,
    seen: Arc<Seen>,
}

/// All that a new client is made of.
struct Plan {
    /// A clone shares its roots and its session tickets with the original.
    tls: ClientConfig,
    connect_timeout: Duration,
    limits: Limits,
}

struct Current {
    client: Client,
    until: Instant,
}

impl Lane {
    pub(super) fn new(tls: ClientConfig, connect_timeout: Duration, limits: Limits) -> Result<Self, HttpSetupError> {
        let plan = Plan { tls, connect_timeout, limits };
        let client = plan.client().map_err(HttpSetupError::Client)?;
        let current = Current { client, until: plan.end_of_life() };
        Ok(Self { plan, current: Mutex::new(current), seen: Arc::default() })
    }

    /// The client for the next request. Calls in flight keep the one that they began with; when the last of them ends, its
    /// connections are closed.
    pub(super) fn client(&self) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if clock::now() >= current.until {
            // What could be built once can be built again; if it cannot, the old one still works.
            if let Ok(client) = self.plan.client() {
                current.client = client;
            }
            current.until = self.plan.end_of_life();
        }
        current.client.clone()
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
            .http1_only()
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
        builder.build()
    }

    fn end_of_life(&self) -> Instant {
        clock::now() + self.limits.connection_age.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}
