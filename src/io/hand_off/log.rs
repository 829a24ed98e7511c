//! `notifications.deliver = "log"`: one line each, for looking on and for trying things out. Writing it acknowledges.

use crate::core::process::HandOver;

/// Writes the line. A message above the log's limit for a value is cut there.
pub(super) fn write(what: &HandOver) {
    let notification = &what.notification;
    tracing::info!(
        target: "rallyhere_agent::io::hand_off",
        id = notification.notification_id.as_str(),
        created = notification.created.as_str(),
        rh_url = notification.rh_url.as_deref(),
        "notification: {}",
        notification.message
    );
}
