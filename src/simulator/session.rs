//! Sessions and their instances, as documents of the contract.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Builder;

use super::health::{HealthRules, Pulse};
use super::options::{Generation, SessionSpec};
use super::reply::Reply;

/// How many teams a session has, and how many players each takes.
const TEAMS: usize = 2;
pub(super) const TEAM_SIZE: usize = 8;
/// How many events a session remembers.
const EVENT_LIMIT: usize = 10_000;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

impl Moment {
    /// As the contract writes it.
    pub(super) fn text(self) -> String {
        format!("{:.6}", self.wall)
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) region: Option<String>,
    pub(super) joinable: bool,
    pub(super) custom_data: Value,
    pub(super) instance: Option<Instance>,
    pub(super) game_match: Option<Value>,
    pub(super) browser: Option<Value>,
    pub(super) teams: Vec<Vec<Player>>,
    pub(super) events: VecDeque<Value>,
    /// Audit events, oldest first.
    pub(super) audits: VecDeque<Value>,
    /// Fields that came with 2026-08 are in the document.
    is_new: bool,
    /// As the last PATCH left it.
    pub(super) joinability: Value,
    created: String,
    refreshed: Instant,
    birth: u32,
    version: u64,
    /// What the document said last about the instance's health: time alone changes it.
    shown_health: Option<String>,
}

/// An instance of a session.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) allocation: Option<String>,
    pub(super) host_type: String,
    pub(super) host_player: Option<Value>,
    pub(super) join_status: String,
    pub(super) join_params: Option<Value>,
    pub(super) startup: Option<Value>,
    pub(super) version: Option<Value>,
    pub(super) custom_data: Value,
    /// The match that it plays (2026-08).
    pub(super) match_id: Option<Value>,
    /// The client that speaks for it; nobody yet, for one that the control made.
    pub(super) host: Option<String>,
    pub(super) pulse: Pulse,
    pub(super) created: String,
}

/// A player of a session.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) uuid: String,
    pub(super) status: String,
    pub(super) custom_data: Value,
    pub(super) joined: String,
}

impl Session {
    fn new(spec: &SessionSpec, moment: Moment, birth: u32, is_new: bool) -> Self {
        Self {
            id: spec.session_id.clone(),
            kind: spec.session_type.clone(),
            region: spec.region_id.clone(),
            joinable: true,
            custom_data: json!({}),
            instance: None,
            game_match: None,
            browser: None,
            teams: (0..TEAMS).map(|_| Vec::new()).collect(),
            events: VecDeque::new(),
            audits: VecDeque::new(),
            is_new,
            joinability: json!({"open": true, "friends": false, "platform": true}),
            created: moment.text(),
            refreshed: moment.now,
            birth,
            version: 1,
            shown_health: None,
        }
    }

    /// The resource changed: a new version, and alive again.
    pub(super) fn changed(&mut self, moment: Moment) {
        self.version += 1;
        self.refreshed = moment.now;
    }

    /// Alive again, without a change.
    pub(super) fn refresh(&mut self, moment: Moment) {
        self.refreshed = moment.now;
    }

    /// The version tag. A session of the same name that was deleted and made again has others.
    pub(super) fn etag(&self) -> String {
        format!("\"{:08x}-{}\"", self.birth, self.version)
    }

    /// Puts an instance in place, or takes it away; gives the one that was there.
    pub(super) fn seat(&mut self, instance: Option<Instance>, moment: Moment) -> Option<Instance> {
        self.shown_health = None;
        self.changed(moment);
        std::mem::replace(&mut self.instance, instance)
    }

    /// The instance as the contract writes it, for its host.
    pub(super) fn instance_document(&self) -> Option<Value> {
        self.instance.as_ref().map(|instance| instance.document(true, self.shown_health.as_deref()))
    }

    /// Remembers an event.
    pub(super) fn record(&mut self, event: Value) {
        if self.events.len() >= EVENT_LIMIT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The instance, if it is this one.
    pub(super) fn instance_named(&mut self, id: &str) -> Option<&mut Instance> {
        self.instance.as_mut().filter(|instance| instance.id == id)
    }

    /// Remembers an audit event.
    pub(super) fn audit(&mut self, event: Value) {
        if self.audits.len() >= EVENT_LIMIT {
            self.audits.pop_front();
        }
        self.audits.push_back(event);
    }

    /// Session. Without `full`, how to connect is left out, as for those who are no members.
    pub(super) fn document(&self, full: bool) -> Value {
        let mut document = json!({
            "type": self.kind,
            "session_id": self.id,
            "joinable": self.joinable,
            "teams": self.teams.iter().enumerate().map(|(id, players)| team(id, players)).collect::<Vec<_>>(),
            "platform_session": [],
            "custom_data": self.custom_data,
            "created": self.created,
            "created_by_matchmaking": false,
        });
        put(&mut document, "region_id", self.region.as_ref().map(|region| json!(region)));
        put(&mut document, "match", self.game_match.clone());
        put(&mut document, "browser", self.browser.clone());
        if self.is_new {
            put(&mut document, "joinability", Some(self.joinability.clone()));
            put(&mut document, "teams_suppressed", Some(json!(false)));
        }
        let health = self.shown_health.as_deref();
        put(&mut document, "instance", self.instance.as_ref().map(|instance| instance.document(full, health)));
        document
    }

    fn settle(&mut self, moment: Moment, rules: HealthRules) {
        let shown = self.instance.as_ref().and_then(|instance| instance.pulse.shown(moment.now, rules));
        if shown != self.shown_health.as_deref() {
            self.shown_health = shown.map(str::to_owned);
            self.version += 1;
        }
    }
}

impl Instance {
    /// InstanceInfo.
    pub(super) fn document(&self, full: bool, health: Option<&str>) -> Value {
        let mut document = json!({
            "instance_id": self.id,
            "host_type": self.host_type,
            "join_status": self.join_status,
            "created": self.created,
            "custom_data": self.custom_data,
        });
        put(&mut document, "allocation_id", self.allocation.as_ref().map(|id| json!(id)));
        put(&mut document, "host_player_uuid", self.host_player.clone());
        put(&mut document, "join_params", self.join_params.clone().filter(|_| full));
        put(&mut document, "instance_startup_params", self.startup.clone());
        put(&mut document, "version", self.version.clone());
        put(&mut document, "match_id", self.match_id.clone());
        put(&mut document, "instance_health", health.map(|health| json!(health)));
        document
    }
}

fn team(id: usize, players: &[Player]) -> Value {
    let players: Vec<Value> = players
        .iter()
        .map(|player| {
            json!({
                "player_uuid": player.uuid,
                "status": player.status,
                "custom_data": player.custom_data,
                "joined": player.joined,
            })
        })
        .collect();
    json!({"team_id": id, "max_size": TEAM_SIZE, "players": players})
}

/// Puts a field only if there is a value: the contract has no nulls.
pub(super) fn put(document: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(fields), Some(value)) = (document.as_object_mut(), value) {
        fields.insert(name.to_owned(), value);
    }
}

/// The optional custom_data of a body, or what stands for none.
pub(super) fn custom_data(body: &Value) -> Value {
    body.get("custom_data").cloned().unwrap_or_else(|| Value::Object(Map::new()))
}

/// A UUID from the generator of the simulator, so that a seed repeats it.
pub(super) fn uuid(rng: &mut Rng) -> String {
    Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string()
}

/// All sessions, and what time does to them.
#[derive(Debug)]
pub(super) struct Book {
    sessions: BTreeMap<String, Session>,
    pub(super) rules: HealthRules,
    pub(super) ttl: Option<Duration>,
    api: Generation,
}

impl Book {
    /// No sessions yet.
    pub(super) fn new(rules: HealthRules, ttl: Option<Duration>, api: Generation) -> Self {
        Self { sessions: BTreeMap::new(), rules, ttl, api }
    }

    /// Makes a session; an existing one of that name is replaced.
    pub(super) fn create(&mut self, spec: &SessionSpec, moment: Moment, birth: u32) {
        self.sessions
            .insert(spec.session_id.clone(), Session::new(spec, moment, birth, self.api == Generation::V2026_08));
    }

    /// Whether it is there.
    pub(super) fn has(&self, id: &str) -> bool {
        self.sessions.contains_key(id)
    }

    /// Takes a session away.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        self.sessions.remove(id).is_some()
    }

    /// A session as it stands now, after what time did to it.
    pub(super) fn open(&mut self, id: &str, moment: Moment) -> Result<&mut Session, Reply> {
        let (ttl, rules) = (self.ttl, self.rules);
        let over =
            |session: &Session| ttl.is_some_and(|ttl| moment.now.saturating_duration_since(session.refreshed) > ttl);
        if self.sessions.get(id).is_some_and(over) {
            self.sessions.remove(id);
        }
        let session = self.sessions.get_mut(id).ok_or_else(Reply::no_session)?;
        session.settle(moment, rules);
        Ok(session)
    }

    /// The names of all sessions.
    pub(super) fn names(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }
}
