//! When the host itself asks for a drain: by a file, by a command that watches for the end of the machine, and by logind,
//! whose shutdown waits for us. What each means is decided here; the looking is done in [`crate::io`].

use std::borrow::Cow;

use super::phase::Phase;

/// With this exit code, and no other, the command of `shutdown.notice` says that the machine ends soon. No shell, no
/// interpreter and no tool that such a script would call gives it by accident: curl ends at 101, sh uses 126, 127 and 128 +
/// signal, Python 120, Rust 101, systemd 200 and more.
pub const TERMINATE: i32 = 113;

/// The most characters of a reason.
const REASON_LIMIT: usize = 256;

/// What stands where the trigger file would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file, and its first line; empty where it has none, or where it cannot be read.
    File(String),
    /// Something that is no file, or nobody can say; in words.
    Unusable(String),
}

/// What a look at the trigger file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// Nothing.
    No,
    /// Drain.
    Yes {
        /// In words.
        reason: String,
        /// It was there before us.
        at_start: bool,
    },
    /// It cannot be told; why not. Nobody drains for that.
    Unknown(String),
}

/// The machine of the trigger file.
#[derive(Debug, Clone, Default)]
pub struct Trigger {
    looked: bool,
    /// It was there and empty: whoever makes it may be about to write.
    empty: Option<bool>,
    pulled: bool,
}

impl Trigger {
    /// Takes one look. An empty file counts at the second look, so that a writer who opens it first and writes then is heard
    /// with his reason. Says yes once.
    pub fn look(&mut self, found: Found) -> Pulled {
        let first = !std::mem::replace(&mut self.looked, true);
        if self.pulled {
            return Pulled::No;
        }
        let line = match found {
            Found::File(line) => line,
            Found::Nothing => {
                self.empty = None;
                return Pulled::No;
            }
            Found::Unusable(why) => return Pulled::Unknown(why),
        };
        let said = reason(&line);
        let at_start = match (self.empty, &said) {
            (None, None) => {
                self.empty = Some(first);
                return Pulled::No;
            }
            (Some(at_start), _) => at_start,
            (None, Some(_)) => first,
        };
        self.pulled = true;
        let reason =
            said.map_or_else(|| "the trigger file is there".to_owned(), |said| format!("trigger file: {said}"));
        Pulled::Yes { reason, at_start }
    }
}

/// What a run of the command of `shutdown.notice` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The machine goes on.
    Quiet,
    /// The machine ends soon: drain.
    Terminate {
        /// In words.
        reason: String,
    },
    /// The command failed, and says nothing about the machine. Nobody drains for that.
    Broken,
}

/// Judges a run by its exit code and the first line that it printed. A script with a fault in it must never end a match.
pub fn notice(code: Option<i32>, line: Option<&str>) -> Notice {
    match code {
        Some(0) => Notice::Quiet,
        Some(TERMINATE) => Notice::Terminate {
            reason: line
                .and_then(reason)
                .map_or_else(|| "termination notice".to_owned(), |line| format!("termination notice: {line}")),
        },
        Some(_) | None => Notice::Broken,
    }
}

/// Whether a shutdown of the host should wait for us: from the first instance that serves until none is left that has
/// players, or last words to say.
pub fn holds_the_host(held: bool, phases: impl IntoIterator<Item = Phase>) -> bool {
    phases.into_iter().any(|phase| match phase {
        Phase::Serving => true,
        Phase::Draining | Phase::Closing => held,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Ended | Phase::Superseded => false,
    })
}

/// One line of somebody's words, fit to be shown: no control characters, cut.
fn reason(line: &str) -> Option<String> {
    let line = line.trim();
    let clean: Cow<'_, str> =
        if line.chars().any(char::is_control) { line.replace(char::is_control, " ").into() } else { line.into() };
    (!clean.is_empty()).then(|| clean.chars().take(REASON_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(reason: &str, at_start: bool) -> Pulled {
        Pulled::Yes { reason: reason.to_owned(), at_start }
    }

    fn file(line: &str) -> Found {
        Found::File(line.to_owned())
    }

    #[test]
    fn the_first_line_of_the_trigger_file_is_the_reason_and_is_told_once() {
        let mut trigger = Trigger::default();
        assert_eq!(trigger.look(Found::Nothing), Pulled::No);
        assert_eq!(trigger.look(file(" patch\x1b day \r")), yes("trigger file: patch  day", false));
        assert_eq!(trigger.look(file("again")), Pulled::No);
    }

    #[test]
    fn an_empty_trigger_file_waits_one_look_for_its_writer() {
        let mut trigger = Trigger::default();
        assert_eq!(trigger.look(Found::Nothing), Pulled::No);
        assert_eq!(trigger.look(file("")), Pulled::No);
        assert_eq!(trigger.clone().look(file("a new kernel")), yes("trigger file: a new kernel", false));
        assert_eq!(trigger.clone().look(file("\n")), yes("the trigger file is there", false));
        // Taken away again before it counted.
        assert_eq!(trigger.look(Found::Nothing), Pulled::No);
        assert_eq!(trigger.look(file("")), Pulled::No);
    }

    #[test]
    fn a_trigger_file_that_was_there_before_us_is_told_apart() {
        assert_eq!(Trigger::default().look(file("maintenance")), yes("trigger file: maintenance", true));
        let mut empty = Trigger::default();
        assert_eq!(empty.look(file("")), Pulled::No);
        assert_eq!(empty.look(file("")), yes("the trigger file is there", true));
    }

    #[test]
    fn what_is_no_file_drains_nobody() {
        let mut trigger = Trigger::default();
        let folder = "it is a directory".to_owned();
        assert_eq!(trigger.look(Found::Unusable(folder.clone())), Pulled::Unknown(folder));
        assert_eq!(trigger.look(file("now")), yes("trigger file: now", false));
    }

    #[test]
    fn only_one_exit_code_says_that_the_machine_ends() {
        assert_eq!(notice(Some(0), Some("all is well")), Notice::Quiet);
        for code in (1..=255).filter(|code| *code != TERMINATE).map(Some).chain([None]) {
            assert_eq!(notice(code, Some("terminate")), Notice::Broken, "{code:?}");
        }
        let terminate = |reason: &str| Notice::Terminate { reason: reason.to_owned() };
        assert_eq!(notice(Some(TERMINATE), None), terminate("termination notice"));
        let spot = notice(Some(TERMINATE), Some("spot\tinterruption"));
        assert_eq!(spot, terminate("termination notice: spot interruption"));
        let long = notice(Some(TERMINATE), Some(&"x".repeat(5000)));
        assert!(matches!(long, Notice::Terminate { reason } if reason.len() < 300));
    }

    #[test]
    fn the_host_waits_from_the_first_that_serves_to_the_last_word() {
        assert!(!holds_the_host(false, [Phase::Resolving, Phase::Registering, Phase::Loading]));
        assert!(holds_the_host(false, [Phase::Loading, Phase::Serving]));
        // Taken on the way, and not given back before the end.
        assert!(holds_the_host(true, [Phase::Ended, Phase::Draining]));
        assert!(holds_the_host(true, [Phase::Closing]));
        assert!(!holds_the_host(false, [Phase::Draining]), "nobody was ever served");
        assert!(!holds_the_host(true, [Phase::Ended, Phase::Superseded, Phase::Registering]));
    }
}
