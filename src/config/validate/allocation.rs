//! How the instance is allocated: `instance.source`, `[allocation]` and `game.start`.

use super::{Checker, values};
use crate::config::raw;
use crate::core::allocation::{Address, AllocationParams, HOST_MARK, PORT_MARK, SessionWish, SicEntry, Source, Teller};

/// Characters of what is sent on and has no limit in any contract. Ours.
const WORD_LIMIT: usize = 128;

/// The words of `instance.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fixed,
    Session,
    Sic,
    Multiplay,
    File,
    Local,
}

const WAYS: [(&str, Way); 6] = [
    ("fixed", Way::Fixed),
    ("session", Way::Session),
    ("sic", Way::Sic),
    ("multiplay", Way::Multiplay),
    ("file", Way::File),
    ("local", Way::Local),
];

impl Checker<'_> {
    /// `instance.source`, `allocation.*` and `game.start`.
    pub(super) fn allocation(&mut self) -> Option<AllocationParams> {
        let way = self.check("instance.source", values::word(&self.raw.instance.source, &WAYS));
        let address = self.address(way);
        let conn_str = self.check("allocation.conn_str", conn_str(&self.raw.allocation.conn_str));
        let starts = [("allocated", false), ("waiting", true)];
        let game_waits = self.check("game.start", values::word(&self.raw.game.start, &starts));
        let made = self.session_wish(way == Some(Way::Session));
        let sic = self.sic(way == Some(Way::Sic));
        let file = self.file(way);
        self.without_effect(way);
        let address = address?;
        let source = match way? {
            Way::Fixed => Source::Fixed,
            Way::Session => Source::Made(Box::new(made?)),
            Way::Sic => {
                let (profile_id, server_id, hostname, own_id) = sic?;
                let address = address.clone()?;
                let hostname = if hostname.is_empty() { address.host.clone() } else { hostname };
                Source::Sic(Box::new(SicEntry { profile_id, server_id, hostname, own_id, address }))
            }
            Way::Multiplay => file.map(|()| Source::Told(Teller::Multiplay))?,
            Way::File => file.map(|()| Source::Told(Teller::File))?,
            Way::Local => Source::Told(Teller::Local),
        };
        Some(AllocationParams { source, address, conn_str: conn_str?, game_waits: game_waits? })
    }

    /// What a session or allocation id in the configuration means where it comes from elsewhere: a mistake. Says whether
    /// instance.source is a word that there is.
    pub(super) fn not_fixed(&mut self) -> bool {
        let raw = &self.raw.instance;
        if !WAYS.iter().any(|(word, _)| *word == raw.source) {
            return false;
        }
        for (key, text) in [("instance.session_id", &raw.session_id), ("instance.allocation_id", &raw.allocation_id)] {
            if !text.is_empty() {
                let source = &raw.source;
                self.refuse(
                    key,
                    format!("is set, and instance.source is {source:?}, which says it: leave one of them out"),
                );
            }
        }
        true
    }

    #[expect(clippy::option_option, reason = "outside: whether it is good; inside: whether it is there")]
    fn address(&mut self, way: Option<Way>) -> Option<Option<Address>> {
        let raw = &self.raw.allocation;
        let port: Option<u16> = self.number("allocation.public_port", raw.public_port, &(0..=65535));
        let port = port?;
        match (raw.public_host.as_str(), port) {
            ("", 0) if way == Some(Way::Sic) => {
                self.missing(
                    "allocation.public_host",
                    &[],
                    "is required for instance.source = \"sic\": where players reach this host",
                );
                self.missing(
                    "allocation.public_port",
                    &[],
                    "is required for instance.source = \"sic\": where players reach the game",
                );
                None
            }
            ("", 0) => Some(None),
            ("", _) => {
                self.missing("allocation.public_host", &[], "is required with allocation.public_port");
                None
            }
            (_, 0) => {
                self.missing("allocation.public_port", &[], "is required with allocation.public_host");
                None
            }
            (host, port) => {
                let address = Address::parse(host, port).map_err(|invalid| invalid.reason);
                self.check("allocation.public_host", address).map(Some)
            }
        }
    }

    fn word(&mut self, key: &str, text: &str, required: Option<&str>) -> Option<String> {
        if text.is_empty()
            && let Some(what) = required
        {
            let source = &self.raw.instance.source;
            self.missing(key, &[], &format!("is required for instance.source = {source:?}: {what}"));
            return None;
        }
        self.check(key, values::line(text, WORD_LIMIT))
    }

    fn session_wish(&mut self, wanted: bool) -> Option<SessionWish> {
        let (raw, instance) = (&self.raw.allocation, &self.raw.instance);
        let need = |what| wanted.then_some(what);
        let session_type = self.word(
            "allocation.session_type",
            &raw.session_type,
            need("the type of session, as the environment has it"),
        );
        // The build of the game says it, where nobody says otherwise.
        let from_build = wanted && raw.client_version.is_empty();
        let version = if from_build { &instance.version } else { &raw.client_version };
        let client_version = self.word(
            "allocation.client_version",
            version,
            need("the version that players must have; or set instance.version"),
        );
        let platform = self.word("allocation.platform", &raw.platform, need("such as \"Basic\""));
        let input = self.word("allocation.input", &raw.input, need("such as \"keyboardandmouse\""));
        Some(SessionWish {
            session_type: session_type?,
            region: instance.region.clone(),
            client_version: client_version?,
            platform: platform?,
            input: input?,
        })
    }

    /// Profile, server, host name, and an id that is not made of them.
    fn sic(&mut self, wanted: bool) -> Option<(String, String, String, Option<String>)> {
        let raw = &self.raw.allocation;
        let need = |what| wanted.then_some(what);
        let profile = self.tag("allocation.sic_profile_id", &raw.sic_profile_id, need("RallyHere's hosting gives it"));
        let server = self.tag("allocation.sic_server_id", &raw.sic_server_id, need("RallyHere's hosting gives it"));
        let hostname = self.tag("allocation.sic_hostname", &raw.sic_hostname, None);
        let id = self.word("allocation.sic_id", &raw.sic_id, None);
        Some((profile?, server?, hostname?, Some(id?).filter(|id| !id.is_empty())))
    }

    /// A piece of the group tags, which are separated by commas.
    fn tag(&mut self, key: &str, text: &str, required: Option<&str>) -> Option<String> {
        let text = self.word(key, text, required)?;
        let good = if text.contains([',', ' ']) { Err("must have no comma and no space".to_owned()) } else { Ok(text) };
        self.check(key, good)
    }

    fn file(&mut self, way: Option<Way>) -> Option<()> {
        let path = &self.raw.allocation.file;
        let what = match way {
            Some(Way::Multiplay) => "the path of Multiplay's server.json, such as \"/home/mpukgame/server.json\"",
            Some(Way::File) => "the path of the file that a fleet manager writes",
            Some(Way::Fixed | Way::Session | Way::Sic | Way::Local) | None => return Some(()),
        };
        if path.is_empty() {
            let source = &self.raw.instance.source;
            self.missing("allocation.file", &[], &format!("is required for instance.source = {source:?}: {what}"));
            return None;
        }
        let good = if path.contains('\0') { Err("has a NUL character".to_owned()) } else { Ok(()) };
        self.check("allocation.file", good)
    }

    /// Keys that belong to another way.
    fn without_effect(&mut self, way: Option<Way>) {
        let Some(way) = way else { return };
        let (raw, default) = (&self.raw.allocation, raw::Allocation::default());
        let sic = way == Way::Sic;
        let session = way == Way::Session;
        let file = matches!(way, Way::Multiplay | Way::File);
        let address = way != Way::Fixed;
        let keys = [
            ("allocation.file", raw.file != default.file, file),
            ("allocation.public_host", raw.public_host != default.public_host, address),
            ("allocation.conn_str", raw.conn_str != default.conn_str, address),
            ("allocation.sic_profile_id", raw.sic_profile_id != default.sic_profile_id, sic),
            ("allocation.sic_server_id", raw.sic_server_id != default.sic_server_id, sic),
            ("allocation.sic_hostname", raw.sic_hostname != default.sic_hostname, sic),
            ("allocation.sic_id", raw.sic_id != default.sic_id, sic),
            ("allocation.session_type", raw.session_type != default.session_type, session),
            ("allocation.client_version", raw.client_version != default.client_version, session),
        ];
        for (key, set, used) in keys {
            if set && !used {
                let source = &self.raw.instance.source;
                self.warn(key, &format!("has no effect: instance.source is {source:?}"));
            }
        }
    }
}

/// How an address becomes a connection string.
fn conn_str(text: &str) -> values::Checked<String> {
    if !text.contains(HOST_MARK) || !text.contains(PORT_MARK) {
        return Err(format!(
            "must have {HOST_MARK} and {PORT_MARK} in it, such as \"unreal://{HOST_MARK}:{PORT_MARK}\""
        ));
    }
    values::line(text, 512)
}
