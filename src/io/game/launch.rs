//! Starting a game: its environment, its output, its process group.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::io::Errno;
use tokio::process::Child;

use super::Reach;
use crate::config::settings::Command;
use crate::core::ids::{AllocationId, InstanceId, SessionId};
use crate::core::ordered;
use crate::io::child::is_withheld;

/// What the game is told of whom it serves.
#[derive(Debug, Clone, Default)]
pub(super) struct Whom {
    pub(super) session: Option<SessionId>,
    pub(super) instance: Option<InstanceId>,
    pub(super) allocation: Option<AllocationId>,
}

/// The environment of the game: the agent's, without what is the agent's own, with what game.env says over it, and with what
/// we tell it over all.
pub(super) fn environment(
    agents: &BTreeMap<String, String>,
    games: &BTreeMap<String, String>,
    reach: &Reach,
    whom: &Whom,
) -> BTreeMap<String, String> {
    let inherited = agents.iter().filter(|(name, _)| !is_withheld(OsStr::new(name))).chain(games);
    let mut out = ordered::map(inherited.map(|(name, value)| (name.clone(), value.clone())));
    let told = [
        ("RALLYHERE_AGENT_SOCKET", reach.socket.as_ref().map(|path| path.display().to_string())),
        ("RALLYHERE_AGENT_URL", reach.http.map(|address| format!("http://{address}"))),
        ("AGONES_SDK_HTTP_PORT", reach.http.map(|address| address.port().to_string())),
        ("AGONES_SDK_GRPC_PORT", reach.grpc.map(|address| address.port().to_string())),
        ("RALLYHERE_SESSION_ID", whom.session.as_ref().map(|id| id.as_str().to_owned())),
        ("RALLYHERE_INSTANCE_ID", whom.instance.as_ref().map(|id| id.as_str().to_owned())),
        ("RALLYHERE_ALLOCATION_ID", whom.allocation.as_ref().map(|id| id.as_str().to_owned())),
    ];
    out.extend(told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    out
}

/// A game that has just been started, and the reading ends of its standard output and standard error.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) output: [OwnedFd; 2],
}

/// Starts the game as the leader of a process group of its own: a signal from the terminal does not reach it past us, and it
/// can be ended with all that it started. Must be called within the runtime; it takes as long as the kernel needs to start a
/// program.
///
/// # Errors
/// In words, if there is no such program, or the kernel refuses.
pub(super) fn launch(settings: &Command, env: &BTreeMap<String, String>) -> Result<Launched, String> {
    let refused = |error: io::Error| words(settings, &error);
    let (stdout, stdout_of_game) = io::pipe().map_err(refused)?;
    let (stderr, stderr_of_game) = io::pipe().map_err(refused)?;
    let (program, arguments) = settings.command.split_first().ok_or("game.command is empty")?;
    let mut command = tokio::process::Command::new(resolved(program, settings.working_dir.as_deref()));
    command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .stdout(stdout_of_game)
        .stderr(stderr_of_game)
        .process_group(0)
        // The last resort: who drops the child without having ended it still ends its leader.
        .kill_on_drop(true);
    if let Some(working_dir) = &settings.working_dir {
        command.current_dir(working_dir);
    }
    let child = command.spawn().map_err(refused)?;
    // `command` holds the writing ends, and goes here: else the pipes would never end.
    Ok(Launched { child, output: [stdout.into(), stderr.into()] })
}

/// From the working directory on, as game.command says; a bare name is looked up in the PATH of the game.
fn resolved(program: &str, working_dir: Option<&Path>) -> PathBuf {
    match working_dir {
        Some(working_dir) if program.contains('/') => working_dir.join(program),
        Some(_) | None => PathBuf::from(program),
    }
}

/// What was tried and what came back. The kernel says the same of a missing program, of a missing interpreter of a script and
/// of a missing directory.
fn words(settings: &Command, error: &io::Error) -> String {
    let program = settings.command.first().map(String::as_str).unwrap_or_default();
    if let Some(place) = &settings.working_dir
        && !fs::metadata(place).is_ok_and(|metadata| metadata.is_dir())
    {
        return format!("game.working_dir {} is no directory that the agent can enter", place.display());
    }
    let path = resolved(program, settings.working_dir.as_deref());
    let there = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let advice = match Errno::from_io_error(error) {
        Some(Errno::NOENT) if there => "; the interpreter that its first line names, or its loader, is not there",
        Some(Errno::NOENT) if program.contains('/') => "; correct game.command or game.working_dir",
        Some(Errno::NOENT) => "; it is in none of the directories of PATH",
        Some(Errno::ACCESS) => "; it is not executable for the agent's user, or its file system is mounted noexec",
        Some(Errno::NOEXEC) => {
            "; it is no program for this machine, or a script without a first line such as #!/bin/sh"
        }
        Some(_) | None => "",
    };
    format!("the game {program:?} could not be started: {error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_game_gets_what_is_its_own_and_nothing_of_ours() {
        let agents = map(&[
            ("PATH", "/usr/bin"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("WATCHDOG_USEC", "1"),
            ("WATCHDOG_PID", "1"),
            ("CREDENTIALS_DIRECTORY", "/run/credentials"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "1"),
            ("LISTEN_FDNAMES", "x"),
            ("JOURNAL_STREAM", "8:1"),
            ("INVOCATION_ID", "1"),
            ("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", "S3CRET"),
            ("RALLYHERE_AGENT_SOCKET", "/of/somebody/else"),
            ("RALLYHERE_SESSION_ID", "of an agent above us"),
            ("LANG", "C"),
        ]);
        let games = map(&[("LANG", "de"), ("NOTIFY_SOCKET", "/its/own"), ("RALLYHERE_INSTANCE_ID", "no")]);
        let reach = Reach {
            socket: Some("/run/a.sock".into()),
            http: Some(([127, 0, 0, 1], 9358).into()),
            grpc: Some(([127, 0, 0, 1], 9357).into()),
            ..Reach::default()
        };
        let whom = Whom {
            session: SessionId::parse("s").ok(),
            instance: InstanceId::parse("i").ok(),
            allocation: AllocationId::parse("a").ok(),
        };
        let expected = map(&[
            ("AGONES_SDK_GRPC_PORT", "9357"),
            ("AGONES_SDK_HTTP_PORT", "9358"),
            ("LANG", "de"),
            ("NOTIFY_SOCKET", "/its/own"),
            ("PATH", "/usr/bin"),
            ("RALLYHERE_AGENT_SOCKET", "/run/a.sock"),
            ("RALLYHERE_AGENT_URL", "http://127.0.0.1:9358"),
            ("RALLYHERE_ALLOCATION_ID", "a"),
            ("RALLYHERE_INSTANCE_ID", "i"),
            ("RALLYHERE_SESSION_ID", "s"),
        ]);
        assert_eq!(environment(&agents, &games, &reach, &whom), expected);
        let bare = environment(&map(&[("PATH", "x")]), &BTreeMap::new(), &Reach::default(), &Whom::default());
        assert_eq!(bare, map(&[("PATH", "x")]), "what is not known is not told");
    }
}
