//! What a program that we start must not inherit, whatever it is started for: the game, a probe, a taker of notifications.

use std::ffi::OsStr;

/// Variables that are the agent's own business: they would let a child speak to the service manager in our name, or take a log
/// for its own (sd_notify(3), sd_listen_fds(3), systemd.exec(5)).
const OURS: [&str; 5] = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM", "INVOCATION_ID", "MAINPID"];

/// Beginnings of such names. Those of the agent's own settings may hold secrets, in whatever case they are written.
const OURS_FROM: [&str; 4] = ["WATCHDOG_", "LISTEN_", "FDSTORE", "RALLYHERE_AGENT_"];

/// Whether a variable is the agent's own, and not a child's.
pub(super) fn is_withheld(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let begins = |start: &&str| {
        name.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start.as_bytes()))
    };
    OURS.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes())) || OURS_FROM.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_agents_own_is_withheld_however_it_is_written() {
        for own in [
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "LISTEN_FDNAMES",
            "CREDENTIALS_DIRECTORY",
            "RALLYHERE_AGENT_AUTH__CLIENT_SECRET",
            "rallyhere_agent_auth__client_secret",
        ] {
            assert!(is_withheld(OsStr::new(own)), "{own}");
        }
        for other in ["PATH", "HOME", "RALLYHERE_SESSION_ID", "RALLYHERE_AGENT", "MY_NOTIFY_SOCKET", ""] {
            assert!(!is_withheld(OsStr::new(other)), "{other}");
        }
    }
}
