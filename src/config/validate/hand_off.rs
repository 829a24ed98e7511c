//! How the game gets its notifications: `notifications.deliver` and what belongs to it.

use std::time::Duration;

use tracing_subscriber::filter::Targets;

use super::{Checker, values};
use crate::config::settings::HandOff;
use crate::core::hand_off::LONGEST_TRY;

/// Where the line of "log" comes from, as far as `log.level` tells parts apart.
const LOG_TARGET: &str = "rallyhere_agent::io::hand_off";

/// The words of `notifications.deliver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Api,
    Exec,
    Webhook,
    Log,
}

impl Checker<'_> {
    /// `notifications.deliver`, `exec`, `webhook` and `deliver_timeout`.
    pub(super) fn hand_off(&mut self) -> Option<HandOff> {
        let raw = &self.raw.notifications;
        let words = [("api", Way::Api), ("exec", Way::Exec), ("webhook", Way::Webhook), ("log", Way::Log)];
        let way = self.check("notifications.deliver", values::word(&raw.deliver, &words));
        let timeout = self.duration(
            "notifications.deliver_timeout",
            &raw.deliver_timeout,
            &(Duration::from_millis(100)..=LONGEST_TRY),
        );
        let command = self.exec_command(way);
        let url = self.webhook(way);
        match way? {
            Way::Api => Some(HandOff::Api),
            Way::Exec => Some(HandOff::Exec { command: command?, timeout: timeout? }),
            Way::Webhook => Some(HandOff::Webhook { url: url?, timeout: timeout? }),
            Way::Log => {
                self.check_level();
                Some(HandOff::Log)
            }
        }
    }

    fn exec_command(&mut self, way: Option<Way>) -> Option<Vec<String>> {
        let command = &self.raw.notifications.exec;
        let Some(program) = command.first() else {
            if way == Some(Way::Exec) {
                self.missing(
                    "notifications.exec",
                    &[],
                    "is required for notifications.deliver = \"exec\": the program and its arguments",
                );
            }
            return None;
        };
        if way.is_some_and(|way| way != Way::Exec) {
            self.warn("notifications.exec", "has no effect: notifications.deliver is not \"exec\"");
        }
        let good = if program.is_empty() {
            Err("must begin with a program".to_owned())
        } else if command.iter().any(|word| word.contains('\0')) {
            Err("has a NUL character, which no argument can hold".to_owned())
        } else {
            Ok(command.clone())
        };
        self.check("notifications.exec", good)
    }

    fn webhook(&mut self, way: Option<Way>) -> Option<String> {
        let url = &self.raw.notifications.webhook;
        if url.is_empty() {
            if way == Some(Way::Webhook) {
                self.missing(
                    "notifications.webhook",
                    &[],
                    "is required for notifications.deliver = \"webhook\": a URL on this host, such as \
                     \"http://127.0.0.1:8080/notifications\"",
                );
            }
            return None;
        }
        if way.is_some_and(|way| way != Way::Webhook) {
            self.warn("notifications.webhook", "has no effect: notifications.deliver is not \"webhook\"");
        }
        self.check("notifications.webhook", values::webhook(url))
    }

    /// A log that leaves the line out would swallow notifications.
    fn check_level(&mut self) {
        let targets = self.raw.log.level.parse::<Targets>();
        if targets.is_ok_and(|targets| !targets.would_enable(LOG_TARGET, &tracing::Level::INFO)) {
            self.warn("log.level", "hides the notifications that notifications.deliver = \"log\" writes at level info");
        }
    }
}
