//! The login's loop: one for the process.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Tasks, World};
use crate::core::auth::{Auth, AuthAction, AuthEvent, AuthView};
use crate::core::call::{Failure, FailureKind};
use crate::ports::{Asked, Authenticator};

/// What the login machine's actions mean.
#[derive(Debug)]
pub struct LoginWorld<A> {
    authenticator: A,
    views: watch::Sender<Arc<AuthView>>,
}

impl<A: Authenticator> LoginWorld<A> {
    /// A world that logs in with `authenticator` and shows the state to every instance.
    pub fn new(authenticator: A, views: watch::Sender<Arc<AuthView>>) -> Self {
        Self { authenticator, views }
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
            AuthAction::Failed { failure, denied: true, retry_in } => {
                tracing::error!(
                    %failure,
                    retry_in_seconds = retry_in.as_secs(),
                    "the backend refused the login: check auth.client_id and its secret, then reload (SIGHUP)"
                );
            }
            AuthAction::Failed { failure, denied: false, retry_in } => {
                tracing::warn!(%failure, retry_in_seconds = retry_in.as_secs(), "the login failed; it is tried again");
            }
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
}
