//! Pushing notifications to the game: to a command, to a web hook, or into the log.
//!
//! Nothing is decided here: which notification, which try, and what a failure means is the core's
//! ([`crate::core::hand_off`]). What is told apart is whether somebody was asked at all.

use crate::config::settings::HandOff;
use crate::core::process::{HandOver, Untaken};

mod exec;
mod log;
mod webhook;

/// Pushes one notification. It ends within the configured time and [`crate::core::hand_off::LONGEST_END`]; dropping the future
/// takes it back, with everything that was started for it.
///
/// # Errors
/// If it was not taken.
pub async fn hand_over(how: &HandOff, what: &HandOver) -> Result<(), Untaken> {
    match how {
        HandOff::Api => Err(Untaken::Absent(Box::from("the game is to ask the local API"))),
        HandOff::Exec { command, timeout } => exec::run(command, *timeout, what).await,
        HandOff::Webhook { url, timeout } => webhook::post(url, *timeout, what).await,
        HandOff::Log => {
            log::write(what);
            Ok(())
        }
    }
}

/// The notification as the local API shows it, in one line.
fn json(what: &HandOver) -> Result<Vec<u8>, Untaken> {
    serde_json::to_vec(&*what.notification)
        .map_err(|error| Untaken::Refused(format!("the notification cannot be written as JSON: {error}").into()))
}
