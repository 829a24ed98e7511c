//! The game's side of an instance: has it said ready, is it alive, what do we vouch for.
//!
//! What the game says counts at once. A heartbeat that once began and then falls silent is the end of our word for it: the
//! agent never vouches for a dead game.

use std::sync::Arc;
use std::time::Instant;

use super::action::Note;
use super::common::Common;
use super::durable::{Content, Record, SaidState};
use super::event::{Denied, Said};
use super::ids::Ticket;
use super::instance::{CustomData, Health, JoinParams};
use super::params::Readiness;
use super::phase::Phase;
use super::sdk;
use super::timers::earlier;

/// Automatic fubar: the game did not become ready in game.ready_timeout.
pub const NEVER_READY: &str = "never_ready";
/// Automatic fubar: the game's heartbeat began and then fell silent.
pub const HEARTBEAT_LOST: &str = "heartbeat_lost";

/// The machine of the game.
#[derive(Debug, Clone)]
pub(super) struct Game {
    born: Instant,
    /// The last sign of life, through POST /v1/health or the Agones SDK; `None` until the first.
    heartbeat: Option<Instant>,
    said: Option<(Health, Arc<str>)>,
    verdict: Health,
    reason: Arc<str>,
    /// The silence of this episode was reported.
    silence_reported: bool,
    never_ready: bool,
    /// A local client that is a game was there.
    pub(super) client_seen: bool,
}

impl Game {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            born: now,
            heartbeat: None,
            said: None,
            verdict: Health::Healthy,
            reason: Arc::from("the game has not said anything about its health"),
            silence_reported: false,
            never_ready: false,
            client_seen: false,
        }
    }

    /// What we vouch for.
    pub(super) fn verdict(&self) -> Health {
        self.verdict
    }

    /// Why, in words.
    pub(super) fn reason(&self) -> Arc<str> {
        Arc::clone(&self.reason)
    }

    /// The game had its time to become ready and did not.
    pub(super) fn has_failed_to_start(&self) -> bool {
        self.never_ready
    }

    /// How players reach the game: what it said, else what is configured.
    pub(super) fn join_params(common: &Common, said: &SaidState) -> JoinParams {
        let configured = &common.params.join_params;
        JoinParams {
            public_conn_str: said.public_conn_str.clone().unwrap_or_else(|| configured.public_conn_str.clone()),
            private_conn_str: said.private_conn_str.clone().unwrap_or_else(|| configured.private_conn_str.clone()),
            custom_data: configured.custom_data.clone(),
        }
    }

    /// The instance's custom_data: what is configured, over it the labels that are published, and over these what the game said.
    pub(super) fn custom_data(common: &Common) -> CustomData {
        let mut data = common.params.custom_data.clone();
        data.extend(sdk::published(common));
        data.extend(common.durable.said.custom_data.clone().unwrap_or_default());
        data
    }

    /// Whether the game is ready, and players could reach it.
    pub(super) fn is_ready(common: &Common) -> bool {
        let ready = match common.params.readiness {
            Readiness::Sdk => common.durable.said.ready,
            Readiness::Immediate => true,
            // The adapters that would tell are not there yet, and the configuration refuses these words.
            Readiness::Probe | Readiness::Log => false,
        };
        ready && Self::join_params(common, &common.durable.said).is_reachable()
    }

    /// POST /v1/ready and PATCH /v1/instance. The ticket is that of the record; `None` if nothing changed.
    pub(super) fn says(common: &mut Common, said: Said, ready: bool) -> Result<Option<Ticket>, Denied> {
        match common.phase {
            Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => {
                return Err(Denied::Phase(format!(
                    "the instance is {}: it takes no players any more",
                    common.phase.as_str()
                )));
            }
            Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => {}
        }
        let mut next = common.durable.said.clone();
        next.ready |= ready;
        next.joinable = said.joinable.or(next.joinable);
        next.public_conn_str = said.public_conn_str.or(next.public_conn_str);
        next.private_conn_str = said.private_conn_str.or(next.private_conn_str);
        next.version = said.version.or(next.version);
        next.custom_data = said.custom_data.or(next.custom_data);
        if next.ready {
            Self::check_reachable(common, &next)?;
        }
        if next == common.durable.said {
            return Ok(None);
        }
        Ok(Some(common.remember(vec![Record::Said(next)])))
    }

    /// Nobody becomes ready whom no player could reach.
    pub(super) fn check_reachable(common: &Common, said: &SaidState) -> Result<(), Denied> {
        if Self::join_params(common, said).is_reachable() {
            return Ok(());
        }
        Err(Denied::Field {
            field: "public_conn_str",
            reason: "no player could connect: give public_conn_str or private_conn_str here, or set \
                     instance.public_conn_str in the configuration"
                .to_owned(),
        })
    }

    /// A sign of life.
    pub(super) fn beats(&mut self, common: &Common) {
        self.heartbeat = Some(common.now);
        self.silence_reported = false;
    }

    /// POST /v1/health: a verdict and a sign of life.
    pub(super) fn says_health(&mut self, common: &Common, status: Health, reason: Option<String>) {
        self.beats(common);
        let reason = reason.unwrap_or_else(|| format!("the game says {}", status.as_str()));
        self.said = Some((status, Arc::from(reason)));
    }

    fn silent_at(&self, common: &Common) -> Option<Instant> {
        let silent = self.heartbeat? + common.params.heartbeat_timeout;
        // No unhealthy verdict before the start-up grace is over: a first ping followed by a long load is common.
        Some(silent.max(self.born + common.params.startup_grace))
    }

    /// Brings the verdict up to date; gives the automatic reports that are due.
    pub(super) fn advance(&mut self, common: &mut Common) -> Vec<Content> {
        let mut reports = Vec::new();
        let silent = self.silent_at(common).is_some_and(|at| at <= common.now);
        let (verdict, reason) = if silent {
            let seconds = common.params.heartbeat_timeout.as_secs_f32();
            (Health::Unhealthy, Arc::from(format!("the game's heartbeat stopped: nothing for {seconds:.0} s")))
        } else if let Some((health, reason)) = &self.said {
            (*health, Arc::clone(reason))
        } else if self.heartbeat.is_some() {
            (Health::Healthy, Arc::from("the game sends heartbeats"))
        } else {
            (self.verdict, Arc::clone(&self.reason))
        };
        if verdict != self.verdict {
            common.note(Note::Verdict { health: verdict, reason: reason.to_string() });
        }
        self.verdict = verdict;
        self.reason = reason;
        if silent && !self.silence_reported && common.phase.is_attached() {
            self.silence_reported = true;
            reports.push(HEARTBEAT_LOST);
        }
        if !self.never_ready && self.ready_by(common).is_some_and(|by| by <= common.now) {
            self.never_ready = true;
            reports.push(NEVER_READY);
        }
        if !common.params.automatic_fubar {
            reports.clear();
        }
        reports.into_iter().map(|error| fubar(common, error.to_owned())).collect()
    }

    fn ready_by(&self, common: &Common) -> Option<Instant> {
        (common.phase == Phase::Loading && !self.never_ready).then(|| common.phase_since + common.params.ready_timeout)
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        let silent = self.silent_at(common).filter(|at| *at > common.now);
        earlier(silent, self.ready_by(common))
    }
}

/// A fubar report of this instance; the session's region, if it has one, is filled in when it is sent.
pub(super) fn fubar(common: &Common, error: String) -> Content {
    Content::Fubar {
        error,
        source_provider: common.params.source_provider.clone(),
        matchmaking_profile_id: common.params.matchmaking_profile_id.clone(),
        region: common.params.region.clone(),
    }
}
