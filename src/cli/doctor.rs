//! `doctor`: looks at everything that the agent needs, and says what to do about what is missing.
//!
//! Nothing is changed by it, here or at the backend, and nothing is left behind: what only a write would show is named and left
//! out. One login is made, because without it nothing can be said about the permissions.

use std::path::PathBuf;

use super::values::{KeyValue, key_value};
use super::{CommandError, Terminal, finish, runtime};
use crate::config::{self, Loaded, Sources, Surroundings};
use crate::exit::Exit;

mod allocation;
mod backend;
mod finding;
mod game;
mod host;
mod machine;

use finding::{Findings, Verdict};

/// What may be said to `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this configuration file; without it /etc/rallyhere-agent/agent.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, over everything else. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<KeyValue>,
    /// Print one JSON array of {check, result, detail, advice}; a result is ok, warn, fail or not_checked.
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything.
pub fn run(args: &Args, surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    let sources =
        Sources { file: args.config.clone(), set: args.set.iter().map(ToString::to_string).collect(), host: false };
    let mut findings = Findings::new(args.json);
    let loaded = match config::load(&sources, surroundings) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            terminal.complain(&mistakes.to_string());
            for mistake in &mistakes.mistakes {
                findings.fail("configuration", &mistake.to_string(), "mend it; everything else waits for it");
            }
            if args.json {
                let _told = finish(terminal, |terminal| Ok(findings.tell(terminal)?));
            }
            return Exit::Config;
        }
    };
    let told = finish(terminal, |terminal| {
        let runtime = runtime()?;
        let looked = runtime.block_on(examine(&loaded, surroundings, &mut findings, terminal));
        // A name that is being looked up may hang in getaddrinfo: it must not hold the end.
        runtime.shutdown_background();
        looked?;
        Ok(findings.tell(terminal)?)
    });
    if told == Exit::Done && findings.worst() == Verdict::Fail { Exit::Failure } else { told }
}

/// All checks, in an order in which each explains those after it. What is found is shown room by room, not at the end.
async fn examine(
    loaded: &Loaded,
    surroundings: &Surroundings,
    findings: &mut Findings,
    terminal: &mut Terminal<'_>,
) -> Result<(), CommandError> {
    configuration(loaded, findings);
    let settings = &loaded.settings;
    let holder = machine::state(&settings.state.dir, findings);
    machine::places(settings, holder.as_deref(), findings);
    for instance in &settings.instances {
        game::look(instance, surroundings, findings);
        allocation::look(instance, findings);
    }
    allocation::addresses(&settings.instances, findings);
    host::look(settings, surroundings, findings).await;
    findings.show(terminal)?;
    backend::look(settings, findings).await;
    findings.show(terminal)?;
    machine::unit(findings).await;
    findings.show(terminal)?;
    Ok(())
}

fn configuration(loaded: &Loaded, findings: &mut Findings) {
    if loaded.files.is_empty() {
        findings.ok("configuration", "no file was read; everything comes from defaults, the environment and --set");
    }
    for file in &loaded.files {
        findings.ok("configuration", &format!("read from {}", file.display()));
    }
    for warning in &loaded.warnings {
        findings.warn("configuration", warning, "see config/agent.toml for what the key means");
    }
}
