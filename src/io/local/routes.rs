//! The calls of the local API, what they share, and where each of them is.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::routing::{any, delete, get, patch, post};
use tokio::sync::watch;

use super::desk::Desk;
use super::proxy::Proxy;
use super::refusal::{Refusal, wrong_method};
use super::server::{Known, Limits};
use super::{allocation, calls, duties, notifications, outbox, proxy, stream};
use crate::clock;
use crate::core::event::{Granted, Request};
use crate::core::ids::InstanceId;
use crate::core::instance::Notification;
use crate::io::agones::{Engine, rest};
use crate::ports::InstanceHandle;
use crate::telemetry::metrics::InstanceMeter;

/// What every call has at hand.
#[derive(Debug)]
pub(super) struct Api {
    desk: Arc<Desk>,
    closing: watch::Receiver<bool>,
    limits: Limits,
    meter: Option<Arc<InstanceMeter>>,
    proxy: Option<Proxy>,
}

impl Api {
    pub(super) fn new(
        desk: Arc<Desk>,
        closing: watch::Receiver<bool>,
        limits: Limits,
        meter: Option<Arc<InstanceMeter>>,
    ) -> Self {
        Self { desk, closing, limits, meter, proxy: None }
    }

    pub(super) fn with_proxy(mut self, proxy: Option<Proxy>) -> Self {
        self.proxy = proxy;
        self
    }

    /// Where calls of the game's own go, if they may.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    pub(super) fn handle(&self) -> &InstanceHandle {
        self.desk.handle()
    }

    /// Becomes true when the server is told to end: whoever waits stops waiting.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What notes that the game is given something, if anybody does.
    pub(super) fn meter(&self) -> Option<&Arc<InstanceMeter>> {
        self.meter.as_ref()
    }

    /// Asks the core, for at most [`Limits::verdict`].
    pub(super) async fn ask(&self, request: Request) -> Result<Granted, Refusal> {
        Ok(self.desk.ask(request).await?)
    }
}

/// A call that a game makes, as opposed to an operator who looks: after the first one a drain waits for the game.
#[derive(Debug)]
pub(super) struct Game;

impl FromRequestParts<()> for Game {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &()) -> Result<Self, Infallible> {
        if let Some(api) = parts.extensions.get::<Arc<Api>>().cloned() {
            api.desk.meet().await;
        }
        Ok(Self)
    }
}

/// Notes that the game is given notifications.
pub(super) fn given<'a>(
    meter: Option<&Arc<InstanceMeter>>,
    instance: Option<&InstanceId>,
    notifications: impl IntoIterator<Item = &'a Arc<Notification>>,
) {
    if let Some(meter) = meter {
        let now = clock::now();
        for notification in notifications {
            meter.given(instance, &notification.notification_id, now);
        }
    }
}

/// What the calls of an instance find among the extensions of a request: whose it is.
pub(super) fn known(api: Arc<Api>, engine: Arc<Engine>) -> Known {
    Arc::new(move |extensions| {
        extensions.insert(Arc::clone(&api));
        extensions.insert(Arc::clone(&engine));
    })
}

/// All calls: ours below /v1, and those of Agones. There is one table for all instances, because it takes 36 KiB; whose a request is,
/// it brings along.
pub(super) fn router() -> Router {
    static TABLE: LazyLock<Router> = LazyLock::new(table);
    TABLE.clone()
}

fn table() -> Router {
    let ours = Router::new()
        .route("/v1/status", get(calls::status))
        .route("/v1/session", get(calls::session).patch(duties::session))
        .route("/v1/ready", post(calls::ready))
        .route("/v1/health", post(calls::health))
        .route("/v1/instance", patch(calls::instance))
        .route("/v1/fubar", post(calls::fubar))
        .route("/v1/events", post(calls::event))
        .route("/v1/match", post(duties::begin_match).patch(duties::update_match).delete(duties::end_match))
        .route("/v1/browser", post(duties::list).patch(duties::update_listing).delete(duties::unlist))
        .route("/v1/players/{uuid}", delete(duties::remove_player))
        .route("/v1/outbox", get(outbox::list))
        .route("/v1/outbox/retry", post(outbox::retry))
        .route("/v1/outbox/drop", post(outbox::forget))
        .route("/v1/allocate", post(allocation::allocate).delete(allocation::deallocate))
        .route("/v1/drain", post(calls::drain))
        .route("/v1/shutdown", post(calls::shutdown))
        .route("/v1/notifications", get(notifications::list))
        .route("/v1/notifications/ack", post(notifications::ack))
        .route("/v1/notifications/set_aside", get(notifications::set_aside))
        .route("/v1/notifications/stream", get(stream::open))
        .route("/rallyhere", any(proxy::pass))
        .route("/rallyhere/", any(proxy::pass))
        .route("/rallyhere/{*rest}", any(proxy::pass))
        .method_not_allowed_fallback(wrong_method);
    ours.merge(rest::router()).fallback(rest::not_found)
}
