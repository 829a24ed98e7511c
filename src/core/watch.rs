//! Changes of the session, where the backend's notifications of an instance are gone: the session is read every few seconds
//! ([`super::session`]), and a change becomes a notification of our own for the game.
//!
//! It goes through the same inbox as the backend's: in order, on disk first, until it is acknowledged. Its id is
//! `agent-session-N-VERSION`, the number of the change in this life and the print of what the session is now; both are on disk in one
//! record with it, so that the same change has the same id after a restart. What a host writes itself (how to connect, join
//! status, health, …) is no news. Changes that come while the inbox is full are told as one, once there is room.

use std::sync::Arc;

use super::action::Note;
use super::api::Feature;
use super::common::Common;
use super::durable::Record;
use super::ids::{NotificationId, Ticket};
use super::instance::Notification;

/// What the notification says.
const MESSAGE: &str = "session_changed";
/// In its custom_data, under `source`: not the backend's word.
const SOURCE: &str = "rallyhere-agent";

/// The machine of the changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// What the session was while the notifications still came: from there on changes count.
    before: Option<u64>,
    /// A record on its way to the disk.
    writing: Option<(Ticket, Record)>,
}

impl Watch {
    /// The notifications come: what they tell is not told twice.
    pub(super) fn is_needless(&mut self, common: &Common) {
        self.before = common.session.as_ref().map(|view| view.session.print);
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if !common.phase.is_attached() || !common.params.notifications || self.writing.is_some() {
            return;
        }
        if !common.api.is_doubtful(Feature::Notifications) {
            self.is_needless(common);
            return;
        }
        let Some(view) = &common.session else { return };
        let print = view.session.print;
        let noticed = common.durable.noticed.map(|noticed| noticed.print);
        let known = self.before.take().or(noticed);
        if known == Some(print) && noticed == known {
            return;
        }
        if known.is_some_and(|known| known != print) {
            if common.durable.inbox.len() >= common.params.inbox_limit {
                self.before = known;
                return;
            }
            let Some(notification) = told(common, print) else { return };
            self.write(common, Record::Noticed { print, notification: Some(Arc::new(notification)) });
        } else {
            self.write(common, Record::Noticed { print, notification: None });
        }
    }

    fn write(&mut self, common: &mut Common, record: Record) {
        let ticket = common.store(vec![record.clone()]);
        self.writing = Some((ticket, record));
    }

    /// The store has finished with a batch. Also when the disk refused: the game gets it all the same.
    pub(super) fn handle_stored(&mut self, common: &mut Common, ticket: &Ticket) {
        let Some((_, record)) = self.writing.take_if(|(writing, _)| writing == ticket) else { return };
        common.apply(&record);
        if matches!(record, Record::Noticed { notification: Some(_), .. }) {
            common.counters.notifications_received += 1;
            common.note(Note::Notified { fresh: 1, repeated: 0, unusable: 0 });
        }
    }
}

/// The notification of a change.
fn told(common: &Common, print: u64) -> Option<Notification> {
    let session = common.session_id()?;
    let etag = common.session.as_ref().and_then(|view| view.etag.clone());
    let number = common.durable.noticed.map_or(0, |noticed| noticed.count) + 1;
    Some(Notification {
        notification_id: NotificationId::parse(&format!("agent-session-{number}-{print:016x}")).ok()?,
        created: common.wall().to_string(),
        message: MESSAGE.to_owned(),
        rh_url: Some(format!("session/v1/session/{session}")),
        etag,
        custom_data: [("source".to_owned(), SOURCE.to_owned())].into(),
    })
}
