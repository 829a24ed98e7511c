//! This machine: the state directory, the places where the agent listens, and its unit.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Access;

use super::finding::Findings;
use crate::clock;
use crate::config::settings::Settings;
use crate::io::store;

const STATE: &str = "state directory";
/// Below this many MiB somebody should make room: the store alone may take 128 for a moment.
const ROOM: u64 = 128;
const MIB: u64 = 1024 * 1024;
const UNIT: &str = "rallyhere-agent.service";
/// How long systemd may think.
const UNIT_PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the state directory, and says which agent has it.
pub(super) fn state(dir: &Path, findings: &mut Findings) -> Option<String> {
    let shown = dir.display();
    let file = match std::fs::metadata(dir) {
        Ok(file) if file.is_dir() => file,
        Ok(_) => {
            findings.fail(STATE, &format!("{shown} is no directory"), "correct state.dir");
            return None;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            missing(dir, findings);
            return None;
        }
        Err(error) => {
            findings.fail(STATE, &format!("{shown}: {error}"), "run this as the agent's user, or correct state.dir");
            return None;
        }
    };
    let user = rustix::process::geteuid().as_raw();
    if file.uid() != user {
        let detail = format!("{shown} belongs to user {}, and this is user {user}", file.uid());
        let advice =
            "run this as the agent's user (sudo -u USER), or give the directory to the user that the agent runs as";
        // Root looks at somebody else's agent; anybody else could not run one here.
        if user == 0 { findings.warn(STATE, &detail, advice) } else { findings.fail(STATE, &detail, advice) }
    } else if file.mode() & 0o077 != 0 {
        let detail = format!("others may enter {shown} (mode {:o})", file.mode() & 0o777);
        findings.fail(STATE, &detail, &format!("chmod 700 {shown}"));
    } else {
        findings.ok(STATE, &format!("{shown} is ours alone"));
    }
    space(dir, findings);
    match store::holder_of(dir) {
        Ok(Some(holder)) => {
            findings.ok(STATE, &format!("an agent is running here: {holder}"));
            Some(holder)
        }
        Ok(None) => {
            findings.ok(STATE, "no agent is running here");
            None
        }
        Err(error) => {
            let advice = "run this as the agent's user";
            findings.warn(STATE, &format!("whether an agent is running here cannot be seen: {error}"), advice);
            None
        }
    }
}

fn missing(dir: &Path, findings: &mut Findings) {
    let above = dir.ancestors().skip(1).find(|above| above.exists() || above.as_os_str().is_empty());
    let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        findings.ok(STATE, &format!("{} is not there yet, and can be made", dir.display()));
        space(above, findings);
    } else {
        let detail = format!("{} is not there, and we may not make it in {}", dir.display(), above.display());
        findings.fail(STATE, &detail, "run this as the agent's user, make the directory for it, or correct state.dir");
    }
}

fn space(dir: &Path, findings: &mut Findings) {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize) / MIB;
            let detail = format!("{free} MiB free");
            if free < ROOM {
                findings.warn(STATE, &detail, "make room: on a full disk no report can be accepted");
            } else {
                findings.ok(STATE, &detail);
            }
        }
        Err(error) => findings.warn(STATE, &format!("its free space cannot be seen: {error}"), "look with df"),
    }
}

/// Looks at everything where the agent listens.
pub(super) fn places(settings: &Settings, holder: Option<&str>, findings: &mut Findings) {
    for instance in &settings.instances {
        let (name, local) = (instance.name(), &instance.local_api);
        if let Some(path) = &local.socket {
            socket(&format!("local_api.socket ({name})"), path, holder, findings);
        }
        for (key, address) in [("local_api.listen", local.listen), ("local_api.grpc_listen", local.grpc_listen)] {
            if let Some(address) = address {
                port(&format!("{key} ({name})"), address, holder, findings);
            }
        }
    }
    if let Some(address) = settings.admin.listen {
        port("admin.listen", address, holder, findings);
    }
}

/// Whether a port is free: by taking it for a moment.
fn port(check: &str, address: SocketAddr, holder: Option<&str>, findings: &mut Findings) {
    let error = match TcpListener::bind(address) {
        Ok(_free) => return findings.ok(check, &format!("{address} is free")),
        Err(error) => error,
    };
    match (error.kind(), holder) {
        (io::ErrorKind::AddrInUse, Some(holder)) => {
            findings.ok(check, &format!("{address} is in use, as it should be while an agent runs ({holder})"));
        }
        (io::ErrorKind::AddrInUse, None) => {
            let advice = format!("see who has it (ss -ltnp), or set another {}", key(check));
            findings.fail(
                check,
                &format!("{address} is in use, and not by an agent with this state directory"),
                &advice,
            );
        }
        _ => findings.fail(check, &format!("{address}: {error}"), &format!("set another {}", key(check))),
    }
}

fn key(check: &str) -> &str {
    check.split(' ').next().unwrap_or(check)
}

fn socket(check: &str, path: &Path, holder: Option<&str>, findings: &mut Findings) {
    let shown = path.display();
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match UnixStream::connect(path) {
        Ok(_) => match holder {
            Some(holder) => {
                findings.ok(check, &format!("{shown} answers, as it should while an agent runs ({holder})"))
            }
            None => findings.fail(
                check,
                &format!("somebody answers on {shown}, and it is no agent with this state directory"),
                "end the other program, or set another local_api.socket",
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The agent makes the one directory, but not those above it.
            let place = if directory.exists() { Some(directory) } else { directory.parent() };
            if place.is_some_and(|place| rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok()) {
                findings.ok(check, &format!("{shown} can be made"));
            } else {
                let advice =
                    "make its directory for the agent's user (systemd: RuntimeDirectory=), or set local_api.socket";
                findings.fail(check, &format!("we may not make {shown}"), advice);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            findings.ok(check, &format!("{shown} was left behind, and is taken over at the next start"));
        }
        Err(error) => {
            findings.fail(check, &format!("{shown}: {error}"), "run this as the agent's user, or set local_api.socket");
        }
    }
}

/// How well the unit is shut in, where systemd has one.
pub(super) async fn unit(findings: &mut Findings) {
    let check = "unit hardening";
    let places = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let installed = places.iter().any(|place| Path::new(place).join(UNIT).exists());
    if !installed || !Path::new("/run/systemd/system").exists() {
        return findings.not_checked(check, &format!("systemd has no {UNIT} here"));
    }
    let mut command = tokio::process::Command::new("systemd-analyze");
    command.args(["--no-pager", "security", UNIT]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::select! {
        output = command.output() => output,
        () = clock::sleep(UNIT_PATIENCE) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
            let exposed = last.contains("EXPOSED") || last.contains("UNSAFE");
            if exposed {
                findings.warn(
                    check,
                    last,
                    "use the unit that comes with the agent (systemd/), without drop-ins that open it",
                );
            } else {
                findings.ok(check, last);
            }
        }
        Ok(_) => findings.not_checked(check, "systemd-analyze gave no answer"),
        Err(error) => findings.not_checked(check, &format!("systemd-analyze could not be run: {error}")),
    }
}
