//! A core on the bench: events in, actions out, time by hand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::core::api::Feature;
use crate::core::auth::AuthState;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Event, Request, Said, StoreFault, Verdict};
use crate::core::ids::{
    AllocationId, CallId, Etag, Generation, InstanceId, InstanceName, NotificationId, RequestId, SessionId, Ticket,
};
use crate::core::instance::{Health, InstanceInfo, JoinParams, JoinStatus, Notification, Session};
use crate::core::params::{Deliver, Params, Process, Readiness, Target};
use crate::core::process::{HandOver, Order};
use crate::core::{Action, Agent, AuthView, Birth, Machine as _, Note, Outcome, Phase};

pub(super) const SESSION: &str = "s-1";
pub(super) const INSTANCE: &str = "i-1";
pub(super) const ALLOCATION: &str = "a-1";

pub(super) fn session_id() -> SessionId {
    SessionId::parse(SESSION).unwrap()
}

pub(super) fn instance_id() -> InstanceId {
    InstanceId::parse(INSTANCE).unwrap()
}

pub(super) fn allocation_id() -> AllocationId {
    AllocationId::parse(ALLOCATION).unwrap()
}

pub(super) fn wall() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// A self-registered instance with a connection string and generous times.
pub(in crate::core) fn params() -> Params {
    Params {
        name: InstanceName::parse("default").unwrap(),
        api: crate::core::api::Choice::Auto,
        target: Target::Session { session: session_id(), allocation: None },
        allocation: Default::default(),
        instance_id: None,
        host_type: "dedicated".to_owned(),
        region: "eu".to_owned(),
        version: Some("1.2.3".to_owned()),
        join_params: JoinParams { public_conn_str: "1.2.3.4:7777".to_owned(), ..JoinParams::default() },
        custom_data: [("mode".to_owned(), "test".to_owned())].into(),
        publish_players: None,
        publish_labels: Vec::new(),
        startup_params: None,
        matchmaking_profile_id: None,
        source_provider: None,
        readiness: Readiness::Sdk,
        process: Process::Unknown,
        stop_timeout: Duration::from_secs(30),
        ready_timeout: Duration::from_secs(300),
        default_cadence: Duration::from_secs(10),
        startup_grace: Duration::from_secs(60),
        heartbeat_timeout: Duration::from_secs(15),
        unhealthy_after: 3,
        healthy_after: 1,
        probes: Vec::new(),
        deliver: Deliver::Api,
        notifications: true,
        page_size: 100,
        poll_deadline: Duration::from_secs(25),
        session_interval: Duration::from_secs(5),
        inbox_limit: 1000,
        automatic_fubar: true,
        drain_timeout: Duration::from_secs(60),
    }
}

pub(in crate::core) fn allocated() -> Params {
    Params { target: Target::Allocation(allocation_id()), ..params() }
}

pub(super) fn info(status: JoinStatus) -> InstanceInfo {
    InstanceInfo { instance_id: Some(instance_id()), allocation_id: None, join_status: status, health: None }
}

pub(super) fn allocated_info(status: JoinStatus) -> InstanceInfo {
    InstanceInfo { allocation_id: Some(allocation_id()), ..info(status) }
}

pub(super) fn foreign_info() -> InstanceInfo {
    InstanceInfo {
        instance_id: Some(InstanceId::parse("i-other").unwrap()),
        allocation_id: Some(AllocationId::parse("a-other").unwrap()),
        ..info(JoinStatus::Joinable)
    }
}

pub(super) fn session(instance: Option<InstanceInfo>) -> Answer {
    session_tagged(instance, "\"e1\"")
}

pub(super) fn session_tagged(instance: Option<InstanceInfo>, etag: &str) -> Answer {
    let session = Session {
        session_id: session_id(),
        region_id: None,
        instance,
        document: Arc::from("{}"),
        print: 0,
        is_new: false,
    };
    Answer::Session { session: Box::new(session), etag: Some(Etag::parse(etag).unwrap()) }
}

pub(super) fn instance(info: InstanceInfo) -> Answer {
    Answer::Instance(Box::new(info))
}

pub(super) fn notification(id: &str) -> Arc<Notification> {
    Arc::new(Notification {
        notification_id: NotificationId::parse(id).unwrap(),
        created: "2026-11-22T10:00:00Z".to_owned(),
        message: format!("message {id}"),
        rh_url: None,
        etag: None,
        custom_data: Default::default(),
    })
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    Failure::local(kind, "injected")
}

pub(super) fn session_not_found() -> Failure {
    Failure { status: Some(404), code: Some("session_not_found".into()), ..failure(FailureKind::NotFound) }
}

/// See the module.
pub(super) struct Rig {
    pub(super) agent: Agent,
    pub(super) now: Instant,
    /// Calls in flight, oldest first.
    pub(super) calls: VecDeque<(CallId, Call)>,
    pub(super) cancelled: Vec<CallId>,
    /// How long each call that was sent may take.
    pub(super) limits: Vec<(CallKind, Duration)>,
    pub(super) notes: Vec<Note>,
    /// What was found out about the API, and whether it is gone.
    pub(super) learnt: Vec<(Feature, bool)>,
    /// What was ordered of the game.
    pub(super) orders: Vec<Order>,
    /// Notifications that are being pushed.
    pub(super) pushed: VecDeque<HandOver>,
    pub(super) replies: Vec<(RequestId, Verdict)>,
    pub(super) records: Vec<Record>,
    /// Batches that the store has not finished; only if `store` is off.
    pub(super) tickets: VecDeque<Ticket>,
    pub(super) rejected: Vec<Generation>,
    pub(super) exit: Option<Outcome>,
    /// What the store answers at once; `None` keeps the tickets.
    pub(super) store: Option<Result<(), StoreFault>>,
    requests: u64,
    generation: u64,
}

impl Rig {
    pub(super) fn new(params: Params) -> Self {
        Self::restarted(params, Durable::default())
    }

    pub(super) fn seeded(params: Params, seed: u64) -> Self {
        Self::born(params, Durable::default(), seed)
    }

    pub(super) fn restarted(params: Params, durable: Durable) -> Self {
        Self::born(params, durable, 7)
    }

    fn born(params: Params, durable: Durable, seed: u64) -> Self {
        let now = crate::clock::now();
        let birth = Birth { durable, fresh_id: instance_id(), seed, wall: wall() };
        let mut rig = Self {
            agent: Agent::new(params, birth, now),
            now,
            calls: VecDeque::new(),
            cancelled: Vec::new(),
            limits: Vec::new(),
            notes: Vec::new(),
            learnt: Vec::new(),
            orders: Vec::new(),
            pushed: VecDeque::new(),
            replies: Vec::new(),
            records: Vec::new(),
            tickets: VecDeque::new(),
            rejected: Vec::new(),
            exit: None,
            store: Some(Ok(())),
            requests: 0,
            generation: 0,
        };
        rig.drain();
        rig
    }

    /// A rig whose instance is registered and loading.
    pub(super) fn loading(params: Params) -> Self {
        let mut rig = Self::new(params);
        rig.log_in();
        rig.attach();
        rig
    }

    /// A rig whose instance serves, with the poll, the first beat and the configuration answered.
    pub(super) fn serving(params: Params) -> Self {
        let mut rig = Self::loading(params);
        rig.request(Request::ClientSeen);
        rig.request(Request::Ready(Said::default()));
        let shown = if rig.fenced() { allocated_info(JoinStatus::Joinable) } else { info(JoinStatus::Joinable) };
        rig.answer(CallKind::Update, Ok(instance(shown)));
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
        let config = crate::core::instance::HealthConfig { cadence: Duration::from_secs(10) };
        rig.answer(CallKind::HealthConfig, Ok(Answer::HealthConfig(config)));
        assert_eq!(rig.phase(), Phase::Serving);
        assert_eq!(rig.kinds(), [CallKind::Poll]);
        rig.replies.clear();
        rig
    }

    fn fenced(&self) -> bool {
        self.agent.snapshot().instance.allocation_id.is_some()
    }

    /// From a login to the phase Loading.
    pub(super) fn attach(&mut self) {
        if self.kinds() == [CallKind::FindSession] {
            self.answer(CallKind::FindSession, Ok(session(Some(allocated_info(JoinStatus::Allocated)))));
            self.answer(CallKind::Update, Ok(instance(allocated_info(JoinStatus::Pending))));
        } else {
            self.answer(CallKind::ReadSession, Ok(session(None)));
            self.registered();
            // The version is news to the backend: a POST cannot carry it.
            self.answer(CallKind::Update, Ok(instance(info(JoinStatus::Pending))));
        }
        assert_eq!(self.phase(), Phase::Loading);
    }

    /// The look that follows a registration, some time later.
    pub(super) fn settle(&mut self, shown: Result<Answer, Failure>) {
        self.pass(Duration::from_millis(250));
        self.answer(CallKind::ReadSession, shown);
    }

    /// The backend takes the registration, and the look after it shows us.
    pub(super) fn registered(&mut self) -> Call {
        let call = self.answer(CallKind::Register, Ok(instance(info(JoinStatus::Pending))));
        self.settle(Ok(session(Some(info(JoinStatus::Pending)))));
        call
    }

    pub(super) fn log_in(&mut self) {
        self.generation += 1;
        let generation = Some(Generation(self.generation));
        self.event(Event::Auth(Arc::new(AuthView { state: AuthState::Valid, generation, ..AuthView::default() })));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.agent.handle_event(event, self.now);
        self.drain();
    }

    pub(super) fn request(&mut self, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.event(Event::Request { id: id.clone(), request, wall: wall() });
        id
    }

    /// The verdict on a request, which must have been given.
    pub(super) fn verdict(&mut self, id: &RequestId) -> Verdict {
        let at = self.replies.iter().position(|(replied, _)| replied == id).expect("no reply yet");
        self.replies.remove(at).1
    }

    /// Asks and takes the verdict.
    pub(super) fn ask(&mut self, request: Request) -> Verdict {
        let id = self.request(request);
        self.verdict(&id)
    }

    pub(super) fn phase(&self) -> Phase {
        self.agent.snapshot().phase
    }

    /// The kinds of the calls in flight, oldest first.
    pub(super) fn kinds(&self) -> Vec<CallKind> {
        self.calls.iter().map(|(_, call)| call.kind()).collect()
    }

    /// The one call of this kind in flight.
    pub(super) fn call(&self, kind: CallKind) -> &Call {
        let mut calls = self.calls.iter().filter(|(_, call)| call.kind() == kind);
        let call = calls.next().unwrap_or_else(|| panic!("no {kind} in flight, but {:?}", self.kinds()));
        assert!(calls.next().is_none(), "two calls of kind {kind} in flight");
        &call.1
    }

    pub(super) fn answer(&mut self, kind: CallKind, result: Result<Answer, Failure>) -> Call {
        self.call(kind);
        let at = self.calls.iter().position(|(_, call)| call.kind() == kind).unwrap();
        let (id, call) = self.calls.remove(at).unwrap();
        self.event(Event::Answered { id, result });
        call
    }

    /// Answers health posts, session reads and, if wanted, polls in the way of a quiet backend.
    pub(super) fn keep_quiet(&mut self, polls: bool) {
        for kind in self.kinds() {
            match kind {
                CallKind::PostHealth => {
                    self.answer(kind, Ok(Answer::HealthAccepted(Health::Healthy)));
                }
                CallKind::ReadSession => {
                    let Call::ReadSession { etag, .. } = self.call(kind) else { unreachable!() };
                    let shown = if self.fenced() { allocated_info } else { info };
                    let status = self.agent.snapshot().instance.join_status.unwrap_or(JoinStatus::Pending);
                    let answer = if etag.is_some() { Answer::NotModified } else { session(Some(shown(status))) };
                    self.answer(kind, Ok(answer));
                }
                CallKind::Poll if polls => {
                    self.answer(kind, Ok(Answer::Page(Default::default())));
                }
                _ => {}
            }
        }
    }

    /// Lets time pass with a quiet backend.
    pub(super) fn pass_quietly(&mut self, duration: Duration, polls: bool) {
        let end = self.now + duration;
        while self.now < end {
            self.pass(Duration::from_millis(100).min(end - self.now));
            self.keep_quiet(polls);
        }
    }

    /// The store finishes the oldest batch.
    pub(super) fn stored(&mut self, result: Result<(), StoreFault>) {
        let ticket = self.tickets.pop_front().expect("no batch waits for the store");
        self.event(Event::Stored { ticket, result });
    }

    /// The process stands still: time jumps without a single wake-up.
    pub(super) fn stall(&mut self, duration: Duration) {
        self.now += duration;
        self.agent.handle_timeout(self.now);
        self.drain();
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            match self.agent.poll_timeout() {
                Some(deadline) if deadline <= end => {
                    assert!(deadline >= self.now || self.exit.is_some(), "a deadline in the past: the loop would spin");
                    let stuck = deadline == self.now;
                    self.now = deadline;
                    self.agent.handle_timeout(self.now);
                    self.drain();
                    assert!(
                        !stuck || self.agent.poll_timeout().is_none_or(|next| next > self.now),
                        "the same deadline again: the loop would spin"
                    );
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(action) = self.agent.poll_action() {
            assert!(self.exit.is_none(), "an action after the exit: {action:?}");
            match action {
                Action::Send { id, call, limit } => {
                    self.limits.push((call.kind(), limit));
                    self.calls.push_back((id, call));
                }
                Action::Cancel(id) => {
                    let at = self.calls.iter().position(|(sent, _)| *sent == id).expect("cancelled, but not in flight");
                    self.calls.remove(at);
                    self.cancelled.push(id);
                }
                Action::Store { ticket, records } => {
                    self.records.extend(records);
                    self.tickets.push_back(ticket);
                }
                Action::Reply { id, verdict } => self.replies.push((id, verdict)),
                Action::TokenRejected(generation) => self.rejected.push(generation),
                Action::Note(note) => self.notes.push(note),
                Action::Learnt { feature, finding } => self.learnt.push((feature, finding.gone)),
                Action::Game(order) => self.orders.push(order),
                Action::HandOver(what) => {
                    assert!(self.pushed.is_empty(), "two at a time: {what:?}");
                    self.pushed.push_back(what);
                }
                Action::Exit(outcome) => self.exit = Some(outcome),
            }
        }
        if let Some(result) = self.store
            && self.exit.is_none()
        {
            while !self.tickets.is_empty() {
                self.stored(result);
            }
        }
    }
}
