//! The configuration, in three stages: what was written (`raw`), what it adds up to (`merge`), what the program uses
//! (`settings`).
//!
//! | stage | file | what it finds |
//! |---|---|---|
//! | each file alone | `strict` | no TOML, unknown keys, wrong types; each with line and column |
//! | environment and `--set` | `merge` | unknown keys, texts that do not fit the type of their key |
//! | all together | `merge`, by the `config` crate | – |
//! | the result | `validate` | values that are out of bounds, missing, contradictory, or not supported yet |
//!
//! Layers, each over the one before: built-in defaults, the file of `--config` (else [`DEFAULT_FILE`], which may be
//! absent), `agent.d/*.toml` beside it in the order of their names, environment variables, `--set`. A table such as
//! `instance.custom_data` is merged entry by entry; everything else is replaced.
//!
//! **Environment variables** are `RALLYHERE_AGENT_SECTION__KEY`, with two underscores between the levels:
//! `RALLYHERE_AGENT_INSTANCE__STARTUP_PARAMS__MAP`. Below a map the name stays as it is written:
//! `RALLYHERE_AGENT_INSTANCE__CUSTOM_DATA__Build=4711` sets the entry `Build`.
//! **`--set`** takes the dotted key; all that follows a map is the name of one entry: `--set instance.custom_data.a.b=c`.
//! The text is taken by the type of its key: a text as it stands, `true` or `false`, a whole number; a list or a table in
//! TOML's own syntax (`["a", "b"]`, `{ name = "text" }`).
//!
//! **Architecture invariant:** nothing in here reads the process's environment or clock; they come in as
//! [`Surroundings`]. Files are read when asked to and never watched.

pub mod drop_in;
pub mod error;
mod files;
mod form;
mod layer;
mod merge;
mod raw;
pub mod secret;
pub mod settings;
mod shape;
mod strict;
mod validate;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::{ConfigError, Mistake};
pub use files::FileError;
pub use secret::Secret;
pub use settings::{Settings, Surroundings};

use self::settings::Auth;
use self::strict::Parsed;

/// The configuration file where none is named. It may be absent.
pub const DEFAULT_FILE: &str = "/etc/rallyhere-agent/agent.toml";

/// What the command line says about the configuration.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`: then the file must exist.
    pub file: Option<PathBuf>,
    /// `--set`, in order; a later one wins.
    pub set: Vec<String>,
    /// The agent already runs as a host of many: then the last of its instances may go.
    pub host: bool,
}

impl fmt::Debug for Sources {
    /// Without the values: somebody may have put a secret there, which [`load`] refuses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).field("set", &self.set.len()).finish()
    }
}

/// A good configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program uses.
    pub settings: Settings,
    /// All keys with their merged values, as TOML, secrets as `[redacted]`. Loading it gives the same settings, secrets aside.
    pub merged: String,
    /// The files that were read, lowest layer first.
    pub files: Vec<PathBuf>,
    /// What is allowed but was probably not meant, one line each.
    pub warnings: Vec<String>,
}

/// Reads, merges and checks the configuration. Blocks for as long as reading a few small files takes.
///
/// # Errors
/// With every mistake in it, each with its dotted key, where it was written, and why.
pub fn load(sources: &Sources, surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
    load_from(Path::new(DEFAULT_FILE), sources, surroundings)
}

fn load_from(default: &Path, sources: &Sources, surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
    let alone = |mistake: Mistake| ConfigError { mistakes: vec![mistake] };
    let internal = |error: toml::ser::Error| {
        alone(Mistake { key: String::new(), origin: None, reason: format!("cannot be written as TOML: {error}") })
    };
    let shape = shape::Shape::new().map_err(internal)?;
    let (found, mut mistakes) = files::find(sources.file.as_deref(), default);
    let (mut layers, mut lost, mut warnings, mut files) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut incomplete = !mistakes.is_empty();
    let mut parsed: Vec<Parsed> = Vec::new();
    for (path, content) in found {
        let file = strict::parse(&shape, &files::named(&path), &content.text);
        if content.world_readable && file.layer.secrets.iter().any(|secret| !secret.value.is_empty()) {
            warnings.push(format!(
                "every user of this host can read {}, which holds a secret; take the right away (chmod o-r)",
                files::named(&path)
            ));
        }
        parsed.push(file);
        files.push(path);
    }
    parsed.push(merge::environment(&shape, surroundings));
    parsed.push(merge::command_line(&shape, &sources.set));
    for part in parsed {
        layers.push(part.layer);
        mistakes.extend(part.mistakes);
        lost.extend(part.lost);
        incomplete |= part.broken;
    }
    let merged = match merge::merge(layers) {
        Ok(merged) => merge::Merged { host: merged.host || sources.host, ..merged },
        Err(mistake) => {
            mistakes.push(mistake);
            return Err(ConfigError { mistakes });
        }
    };
    let verdict = validate::validate(merged, surroundings, lost, incomplete);
    mistakes.extend(verdict.mistakes);
    warnings.extend(verdict.warnings);
    match verdict.settings {
        Some(settings) if mistakes.is_empty() => {
            let mut merged = toml::Table::try_from(&verdict.raw).map_err(internal)?;
            if !settings.host {
                merged.remove("instances");
            }
            let merged = toml::to_string(&merged).map_err(internal)?;
            Ok(Loaded { settings, merged, files, warnings })
        }
        _ => Err(ConfigError { mistakes }),
    }
}

/// The settings with every secret that came from a `*_file` key read again, for SIGHUP. One that cannot be read stays as it
/// was and is told of. Nothing but secrets changes. Blocks like [`load`].
pub fn reload_secrets(settings: &Settings) -> (Settings, Vec<Mistake>) {
    let mut settings = settings.clone();
    let mut mistakes = Vec::new();
    let mut again = |key: &str, secret: &mut Secret| match secret.reload() {
        Ok(fresh) => *secret = fresh,
        Err(error) => mistakes.push(Mistake { key: key.to_owned(), origin: None, reason: error.told() }),
    };
    match &mut settings.auth {
        Auth::ClientCredentials { client_secret, .. } => again("auth.client_secret_file", client_secret),
        Auth::Basic { client_secret, password, .. } => {
            again("auth.client_secret_file", client_secret);
            again("auth.password_file", password);
        }
        Auth::AccessToken { token } => again("auth.access_token_file", token),
    }
    for instance in settings.instances.iter_mut().filter(|instance| instance.local_api.token.is_some()) {
        if let Some(token) = &mut Arc::make_mut(instance).local_api.token {
            again("local_api.token_file", token);
        }
    }
    (settings, mistakes)
}
