//! Where an agent is: as it was said, or the usual places.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hyper::Uri;

use super::ClientError;
use crate::config::settings::Surroundings;

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Its socket.
    Socket(PathBuf),
    /// Its address.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Both, as they stand in a Host header.
        authority: String,
    },
}

impl Target {
    /// Reads what stands behind --url.
    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        let wrong = |reason| ClientError::Url { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|_unreadable| wrong("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("an agent speaks plain HTTP on an address of its own machine"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("there is nothing to say behind the port"));
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| wrong("there is no host, or more than a host"))?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self::Tcp {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
        })
    }

    /// Where nobody has said it: as the agent tells a game that it starts, else the first of the usual sockets.
    pub(super) fn usual(surroundings: &Surroundings) -> Result<Self, ClientError> {
        let told = |name: &str| surroundings.env.get(name).filter(|value| !value.is_empty());
        match (told("RALLYHERE_AGENT_SOCKET"), told("RALLYHERE_AGENT_URL")) {
            (Some(path), _) => Ok(Self::Socket(PathBuf::from(path))),
            (None, Some(url)) => Self::parse(url),
            (None, None) => usual_socket(surroundings, "agent").map(Self::Socket),
        }
    }

    /// An instance of a host, by its name.
    pub(super) fn of_instance(name: &str, surroundings: &Surroundings) -> Result<Self, ClientError> {
        usual_socket(surroundings, name).map(Self::Socket)
    }

    /// What stands in the Host header.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Socket(_) => "localhost",
            Self::Tcp { authority, .. } => authority,
        }
    }

    /// A connection that did not come up, with what to do.
    pub(super) fn refused(&self, source: io::Error) -> ClientError {
        let kind = source.kind();
        let hint = if kind == io::ErrorKind::NotFound {
            "there is no such socket: start the agent, or say where it is".to_owned()
        } else if kind == io::ErrorKind::PermissionDenied {
            self.not_allowed()
        } else if kind == io::ErrorKind::ConnectionRefused {
            "nobody listens there: is the agent running?".to_owned()
        } else {
            "is it the right place?".to_owned()
        };
        ClientError::Connect { target: self.to_string(), hint, source }
    }

    /// What to do about a socket that we may not use.
    fn not_allowed(&self) -> String {
        let group = match self {
            Self::Socket(path) => group_of(path),
            Self::Tcp { .. } => None,
        };
        let begin = "you may not use this socket: run this as root or as the agent's user";
        match group {
            Some(group) => {
                format!("{begin}, or join the group {group} (sudo usermod -aG {group} YOU) and log in again")
            }
            None => format!("{begin}, or as a member of its group"),
        }
    }
}

/// The group that may use a socket: its own, or where its directory cannot be entered, that of the directory.
fn group_of(socket: &Path) -> Option<String> {
    let file = std::fs::metadata(socket).or_else(|_hidden| std::fs::metadata(socket.parent().unwrap_or(socket)));
    let gid = file.ok()?.gid();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(gid)).then(|| name.to_owned())
    });
    // In a container nobody may have named it.
    Some(named.unwrap_or_else(|| gid.to_string()))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp { authority, .. } => write!(f, "http://{authority}"),
        }
    }
}

/// The first of the usual sockets that is there: where an agent puts it, seen from its own unit, from the same user, and from
/// the host (design.md section 4).
fn usual_socket(surroundings: &Surroundings, name: &str) -> Result<PathBuf, ClientError> {
    let set = |name: &str| surroundings.env.get(name).filter(|value| !value.is_empty());
    let mut tried = Vec::new();
    // systemd names several directories with colons between them; the first is the agent's.
    if let Some(directory) = set("RUNTIME_DIRECTORY").and_then(|list| list.split(':').next()) {
        tried.push(Path::new(directory).join(format!("{name}.sock")));
    }
    if let Some(directory) = set("XDG_RUNTIME_DIR") {
        tried.push(Path::new(directory).join(format!("rallyhere-agent/{name}.sock")));
    }
    tried.push(Path::new("/run/rallyhere-agent").join(format!("{name}.sock")));
    // Also one that we may not use counts: then that is what has to be said.
    let is_there = |path: &&PathBuf| match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    match tried.iter().find(is_there) {
        Some(path) => Ok(path.clone()),
        None => Err(ClientError::NoSocket { tried }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_use_a_socket_is_told_which_group_to_join() {
        let dir = tempfile::tempdir().unwrap();
        // As where the directory cannot be entered: nothing is known of the socket, all of the directory.
        let target = Target::Socket(dir.path().join("agent.sock"));
        let error = target.refused(io::Error::from(io::ErrorKind::PermissionDenied)).to_string();
        let gid = std::fs::metadata(dir.path()).unwrap().gid();
        let named = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let name = named.lines().find(|line| line.split(':').nth(2) == Some(&gid.to_string()));
        let name = name.map_or_else(|| gid.to_string(), |line| line.split(':').next().unwrap().to_owned());
        assert!(error.contains(&format!("sudo usermod -aG {name} YOU")), "{error}");
    }

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let target = |host: &str, port, authority: &str| Target::Tcp {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
        };
        assert_eq!(Target::parse("http://127.0.0.1:9358").unwrap(), target("127.0.0.1", 9358, "127.0.0.1:9358"));
        assert_eq!(Target::parse("http://[::1]:9358/").unwrap(), target("::1", 9358, "[::1]:9358"));
        assert_eq!(Target::parse("http://localhost").unwrap(), target("localhost", 80, "localhost"));
        for bad in ["", "127.0.0.1:9358", "https://localhost:1", "http://a/b", "http://a?b", "http://me@a", "unix:/x"] {
            let error = Target::parse(bad).unwrap_err();
            assert!(error.to_string().contains("http://127.0.0.1:9358"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_game_that_the_agent_started_finds_it_by_its_environment() {
        let found = |env: &[(&str, &str)]| {
            let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Target::usual(&Surroundings { env })
        };
        let url = ("RALLYHERE_AGENT_URL", "http://127.0.0.1:9358");
        let socket = Target::Socket(PathBuf::from("/a/b.sock"));
        assert_eq!(found(&[("RALLYHERE_AGENT_SOCKET", "/a/b.sock"), url]).unwrap(), socket);
        assert_eq!(found(&[("RALLYHERE_AGENT_SOCKET", ""), url]).unwrap().authority(), "127.0.0.1:9358");
        assert!(found(&[("RALLYHERE_AGENT_URL", "nonsense")]).is_err());
    }

    #[test]
    fn the_first_usual_socket_that_is_there_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name).display().to_string();
        let env = [
            ("RUNTIME_DIRECTORY".to_owned(), format!("{}:/elsewhere", place("run"))),
            ("XDG_RUNTIME_DIR".to_owned(), place("xdg")),
        ];
        let surroundings = Surroundings { env: env.into() };
        if let Err(ClientError::NoSocket { tried }) = usual_socket(&surroundings, "agent") {
            assert_eq!(tried.len(), 3, "{tried:?}");
        }
        for socket in ["xdg/rallyhere-agent/agent.sock", "run/agent.sock"] {
            let path = dir.path().join(socket);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            assert_eq!(usual_socket(&surroundings, "agent").unwrap(), path);
        }
    }
}
