//! Where allocations come from: the file, the local API, RallyHere's hosting; and whether two instances say that they are one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::finding::Findings;
use crate::config::settings::Instance;
use crate::core::allocation::{SicEntry, SicState, Source, Teller, Word};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::io::allocation;
use crate::io::http::HttpBackend;
use crate::ports::Backend as _;
use crate::wire;

/// What can be seen on this host; nothing is said of a session that is configured.
pub(super) fn look(instance: &Instance, findings: &mut Findings) {
    let name = instance.name();
    let check = format!("instance.source ({name})");
    match &instance.params.allocation.source {
        Source::Fixed => {}
        Source::Made(wish) => {
            findings.not_checked(&check, &format!("only a write would make a session of type {}", wish.session_type));
        }
        // Asked once there is a login.
        Source::Sic(_) => {}
        Source::Told(Teller::Local) => {
            let local = &instance.local_api;
            if local.socket.is_none() && local.listen.is_none() {
                let advice = "set local_api.socket or local_api.listen, or another instance.source";
                findings.fail(&check, "the local API is off, and an allocation can come by it only", advice);
            } else {
                findings.ok(
                    &check,
                    "whoever reaches the local API allocates it: rallyhere-agent allocate, or POST /v1/allocate",
                );
            }
        }
        Source::Told(teller @ (Teller::Multiplay | Teller::File)) => {
            if let Some(path) = &instance.allocation_file {
                file(&format!("allocation.file ({name})"), *teller, path, findings);
            }
        }
    }
}

fn file(check: &str, teller: Teller, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    let content = match allocation::read_once(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return absent(check, teller, path, findings),
        Err(error) => {
            let advice = "let the agent's user read it and enter its directory, or correct allocation.file";
            return findings.fail(check, &format!("{shown}: {error}"), advice);
        }
    };
    match wire::file(teller, &content) {
        Ok(Word::Given(given)) => findings.ok(check, &format!("{shown} names {}", given.words())),
        Ok(Word::Nothing) => {
            findings.ok(check, &format!("{shown} can be read, and names no allocation: the agent waits for one"));
        }
        Ok(Word::Unreadable(why)) | Err(why) => {
            let advice = match teller {
                Teller::Multiplay => {
                    "see that it is Multiplay's server.json, and look again: it may be in the middle of being written"
                }
                Teller::File | Teller::Local => {
                    "write one JSON object with session_id or allocation_id, public_host and public_port, and put it in place by rename"
                }
            };
            findings.fail(check, &format!("{shown} cannot be understood: {why}"), advice);
        }
    }
}

fn absent(check: &str, teller: Teller, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if !directory.is_dir() {
        let detail = format!("{shown} is not there, and neither is its directory");
        findings.fail(check, &detail, "correct allocation.file, or make the directory for whoever writes it");
    } else if teller == Teller::Multiplay {
        let advice = "see that allocation.file is the path of the server.json that Multiplay writes for this server";
        findings.warn(
            check,
            &format!("{shown} is not there, and Multiplay writes it before it starts a server"),
            advice,
        );
    } else {
        findings.ok(check, &format!("{shown} is not there: the agent waits for it"));
    }
}

/// Two instances at one address are one to the players, and to RallyHere's hosting.
pub(super) fn addresses(instances: &[Arc<Instance>], findings: &mut Findings) {
    let mut taken = BTreeMap::new();
    for instance in instances {
        let Some(address) = &instance.params.allocation.address else { continue };
        let check = format!("allocation.public_port ({})", instance.name());
        let at = format!("{} port {}", address.host, address.port);
        match taken.insert((&address.host, address.port), instance.name()) {
            None => findings.ok(&check, &format!("players are sent to {at}")),
            Some(other) => {
                let advice = "give each its own, such as allocation.public_port = \"{7776+n}\" with count";
                findings.fail(&check, &format!("{at} is also that of instance {other}"), advice);
            }
        }
    }
}

/// Asks RallyHere's hosting for the state of this server, which changes nothing there: it is registered by the agent itself.
pub(super) async fn ask_sic(
    backend: &HttpBackend,
    entry: &SicEntry,
    of: &str,
    patience: Duration,
    findings: &mut Findings,
) {
    let check = format!("SIC{of}");
    match backend.call(Call::SicState { id: entry.id() }, patience).await {
        Ok(Answer::Sic(answer)) if answer.success => {
            let state = match &answer.state {
                Some(SicState::Deallocated) => "deallocated",
                Some(SicState::Allocating) => "allocating",
                Some(SicState::Allocated) => "allocated",
                Some(SicState::Other(word)) => word,
                None => "of no state",
            };
            findings.ok(&check, &format!("it knows {} and says that it is {state}", entry.id()));
        }
        Ok(Answer::Sic(answer)) => {
            let words = answer.message.map(|words| format!(" ({words})")).unwrap_or_default();
            let detail = format!(
                "it answers, and does not know {} yet: code {}{words}; the agent registers it",
                entry.id(),
                answer.error_code
            );
            findings.ok(&check, &detail);
        }
        Ok(_) => findings.warn(&check, "it gave the answer of another call", "check environment.url"),
        Err(failure) => refused(&check, &failure, findings),
    }
}

fn refused(check: &str, failure: &Failure, findings: &mut Findings) {
    let detail = failure.to_string();
    match failure.kind {
        FailureKind::Forbidden | FailureKind::Unauthorised => {
            findings.fail(check, &detail, &format!("grant the client this: {}", CallKind::SicState.permission()));
        }
        FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Redirected => {
            let advice = "check environment.url: this environment has no SIC; or set another instance.source";
            findings.fail(check, &detail, advice);
        }
        FailureKind::Rejected => {
            findings.fail(check, &detail, "check allocation.sic_server_id and allocation.public_port")
        }
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::TimedOut
        | FailureKind::NoToken
        | FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::Server
        | FailureKind::Malformed => findings.warn(check, &detail, "try again, and look at the lines above"),
    }
}
