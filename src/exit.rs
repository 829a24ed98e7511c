//! How the process ends: one table of exit codes (design.md section 5).

use std::process::ExitCode;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Stopped on command, or with its instance.
    Done,
    /// Something that nobody foresaw; the message says what.
    Failure,
    /// The command line is wrong.
    Usage,
    /// Another agent has the state directory.
    Locked,
    /// Somebody else holds the session or the allocation.
    Superseded,
    /// The configuration is wrong.
    Config,
    /// Ended on SIGUSR2: the instance is left as it is, for the next agent.
    Left,
    /// Ended with the game that we started: its exit code, or 128 + signal.
    Game(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Locked => 75,
            Self::Superseded => 76,
            Self::Config => 78,
            // Not 0: Restart=on-failure starts the next agent.
            Self::Left => 79,
            Self::Game(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
