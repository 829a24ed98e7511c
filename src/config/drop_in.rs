//! Instances of a host that are added and taken away by command: a drop-in file for each.
//!
//! Only files that [`add`] has written are ever removed, and nothing is written that would not load.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Mistake};
use super::{DEFAULT_FILE, Loaded, Sources, Surroundings, load, merge, shape};
use super::{files, form};
use crate::core::ids::InstanceName;

/// The first line of every file that is ours.
const MARK: &str = "# Written by `rallyhere-agent instance add`; `instance remove` takes it away.";

/// Why an instance was not added or taken away.
#[derive(Debug, thiserror::Error)]
pub enum DropInError {
    /// With it the configuration would be wrong. Nothing was written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is one of this name.
    #[error("there is an instance {name} already")]
    Exists {
        /// Its name.
        name: InstanceName,
    },
    /// It is not in a file of ours.
    #[error("{} was not written by `instance add`, or is not there: take the instance out by hand where it stands", path.display())]
    NotOurs {
        /// The file that we would have written.
        path: PathBuf,
    },
    /// The disk.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Adds an instance with these keys (`section.key=value`, without its name) to the configuration, and gives the file.
///
/// # Errors
/// With everything that would be wrong. Then nothing was written.
pub fn add(
    sources: &Sources,
    surroundings: &Surroundings,
    name: &InstanceName,
    keys: &[String],
) -> Result<(PathBuf, Loaded), DropInError> {
    let path = file_of(sources, name);
    let now = load(&Sources { host: true, ..sources.clone() }, surroundings)?;
    if path.exists() || now.settings.host && now.settings.instances.iter().any(|instance| instance.name() == name) {
        return Err(DropInError::Exists { name: name.clone() });
    }
    let set: Vec<String> = keys.iter().map(|key| format!("instances.{name}.{key}")).collect();
    // An instance of which nothing is said is one all the same.
    let named = if set.is_empty() { vec![format!("instances={{ {name} = {{}} }}")] } else { set };
    let mut then = sources.clone();
    then.set.extend(named.iter().cloned());
    let loaded = load(&then, surroundings)?;
    let shape = shape::Shape::new().map_err(unlikely)?;
    let layer = merge::command_line(&shape, &named).layer;
    let text = toml::to_string(&form::table(layer.values())).map_err(unlikely)?;
    write(&path, &format!("{MARK}\n{text}"))?;
    Ok((path, loaded))
}

/// Takes an instance out of the configuration that [`add`] has put there, and gives the file that is gone.
///
/// # Errors
/// If it is not in a file of ours, or the rest of the configuration would be wrong without it.
pub fn remove(sources: &Sources, name: &InstanceName) -> Result<PathBuf, DropInError> {
    let path = file_of(sources, name);
    let ours = fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK));
    if !ours {
        return Err(DropInError::NotOurs { path });
    }
    fs::remove_file(&path).map_err(|source| DropInError::Io { what: "remove", path: path.clone(), source })?;
    Ok(path)
}

fn file_of(sources: &Sources, name: &InstanceName) -> PathBuf {
    let main = sources.file.as_deref().unwrap_or_else(|| Path::new(DEFAULT_FILE));
    files::drop_in_directory(main).join(format!("instance-{name}.toml"))
}

/// As a whole or not at all: the agent may be reading.
fn write(path: &Path, text: &str) -> Result<(), DropInError> {
    let failed = |what| move |source| DropInError::Io { what, path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
    }
    // Hidden, so that nobody reads it; a rename shows it.
    let hidden = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&hidden)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&hidden, path));
    written.map_err(failed("write"))
}

fn unlikely(error: toml::ser::Error) -> ConfigError {
    ConfigError {
        mistakes: vec![Mistake {
            key: String::new(),
            origin: None,
            reason: format!("cannot be written as TOML: {error}"),
        }],
    }
}
