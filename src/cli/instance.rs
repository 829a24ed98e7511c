//! `instance`: the instances of a host, from the command line: what is configured and how it does, one more, one less.
//!
//! Adding and taking away change one drop-in file beside the configuration and then tell the agent, if it can be found, to read it
//! again. The other instances do not notice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::values::{KeyValue, key_value};
use super::{Chain, CommandError, Terminal, finish, runtime};
use crate::clock;
use crate::config::drop_in::{self, DropInError};
use crate::config::settings::{Instance, Settings};
use crate::config::{self, Sources, Surroundings};
use crate::core::ids::InstanceName;
use crate::exit::Exit;
use crate::io::local::status::Status;
use crate::io::store;

/// Where the shipped unit keeps its state and its sockets, as seen from outside of it.
const STATE: &str = "/var/lib/rallyhere-agent";
const SOCKETS: &str = "/run/rallyhere-agent";

/// How long the agent may take to show that it has read the file.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What may be said to `instance`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's configuration file; without it /etc/rallyhere-agent/agent.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every configured instance and its phase.
    List,
    /// One more: writes agent.d/instance-NAME.toml and lets the agent read it.
    Add {
        /// Its name: letters, digits, '-' and '_'.
        #[arg(value_name = "NAME")]
        name: String,
        /// A key of its own, such as instance.session_id=abc; it inherits all others. May be repeated.
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<KeyValue>,
    },
    /// One less, if `add` put it there: removes the file and lets the agent read that. The instance drains first.
    Remove {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Lists, adds or takes away.
pub(super) fn run(args: &Args, surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    let sources = Sources { file: args.config.clone(), ..Sources::default() };
    let done = match &args.what {
        What::List => list(&sources, surroundings),
        What::Add { name, set } => add(&sources, surroundings, name, set),
        What::Remove { name } => remove(&sources, surroundings, name),
    };
    match done {
        Ok(text) => finish(terminal, |terminal| terminal.say(text.trim_end()).map_err(CommandError::Output)),
        Err(Refusal::Config(error)) => {
            terminal.complain(&error);
            Exit::Config
        }
        Err(Refusal::Other(error)) => {
            terminal.complain(&format!("rallyhere-agent: {error}"));
            Exit::Failure
        }
    }
}

enum Refusal {
    Config(String),
    Other(String),
}

impl From<DropInError> for Refusal {
    fn from(error: DropInError) -> Self {
        match error {
            DropInError::Config(error) => Self::Config(error.to_string()),
            other @ (DropInError::Exists { .. } | DropInError::NotOurs { .. } | DropInError::Io { .. }) => {
                Self::Other(Chain(&other).to_string())
            }
        }
    }
}

impl From<config::ConfigError> for Refusal {
    fn from(error: config::ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

fn list(sources: &Sources, surroundings: &Surroundings) -> Result<String, Refusal> {
    let settings = config::load(sources, surroundings)?.settings;
    let mut text = String::new();
    for instance in &settings.instances {
        let shown = match phase(instance) {
            Some(status) => format!("{} ({})", status.phase, status.health.verdict),
            None => "no agent answers for it".to_owned(),
        };
        text.push_str(&format_line(instance.name().as_str(), &shown));
    }
    if text.is_empty() { Ok("no instance is configured".to_owned()) } else { Ok(text) }
}

fn format_line(name: &str, shown: &str) -> String {
    format!("{name:<24} {shown}\n")
}

fn add(sources: &Sources, surroundings: &Surroundings, name: &str, set: &[KeyValue]) -> Result<String, Refusal> {
    let name = parse(name)?;
    let keys: Vec<String> = set.iter().map(ToString::to_string).collect();
    let (path, loaded) = drop_in::add(sources, surroundings, &name, &keys)?;
    let written = format!("{} was written", path.display());
    let Some(instance) = loaded.settings.instances.iter().find(|instance| made_of(instance, &name)) else {
        return Ok(written);
    };
    Ok(match told(&loaded.settings) {
        None => format!("{written}; no agent was found that runs with it: start it, or reload its unit"),
        Some(pid) if wait(|| phase(instance).is_some()) => {
            format!("{written}; the agent (process {pid}) hosts it")
        }
        Some(pid) => {
            format!("{written}; the agent (process {pid}) was told, but shows no instance {name} yet: see its log")
        }
    })
}

fn remove(sources: &Sources, surroundings: &Surroundings, name: &str) -> Result<String, Refusal> {
    let name = parse(name)?;
    let before = config::load(&Sources { host: true, ..sources.clone() }, surroundings)?.settings;
    let path = drop_in::remove(sources, &name)?;
    let removed = format!("{} was removed", path.display());
    let instance = before.instances.iter().find(|instance| made_of(instance, &name));
    Ok(match (told(&before), instance) {
        (None, _) | (_, None) => format!("{removed}; no agent was found that runs with it"),
        (Some(pid), Some(instance)) => match wait(|| phase(instance).is_none()) {
            true => format!("{removed}; the agent (process {pid}) has let it go"),
            false => format!("{removed}; the agent (process {pid}) drains it"),
        },
    })
}

/// Also one of many that were made of one section.
fn made_of(instance: &Instance, name: &InstanceName) -> bool {
    let rest = instance.name().as_str().strip_prefix(name.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn parse(name: &str) -> Result<InstanceName, Refusal> {
    InstanceName::parse(name)
        .map_err(|error| Refusal::Other(format!("{name:?} cannot be the name of an instance: {error}")))
}

/// Lets the agent read its configuration again; `None` if none is found.
fn told(settings: &Settings) -> Option<u32> {
    let pid = [settings.state.dir.as_path(), Path::new(STATE)].into_iter().find_map(store::process_of)?;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    kill_process(process, Signal::HUP).ok().map(|()| pid)
}

fn wait(seen: impl Fn() -> bool) -> bool {
    let Ok(runtime) = runtime() else { return seen() };
    let until = clock::now() + PATIENCE;
    while clock::now() < until {
        if seen() {
            return true;
        }
        runtime.block_on(clock::sleep(LOOK));
    }
    false
}

/// How an instance does, if an agent answers for it.
fn phase(instance: &Instance) -> Option<Status> {
    let configured = instance.local_api.socket.clone();
    let usual = Path::new(SOCKETS).join(format!("{}.sock", instance.name()));
    let socket = configured.into_iter().chain([usual]).find(|path| path.exists())?;
    let client = Client::at(socket);
    runtime().ok()?.block_on(client.get("/v1/status")).ok()
}
