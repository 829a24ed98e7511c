//! Reading the files that a configuration is made of, without trusting what lies there.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::Mistake;

/// The longest configuration file, in bytes. Far above any real one; a wrong path should not fill the memory.
const CONFIG_LIMIT: u64 = 1024 * 1024;

/// The directory of drop-in files, beside the configuration file.
const DROP_INS: &str = "agent.d";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {}", named(.path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory, pipe, socket or device.
    #[error("{} is not a regular file", named(.path))]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// More than we take.
    #[error("{} is longer than {limit} bytes", named(.path))]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What we take.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("{} is not UTF-8 text", named(.path))]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A secret of no characters.
    #[error("{} is empty", named(.path))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A secret of more than one line, or with other characters that no header takes.
    #[error("{} has a line break or another control character within the secret", named(.path))]
    Control {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// The whole story in one line, for a [`Mistake`].
    pub(super) fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    /// Whether there is nothing at that path.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A path for a message: nothing in it can break a line or a terminal.
pub(super) fn named(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// A file that was read. No `Debug`: it may be a secret.
pub(super) struct Content {
    /// All of it.
    pub(super) text: String,
    /// Whether every user of the host may read it too.
    pub(super) world_readable: bool,
}

/// Reads a text file of at most `limit` bytes. Links are followed (Kubernetes and systemd use them); a pipe or a device is
/// refused without waiting for it.
pub(super) fn read(path: &Path, limit: u64) -> Result<Content, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    // A pipe without a writer would block the open; a regular file ignores the flag.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong { path: path.to_owned(), limit });
    }
    // The error of `from_utf8` holds the bytes, so it goes no further.
    let text = String::from_utf8(bytes).map_err(|_bytes| FileError::NotText { path: path.to_owned() })?;
    Ok(Content { text, world_readable: metadata.mode() & 0o004 != 0 })
}

/// The configuration files, lowest layer first, with their content, and what could not be read.
pub(super) fn find(named_file: Option<&Path>, default: &Path) -> (Vec<(PathBuf, Content)>, Vec<Mistake>) {
    let (mut found, mut mistakes) = (Vec::new(), Vec::new());
    let main = named_file.unwrap_or(default);
    match read(main, CONFIG_LIMIT) {
        Ok(content) => found.push((main.to_owned(), content)),
        Err(error) if error.is_absent() && named_file.is_none() => {}
        Err(error) => mistakes.push(unreadable(&error)),
    }
    let directory = drop_in_directory(main);
    let failed = |source| FileError::Read { path: directory.clone(), source };
    match drop_ins(&directory) {
        Ok(paths) => {
            for path in paths {
                match read(&path, CONFIG_LIMIT) {
                    Ok(content) => found.push((path, content)),
                    Err(error) => mistakes.push(unreadable(&error)),
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => mistakes.push(unreadable(&failed(error))),
    }
    (found, mistakes)
}

/// Where the drop-in files lie that belong to a configuration file.
pub(super) fn drop_in_directory(main: &Path) -> PathBuf {
    main.parent().unwrap_or_else(|| Path::new("")).join(DROP_INS)
}

/// `*.toml`, as a shell means it: hidden files are not among them. In the order of their names.
fn drop_ins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension() == Some(OsStr::new("toml")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(error: &FileError) -> Mistake {
    Mistake { key: String::new(), origin: None, reason: error.told() }
}
