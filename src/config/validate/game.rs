//! `[game]`: the process of the game.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Checker, values};
use crate::config::error::{dotted, shown};
use crate::config::files::named;
use crate::config::raw;
use crate::config::settings::{Command, Game, GameSource};
use crate::core::params::{Process, Readiness};

/// Bytes of a regular expression. Ours: one that is longer is no mark of one line.
const PATTERN_LIMIT: usize = 4096;

/// Characters of a unit's name (systemd.unit(5)).
const UNIT_LIMIT: usize = 255;

/// Signals by name, with the number that they have on every architecture that we build for (signal(7)).
const SIGNALS: [(&str, i32); 7] =
    [("HUP", 1), ("INT", 2), ("QUIT", 3), ("KILL", 9), ("USR1", 10), ("USR2", 12), ("TERM", 15)];

/// The highest number of a signal with a name. Those above are for real time, and of the C library's own.
const LAST_SIGNAL: i32 = 31;

/// The keys that say where the game's process comes from.
const SOURCES: [&str; 4] = ["game.command", "game.pid_file", "game.unit", "game.process_name"];

impl Checker<'_> {
    /// Whose the process is. Tells nothing: [`Checker::game`] does.
    pub(super) fn process(&self) -> Process {
        match given(&self.raw.game) {
            [true, ..] => Process::Ours,
            [false, false, false, false] => Process::Unknown,
            [false, ..] => Process::Watched,
        }
    }

    /// How long a game of ours may take to stop.
    pub(super) fn stop_timeout(&mut self) -> Option<Duration> {
        let bounds = Duration::ZERO..=Duration::from_secs(3600);
        self.duration("game.stop_timeout", &self.raw.game.stop_timeout, &bounds)
    }

    /// `game.*` without what the core is told.
    pub(super) fn game(&mut self) -> Option<Game> {
        let raw = &self.raw.game;
        let source = self.source();
        let ready_log = self.check("game.ready_log", pattern(&raw.ready_log));
        if !raw.ready_log.is_empty() && raw.ready != "log" {
            self.warn("game.ready_log", "has no effect: game.ready is not \"log\"");
        }
        let log_tail = self.number("game.log_tail", raw.log_tail, &(0..=1000));
        Some(Game { source: source?, ready_log: ready_log?, log_tail: log_tail? })
    }

    fn source(&mut self) -> Option<GameSource> {
        let raw = &self.raw.game;
        let given = given(raw);
        let mut several = SOURCES.iter().zip(given).filter(|(_, given)| *given).map(|(key, _)| *key);
        if let (Some(first), Some(second)) = (several.next(), several.next()) {
            self.refuse(second, format!("is set, and so is {first}: the game has one process, so keep one of them"));
            return None;
        }
        match given {
            [true, ..] => self.command().map(GameSource::Command),
            [_, true, ..] => {
                self.without_command();
                values::path(&raw.pid_file).map(GameSource::PidFile)
            }
            [_, _, true, _] => {
                self.without_command();
                self.check("game.unit", unit(&raw.unit)).map(GameSource::Unit)
            }
            [_, _, _, true] => {
                self.without_command();
                self.check("game.process_name", process_name(&raw.process_name)).map(GameSource::ProcessName)
            }
            [false, false, false, false] => {
                self.without_command();
                Some(GameSource::Unknown)
            }
        }
    }

    /// What is only for a game that we start.
    fn without_command(&mut self) {
        let raw = &self.raw.game;
        let default = raw::Game::default();
        for (key, differs) in [
            ("game.working_dir", raw.working_dir != default.working_dir),
            ("game.env", raw.env != default.env),
            ("game.stop_signal", raw.stop_signal != default.stop_signal),
        ] {
            if differs {
                self.warn(key, "has no effect: it is for a game that the agent starts, and game.command is not set");
            }
        }
        // Wrong is wrong, also where it has no effect.
        self.check("game.stop_signal", signal(&raw.stop_signal));
        self.env();
    }

    fn command(&mut self) -> Option<Command> {
        let raw = &self.raw.game;
        let stop_signal = self.check("game.stop_signal", signal(&raw.stop_signal));
        let env = self.env();
        let working_dir = values::path(&raw.working_dir);
        let place = working_dir.as_deref().map_or(Ok(()), directory);
        let place = self.check("game.working_dir", place);
        let words = self.check("game.command", words(&raw.command))?;
        if env && place.is_some() {
            let path = raw.env.get("PATH").or_else(|| self.surroundings.env.get("PATH"));
            let there = words.first().map_or(Ok(()), |program| found(program, working_dir.as_deref(), path));
            self.check("game.command", there)?;
        }
        env.then_some(())?;
        place?;
        Some(Command { command: words, working_dir, env: raw.env.clone(), stop_signal: stop_signal? })
    }

    /// Whether all of game.env can be given to a process.
    fn env(&mut self) -> bool {
        let wrong: Vec<(&String, &str)> = self
            .raw
            .game
            .env
            .iter()
            .filter_map(|(name, value)| {
                if name.is_empty() || name.contains(['=', '\0']) {
                    Some((
                        name,
                        "is no name for an environment variable: it must not be empty, nor have a = or NUL in it",
                    ))
                } else if value.contains('\0') {
                    Some((name, "has a NUL character"))
                } else {
                    None
                }
            })
            .collect();
        for (name, reason) in &wrong {
            self.refuse(&format!("game.env.{}", dotted(&[name])), (*reason).to_owned());
        }
        wrong.is_empty()
    }

    /// game.ready
    pub(super) fn readiness(&mut self) -> Option<Readiness> {
        let words = [
            ("sdk", Readiness::Sdk),
            ("immediate", Readiness::Immediate),
            ("probe", Readiness::Probe),
            ("log", Readiness::Log),
        ];
        let readiness = self.check("game.ready", values::word(&self.raw.game.ready, &words))?;
        let (instance, game) = (&self.raw.instance, &self.raw.game);
        // An allocation brings an address; that of a session of our own is in the configuration.
        let brought = match instance.source.as_str() {
            "fixed" | "session" => !self.raw.allocation.public_host.is_empty() && instance.source == "session",
            _ => true,
        };
        let reachable = brought || !instance.public_conn_str.is_empty() || !instance.private_conn_str.is_empty();
        let (lacks, alternatives, why): (bool, &[&str], _) = match readiness {
            Readiness::Sdk => (false, &[], ""),
            Readiness::Immediate => (
                !reachable,
                &["instance.public_conn_str", "instance.private_conn_str"],
                "\"immediate\" needs instance.public_conn_str or instance.private_conn_str: nobody else says how players connect",
            ),
            Readiness::Probe => (
                self.raw.health.probes.is_empty(),
                &["health.probes"],
                "\"probe\" needs at least one of health.probes: nothing else can find the game healthy",
            ),
            Readiness::Log => (
                game.ready_log.is_empty() || game.command.is_empty(),
                &["game.ready_log", "game.command"],
                "\"log\" needs game.ready_log, and game.command: the agent reads the output only of a game that it starts",
            ),
        };
        if lacks {
            self.missing("game.ready", alternatives, why);
            return None;
        }
        Some(readiness)
    }
}

/// Which of [`SOURCES`] are given.
fn given(raw: &raw::Game) -> [bool; 4] {
    [!raw.command.is_empty(), !raw.pid_file.is_empty(), !raw.unit.is_empty(), !raw.process_name.is_empty()]
}

fn words(command: &[String]) -> values::Checked<Vec<String>> {
    if command.first().is_some_and(String::is_empty) {
        return Err("must begin with a program, not with an empty text".to_owned());
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err("has a NUL character, which no argument can have".to_owned());
    }
    Ok(command.to_vec())
}

fn pattern(text: &str) -> values::Checked<Option<String>> {
    let Some(text) = values::given(text) else { return Ok(None) };
    if text.len() > PATTERN_LIMIT {
        return Err(format!("has {} bytes, at most {PATTERN_LIMIT} are allowed", text.len()));
    }
    match regex_lite::Regex::new(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(error) => Err(format!("is no regular expression: {error}")),
    }
}

/// The number of a signal, from its name or itself.
fn signal(text: &str) -> values::Checked<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    // `parse` takes a sign too, which no signal has.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = || text.parse().ok().filter(|number| digits && (1..=LAST_SIGNAL).contains(number));
    named.or_else(numbered).ok_or_else(|| {
        format!(
            "must be SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGKILL or a number from 1 to {LAST_SIGNAL}, not {}",
            shown(text)
        )
    })
}

/// The name of a service unit, as systemd.unit(5) has it; ".service" may be left out.
fn unit(text: &str) -> values::Checked<String> {
    let full = if text.contains('.') { text.to_owned() } else { format!("{text}.service") };
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let name = full.strip_suffix(".service").unwrap_or_default();
    if name.is_empty() || name.starts_with('-') || full.len() > UNIT_LIMIT || !full.chars().all(good) {
        return Err(format!("must be the name of a service such as \"game.service\", not {}", shown(text)));
    }
    Ok(full)
}

fn process_name(text: &str) -> values::Checked<String> {
    if text.contains(['/', '\0']) {
        return Err("must be the bare name of the program, without a path".to_owned());
    }
    values::line(text, UNIT_LIMIT)
}

/// What can be known of a path: that it is not there, or what it is. A path that we may not see may well be good.
fn known(path: &Path) -> Result<Option<std::fs::Metadata>, String> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(format!("{} is not there", named(path)))
        }
        Err(_not_for_us) => Ok(None),
    }
}

fn directory(path: &Path) -> values::Checked<()> {
    match known(path)? {
        Some(metadata) if !metadata.is_dir() => Err(format!("{} is not a directory", named(path))),
        Some(_) | None => Ok(()),
    }
}

/// Whether there is something to run. With a slash in it a program is looked for from the working directory on, without one
/// in PATH; where no PATH is known nothing is.
fn found(program: &str, working_dir: Option<&Path>, path: Option<&String>) -> values::Checked<()> {
    let runnable = |path: &Path| match known(path)? {
        Some(metadata) if metadata.is_dir() => Err(format!("{} is a directory", named(path))),
        Some(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Err(format!("{} is not executable (chmod +x)", named(path)))
        }
        Some(_) | None => Ok(()),
    };
    if program.contains('/') {
        let path = working_dir.map_or_else(|| PathBuf::from(program), |place| place.join(program));
        return runnable(&path);
    }
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(()) };
    if path.split(':').any(|place| place.is_empty() || runnable(&Path::new(place).join(program)).is_ok()) {
        return Ok(());
    }
    Err(format!("{} is in none of the directories of PATH", shown(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("SIGINT", 2),
            ("QUIT", 3),
            ("SIGHUP", 1),
            ("SIGUSR1", 10),
            ("SIGUSR2", 12),
            ("SIGKILL", 9),
            ("1", 1),
            ("31", 31),
        ] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "32", "64", "+9", "-9", "9 ", "term", "SIGSIGTERM", "SIG", "SIGSTOP", "1.5", "¹"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_this_machine() {
        for (name, number) in SIGNALS {
            let known = rustix::process::Signal::from_named_raw(number).unwrap();
            assert!(format!("{known:?}").contains(&format!("::{name}")), "{known:?}");
        }
        for number in 1..=LAST_SIGNAL {
            assert!(rustix::process::Signal::from_named_raw(number).is_some(), "{number}");
        }
    }

    #[test]
    fn units() {
        for (text, full) in [("game", "game.service"), ("game.service", "game.service"), ("g@1.service", "g@1.service")]
        {
            assert_eq!(unit(text).as_deref(), Ok(full));
        }
        for text in ["-x", "--help", "a b", "a/b.service", "game.slice", ".service", "", &"x".repeat(256)] {
            assert!(unit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn programs_that_are_there_and_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("plain"), "").unwrap();
        std::fs::write(path("tool"), "").unwrap();
        std::fs::set_permissions(path("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let here = dir.path().to_str().unwrap().to_owned();
        for (program, place, search) in [
            (path("tool"), None, None),
            ("./tool".to_owned(), Some(dir.path()), None),
            ("tool".to_owned(), None, Some(format!("/nowhere:{here}"))),
            ("nobody-has-this".to_owned(), None, None),
            ("nobody-has-this".to_owned(), None, Some(String::new())),
            // The empty entry is the working directory of whoever runs it.
            ("nobody-has-this".to_owned(), None, Some(format!("{here}:"))),
        ] {
            assert_eq!(found(&program, place, search.as_ref()), Ok(()), "{program}");
        }
        for (program, place, search, why) in [
            (path("absent"), None, None, "is not there"),
            (path("plain"), None, None, "is not executable"),
            (here.clone(), None, None, "is a directory"),
            (path("tool/x"), None, None, "is not there"),
            ("./absent".to_owned(), Some(dir.path()), None, "is not there"),
            ("plain".to_owned(), None, Some(here), "in none of the directories of PATH"),
        ] {
            let refused = found(&program, place, search.as_ref()).unwrap_err();
            assert!(refused.contains(why), "{program}: {refused}");
        }
    }
}
