//! One instance: its regions, and the order in which they act.
//!
//! **Architecture invariant:** one `handle_*`, then every action drained, then [`Machine::poll_timeout`], then wait. Inside, an
//! event goes to one region, and then all regions are brought up to date until the phase stands still. They are
//! level-triggered: bringing one up to date twice does nothing twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::action::{Action, Note, Outcome};
use super::allocation::Clerk;
use super::common::{Common, Region};
use super::drain::Drain;
use super::durable::{Content, Durable, Record};
use super::event::{Command, Denied, Event, Granted, Request, StoreFault};
use super::game::{self, Filing, Game};
use super::hand_off::HandOff;
use super::heartbeat::Heartbeat;
use super::ids::{CallId, InstanceId, RequestId, Ticket};
use super::lifecycle::{Lifecycle, Regions};
use super::listing::{self, ListingKeeper};
use super::machine::Machine;
use super::notifications::Notifications;
use super::outbox::Outbox;
use super::params::{Params, Process};
use super::phase;
use super::publisher::Publisher;
use super::sdk::{Sdk, SdkChange};
use super::session::SessionReader;
use super::snapshot::{HealthView, InstanceView, Snapshot};
use super::timers::earliest;
use super::watch::Watch;
use crate::core::call::{Answer, CallKind, Failure, FailureKind, SessionEvent};

/// With nothing else to wait for, the machine looks around this often: nothing can hang for ever.
const IDLE: Duration = Duration::from_secs(60);
/// No chain of transitions is longer than a life.
const STEPS: usize = 16;

/// What an agent is born with besides its settings.
#[derive(Debug, Clone)]
pub struct Birth {
    /// What the store remembers of this instance.
    pub durable: Durable,
    /// The id of a self-registered instance that has none yet.
    pub fresh_id: InstanceId,
    /// Where all randomness comes from: the same seed and the same events give the same actions.
    pub seed: u64,
    /// The wall clock.
    pub wall: Timestamp,
}

/// The core of one instance.
#[derive(Debug, Clone)]
pub struct Agent {
    common: Common,
    clerk: Clerk,
    lifecycle: Lifecycle,
    reader: SessionReader,
    publisher: Publisher,
    heartbeat: Heartbeat,
    notifications: Notifications,
    watch: Watch,
    hand_off: HandOff,
    outbox: Outbox,
    game: Game,
    sdk: Sdk,
    drain: Drain,
    /// The exit is out: nothing comes any more. A superseded agent waits for the game that it started before that.
    over: bool,
    listing: ListingKeeper,
}

impl Agent {
    /// An instance at the beginning of its life, or taken up again where the store remembers one.
    pub fn new(params: impl Into<Arc<Params>>, birth: Birth, now: Instant) -> Self {
        Self::recycled(params, birth, false, now)
    }

    /// The next life of an instance that is recycled. `is_refused`: the life before was not allowed to send what still waits of it,
    /// which does not keep this one from beginning.
    pub fn recycled(params: impl Into<Arc<Params>>, birth: Birth, is_refused: bool, now: Instant) -> Self {
        let params = params.into();
        let mut durable = birth.durable;
        durable.forget_keys(birth.wall);
        let cadence = durable.cadence_millis.map_or(params.default_cadence, Duration::from_millis);
        let is_ours = durable.is_of(&params.target, params.instance_id.as_ref());
        let mut common = Common::new(params, durable, birth.seed, birth.wall, now);
        if !is_ours {
            common.begin_another_life();
        }
        common.recall_api();
        let clerk = Clerk::new(&mut common, is_refused);
        let mut agent = Self {
            clerk,
            lifecycle: Lifecycle::new(birth.fresh_id),
            reader: SessionReader::new(now),
            publisher: Publisher::new(),
            heartbeat: Heartbeat::new(cadence),
            notifications: Notifications::new(&common),
            watch: Watch::default(),
            hand_off: HandOff::new(&common),
            outbox: Outbox::new(&common),
            game: Game::new(&common),
            sdk: Sdk::new(&common),
            drain: Drain::default(),
            over: false,
            listing: ListingKeeper::default(),
            common,
        };
        agent.settle();
        agent
    }

    /// Fixes the dice, so that the checker's states do not differ by how often they were thrown.
    #[cfg(test)]
    pub(super) fn reseed(&mut self, seed: u64) {
        self.common.rng.seed(seed);
    }

    fn answered(&mut self, id: &CallId, result: Result<Answer, Failure>) {
        let Some((region, kind)) = self.common.answered(id) else { return };
        self.permission(kind, &result);
        if let Err(failure) = &result
            && failure.kind == FailureKind::Unauthorised
            // SIC is another service: it must not stop the health posts that the session API takes. Its machine decides.
            && !matches!(kind, CallKind::SicRegister | CallKind::SicState)
        {
            self.common.token_refused(failure.token);
        }
        let common = &mut self.common;
        match region {
            Region::Allocation => self.clerk.handle_answer(common, id, result),
            Region::Lifecycle => self.lifecycle.handle_answer(common, &mut self.publisher, id, result),
            Region::Session => {
                if let Some(sighting) = self.reader.handle_answer(common, id, result) {
                    self.lifecycle.handle_sighting(common, &mut self.reader, &sighting);
                }
            }
            Region::Publisher => {
                if let Some(published) = self.publisher.handle_answer(common, id, result) {
                    self.lifecycle.handle_published(common, &mut self.reader, published);
                }
            }
            Region::Heartbeat => self.heartbeat.handle_answer(common, id, result),
            Region::Notifications => self.notifications.handle_answer(common, id, result),
            Region::Outbox => self.outbox.handle_answer(common, id, result),
        }
    }

    /// Remembers which calls the backend does not let us make, for an operator to see.
    fn permission(&mut self, kind: CallKind, result: &Result<Answer, Failure>) {
        match result {
            Ok(_) => {
                self.common.forbidden.remove(&kind);
            }
            Err(failure) if failure.kind == FailureKind::Forbidden => {
                self.common.forbidden.insert(kind, failure.code.clone());
            }
            Err(_) => {}
        }
    }

    fn stored(&mut self, ticket: &Ticket, result: Result<(), StoreFault>) {
        self.common.store.fault = result.err();
        if result.is_err() {
            self.common.store.faults += 1;
        }
        self.clerk.handle_stored(&mut self.common, ticket, result);
        self.lifecycle.handle_stored(ticket);
        self.notifications.handle_stored(&mut self.common, ticket);
        self.watch.handle_stored(&mut self.common, ticket);
        self.hand_off.handle_stored(ticket);
        self.outbox.handle_stored(&mut self.common, ticket, result);
        self.sdk.handle_stored(&mut self.common, ticket, result);
        self.common.stored(ticket);
    }

    fn request(&mut self, id: RequestId, request: Request) {
        let wall = self.common.wall();
        match request {
            Request::Ready(said) => {
                self.hand_off.taker_may_have_come();
                self.says(id, said, true);
            }
            Request::Instance(said) => self.says(id, said, false),
            Request::Health { status, reason } => {
                self.game.says_health(&self.common, status, reason);
                self.common.reply(id, Ok(Granted::Done));
            }
            Request::Heartbeat => {
                self.game.beats(&self.common);
                self.common.reply(id, Ok(Granted::Done));
            }
            Request::Source(word) => {
                self.clerk.hear(word);
                self.common.reply(id, Ok(Granted::Done));
            }
            Request::Give(allocation) => self.clerk.allocate(&mut self.common, id, allocation),
            Request::TakeBack => self.clerk.deallocate(&mut self.common, &mut self.drain, id),
            Request::Allocate => self.sdk.ask(&mut self.common, id, SdkChange::Allocated),
            Request::Reserve { seconds } => self.sdk.reserve(&mut self.common, id, seconds),
            Request::Label { key, value } => self.sdk.ask(&mut self.common, id, SdkChange::Label { key, value }),
            Request::Annotation { key, value } => {
                self.sdk.ask(&mut self.common, id, SdkChange::Annotation { key, value });
            }
            Request::Fubar { error, key } => {
                let content = game::fubar(&self.common, error);
                self.offer(id, content, key, wall);
            }
            Request::Event { event_code, description, custom_data } => {
                let event = SessionEvent { event_code, timestamp: wall, description, custom_data };
                self.offer(id, Content::Event(event), None, wall);
            }
            Request::Duty { duty, key } => match listing::admit(&self.common, duty) {
                Ok(duty) => self.offer(id, Content::Duty(duty), key, wall),
                Err(denied) => self.common.reply(id, Err(denied)),
            },
            Request::RetryDead(report) => self.outbox.mend(&mut self.common, id, Record::Revived { report }),
            Request::DropDead(report) => self.outbox.mend(&mut self.common, id, Record::Dropped { report }),
            Request::Ack(through) => Notifications::acknowledge(&mut self.common, id, &through),
            Request::Drain { reason } => {
                self.drain.want(reason.unwrap_or_else(|| "asked through the local API".to_owned()));
                self.common.reply(id, Ok(Granted::Draining));
            }
            Request::Shutdown { reason } => {
                self.drain.want_for_the_game(reason.unwrap_or_else(|| "the game is done".to_owned()));
                self.drain.game_is_done();
                self.game.says_done(&self.common);
                self.common.reply(id, Ok(Granted::Draining));
            }
            Request::ClientSeen => {
                self.game.client_seen = true;
                self.common.reply(id, Ok(Granted::Done));
            }
        }
    }

    fn says(&mut self, id: RequestId, said: super::event::Said, ready: bool) {
        let said = match Game::says(&mut self.common, said, ready) {
            Ok(said) => said,
            Err(denied) => return self.common.reply(id, Err(denied)),
        };
        // The later of both: then the disk has finished with both.
        match ready.then(|| self.sdk.freed(&mut self.common)).flatten().or(said) {
            Some(ticket) => self.common.reply_after(ticket, id, Ok(Granted::Done)),
            None => self.common.reply(id, Ok(Granted::Done)),
        }
    }

    fn offer(&mut self, id: RequestId, content: Content, key: Option<String>, wall: Timestamp) {
        if self.common.phase.outcome().is_some() {
            let phase = self.common.phase.as_str();
            self.common.reply(id, Err(Denied::Phase(format!("the instance is {phase}: nothing is sent any more"))));
            return;
        }
        self.outbox.offer(&mut self.common, Some(id), content, key, wall);
    }

    fn reloaded(&mut self) {
        self.common.api.reload(self.common.now);
        self.clerk.reloaded(self.common.now);
        self.lifecycle.reloaded();
        self.reader.reloaded(self.common.now);
        self.publisher.reloaded();
        self.heartbeat.reloaded();
        self.notifications.reloaded();
        self.hand_off.taker_may_have_come();
        self.outbox.reloaded();
    }

    /// Brings every region up to date until the phase stands still.
    fn settle(&mut self) {
        if self.clerk.advance(&mut self.common, &mut self.drain) {
            self.sdk.wind(&self.common);
        }
        self.sdk.advance(&mut self.common);
        for _ in 0..STEPS {
            self.look_after_the_game();
            if let Some(duty) = self.listing.advance(&self.common, &self.outbox) {
                let wall = self.common.wall();
                self.outbox.offer(&mut self.common, None, Content::Duty(duty), None, wall);
            }
            if !self.step() {
                break;
            }
        }
        if self.common.phase.outcome().is_none() {
            let wish = self.lifecycle.wish(&self.common);
            self.publisher.wish(wish);
            if self.publisher.wants_sighting(&self.common) {
                self.reader.look(self.common.now);
            }
            if self.outbox.wants_sighting(&self.common) && !self.reader.is_looking() {
                self.common.look = true;
            }
            self.reader.advance(&mut self.common);
            self.publisher.advance(&mut self.common);
            let verdict = self.game.verdict();
            self.common.verdict = verdict;
            self.heartbeat.advance(&mut self.common, verdict);
            if self.game.has_failed() {
                self.heartbeat.say_last_word(&mut self.common, verdict);
            }
            self.outbox.advance(&mut self.common);
            self.notifications.advance(&mut self.common);
            self.watch.advance(&mut self.common);
            self.hand_off.advance(&mut self.common);
        }
        self.notifications.refresh(&self.common);
        self.outbox.refresh(&self.common);
        let shown_joinable = self.lifecycle.is_shown_joinable();
        self.sdk.refresh(&self.common, &self.publisher, shown_joinable, &self.game, self.drain.view());
        if let Some(outcome) = self.outcome()
            && !self.game.is_held()
        {
            self.over = true;
            self.common.act(Action::Exit(outcome));
        }
    }

    /// Starts it, stops it, reports what it has done, and lets the instance end with it.
    fn look_after_the_game(&mut self) {
        let common = &mut self.common;
        if self.game.wants_start(common)
            && self.drain.wanted().is_none()
            && let Some(order) = self.lifecycle.start_order(common)
        {
            self.game.start(common, order);
            if common.params.process == Process::Ours {
                // Nobody has taken the new process yet, whoever had taken the one before.
                self.sdk.freed(common);
            }
        }
        for Filing { contents, records } in self.game.advance(common, &self.drain) {
            self.outbox.offer_own(common, contents, records);
        }
        if let Some(why) = self.game.wants_end(common) {
            self.drain.want_for_the_game(why);
        }
    }

    /// How it ends, once the phase says that it does.
    fn outcome(&self) -> Option<Outcome> {
        match self.common.phase.outcome()? {
            Outcome::Superseded => Some(Outcome::Superseded),
            Outcome::Ended | Outcome::Game(_) => Some(self.game.outcome()),
        }
    }

    /// One step of the life cycle; says whether the phase changed.
    fn step(&mut self) -> bool {
        let mut regions = Regions {
            game: &mut self.game,
            drain: &mut self.drain,
            reader: &mut self.reader,
            publisher: &mut self.publisher,
            outbox: &self.outbox,
        };
        let Some((trigger, why)) = self.lifecycle.advance(&mut self.common, &mut regions) else { return false };
        let from = self.common.phase;
        let Some(to) = phase::next(from, trigger) else { return false };
        self.common.phase = to;
        self.common.phase_since = self.common.now;
        self.common.note(Note::Phase { from, to, trigger, why });
        self.lifecycle.entered(&mut self.common, &mut regions);
        true
    }
}

impl Machine for Agent {
    type Event = Event;
    type Action = Action;
    type Snapshot = Snapshot;

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.common.now = self.common.now.max(now);
        if self.over {
            return;
        }
        match event {
            Event::Answered { id, result } => self.answered(&id, result),
            Event::Auth(view) => {
                self.common.api.hear(&view.api);
                self.common.auth = view;
            }
            Event::Stored { ticket, result } => self.stored(&ticket, result),
            Event::Request { id, request, wall } => {
                self.common.set_wall(wall);
                self.request(id, request);
            }
            Event::Command(Command::Drain { reason }) => self.drain.want(reason),
            Event::Command(Command::Reloaded) => self.reloaded(),
            Event::Game(event) => self.game.handle(&mut self.common, &self.drain, event),
            Event::HandedOver { id, result } => self.hand_off.handle_result(&mut self.common, &id, result),
            Event::Command(Command::Store { fault, findings }) => {
                self.common.store.fault = fault;
                self.common.store.findings = findings;
            }
        }
        self.settle();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.common.now = self.common.now.max(now);
        if !self.over {
            self.settle();
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.common.poll_action()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let common = &self.common;
        if common.phase.outcome().is_some() {
            return earliest([Some(common.now + IDLE), self.game.poll_timeout(common)]);
        }
        earliest([
            Some(common.now + IDLE),
            self.clerk.poll_timeout(common),
            self.lifecycle.poll_timeout(common),
            self.reader.poll_timeout(common),
            self.publisher.poll_timeout(common),
            self.heartbeat.poll_timeout(common, self.game.verdict()),
            self.outbox.poll_timeout(common),
            self.notifications.poll_timeout(common),
            self.hand_off.poll_timeout(common),
            self.game.poll_timeout(common),
            self.sdk.poll_timeout(),
            self.drain.poll_timeout(common.now),
            self.listing.poll_timeout(common, &self.outbox),
        ])
    }

    fn snapshot(&self) -> Snapshot {
        let common = &self.common;
        Snapshot {
            name: common.params.name.clone(),
            phase: common.phase,
            phase_since: common.phase_since,
            ready: self.game.is_ready(common),
            allocation: self.clerk.view(common),
            auth: Arc::clone(&common.auth),
            forbidden: common.forbidden.clone(),
            api: common.api.view(),
            health: HealthView {
                verdict: self.game.verdict(),
                reason: self.game.reason(),
                cadence: self.heartbeat.cadence(),
                last_sent: self.heartbeat.last_sent(),
                last_said: self.heartbeat.last_said(),
                last_answer: self.heartbeat.last_answer(),
            },
            game: self.game.view(common),
            notifications: self.notifications.view(common, self.hand_off.view(common)),
            sdk: self.sdk.view(),
            outbox: self.outbox.view(common),
            store: common.store.clone(),
            session: common.session.clone(),
            instance: InstanceView {
                session_id: common.session_id().cloned(),
                instance_id: common.instance_id().cloned(),
                allocation_id: common.allocation_id().cloned(),
                join_status: self.publisher.taken().map(|taken| taken.join_status.clone()),
                join_params: Game::join_params(common, &common.durable.said),
                version: common.durable.said.version.clone().or_else(|| common.params.version.clone()),
                match_id: common.durable.said.match_id.clone(),
            },
            drain: self.drain.view(),
            outcome: self.outcome(),
            counters: common.counters.clone(),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
