//! How the host asks for a drain: the trigger file, the command for termination notices, logind.

use std::time::Duration;

use super::finding::Findings;
use crate::config::settings::{Inhibit, Settings, Surroundings};
use crate::core::shutdown::{Notice, TERMINATE};
use crate::io::shutdown::{self, NoLock};

/// Looks at what is configured; nothing is said of what is not.
pub(super) async fn look(settings: &Settings, surroundings: &Surroundings, findings: &mut Findings) {
    let host = &settings.shutdown;
    if let Some(path) = &host.trigger_file {
        let check = "shutdown.trigger_file";
        let shown = path.display();
        match std::fs::symlink_metadata(path) {
            Ok(_) => findings.warn(
                check,
                &format!("{shown} is there: nobody is served as long as it is"),
                "remove it, if this host is to serve",
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                findings.ok(check, &format!("{shown} is not there"));
            }
            Err(error) => {
                findings.fail(check, &format!("{shown}: {error}"), "choose a place that the agent's user can look at");
            }
        }
    }
    if let Some(command) = &host.notice {
        let check = "shutdown.notice";
        match shutdown::ask_once(command).await {
            Ok((Notice::Quiet, _)) => findings.ok(check, "the command says that the machine goes on"),
            Ok((Notice::Terminate { reason }, _)) => {
                findings.warn(
                    check,
                    &format!("the command says that the machine ends: {reason}"),
                    "nothing; that is its work",
                );
            }
            Ok((Notice::Broken, how)) | Err(how) => findings.fail(
                check,
                &format!("the command does not work: {how}"),
                &format!("mend it: 0 says that the machine goes on, {TERMINATE} that it ends, and nothing else counts"),
            ),
        }
    }
    if host.inhibit != Inhibit::Off {
        let longest = settings.instances.iter().map(|instance| instance.params.drain_timeout).max();
        logind(host.inhibit == Inhibit::On, longest.unwrap_or_default(), surroundings, findings).await;
    }
}

async fn logind(must: bool, drain_timeout: Duration, surroundings: &Surroundings, findings: &mut Findings) {
    let check = "shutdown.inhibit";
    match shutdown::lock_once(surroundings).await {
        Ok(granted) if granted < drain_timeout => findings.warn(
            check,
            &format!(
                "a reboot waits for {} s at most, shutdown.drain_timeout is {} s",
                granted.as_secs(),
                drain_timeout.as_secs()
            ),
            "raise InhibitDelayMaxSec in /etc/systemd/logind.conf.d/, if a reboot is to wait for the match",
        ),
        Ok(granted) => {
            findings.ok(check, &format!("a reboot waits for the match, for {} s at most", granted.as_secs()))
        }
        Err(NoLock::NoBus) if !must => findings.not_checked(check, "there is no system bus here"),
        Err(why) if must => findings.fail(
            check,
            &format!("a reboot does not wait for the match: {why}"),
            "see that logind runs, and polkit, without which only root gets a lock; or set shutdown.inhibit = \"off\"",
        ),
        Err(why) => findings.not_checked(check, &format!("a reboot does not wait for the match: {why}")),
    }
}
