//! The words of the automatic fubar reports: few and fixed, because the backend makes a graph label of each.
//!
//! | word | what happened |
//! |---|---|
//! | `game_crashed` | a signal that speaks of a fault of its own ended the game (SIGSEGV, SIGABRT, ...), or a shell said so (128 + signal) |
//! | `game_exited` | it exited by itself with a code that is not 0 |
//! | `game_oom_killed` | the kernel killed it for want of memory |
//! | `game_not_started` | its process could not be started, or what we were told to watch could not be found |
//! | `game_vanished` | a game that somebody else started was gone while it served; how it ended is not known |
//! | `never_ready` | it did not become ready in game.ready_timeout |
//! | `heartbeat_lost` | its heartbeat began and then fell silent |
//! | `probes_failed` | probes have found it unhealthy, again and again, after the start-up grace |
//! | `crash_loop` | it has failed for the third time in a row, each within ten minutes of the last |
//!
//! Whatever else is known (signal, exit code, memory, last lines of the log) goes into a session event beside the report.

/// A word of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A signal that speaks of a fault of its own ended it.
    GameCrashed,
    /// It exited by itself with a code that is not 0.
    GameExited,
    /// The kernel killed it for want of memory.
    GameOomKilled,
    /// It could not be started, or found.
    GameNotStarted,
    /// It is gone, and was not our child to know how.
    GameVanished,
    /// It did not become ready in game.ready_timeout.
    NeverReady,
    /// Its heartbeat began and then fell silent.
    HeartbeatLost,
    /// Probes have found it unhealthy.
    ProbesFailed,
    /// It fails again and again.
    CrashLoop,
}

impl Fault {
    /// Every word.
    pub const ALL: [Self; 9] = [
        Self::GameCrashed,
        Self::GameExited,
        Self::GameOomKilled,
        Self::GameNotStarted,
        Self::GameVanished,
        Self::NeverReady,
        Self::HeartbeatLost,
        Self::ProbesFailed,
        Self::CrashLoop,
    ];

    /// The `error` of the report: 1..128 characters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GameCrashed => "game_crashed",
            Self::GameExited => "game_exited",
            Self::GameOomKilled => "game_oom_killed",
            Self::GameNotStarted => "game_not_started",
            Self::GameVanished => "game_vanished",
            Self::NeverReady => "never_ready",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::ProbesFailed => "probes_failed",
            Self::CrashLoop => "crash_loop",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_words_are_labels_and_the_table_has_each() {
        let words: BTreeSet<_> = Fault::ALL.into_iter().map(Fault::as_str).collect();
        assert_eq!(words.len(), Fault::ALL.len(), "each is there once");
        let table = include_str!("fault.rs");
        for word in words {
            assert!((1..=128).contains(&word.chars().count()), "{word}");
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word} is not lower_snake");
            assert!(!word.starts_with('_') && !word.ends_with('_') && !word.contains("__"), "{word}");
            assert!(table.contains(&format!("//! | `{word}` |")), "{word} is not in the table");
        }
    }
}
