//! The Unix socket: made with mode 0660 before anybody can connect, taken over from an agent that is gone, never from one
//! that answers, and removed at the end.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::{LocalApiError, server::Door};

/// What `sun_path` holds on Linux, without the zero at its end.
pub(super) const PATH_LIMIT: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// The file of our socket; dropping it removes the file, unless somebody has put another one in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: file.dev(), inode: file.ino() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| file.dev() == self.device && file.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed; the next agent takes it over");
        }
    }
}

/// Listens on a path. Must run inside the runtime.
pub(super) fn open(path: &Path) -> Result<Door, LocalApiError> {
    let failed =
        |doing: &'static str, source: io::Error| LocalApiError::Socket { path: path.to_owned(), doing, source };
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(LocalApiError::SocketPathTooLong { path: path.to_owned(), length });
    }
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("use its path", errno.into()))?;
    make_directory(path)?;
    clear(path, &address)?;

    let socket = fresh().map_err(|errno| failed("make it", errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => LocalApiError::SocketInUse { path: path.to_owned() },
        errno => failed("bind it", errno.into()),
    })?;
    let file = SocketFile::of(path).map_err(|error| failed("find it again", error))?;
    // Until `listen` every attempt to connect is refused, so at no moment is the socket open to others than its mode says.
    rustix::fs::chmod(path, Mode::from_raw_mode(0o660))
        .map_err(|errno| failed("set its mode to 0660", errno.into()))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed("listen on it", errno.into()))?;
    let listener = UnixListener::from_std(socket.into()).map_err(|error| failed("watch it", error))?;
    Ok(Door::unix(listener, file))
}

fn fresh() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// Makes the directory of the socket, mode 0750, if only that one level is missing (as in `$XDG_RUNTIME_DIR`). A path whose
/// parents are missing too is rather a mistake, and is reported.
fn make_directory(path: &Path) -> Result<(), LocalApiError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    match fs::DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A directory that is there although we may not make one beside it: as with /run/rallyhere-agent.
        Err(_) if directory.is_dir() => Ok(()),
        Err(source) => Err(LocalApiError::Directory { path: directory.to_owned(), source }),
    }
}

/// Removes what an agent that is gone has left behind; refuses to touch anything else.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), LocalApiError> {
    let failed =
        |doing: &'static str, source: io::Error| LocalApiError::Socket { path: path.to_owned(), doing, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at its place", error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(LocalApiError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let probe = fresh().map_err(|errno| failed("make one to try the old one", errno.into()))?;
    match rustix::net::connect(&probe, address) {
        // AGAIN: so many want in that the queue is full; somebody lives there.
        Ok(()) | Err(Errno::AGAIN) => Err(LocalApiError::SocketInUse { path: path.to_owned() }),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) => {
            tracing::info!(path = %path.display(), "nobody answers on the old socket: it is taken over");
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the old one", error)),
                _ => Ok(()),
            }
        }
        Err(errno) => Err(failed("try whether anybody answers on the old one", errno.into())),
    }
}
