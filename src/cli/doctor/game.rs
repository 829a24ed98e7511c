//! The game: what we are to start, and what we are to ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::finding::Findings;
use crate::config::settings::{GameSource, HandOff, Instance, PressureKind, ProbeKind, Surroundings};

/// Where programs are looked for if nobody says.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Everything of one instance that is not the agent's own.
pub(super) fn look(instance: &Instance, surroundings: &Surroundings, findings: &mut Findings) {
    let name = instance.name();
    match &instance.game.source {
        GameSource::Unknown => {}
        GameSource::Command(command) => {
            let dir = command.working_dir.as_deref();
            if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
                let advice = "make it, or correct game.working_dir";
                findings.fail(&format!("game ({name})"), &format!("{} is no directory", dir.display()), advice);
            }
            program(
                &format!("game ({name})"),
                "game.command",
                &command.command,
                dir,
                (&command.env, surroundings),
                findings,
            );
        }
        GameSource::PidFile(path) if path.is_file() => {
            findings.ok(&format!("game ({name})"), &format!("{} is there", path.display()));
        }
        GameSource::PidFile(path) => findings.warn(
            &format!("game ({name})"),
            &format!("{} is not there", path.display()),
            "it is good if the game is not running yet; else correct game.pid_file",
        ),
        GameSource::Unit(_) | GameSource::ProcessName(_) => {
            findings.not_checked(&format!("game ({name})"), "somebody else starts it");
        }
    }
    let env = BTreeMap::new();
    for (probe, params) in instance.probes.iter().zip(&instance.params.probes) {
        let check = format!("probe {} ({name})", params.name);
        match &probe.kind {
            ProbeKind::A2s(_) | ProbeKind::Tcp(_) | ProbeKind::Http { .. } => {
                findings.ok(&check, "its target is an address, nothing has to be looked up");
            }
            ProbeKind::Exec(command) => program(&check, "health.probes", command, None, (&env, surroundings), findings),
            ProbeKind::Process => {}
            ProbeKind::Pressure { resource, .. } => pressure(&check, *resource, findings),
        }
    }
    if let HandOff::Exec { command, .. } = &instance.hand_off {
        let check = format!("notifications ({name})");
        program(&check, "notifications.exec", command, None, (&env, surroundings), findings);
    }
}

fn pressure(check: &str, resource: PressureKind, findings: &mut Findings) {
    let file = match resource {
        PressureKind::Cpu => "/proc/pressure/cpu",
        PressureKind::Memory => "/proc/pressure/memory",
    };
    if Path::new(file).exists() {
        findings.ok(check, "the kernel measures pressure");
    } else {
        findings.warn(check, &format!("{file} is not there"), "start the kernel with psi=1, or take the probe away");
    }
}

/// Whether a program can be started.
fn program(
    check: &str,
    key: &str,
    command: &[String],
    dir: Option<&Path>,
    (env, surroundings): (&BTreeMap<String, String>, &Surroundings),
    findings: &mut Findings,
) {
    let Some(word) = command.first() else { return };
    let path = env.get("PATH").or_else(|| surroundings.env.get("PATH")).map_or(USUAL_PATH, String::as_str);
    match find(word, dir, path) {
        Ok(found) => findings.ok(check, &format!("{} can be started", found.display())),
        Err(why) => findings.fail(check, &format!("{word} {why}"), &format!("correct {key}, or chmod +x the file")),
    }
}

fn find(word: &str, dir: Option<&Path>, path: &str) -> Result<PathBuf, &'static str> {
    if word.contains('/') {
        // The new process changes its directory first.
        let place = dir.map_or_else(|| PathBuf::from(word), |dir| dir.join(word));
        return if !place.exists() {
            Err("is not there")
        } else if is_program(&place) {
            Ok(place)
        } else {
            Err("is no program that we may start")
        };
    }
    let mut places = path.split(':').map(|directory| Path::new(directory).join(word));
    places.find(|place| is_program(place)).ok_or("is in no directory of PATH")
}

fn is_program(place: &Path) -> bool {
    place.is_file() && rustix::fs::access(place, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_the_system_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("text"), "").unwrap();
        assert!(find("sh", None, USUAL_PATH).is_ok());
        assert!(find("./sh", Some(Path::new("/bin")), "").is_ok());
        assert_eq!(find("sh", None, "/nowhere"), Err("is in no directory of PATH"));
        assert_eq!(find("./text", Some(dir.path()), ""), Err("is no program that we may start"));
        assert_eq!(find("./gone", Some(dir.path()), ""), Err("is not there"));
    }
}
