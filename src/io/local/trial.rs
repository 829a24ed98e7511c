//! What the calls make of a body, and the notifications of what is written, without an instance behind them: for a fuzzer, and for
//! the test that reads what it found.

use std::sync::Arc;
use std::time::Duration;

use super::body::{Shape, parse};
use super::notifications::{Inbox, Wanted};
use super::{calls, duties, notifications, outbox, stream};
use crate::core::instance::Notification;
use crate::io::agones::rest;

/// Reads these bytes as the body of every call of the local API and of the Agones SDK; says how many take them.
///
/// Whatever the bytes are, each call has an answer: taken, or refused with 400 or 422 and words. Nothing is carried out.
#[must_use]
pub fn bodies(bytes: &[u8]) -> usize {
    let ours = [
        takes::<calls::ReadyBody>,
        takes::<calls::InstanceBody>,
        takes::<calls::HealthBody>,
        takes::<calls::FubarBody>,
        takes::<calls::EventBody>,
        takes::<calls::ReasonBody>,
        takes::<duties::MatchBody>,
        takes::<duties::ListBody>,
        takes::<duties::ListingBody>,
        takes::<duties::SessionBody>,
        takes::<notifications::AckBody>,
        takes::<outbox::ReportBody>,
    ];
    ours.iter().filter(|takes| takes(bytes)).count() + rest::takers(bytes)
}

fn takes<T: Shape>(bytes: &[u8]) -> bool {
    parse::<T>(bytes).is_ok()
}

/// What a game is sent of an inbox, piece by piece until nothing is left: by the stream, and page by page by the list.
#[derive(Debug, Default)]
pub struct Handed {
    /// The frames of the stream, each a few events.
    pub frames: Vec<Vec<u8>>,
    /// The bodies of the list.
    pub pages: Vec<Vec<u8>>,
}

/// Writes these as a stream and as pages of at most `limit`. Their ids must differ, as those of an inbox do.
#[must_use]
pub fn handed(notifications: &[Arc<Notification>], limit: usize) -> Handed {
    let inbox: Inbox = notifications.iter().cloned().collect();
    let mut handed = Handed::default();
    let mut last = None;
    while let Some((frame, reached, _count)) = stream::frame(&inbox, last.as_deref()) {
        handed.frames.push(frame);
        last = Some(reached);
    }
    let mut given = 0;
    while given < inbox.len() {
        let after = given.checked_sub(1).and_then(|last| inbox.get(last)).map(|last| last.notification_id.to_string());
        let wanted = Wanted { wait: Duration::ZERO, limit: limit.max(1), after };
        let Ok(Some((page, count))) = notifications::page(&inbox, &wanted) else { break };
        handed.pages.push(page);
        given += count;
    }
    handed
}
