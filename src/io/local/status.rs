//! `GET /v1/status`: the snapshot as JSON (design.md section 8). The command line reads the same types back, and the admin
//! listener shows the same.
//!
//! custom_data is not shown: games put join tokens there. Moments are wall-clock times to the millisecond.

use std::borrow::Cow;
use std::time::Instant;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::core::action::Outcome;
use crate::core::api::ApiView;
use crate::core::auth::AuthState;
use crate::core::snapshot::{self, Snapshot};
use crate::ports::InstanceHandle;

/// A word of a fixed vocabulary, or text that was read back.
type Word = Cow<'static, str>;

/// The whole answer. What a newer agent adds is ignored when it is read back; what an older one lacks is empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The agent's own version.
    pub version: Word,
    /// The instance's name in the configuration.
    pub name: String,
    /// resolving, registering, loading, serving, draining, closing, ended, superseded
    pub phase: Word,
    /// Since when.
    pub phase_since: Option<Timestamp>,
    /// Whether the game has said that it is ready.
    pub ready: bool,
    /// How it is allocated.
    pub allocation: Allocation,
    /// Health.
    pub health: Health,
    /// The session, once found.
    pub session: Option<Session>,
    /// The instance, as far as known.
    pub instance: Instance,
    /// The login.
    pub auth: Auth,
    /// What the environment's API has.
    pub api: Api,
    /// The game's process and probes.
    pub game: Game,
    /// Notifications.
    pub notifications: Notifications,
    /// Reports and events.
    pub outbox: Outbox,
    /// The state on disk.
    pub store: Store,
    /// The drain, once begun.
    pub drain: Option<Drain>,
    /// ended or superseded, once it is.
    pub outcome: Option<Word>,
    /// Keys of the configuration that were changed since: the next life of the instance takes them up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings_waiting: Vec<String>,
    /// Since the start of the process.
    pub counters: Counters,
}

/// `health`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// What we would post now.
    pub verdict: Word,
    /// Why.
    pub reason: String,
    /// How often we post.
    pub cadence_seconds: f64,
    /// When the last post left.
    pub last_sent: Option<Timestamp>,
    /// What the backend said last.
    pub last_answer: Option<HealthAnswer>,
}

/// `health.last_answer`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthAnswer {
    /// What it thinks of us.
    pub health: Word,
    /// When it said so.
    pub at: Option<Timestamp>,
}

/// `allocation`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Allocation {
    /// fixed, session, sic, multiplay, file, local
    pub source: Word,
    /// waiting, confirming, allocated, deallocated
    pub state: Word,
    /// What is waited for, or why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `session`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// The region it prefers.
    pub region_id: Option<String>,
    /// Its version.
    pub etag: Option<String>,
    /// When it was last confirmed.
    pub seen: Option<Timestamp>,
}

/// `instance`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Its session.
    pub session_id: Option<String>,
    /// Its id.
    pub instance_id: Option<String>,
    /// Its allocation, if it was allocated.
    pub allocation_id: Option<String>,
    /// What the backend last took from us.
    pub join_status: Option<String>,
    /// For players outside; "" if there is none.
    pub public_conn_str: String,
    /// For players in the same network; "" if there is none.
    pub private_conn_str: String,
    /// semver of the game build.
    pub version: Option<String>,
    /// The match that the game says it plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_id: Option<String>,
}

/// `auth`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// none, logging_in, valid, refreshing, denied
    pub state: Word,
    /// What is wrong and what to do.
    pub detail: Option<String>,
    /// When it is tried again, if it is waiting.
    pub retry_at: Option<Timestamp>,
    /// Logins that were tried.
    pub attempts: u64,
}

/// `api`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Api {
    /// auto, 2023-11, 2026-08: environment.api
    pub configured: Word,
    /// 2023-11, between (something is gone, notifications are not), 2026-08: as far as it was met
    pub generation: Word,
    /// What the environment does not have (any more).
    pub gone: Vec<Gone>,
}

/// One of `api.gone`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gone {
    /// notifications, fubar, event, match, audit, unjoinable, match_id, refresh_ttl
    pub call: Word,
    /// What is done instead, in words.
    pub instead: Word,
    /// Since when that is known; absent where it is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it is looked at again; absent where it is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// `game`; what is not known is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Game {
    /// Its process id, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How it ended, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What a game that speaks Agones is told: Starting, Scheduled, RequestReady, Ready, Reserved, Allocated, Unhealthy, Shutdown
    pub sdk_state: Word,
    /// How many players there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub players: Option<Players>,
    /// Resident memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The bound of its cgroup, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Processor time since its start, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Cores used lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<f64>,
    /// The probes, in the order of the configuration.
    pub probes: Vec<Probe>,
}

/// `game.players`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Players {
    /// Connected now.
    pub count: u32,
    /// How many may be; 0 where nobody says.
    pub capacity: u32,
}

/// One of `game.probes`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// Kind and target.
    pub name: String,
    /// What it found last; absent before its first run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Word>,
    /// In words.
    pub reason: String,
}

/// `notifications`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notifications {
    /// off, polling, backing_off, paused, unsupported
    pub state: Word,
    /// How many wait for the game.
    pub inbox: usize,
    /// The newest that was taken.
    pub cursor: Option<String>,
    /// How many are kept that nobody would take.
    pub set_aside: usize,
    /// Pushing them to the game.
    pub hand_off: HandOff,
}

/// `notifications.hand_off`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandOff {
    /// off (the game asks for them), idle, pushing, retrying, absent
    pub state: Word,
    /// Why the last try that failed did.
    pub last_failure: Option<String>,
}

/// `outbox`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// Not delivered yet.
    pub waiting: usize,
    /// Never deliverable, kept.
    pub dead: usize,
    /// Why the oldest one waits.
    pub last_failure: Option<String>,
}

/// `store`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// ok, full, read_only, failed
    pub state: Word,
    /// How often something could not be made durable.
    pub faults: u64,
    /// What was found in the state directory since the start: damaged files that were kept aside, and the like.
    pub findings: Vec<String>,
}

/// `drain`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// In words.
    pub reason: String,
    /// When it stops waiting for the game.
    pub deadline: Option<Timestamp>,
}

/// `counters`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names and meanings are those of core::snapshot::Counters")]
pub struct Counters {
    pub health_sent: u64,
    pub health_answered: u64,
    pub health_disputed: u64,
    pub health_failed: u64,
    pub notifications_received: u64,
    pub notifications_repeated: u64,
    pub notifications_unusable: u64,
    pub notifications_acknowledged: u64,
    pub notifications_refused: u64,
    pub notifications_set_aside: u64,
    pub reports_accepted: u64,
    pub reports_sent: u64,
    pub reports_dead: u64,
    pub reports_refused: u64,
    pub calls_failed: u64,
}

/// A login that works but may not make a call that we need is denied too: an operator has to do something.
fn auth_state(snapshot: &Snapshot) -> &'static str {
    if snapshot.auth.state.has_token() && !snapshot.forbidden.is_empty() {
        return AuthState::Denied.as_str();
    }
    snapshot.auth.state.as_str()
}

/// What is wrong with the login, or which permissions are missing, with the backend's error code.
fn auth_detail(snapshot: &Snapshot) -> Option<String> {
    let missing = snapshot.forbidden.iter().map(|(kind, code)| {
        let code = code.as_deref().unwrap_or("403");
        format!("{code}: {kind} needs the permission {}", kind.permission())
    });
    let words: Vec<String> = snapshot.auth.detail.clone().into_iter().chain(missing).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

impl Status {
    /// The status of an instance now.
    pub fn now(handle: &InstanceHandle) -> Self {
        Self { settings_waiting: handle.waiting_settings(), ..Self::of(&handle.snapshot()) }
    }

    /// The status of an instance, as its snapshot has it.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            settings_waiting: Vec::new(),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            name: snapshot.name.to_string(),
            phase: Cow::Borrowed(snapshot.phase.as_str()),
            phase_since: Some(wall_of(snapshot.phase_since)),
            ready: snapshot.ready,
            allocation: Allocation {
                source: Cow::Borrowed(snapshot.allocation.source),
                state: Cow::Borrowed(snapshot.allocation.state.as_str()),
                detail: snapshot.allocation.detail.as_deref().map(str::to_owned),
            },
            health: Health::of(&snapshot.health),
            session: snapshot.session.as_ref().map(Session::of),
            instance: Instance::of(&snapshot.instance),
            auth: Auth {
                state: Cow::Borrowed(auth_state(snapshot)),
                detail: auth_detail(snapshot),
                retry_at: snapshot.auth.retry_at.map(wall_of),
                attempts: snapshot.auth.attempts,
            },
            api: Api::of(&snapshot.api),
            game: Game::of(snapshot),
            notifications: Notifications {
                state: Cow::Borrowed(snapshot.notifications.state.as_str()),
                inbox: snapshot.notifications.inbox.len(),
                cursor: snapshot.notifications.cursor.as_ref().map(ToString::to_string),
                set_aside: snapshot.notifications.hand_off.set_aside.len(),
                hand_off: HandOff {
                    state: Cow::Borrowed(snapshot.notifications.hand_off.state.as_str()),
                    last_failure: snapshot.notifications.hand_off.last_failure.as_deref().map(str::to_owned),
                },
            },
            outbox: Outbox {
                waiting: snapshot.outbox.waiting,
                dead: snapshot.outbox.dead,
                last_failure: snapshot.outbox.last_failure.clone(),
            },
            store: Store {
                state: Cow::Borrowed(snapshot.store.state()),
                faults: snapshot.store.faults,
                findings: snapshot.store.findings.as_ref().clone(),
            },
            drain: snapshot
                .drain
                .as_ref()
                .map(|drain| Drain { reason: drain.reason.clone(), deadline: Some(wall_of(drain.deadline)) }),
            outcome: snapshot.outcome.map(|outcome| {
                Cow::Borrowed(match outcome {
                    Outcome::Ended => "ended",
                    Outcome::Superseded => "superseded",
                    Outcome::Game(_) => "ended with the game",
                })
            }),
            counters: Counters::of(&snapshot.counters),
        }
    }
}

impl Game {
    fn of(snapshot: &Snapshot) -> Self {
        let view = &snapshot.game;
        let probe = |probe: &snapshot::ProbeView| Probe {
            name: probe.name.clone(),
            health: probe.health.map(|health| Cow::Borrowed(health.as_str())),
            reason: probe.reason.to_string(),
        };
        Self {
            pid: view.pid,
            ended: view.ended.as_deref().map(str::to_owned),
            sdk_state: Cow::Borrowed(snapshot.sdk.state.as_str()),
            players: view.players.map(|players| Players { count: players.count, capacity: players.capacity }),
            memory_bytes: view.figures.memory,
            memory_limit_bytes: view.figures.memory_limit,
            cpu_seconds: view.figures.cpu.map(|cpu| cpu.as_secs_f64()),
            cores: view.figures.cores,
            probes: view.probes.iter().map(probe).collect(),
        }
    }
}

impl Api {
    fn of(view: &ApiView) -> Self {
        let gone = view.gone.iter().map(|(feature, found)| Gone {
            call: Cow::Borrowed(feature.as_str()),
            instead: Cow::Borrowed(feature.instead()),
            since: found.map(|(since, _)| since.round(Unit::Millisecond).unwrap_or(since)),
            until: found.map(|(_, until)| wall_of(until)),
        });
        Self {
            configured: Cow::Borrowed(view.choice.as_str()),
            generation: Cow::Borrowed(view.generation()),
            gone: gone.collect(),
        }
    }
}

impl Health {
    fn of(view: &snapshot::HealthView) -> Self {
        Self {
            verdict: Cow::Borrowed(view.verdict.as_str()),
            reason: view.reason.to_string(),
            cadence_seconds: view.cadence.as_secs_f64(),
            last_sent: view.last_sent.map(wall_of),
            last_answer: view
                .last_answer
                .map(|(health, at)| HealthAnswer { health: Cow::Borrowed(health.as_str()), at: Some(wall_of(at)) }),
        }
    }
}

impl Session {
    fn of(view: &snapshot::SessionView) -> Self {
        Self {
            session_id: view.session.session_id.to_string(),
            region_id: view.session.region_id.clone(),
            etag: view.etag.as_ref().map(ToString::to_string),
            seen: Some(wall_of(view.seen)),
        }
    }
}

impl Instance {
    fn of(view: &snapshot::InstanceView) -> Self {
        Self {
            session_id: view.session_id.as_ref().map(ToString::to_string),
            instance_id: view.instance_id.as_ref().map(ToString::to_string),
            allocation_id: view.allocation_id.as_ref().map(ToString::to_string),
            join_status: view.join_status.as_ref().map(|status| status.as_str().to_owned()),
            public_conn_str: view.join_params.public_conn_str.clone(),
            private_conn_str: view.join_params.private_conn_str.clone(),
            version: view.version.clone(),
            match_id: view.match_id.as_ref().map(ToString::to_string),
        }
    }
}

impl Counters {
    fn of(counters: &snapshot::Counters) -> Self {
        // Spelled out: a new counter does not compile until it is shown.
        let snapshot::Counters {
            health_sent,
            health_answered,
            health_disputed,
            health_failed,
            notifications_received,
            notifications_repeated,
            notifications_unusable,
            notifications_acknowledged,
            notifications_refused,
            notifications_set_aside,
            reports_accepted,
            reports_sent,
            reports_dead,
            reports_refused,
            calls_failed,
        } = *counters;
        Self {
            health_sent,
            health_answered,
            health_disputed,
            health_failed,
            notifications_received,
            notifications_repeated,
            notifications_unusable,
            notifications_acknowledged,
            notifications_refused,
            notifications_set_aside,
            reports_accepted,
            reports_sent,
            reports_dead,
            reports_refused,
            calls_failed,
        }
    }
}

fn wall_of(moment: Instant) -> Timestamp {
    let exact = clock::wall_of(moment);
    exact.round(Unit::Millisecond).unwrap_or(exact)
}
