//! How the host asks for a drain: `shutdown.*`, but for `shutdown.drain_timeout`.

use std::time::Duration;

use super::{Checker, values};
use crate::config::settings::{Inhibit, NoticeCommand, Shutdown};

impl Checker<'_> {
    /// `shutdown.trigger_file`, `inhibit`, `notice` and `notice_interval`.
    pub(super) fn shutdown(&mut self) -> Option<Shutdown> {
        let raw = &self.raw.shutdown;
        let trigger_file = values::path(&raw.trigger_file);
        let trigger_file = match trigger_file {
            Some(path) if !path.is_absolute() => {
                self.refuse(
                    "shutdown.trigger_file",
                    "must be an absolute path: nobody knows in which directory the agent runs".to_owned(),
                );
                None
            }
            path => Some(path),
        };
        let words = [("auto", Inhibit::Auto), ("on", Inhibit::On), ("off", Inhibit::Off)];
        let inhibit = self.check("shutdown.inhibit", values::word(&raw.inhibit, &words));
        let interval = self.duration(
            "shutdown.notice_interval",
            &raw.notice_interval,
            &(Duration::from_secs(1)..=Duration::from_secs(3600)),
        );
        let command = &raw.notice;
        let notice = if command.first().is_some_and(String::is_empty) {
            self.check("shutdown.notice", Err("must begin with a program".to_owned()))
        } else if command.iter().any(|word| word.contains('\0')) {
            self.check("shutdown.notice", Err("has a NUL character, which no argument can hold".to_owned()))
        } else if command.is_empty() {
            Some(None)
        } else {
            interval.map(|interval| Some(NoticeCommand { command: command.clone(), interval }))
        };
        interval?;
        Some(Shutdown { trigger_file: trigger_file?, inhibit: inhibit?, notice: notice? })
    }
}
