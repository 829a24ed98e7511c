//! What the process needs on its host: listeners, state, logs.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Checker, places, values};
use crate::config::files::named;
use crate::config::settings::{Admin, Instance, LocalApi, Log, LogFormat, State};

/// Bytes of a Unix socket's path (unix(7): 108 with the zero at the end).
const SOCKET_LIMIT: usize = 107;

impl Checker<'_> {
    /// `local_api.*`; `name` is the file name of a socket that nobody has named.
    pub(super) fn local_api(&mut self, name: &str) -> Option<LocalApi> {
        let raw = &self.raw.local_api;
        let socket = match raw.socket.as_str() {
            "none" => None,
            "" => places::socket(self.surroundings, name),
            path => values::path(path),
        };
        if let Some(path) = socket.as_ref().filter(|path| path.as_os_str().len() > SOCKET_LIMIT) {
            let length = path.as_os_str().len();
            self.refuse(
                "local_api.socket",
                format!("{} has {length} bytes; the path of a socket has at most {SOCKET_LIMIT}", named(path)),
            );
        }
        let listen = self.local_address("local_api.listen", &raw.listen);
        let grpc_listen = self.local_address("local_api.grpc_listen", &raw.grpc_listen);
        if let (Some(Some(one)), Some(Some(other))) = (listen, grpc_listen)
            && one == other
            && one.port() != 0
        {
            self.refuse(
                "local_api.grpc_listen",
                "is the address of local_api.listen too; each needs its own port".to_owned(),
            );
        }
        let path = values::path(&raw.token_file);
        let token = match path {
            None => Some(None),
            Some(path) => self
                .secret_file("local_api.token_file", path.clone())
                .and_then(|token| self.header_safe("local_api.token_file", token, Some(path)))
                .map(Some),
        };
        let deaf = socket.is_none() && listen == Some(None) && grpc_listen == Some(None);
        if deaf && self.raw.game.ready == "sdk" {
            let why = if raw.socket.is_empty() {
                "names no socket, and neither do RUNTIME_DIRECTORY and XDG_RUNTIME_DIR"
            } else {
                "turns the socket off, and local_api.listen is empty"
            };
            self.warn("local_api.socket", &format!("{why}: the game has no way to say that it is ready"));
        }
        Some(LocalApi {
            socket,
            listen: listen?,
            grpc_listen: grpc_listen?,
            allow_remote: raw.allow_remote,
            token: token?,
        })
    }

    /// An address at which games are served: for this host only, unless more is allowed.
    #[expect(clippy::option_option, reason = "outside: whether it is good; inside: whether it is there")]
    fn local_address(&mut self, key: &str, text: &str) -> Option<Option<SocketAddr>> {
        let listen = self.check(key, values::listen(text));
        if let Some(Some(address)) = listen
            && !address.ip().to_canonical().is_loopback()
        {
            if !self.raw.local_api.allow_remote {
                self.refuse(
                    key,
                    "is not a loopback address: other hosts could steer this server; set local_api.allow_remote = true if they may"
                        .to_owned(),
                );
            } else if self.raw.local_api.token_file.is_empty() {
                self.warn(key, "lets other hosts steer this server without a token; set local_api.token_file");
            }
        }
        listen
    }

    /// `admin.*`
    pub(super) fn admin(&mut self, instances: &[Arc<Instance>]) -> Option<Admin> {
        let listen = self.check("admin.listen", values::listen(&self.raw.admin.listen))?;
        let others = instances.iter().flat_map(|instance| {
            let local = &instance.local_api;
            [("local_api.listen", local.listen), ("local_api.grpc_listen", local.grpc_listen)]
                .map(|(key, address)| (key, instance.name(), address))
        });
        let same = others.into_iter().find(|(_, _, other)| *other == listen);
        if let Some((other, name, _)) = same.filter(|_| listen.is_some_and(|address| address.port() != 0)) {
            let whose = if instances.len() > 1 { format!(" of instance {name}") } else { String::new() };
            self.refuse("admin.listen", format!("is the address of {other}{whose} too; each needs its own port"));
            return None;
        }
        Some(Admin { listen })
    }

    /// `state.*`
    pub(super) fn state(&mut self) -> Option<State> {
        let dir = values::path(&self.raw.state.dir).or_else(|| places::state(self.surroundings));
        if dir.is_none() {
            self.missing(
                "state.dir",
                &[],
                "is required here: none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set to say where state is kept",
            );
        }
        Some(State { dir: dir? })
    }

    /// `log.*`
    pub(super) fn log(&mut self) -> Option<Log> {
        // systemd sets JOURNAL_STREAM for a service whose output goes to the journal (systemd.exec(5)).
        let journal = places::variable(self.surroundings, "JOURNAL_STREAM").is_some();
        let automatic = if journal { LogFormat::Journald } else { LogFormat::Text };
        let words = [
            ("auto", automatic),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
            ("journald", LogFormat::Journald),
        ];
        let format = self.check("log.format", values::word(&self.raw.log.format, &words));
        let level = self.check("log.level", values::level(&self.raw.log.level));
        Some(Log { format: format?, level: level? })
    }
}
