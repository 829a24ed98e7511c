//! A file on this host that names the allocation: Multiplay's server.json, or one of our own format.
//!
//! It is looked at once a second, and for a moment more often after something has changed; [`watch`] decides what that means. On a
//! thread for what blocks: the file may be on a disk of somebody else.

mod watch;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use watch::{Seen, Watch};

use crate::clock;
use crate::config::settings::Instance;
use crate::core::allocation::{Source, Teller};
use crate::core::event::Request;
use crate::ports::{Allocator, AskError, InstanceHandle};
use crate::wire;

/// A file whose last change is younger than this is read whatever its times say: several changes may share one.
const COARSE: Duration = Duration::from_secs(2);
/// It is read at least so often, should its times not tell of a change.
const READ: Duration = Duration::from_secs(10);

/// The watcher of a file.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    teller: Teller,
}

/// The source of an instance that an adapter must watch, if it has one.
pub fn source_of(instance: &Instance) -> Option<FileSource> {
    match (&instance.params.allocation.source, &instance.allocation_file) {
        (Source::Told(teller @ (Teller::Multiplay | Teller::File)), Some(path)) => {
            Some(FileSource { path: path.clone(), teller: *teller })
        }
        (Source::Fixed | Source::Made(_) | Source::Sic(_) | Source::Told(_), _) => None,
    }
}

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was read last.
#[derive(Debug, Clone)]
struct Last {
    mark: Mark,
    seen: Seen,
    /// The file was old enough then for its times to tell of the next change.
    settled: bool,
    at: std::time::Instant,
}

impl Allocator for FileSource {
    async fn run(self, handle: InstanceHandle) {
        let mut watch = Watch::new(self.teller, &self.path);
        let mut last = None;
        loop {
            let (path, before) = (self.path.clone(), last.take());
            let now = clock::now();
            let looked = tokio::task::spawn_blocking(move || look(&path, before, now)).await;
            // A panic there is reported by its own hook; the next look begins anew.
            let Ok((seen, kept)) = looked else { return };
            last = kept;
            if let Some(word) = watch.look(seen, clock::now()) {
                match handle.ask(Request::Source(word.clone())).await {
                    Ok(_) => watch.told(word),
                    // Said again at the next look.
                    Err(AskError::Busy) => {}
                    Err(AskError::Ended) => return,
                }
            }
            clock::sleep(watch.pause()).await;
        }
    }
}

/// One look at the file. Blocks.
fn look(path: &Path, before: Option<Last>, now: std::time::Instant) -> (Seen, Option<Last>) {
    let mark = match mark(path) {
        Ok(mark) => mark,
        Err(error) if is_absent(&error) => return (Seen::Absent, None),
        Err(error) => return (Seen::Failed(error.to_string()), None),
    };
    if let Some(before) = before
        && before.settled
        && before.mark == mark
        && now.saturating_duration_since(before.at) < READ
    {
        return (before.seen.clone(), Some(before));
    }
    let seen = match read(path) {
        Ok(content) => Seen::Content(content),
        Err(error) if is_absent(&error) => return (Seen::Absent, None),
        Err(error) => Seen::Failed(error.to_string()),
    };
    let settled = is_old(mark.modified) && is_old(mark.changed) && !matches!(seen, Seen::Failed(_));
    (seen.clone(), Some(Last { mark, seen, settled, at: now }))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a time of a file lies far enough in the past. One that lies in the future tells nothing.
fn is_old((seconds, _): (i64, i64)) -> bool {
    let wall = SystemTime::from(clock::wall());
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    then.and_then(|then| wall.duration_since(then).ok()).is_some_and(|age| age > COARSE)
}

fn mark(path: &Path) -> io::Result<Mark> {
    let data = std::fs::metadata(path)?;
    if !data.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(Mark {
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        modified: (data.mtime(), data.mtime_nsec()),
        changed: (data.ctime(), data.ctime_nsec()),
    })
}

/// What is in the file now, for somebody who looks once. Blocks.
///
/// # Errors
/// If it is not there, not a file, or not for us to read.
pub fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    mark(path)?;
    read(path)
}

/// Its content; one byte more than may be, if it has more.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(wire::FILE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests;
