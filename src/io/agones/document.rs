//! The game server document: what the core shows, in the shape that an Agones game expects.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use serde::Deserialize;

use super::messages::{Address, GameServer, Health, ObjectMeta, Port, Spec, Status};
use crate::core::instance::{CustomData, StartupParams};
use crate::core::ordered;
use crate::core::sdk::{SdkView, Told};
use crate::wire::reader;

/// What Agones puts before the key of a label or an annotation that the game sets.
const SDK_PREFIX: &str = "agones.dev/sdk-";
/// What we put before the names of what RallyHere says.
const OUR_PREFIX: &str = "rallyhere/";
/// Where Unreal's connection strings begin.
const SCHEME: &str = "://";
/// The seconds between heartbeats that a game is asked for: three in the time that it may be silent, but at least one in five.
const PERIOD: std::ops::RangeInclusive<u64> = 1..=5;

/// One state of the document, in all forms in which it leaves: made once, shared by everybody who is told.
#[derive(Debug)]
pub(super) struct Document {
    /// The state that it names.
    pub(super) state: Told,
    message: GameServer,
    /// As JSON.
    pub(super) json: Bytes,
    /// As protobuf.
    pub(super) wire: Bytes,
}

impl Document {
    /// The document of a view.
    pub(super) fn of(view: &SdkView) -> Self {
        Self::new(view.state, message(view))
    }

    fn new(state: Told, message: GameServer) -> Self {
        // Strings and numbers always serialize.
        let json = serde_json::to_vec(&message).unwrap_or_default().into();
        let wire = message.encode_to_vec().into();
        Self { state, message, json, wire }
    }

    /// The same in another state.
    pub(super) fn in_state(&self, state: Told) -> Arc<Self> {
        let mut message = self.message.clone();
        if let Some(status) = &mut message.status {
            state.as_str().clone_into(&mut status.state);
        }
        Arc::new(Self::new(state, message))
    }

    /// Whether a game would see no difference but the number of the version.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let bare = |document: &Self| {
            let mut message = document.message.clone();
            if let Some(meta) = &mut message.object_meta {
                meta.resource_version.clear();
            }
            message
        };
        bare(self) == bare(other)
    }
}

fn message(view: &SdkView) -> GameServer {
    let id = view.instance_id.as_ref().map(ToString::to_string).unwrap_or_default();
    GameServer {
        object_meta: Some(ObjectMeta {
            name: id.clone(),
            namespace: "default".to_owned(),
            uid: id,
            resource_version: view.version.to_string(),
            generation: 1,
            creation_timestamp: view.created.as_second(),
            deletion_timestamp: view.deletion.map_or(0, Timestamp::as_second),
            annotations: annotations(view),
            labels: ordered::map(prefixed(&view.labels)),
        }),
        spec: Some(Spec { health: Some(health(view)) }),
        status: Some(status(view)),
    }
}

fn prefixed(said: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    said.iter().map(|(key, value)| (format!("{SDK_PREFIX}{key}"), value.clone()))
}

fn annotations(view: &SdkView) -> BTreeMap<String, String> {
    let mut all = ordered::map(prefixed(&view.annotations));
    let mut ours = |name: String, value: &str| {
        if !value.is_empty() {
            all.insert(format!("{OUR_PREFIX}{name}"), value.to_owned());
        }
    };
    if let Some(id) = &view.session_id {
        ours("session_id".to_owned(), id.as_str());
    }
    if let Some(id) = &view.allocation_id {
        ours("allocation_id".to_owned(), id.as_str());
    }
    let shown = view.session.as_ref().and_then(|session| startup_params(&session.document));
    if let Some(StartupParams { map, mode, misc_params, custom_data }) = shown.as_ref().or(view.startup_params.as_ref())
    {
        ours("startup_params.map".to_owned(), map);
        ours("startup_params.mode".to_owned(), mode.as_deref().unwrap_or_default());
        ours("startup_params.misc_params".to_owned(), misc_params);
        for (key, value) in custom_data {
            ours(format!("startup_params.custom_data.{key}"), value);
        }
    }
    for (key, value) in &view.custom_data {
        ours(format!("custom_data.{key}"), value);
    }
    all
}

/// What the session says that the game was asked to load; `None` where it says nothing that could be read.
fn startup_params(document: &str) -> Option<StartupParams> {
    #[derive(Deserialize)]
    struct Session {
        instance: Option<Instance>,
    }
    #[derive(Deserialize)]
    struct Instance {
        instance_startup_params: Option<Params>,
    }
    #[derive(Deserialize)]
    struct Params {
        map: Option<String>,
        mode: Option<String>,
        misc_params: Option<String>,
        custom_data: Option<CustomData>,
    }
    let session: Session = reader::document(document.as_bytes()).ok()?;
    let Params { map, mode, misc_params, custom_data } = session.instance?.instance_startup_params?;
    Some(StartupParams {
        map: map.unwrap_or_default(),
        mode,
        misc_params: misc_params.unwrap_or_default(),
        custom_data: custom_data.unwrap_or_default(),
    })
}

fn health(view: &SdkView) -> Health {
    let small = |seconds: u64| i32::try_from(seconds).unwrap_or(i32::MAX);
    let silence = view.heartbeat_timeout.as_secs();
    let period = (silence / 3).clamp(*PERIOD.start(), *PERIOD.end());
    Health {
        disabled: false,
        period_seconds: small(period),
        failure_threshold: small((silence / period).max(1)),
        initial_delay_seconds: small(view.startup_grace.as_secs()),
    }
}

fn status(view: &SdkView) -> Status {
    let public = place(&view.join_params.public_conn_str);
    let private = place(&view.join_params.private_conn_str);
    let address = |place: &Option<Place>, ip: &str, name: &str| {
        let Place { host, .. } = place.clone()?;
        let kind = if host.parse::<IpAddr>().is_ok() { ip } else { name };
        Some(Address { r#type: kind.to_owned(), address: host })
    };
    let addresses = [address(&public, "ExternalIP", "ExternalDNS"), address(&private, "InternalIP", "InternalDNS")];
    let (host, port) = public.or(private).map_or((String::new(), None), |place| (place.host, place.port));
    Status {
        state: view.state.as_str().to_owned(),
        address: host,
        addresses: addresses.into_iter().flatten().collect(),
        ports: port.map(|port| Port { name: "default".to_owned(), port: port.into() }).into_iter().collect(),
        players: None,
        counters: BTreeMap::new(),
        lists: BTreeMap::new(),
    }
}

/// Where players connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: Option<u16>,
}

/// Reads `host`, `host:port`, `[v6]:port` or a bare IPv6 address out of a connection string, with or without a scheme before
/// it, and whatever stands behind a `/` or `?`.
fn place(conn_str: &str) -> Option<Place> {
    let text = conn_str.trim();
    let text = text.split_once(SCHEME).map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or(text);
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let (host, port) = if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        (host, rest.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = port.and_then(|port| port.parse().ok());
    (!host.is_empty()).then(|| Place { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_names_a_host_and_a_port() {
        for (text, host, port) in [
            ("203.0.113.7:7777", "203.0.113.7", Some(7777)),
            ("unreal://203.0.113.7:40000", "203.0.113.7", Some(40000)),
            ("unreal://game.example:7777/map?x=1", "game.example", Some(7777)),
            ("[2001:db8::1]:7777", "2001:db8::1", Some(7777)),
            ("unreal://[::1]:1", "::1", Some(1)),
            ("2001:db8::1", "2001:db8::1", None),
            ("game.example", "game.example", None),
            ("game.example:99999", "game.example", None),
            (" host:65535?token=a:b ", "host", Some(65535)),
        ] {
            assert_eq!(place(text), Some(Place { host: host.to_owned(), port }), "{text}");
        }
        for nothing in ["", "  ", "unreal://", ":7777", "[]:7"] {
            assert_eq!(place(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn startup_parameters_of_a_session_come_before_those_of_the_configuration() {
        let session =
            r#"{"instance":{"instance_startup_params":{"map":"canyon","misc_params":"","custom_data":{"a":"1"}}}}"#;
        let read = startup_params(session).unwrap();
        assert_eq!((read.map.as_str(), read.mode), ("canyon", None));
        assert_eq!(read.custom_data.get("a").map(String::as_str), Some("1"));
        for nothing in ["", "{}", r#"{"instance":null}"#, r#"{"instance":{"instance_startup_params":7}}"#] {
            assert_eq!(startup_params(nothing), None, "{nothing}");
        }
    }
}
