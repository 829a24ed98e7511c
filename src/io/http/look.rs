//! Questions that change nothing, and the backend's clock as its answers tell it: for the doctor.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::exchange::{self, Inbound, Outbound};
use super::{HttpBackend, Shared};
use crate::clock;
use crate::core::call::{Failure, FailureKind};
use crate::wire;
use crate::wire::look::{Look, Seen};

impl HttpBackend {
    /// Asks something that changes nothing, with the token of the last login, and gives up after `limit`.
    ///
    /// # Errors
    /// As [`Backend::call`](crate::ports::Backend::call).
    pub async fn look(&self, look: &Look, limit: Duration) -> Result<Seen, Failure> {
        let deadline = clock::now() + limit;
        let shared = &self.shared;
        let Some(token) = shared.vault.token() else {
            return Err(Failure::local(FailureKind::NoToken, "not logged in yet"));
        };
        let Some(url) = shared.origin.url(&look.path_and_query()) else {
            return Err(Failure::local(FailureKind::Rejected, "an id of \".\" or \"..\" cannot be part of a URL"));
        };
        let outbound = Outbound {
            method: reqwest::Method::GET,
            url,
            authorization: token.header.clone(),
            if_none_match: None,
            body: None,
            foreign: None,
            response_limit: wire::BODY_LIMIT,
            is_safe: true,
            header_limit: Some(shared.limits.header),
            body_idle: shared.limits.body_idle,
            deadline,
        };
        let inbound = exchange::exchange(&shared.control, &outbound).await?;
        shared.note_date(&inbound);
        let secret = token.secret();
        look.decode(&inbound.reply(&[&secret]), clock::wall())
            .map_err(|failure| failure.found_at(&inbound.trail(&[&secret])))
    }

    /// How far the backend's clock is before ours, to a second, by the newest answer to a login or a look; below zero if it is
    /// behind. `None` while no answer had a date.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        *self.shared.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn note_date(&self, inbound: &Inbound) {
        let date = inbound.reply(&[]).date.and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(theirs) = date.and_then(|date| Timestamp::try_from(date).ok()) {
            let ahead = theirs.duration_since(clock::wall());
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }
}
