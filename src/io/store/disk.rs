//! The operations that the store needs of a disk, as small as they can be, so that tests can put a failing one beneath it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags};

use super::finding::OpenError;
use crate::clock;

/// The lock file.
const LOCK: &str = "lock";
/// How often it is tried, and how long it is waited between: whoever asks who has it ([`holder_of`]), and a child of the agent
/// before that has not begun its program yet, hold it for a moment.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(25);
/// Files are for us alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What was read of a file.
#[derive(Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Why there are no more of them, if there should be.
    pub cut: Option<String>,
}

/// A directory on a disk. All names are plain names in it. No operation follows a symbolic link.
pub trait Disk: Send + 'static {
    /// An open file.
    type File: Send;

    /// Makes sure of the directory and of the lock on it. Repeating it is cheap.
    fn prepare(&mut self) -> Result<(), OpenError>;
    /// Whether the directory can be looked into, locked or not.
    fn is_there(&self) -> bool;
    /// Reads a file, at most `limit` bytes; `None` if there is none.
    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Content>>;
    /// Whether anything has this name.
    fn exists(&mut self, name: &str) -> bool;
    /// Opens a file for writing.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// Makes a new, empty file; one of that name is removed before.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Writes at an offset; returns how many bytes were taken, which may be fewer than all.
    fn write(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// The length of a file.
    fn length(&mut self, file: &mut Self::File) -> io::Result<u64>;
    /// Cuts a file.
    fn truncate(&mut self, file: &mut Self::File, length: u64) -> io::Result<()>;
    /// Asks for space, without changing the length.
    fn reserve(&mut self, file: &mut Self::File, at: u64, length: u64) -> io::Result<()>;
    /// Makes the content of a file durable.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Gives a file a name, in place of what had it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file a second name.
    fn link(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A real directory.
#[derive(Debug)]
pub(super) struct RealDisk {
    path: PathBuf,
    dir: Option<OwnedFd>,
    lock: Option<OwnedFd>,
}

impl RealDisk {
    /// Touches nothing yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), dir: None, lock: None }
    }

    fn dir(&self) -> io::Result<&OwnedFd> {
        self.dir.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // NONBLOCK: a FIFO of that name must not hold us; it means nothing for a regular file.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(self.dir()?, name, flags, FILE_MODE)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }

    /// Opens the directory; one that was removed under us is opened, and made, again.
    fn attach(&mut self) -> io::Result<()> {
        if let Some(dir) = &self.dir
            && rustix::fs::fstat(dir)?.st_nlink > 0
        {
            return Ok(());
        }
        (self.dir, self.lock) = (None, None);
        make_directory(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.dir = Some(rustix::fs::open(&self.path, flags, Mode::empty())?);
        Ok(())
    }

    /// Takes the lock. It goes with the open file: when the process ends, however it ends, the lock is free.
    fn lock(&self, flags: OFlags) -> Result<OwnedFd, OpenError> {
        let failed = |source| OpenError::Io { what: format!("lock {}", self.path.join(LOCK).display()), source };
        let file = self.open_at(LOCK, flags).map_err(failed)?;
        let mut left = LOCK_TRIES;
        loop {
            left -= 1;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if left > 0 => clock::pause(LOCK_PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(OpenError::Locked { dir: self.path.clone(), holder: holder(file) });
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// Whether the directory is ours alone.
    fn check(&self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { what: format!("look at {}", self.path.display()), source };
        let stat = self.dir().and_then(|dir| Ok(rustix::fs::fstat(dir)?)).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        let mode = Mode::from_raw_mode(stat.st_mode);
        if stat.st_uid != user {
            Err(OpenError::NotOwned { dir: self.path.clone(), owner: stat.st_uid, user })
        } else if mode.intersects(Mode::RWXG | Mode::RWXO) {
            Err(OpenError::TooOpen { dir: self.path.clone(), mode: mode.as_raw_mode() })
        } else {
            Ok(())
        }
    }
}

/// Makes a directory for us alone, and the ones above it; each is durable before the next is made.
fn make_directory(path: &Path) -> io::Result<()> {
    let above = path.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    match (rustix::fs::mkdir(path, Mode::RWXU), above) {
        (Ok(()), Some(above)) => File::open(above)?.sync_all(),
        (Err(rustix::io::Errno::NOENT), Some(above)) if above != path => {
            make_directory(above)?;
            make_directory(path)
        }
        (Err(error), _) if std::fs::metadata(path).is_err() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Who has a state directory, without taking it: `None` if nobody does, else as [`OpenError::Locked`] names them. A lock that
/// nobody has is shared with us for a moment; an agent that starts in this very moment tries again ([`LOCK_TRIES`]).
///
/// # Errors
/// If the lock file cannot be opened, for another reason than that it is not there.
pub fn holder_of(dir: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(dir.join(LOCK), flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(holder(file))),
        Err(error) => Err(error.into()),
    }
}

/// The number of the process that has a state directory, if one has it and has written down who it is.
pub fn process_of(dir: &Path) -> Option<u32> {
    let holder = holder_of(dir).ok()??;
    holder.strip_prefix("process ")?.parse().ok()
}

/// Who holds the lock, as far as the file tells.
fn holder(file: OwnedFd) -> String {
    let mut text = String::new();
    let read = File::from(file).take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

impl Disk for RealDisk {
    type File = OwnedFd;

    fn prepare(&mut self) -> Result<(), OpenError> {
        self.attach().map_err(|source| OpenError::Io { what: format!("open {}", self.path.display()), source })?;
        if self.lock.is_some() {
            return Ok(());
        }
        // Another agent's lock is told before anything else. A read-only file system can be locked too, if an agent was
        // there before. A lock file is made only after the directory has proved to be ours: in another user's directory
        // ours would keep its owner out.
        let existing = match self.lock(OFlags::RDWR) {
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                self.lock(OFlags::RDONLY)
            }
            tried => tried,
        };
        let lock = match existing {
            Err(locked @ OpenError::Locked { .. }) => return Err(locked),
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.check()?;
                self.lock(OFlags::RDWR | OFlags::CREATE)?
            }
            tried => {
                self.check()?;
                tried?
            }
        };
        // Only for people; without it the lock is as good.
        let _told = rustix::fs::ftruncate(&lock, 0)
            .and_then(|()| rustix::io::pwrite(&lock, format!("{}\n", std::process::id()).as_bytes(), 0));
        self.lock = Some(lock);
        Ok(())
    }

    fn is_there(&self) -> bool {
        self.dir.is_some()
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Content>> {
        let file = match self.open_at(name, OFlags::RDONLY) {
            Ok(file) => File::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        let mut cut = read.err().map(|error| error.to_string());
        if let Ok(limit) = usize::try_from(limit)
            && bytes.len() > limit
        {
            bytes.truncate(limit);
            cut = Some(format!("longer than {limit} bytes"));
        }
        Ok(Some(Content { bytes, cut }))
    }

    fn exists(&mut self, name: &str) -> bool {
        self.dir().is_ok_and(|dir| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    fn open(&mut self, name: &str) -> io::Result<OwnedFd> {
        let file = self.open_at(name, OFlags::RDWR)?;
        rustix::fs::fchmod(&file, FILE_MODE)?;
        Ok(file)
    }

    fn create(&mut self, name: &str) -> io::Result<OwnedFd> {
        match rustix::fs::unlinkat(self.dir()?, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn write(&mut self, file: &mut OwnedFd, at: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::pwrite(file.as_fd(), bytes, at))?)
    }

    fn length(&mut self, file: &mut OwnedFd) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0))
    }

    fn truncate(&mut self, file: &mut OwnedFd, length: u64) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| rustix::fs::ftruncate(file.as_fd(), length))?)
    }

    fn reserve(&mut self, file: &mut OwnedFd, at: u64, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, length)?)
    }

    fn sync(&mut self, file: &mut OwnedFd) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file.as_fd()))?;
        // A file that somebody has removed can be synced without complaint, and is gone at the next start.
        if rustix::fs::fstat(&*file)?.st_nlink == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was in use"));
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let dir = self.dir()?;
        Ok(rustix::fs::renameat(dir, from, dir, to)?)
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let dir = self.dir()?;
        Ok(rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let dir = self.dir()?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(dir))?)
    }
}
