//! The login's loop: one for the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Tasks, World};
use crate::clock;
use crate::core::auth::{Auth, AuthAction, AuthEvent, AuthView};
use crate::core::call::{Failure, FailureKind};
use crate::core::process::GameEvent;
use crate::ports::{Asked, Authenticator};
use crate::telemetry::thin::{Pass, Thinner};

/// What the login machine's actions mean.
#[derive(Debug)]
pub struct LoginWorld<A> {
    authenticator: A,
    views: watch::Sender<Arc<AuthView>>,
    thinner: Thinner,
}

impl<A: Authenticator> LoginWorld<A> {
    /// A world that logs in with `authenticator` and shows the state to every instance.
    pub fn new(authenticator: A, views: watch::Sender<Arc<AuthView>>) -> Self {
        Self { authenticator, views, thinner: Thinner::new() }
    }
}

impl<A> LoginWorld<A> {
    /// One line per cause per minute.
    fn failed(&mut self, failure: &Failure, denied: bool, retry_in: Duration) {
        let Pass::Say { suppressed } = self.thinner.pass(failure.kind.as_str(), clock::now()) else { return };
        let retry_in_seconds = retry_in.as_secs();
        let (request_id, backend_request_id) = (failure.request_id(), failure.backend_request_id());
        if denied {
            tracing::error!(
                %failure,
                retry_in_seconds,
                suppressed,
                request_id,
                backend_request_id,
                "the backend refused the login: check auth.client_id and its secret, then reload (SIGHUP)"
            );
        } else {
            tracing::warn!(%failure, retry_in_seconds, suppressed, request_id, backend_request_id, "the login failed; it is tried again");
        }
    }
}

impl<A: Authenticator> World<Auth> for LoginWorld<A> {
    fn perform(&mut self, action: AuthAction, tasks: &mut Tasks<AuthEvent>) {
        match action {
            AuthAction::Login { id, login, generation } => {
                let work = self.authenticator.login(login, generation);
                let lost = Failure::local(FailureKind::Malformed, "the login was lost to a fault of the agent");
                let fallback = AuthEvent::Answered { id: id.clone(), result: Err(lost) };
                tasks.spawn(async move { AuthEvent::Answered { id, result: work.await } }, fallback);
            }
            AuthAction::Succeeded { lifetime } => {
                tracing::info!(lifetime = lifetime.map(|l| l.as_secs()), "logged in");
            }
            AuthAction::Learnt { feature, gone: true } => tracing::info!(
                call = feature.as_str(),
                "the environment's API does not have it (any more): {}; looked at again later",
                feature.instead()
            ),
            AuthAction::Learnt { feature, gone: false } => {
                tracing::info!(call = feature.as_str(), "the environment's API has it again");
            }
            AuthAction::Failed { failure, denied, retry_in } => self.failed(&failure, denied, retry_in),
        }
    }

    fn publish(&mut self, view: AuthView) {
        self.views.send_if_modified(|shown| {
            let changed = **shown != view;
            if changed {
                *shown = Arc::new(view);
            }
            changed
        });
    }

    fn asked(&mut self, _asked: Asked) -> Option<AuthEvent> {
        None
    }

    fn auth(&mut self, _view: Arc<AuthView>) -> Option<AuthEvent> {
        None
    }

    fn game(&mut self, _event: GameEvent) -> Option<AuthEvent> {
        None
    }
}
