//! Places on disk that are found through the environment where the configuration names none.

use std::path::{Path, PathBuf};

use crate::config::settings::Surroundings;

/// Below a user's own directories, ours.
const NAME: &str = "rallyhere-agent";

/// A variable that is set to something.
pub(super) fn variable<'a>(surroundings: &'a Surroundings, name: &str) -> Option<&'a str> {
    surroundings.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// A directory from systemd: the first of a list between colons (systemd.exec(5), RuntimeDirectory=).
fn systemd(surroundings: &Surroundings, name: &str) -> Option<PathBuf> {
    variable(surroundings, name)?.split(':').find(|path| !path.is_empty()).map(PathBuf::from)
}

/// A directory of the user; relative ones are to be ignored (XDG Base Directory Specification).
fn user(surroundings: &Surroundings, name: &str) -> Option<PathBuf> {
    variable(surroundings, name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where a socket of this file name is if nobody says. The directory need not exist yet.
pub(super) fn socket(surroundings: &Surroundings, name: &str) -> Option<PathBuf> {
    systemd(surroundings, "RUNTIME_DIRECTORY")
        .or_else(|| user(surroundings, "XDG_RUNTIME_DIR").map(|directory| directory.join(NAME)))
        .map(|directory| directory.join(name))
}

/// Where the state is if nobody says. The directory need not exist yet.
pub(super) fn state(surroundings: &Surroundings) -> Option<PathBuf> {
    systemd(surroundings, "STATE_DIRECTORY")
        .or_else(|| user(surroundings, "XDG_STATE_HOME").map(|directory| directory.join(NAME)))
        .or_else(|| user(surroundings, "HOME").map(|home| home.join(Path::new(".local/state")).join(NAME)))
}

/// The file of a systemd credential, if systemd gave us that one.
pub(super) fn credential(surroundings: &Surroundings, name: &str) -> Option<PathBuf> {
    let path = Path::new(variable(surroundings, "CREDENTIALS_DIRECTORY")?).join(name);
    // Whether it can be read is found out by reading it; only its absence means that it was not given.
    (std::fs::symlink_metadata(&path).is_ok()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(env: &[(&str, &str)]) -> Surroundings {
        Surroundings { env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn systemd_comes_before_the_user() {
        let both = surroundings(&[
            ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("XDG_STATE_HOME", "/home/x/state"),
            ("HOME", "/home/x"),
        ]);
        assert_eq!(socket(&both, "agent.sock"), Some("/run/a/agent.sock".into()));
        assert_eq!(state(&both), Some("/var/lib/a".into()));
    }

    #[test]
    fn the_user_comes_next_and_relative_paths_count_for_nothing() {
        let user =
            surroundings(&[("XDG_RUNTIME_DIR", "/run/user/1"), ("XDG_STATE_HOME", "state"), ("HOME", "/home/x")]);
        assert_eq!(socket(&user, "agent.sock"), Some("/run/user/1/rallyhere-agent/agent.sock".into()));
        assert_eq!(state(&user), Some("/home/x/.local/state/rallyhere-agent".into()));
        let none = surroundings(&[("XDG_RUNTIME_DIR", ""), ("HOME", "x")]);
        assert_eq!((socket(&none, "agent.sock"), state(&none)), (None, None));
    }
}
