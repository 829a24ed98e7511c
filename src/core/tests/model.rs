//! A model of the backend, the network and the disk, in virtual time, around the production core.
//!
//! Everything that a run does follows from its seed. The network loses, delays and duplicates nothing that HTTP could not: a
//! request may be lost before the backend sees it, or its answer after.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::rig::{instance_id, notification, session_id, wall};
use crate::core::auth::{Auth, AuthAction, AuthEvent, Past};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind, LoggedIn, Page};
use crate::core::durable::{Durable, Record};
use crate::core::duty::Duty;
use crate::core::event::{Command, Event, Granted, Request};
use crate::core::ids::{CallId, Etag, Generation, InstanceId, NotificationId, RequestId};
use crate::core::instance::{Health, HealthConfig, InstanceInfo, JoinStatus, Notification, Session};
use crate::core::params::Params;
use crate::core::process::{GameEvent, HandOver, Untaken};
use crate::core::{Action, Agent, Birth, Machine as _, Outcome};

/// How bad the world is, in parts of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// A request is lost before it is processed.
    pub(super) lost: u32,
    /// The answer is lost after it was processed.
    pub(super) cut: u32,
    /// The backend answers 5xx, processed or not.
    pub(super) server: u32,
    /// The backend answers 429 with a Retry-After.
    pub(super) throttled: u32,
    /// All tokens die.
    pub(super) token: u32,
    /// The agent is killed and started again.
    pub(super) crash: u32,
    /// The longest delay of a request or an answer, in milliseconds.
    pub(super) delay: u64,
}

#[derive(Debug, Clone)]
enum Delivery {
    /// A request reaches the backend.
    Request(CallId, Call, Generation),
    /// An answer, or the news that there is none, reaches the agent.
    Answer(CallId, Result<Answer, Failure>),
    /// A long poll has waited long enough.
    PollOver(CallId),
    /// A login is over.
    Login(CallId, Result<LoggedIn, Failure>),
    /// The taker of a pushed notification is done with it.
    HandedOver(NotificationId, Result<(), Untaken>),
    /// A batch is on disk.
    Stored(crate::core::ids::Ticket, Vec<Record>),
}

struct Due(Instant, u64, u32, Delivery);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// What the backend has seen and given.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) registrations: u32,
    pub(super) fubars: Vec<String>,
    /// The matches that were begun, in order.
    pub(super) matches: Vec<String>,
    pub(super) health: Vec<(Instant, Health)>,
    pub(super) logins: Vec<Instant>,
    /// Processed calls whose answer the agent did not get.
    pub(super) ambiguous_reports: usize,
    pub(super) requests: Vec<(Instant, CallKind)>,
    pub(super) deletes_of_others: u32,
    pub(super) writes_on_others: u32,
}

/// Who takes what is pushed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taker {
    /// It is not there.
    pub(super) away: bool,
    /// It refuses every so-many-th notification, whatever happens; 0 for none.
    pub(super) poison: u32,
}

/// The whole world of one agent.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    pub(super) agent: Agent,
    pub(super) exit: Option<Outcome>,
    /// Ids that the game was given, in order of its acknowledgements; a repeat is one after a crash.
    pub(super) taken: Vec<String>,
    pub(super) published: Vec<Arc<Notification>>,
    pub(super) taker: Taker,
    pub(super) accepted: Vec<String>,
    /// The matches whose beginning was accepted, in order.
    pub(super) begun: Vec<String>,
    pub(super) crashes: u32,
    params: Params,
    auth: Auth,
    pub(super) durable: Durable,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// Which life of the agent a delivery is for.
    life: u32,
    in_flight: BTreeMap<CallId, CallKind>,
    polls: BTreeMap<CallId, (Option<NotificationId>, u8)>,
    good_tokens: Generation,
    newest_token: Generation,
    pub(super) instance: Option<InstanceInfo>,
    etag: u64,
    requests: u64,
    waiting: BTreeMap<RequestId, String>,
    beginning: BTreeMap<RequestId, String>,
}

impl World {
    pub(super) fn new(params: Params, seed: u64, faults: Faults) -> Self {
        let now = crate::clock::now();
        let birth = Birth { durable: Durable::default(), fresh_id: instance_id(), seed, wall: wall() };
        Self {
            now,
            rng: Rng::with_seed(seed),
            faults,
            ledger: Ledger::default(),
            agent: Agent::new(params.clone(), birth, now),
            exit: None,
            taken: Vec::new(),
            published: Vec::new(),
            taker: Taker::default(),
            accepted: Vec::new(),
            begun: Vec::new(),
            crashes: 0,
            params,
            auth: Auth::new(seed, &Past::default(), now),
            durable: Durable::default(),
            queue: BinaryHeap::new(),
            sequence: 0,
            life: 0,
            in_flight: BTreeMap::new(),
            polls: BTreeMap::new(),
            good_tokens: Generation(0),
            newest_token: Generation(0),
            instance: None,
            etag: 0,
            requests: 0,
            waiting: BTreeMap::new(),
            beginning: BTreeMap::new(),
        }
    }

    fn chance(&mut self, parts: u32) -> bool {
        self.rng.u32(0..1000) < parts
    }

    fn schedule(&mut self, after: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue.push(Reverse(Due(self.now + after, self.sequence, self.life, delivery)));
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(1 + self.rng.u64(0..=self.faults.delay))
    }

    /// Runs until `duration` has passed or the agent has ended.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drain();
        while self.exit.is_none() {
            let next =
                [self.queue.peek().map(|Reverse(due)| due.0), self.agent.poll_timeout(), self.auth.poll_timeout()]
                    .into_iter()
                    .flatten()
                    .min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(self.agent.poll_timeout().is_some(), "an agent that waits for nothing hangs");
            self.now = self.now.max(next);
            while self.queue.peek().is_some_and(|Reverse(due)| due.0 <= self.now) {
                let Some(Reverse(Due(_, _, life, delivery))) = self.queue.pop() else { break };
                self.deliver(life, delivery);
                self.drain();
            }
            self.agent.handle_timeout(self.now);
            self.auth.handle_timeout(self.now);
            self.drain();
            if self.chance(self.faults.token) {
                self.good_tokens = Generation(self.newest_token.0 + 1);
            }
            if self.chance(self.faults.crash) {
                self.crash();
            }
        }
        self.now = end.max(self.now);
    }

    /// kill -9: memory is gone, the disk is as it was synced, and a new process begins with a new login.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        self.life += 1;
        self.in_flight.clear();
        self.polls.clear();
        self.waiting.clear();
        self.beginning.clear();
        let birth = Birth {
            durable: self.durable.clone(),
            fresh_id: InstanceId::parse("i-fresh-after-crash").unwrap(),
            seed: self.rng.u64(..),
            wall: wall(),
        };
        self.agent = Agent::new(self.params.clone(), birth, self.now);
        self.auth = Auth::new(self.rng.u64(..), &Past::default(), self.now);
        self.drain();
    }

    pub(super) fn publish(&mut self) {
        let id = format!("n-{:05}", self.published.len());
        self.published.push(notification(&id));
        for (id, (after, size)) in std::mem::take(&mut self.polls) {
            self.answer_poll(id, after.as_ref(), size);
        }
    }

    pub(super) fn report(&mut self) {
        self.requests += 1;
        let error = format!("e-{}", self.requests);
        let id = RequestId(self.requests);
        self.waiting.insert(id.clone(), error.clone());
        self.event(Event::Request { id, request: Request::Fubar { error, key: None }, wall: wall() });
    }

    /// A match begins.
    pub(super) fn begin(&mut self) {
        self.requests += 1;
        let (id, name) = (RequestId(self.requests), format!("m-{}", self.requests));
        self.beginning.insert(id.clone(), name.clone());
        let duty = super::duties::begin(&name);
        self.event(Event::Request { id, request: Request::Duty { duty, key: None }, wall: wall() });
    }

    pub(super) fn request(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.event(Event::Request { id, request, wall: wall() });
    }

    pub(super) fn stop(&mut self) {
        self.event(Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
    }

    pub(super) fn game(&mut self, event: GameEvent) {
        self.event(Event::Game(event));
    }

    /// The game takes everything that is there and acknowledges it.
    pub(super) fn take(&mut self) {
        let inbox = self.agent.snapshot().notifications.inbox;
        let Some(last) = inbox.back().map(|last| last.notification_id.clone()) else { return };
        self.taken.extend(inbox.iter().map(|n| n.notification_id.to_string()));
        self.request(Request::Ack(last));
    }

    fn event(&mut self, event: Event) {
        self.agent.handle_event(event, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut idle = true;
            while let Some(action) = self.auth.poll_action() {
                idle = false;
                if let AuthAction::Login { id, generation, .. } = action {
                    self.ledger.logins.push(self.now);
                    let fails = self.chance(self.faults.lost);
                    let result = if fails {
                        Err(Failure::local(FailureKind::Unreachable, ""))
                    } else {
                        self.newest_token = self.newest_token.max(generation);
                        self.good_tokens = self.good_tokens.min(generation);
                        Ok(LoggedIn { lifetime: Some(Duration::from_secs(3600)), can_refresh: false })
                    };
                    let after = self.delay();
                    self.schedule(after, Delivery::Login(id, result));
                }
            }
            while let Some(action) = self.agent.poll_action() {
                idle = false;
                self.perform(action);
            }
            let view = Arc::new(self.auth.snapshot());
            if *self.agent.snapshot().auth != *view {
                idle = false;
                self.agent.handle_event(Event::Auth(view), self.now);
            }
            if idle || self.exit.is_some() {
                return;
            }
        }
    }

    fn perform(&mut self, action: Action) {
        assert!(self.exit.is_none(), "an action after the exit: {action:?}");
        match action {
            Action::Send { id, call, limit } => {
                let kind = call.kind();
                let doubled = self.in_flight.values().any(|other| *other == kind);
                assert!(!doubled, "two calls of kind {kind} in flight");
                self.in_flight.insert(id.clone(), kind);
                let generation = self.auth.snapshot().generation.expect("sent without a token");
                let lost = self.chance(self.faults.lost);
                let after = self.delay();
                if lost {
                    let failure = if self.rng.bool() {
                        self.schedule(after, Delivery::Answer(id, Err(unreachable())));
                        return;
                    } else {
                        Failure::local(FailureKind::TimedOut, "")
                    };
                    self.schedule(limit, Delivery::Answer(id, Err(failure)));
                } else {
                    self.schedule(after, Delivery::Request(id.clone(), call, generation));
                    // The adapter's own limit.
                    self.schedule(limit, Delivery::Answer(id, Err(Failure::local(FailureKind::TimedOut, ""))));
                }
            }
            Action::Cancel(id) => {
                assert!(self.in_flight.remove(&id).is_some(), "cancelled, but not in flight");
                self.polls.remove(&id);
            }
            Action::Store { ticket, records } => {
                let after = Duration::from_millis(self.rng.u64(0..20));
                self.schedule(after, Delivery::Stored(ticket, records));
            }
            Action::Reply { id, verdict } => {
                if let (Some(name), Ok(Granted::Accepted(_))) = (self.beginning.remove(&id), &verdict) {
                    self.begun.push(name);
                }
                if let (Some(error), Ok(Granted::Accepted(_))) = (self.waiting.remove(&id), verdict) {
                    self.accepted.push(error);
                }
            }
            Action::TokenRejected(generation) => {
                self.auth.handle_event(AuthEvent::Rejected(generation), self.now);
            }
            Action::HandOver(what) => self.pushed(&what),
            // The test is the game.
            Action::Note(_) | Action::Learnt { .. } | Action::Game(_) => {}
            Action::Exit(outcome) => self.exit = Some(outcome),
        }
    }

    /// Whether the taker never takes it.
    pub(super) fn is_poison(&self, id: &str) -> bool {
        let number = id.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
        self.taker.poison > 0 && number.is_some_and(|number| number % self.taker.poison == 1)
    }

    /// A notification is pushed. Once it is with the game it is taken, also if the agent dies before it hears of that.
    fn pushed(&mut self, what: &HandOver) {
        let id = what.notification.notification_id.clone();
        let result = if self.taker.away {
            Err(Untaken::Absent("away".into()))
        } else if self.is_poison(id.as_str()) {
            Err(Untaken::Refused("poison".into()))
        } else {
            self.taken.push(id.to_string());
            Ok(())
        };
        let after = self.delay();
        self.schedule(after, Delivery::HandedOver(id, result));
    }

    fn deliver(&mut self, life: u32, delivery: Delivery) {
        match delivery {
            // The backend does not care which life sent it.
            Delivery::Request(id, call, generation) => self.arrived(life, id, call, generation),
            // A batch that was on its way when the process died may or may not have reached the disk: here it has not.
            _ if life != self.life => {}
            Delivery::Answer(id, result) => {
                if self.in_flight.remove(&id).is_some() {
                    self.polls.remove(&id);
                    self.agent.handle_event(Event::Answered { id, result }, self.now);
                }
            }
            Delivery::PollOver(id) => {
                if self.polls.remove(&id).is_some() {
                    self.respond(id, Ok(Answer::Page(Page::default())));
                }
            }
            Delivery::HandedOver(id, result) => self.agent.handle_event(Event::HandedOver { id, result }, self.now),
            Delivery::Login(id, result) => self.auth.handle_event(AuthEvent::Answered { id, result }, self.now),
            Delivery::Stored(ticket, records) => {
                for record in &records {
                    self.durable.apply(record);
                }
                self.agent.handle_event(Event::Stored { ticket, result: Ok(()) }, self.now);
            }
        }
    }

    fn respond(&mut self, id: CallId, result: Result<Answer, Failure>) {
        let after = self.delay();
        self.schedule(after, Delivery::Answer(id, result));
    }

    fn arrived(&mut self, life: u32, id: CallId, call: Call, generation: Generation) {
        self.ledger.requests.push((self.now, call.kind()));
        let refusal = if generation < self.good_tokens {
            Some(Failure { token: Some(generation), ..Failure::local(FailureKind::Unauthorised, "") })
        } else if self.chance(self.faults.throttled) {
            let after = Some(Duration::from_secs(self.rng.u64(1..30)));
            Some(Failure { retry_after: after, ..Failure::local(FailureKind::Throttled, "") })
        } else if self.chance(self.faults.server / 2) {
            Some(Failure::local(FailureKind::Server, ""))
        } else {
            None
        };
        if let Some(failure) = refusal {
            if life == self.life {
                self.respond(id, Err(failure));
            }
            return;
        }
        if let Call::Poll { after, page_size, deadline, .. } = &call {
            if life == self.life && self.in_flight.contains_key(&id) {
                self.polls.insert(id.clone(), (after.clone(), *page_size));
                self.schedule(*deadline, Delivery::PollOver(id.clone()));
                let waiting = self.newer(after.as_ref(), *page_size);
                if !waiting.is_empty() {
                    self.polls.remove(&id);
                    self.answer_poll(id, after.as_ref(), *page_size);
                }
            }
            return;
        }
        let kind = call.kind();
        let result = self.process(call);
        let lost = self.chance(self.faults.cut);
        let fails = self.chance(self.faults.server / 2);
        let told = life == self.life && !lost && !fails && self.in_flight.contains_key(&id);
        if kind == CallKind::Fubar && !told {
            self.ledger.ambiguous_reports += 1;
        }
        if life != self.life {
            return;
        }
        if lost {
            self.respond(id, Err(Failure::local(FailureKind::Cut, "")));
        } else if fails {
            self.respond(id, Err(Failure::local(FailureKind::Server, "")));
        } else {
            let after = self.delay();
            if kind == CallKind::Fubar && after > Duration::from_secs(8) {
                self.ledger.ambiguous_reports += 1;
            }
            self.schedule(after, Delivery::Answer(id, result));
        }
    }

    fn newer(&self, after: Option<&NotificationId>, size: u8) -> Vec<Arc<Notification>> {
        let from = after
            .and_then(|after| self.published.iter().position(|n| n.notification_id == *after))
            .map_or(0, |at| at + 1);
        self.published.iter().skip(from).take(usize::from(size)).cloned().collect()
    }

    fn answer_poll(&mut self, id: CallId, after: Option<&NotificationId>, size: u8) {
        let notifications = self.newer(after, size);
        let last_id = notifications.last().map(|n| n.notification_id.clone());
        self.respond(id, Ok(Answer::Page(Page { notifications, unusable: 0, last_id })));
    }

    /// Whether the instance that the session shows is not that of the agent.
    fn is_others(&self) -> bool {
        let ours = self.agent.snapshot().instance.instance_id;
        self.instance.as_ref().is_some_and(|shown| shown.instance_id != ours)
    }

    fn process(&mut self, call: Call) -> Result<Answer, Failure> {
        let gone = || Failure { status: Some(404), ..Failure::local(FailureKind::NotFound, "") };
        match call {
            Call::FindSession { .. } | Call::ReadSession { .. } => {
                let session = Session {
                    session_id: session_id(),
                    region_id: None,
                    instance: self.instance.clone(),
                    document: Arc::from("{}"),
                    print: 0,
                    is_new: false,
                };
                let etag = Etag::parse(&format!("\"{}\"", self.etag)).ok();
                if let Call::ReadSession { etag: known, .. } = &call
                    && known.is_some()
                    && *known == etag
                {
                    return Ok(Answer::NotModified);
                }
                Ok(Answer::Session { session: Box::new(session), etag })
            }
            Call::Register { registration, .. } => {
                self.etag += 1;
                self.ledger.registrations += 1;
                if self.is_others() {
                    self.ledger.writes_on_others += 1;
                }
                let info = InstanceInfo {
                    instance_id: Some(registration.instance_id),
                    allocation_id: None,
                    join_status: JoinStatus::Pending,
                    health: None,
                };
                self.instance = Some(info.clone());
                Ok(Answer::Instance(Box::new(info)))
            }
            Call::Update { update, .. } => {
                if self.is_others() && update.allocation_id.is_none() {
                    self.ledger.writes_on_others += 1;
                }
                let Some(shown) = &mut self.instance else { return Err(gone()) };
                if shown.allocation_id.is_some() && shown.allocation_id != update.allocation_id {
                    return Err(Failure::local(FailureKind::Forbidden, "fenced"));
                }
                self.etag += 1;
                shown.join_status = update.join_status;
                Ok(Answer::Instance(Box::new(shown.clone())))
            }
            Call::Unregister { .. } => {
                if self.is_others() {
                    self.ledger.deletes_of_others += 1;
                }
                self.etag += 1;
                self.instance.take().map(|_| Answer::Unregistered).ok_or_else(gone)
            }
            Call::HealthConfig => Ok(Answer::HealthConfig(HealthConfig { cadence: Duration::from_secs(10) })),
            Call::PostHealth { health, instance, .. } => {
                if self.instance.as_ref().and_then(|shown| shown.instance_id.as_ref()) != Some(&instance) {
                    return Err(gone());
                }
                self.ledger.health.push((self.now, health));
                Ok(Answer::HealthAccepted(health))
            }
            Call::Fubar { report, .. } => {
                self.ledger.fubars.push(report.error);
                Ok(Answer::Accepted)
            }
            Call::PostEvent { .. } | Call::Audit { .. } => Ok(Answer::Accepted),
            Call::Duty { duty, .. } => {
                if self.is_others() {
                    self.ledger.writes_on_others += 1;
                }
                if let Duty::BeginMatch(game_match) = *duty {
                    self.ledger.matches.push(game_match.match_id.to_string());
                }
                Ok(Answer::Accepted)
            }
            Call::Poll { .. } => Ok(Answer::Page(Page::default())),
            Call::CreateSession { .. } | Call::SicRegister { .. } | Call::SicState { .. } => Err(unreachable()),
        }
    }
}

fn unreachable() -> Failure {
    Failure::local(FailureKind::Unreachable, "")
}
