//! The world that the checker explores: agents, their disks, the network between them and the backend, and time.
//!
//! Everything that can happen next is a [`Step`]; what happens by one is decided by the state alone.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backend, Shown};
use super::game::{Game, ended};
use super::host::{Host, Known, Process, Waiter, wants};
use super::print::Print;
use super::rules;
use crate::core::auth::{Auth, AuthAction, AuthEvent};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind, LoggedIn, Page};
use crate::core::durable::Record;
use crate::core::event::{Command, Event, Granted, Request, StoreFault};
use crate::core::ids::{CallId, Generation, RequestId};
use crate::core::params::Params;
use crate::core::process::{EndStatus, GameEvent};
use crate::core::tests::rig::wall;
use crate::core::{Action, AuthView, Machine as _};

/// What may still go wrong or be asked, and how long the world is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// Calls that fail, with the request lost or with only the answer lost.
    pub(super) losses: u8,
    /// 403 for a missing permission.
    pub(super) forbidden: u8,
    pub(super) crashes: u8,
    /// Batches that the disk refuses.
    pub(super) disk_faults: u8,
    pub(super) token_deaths: u8,
    pub(super) login_failures: u8,
    pub(super) reassignments: u8,
    pub(super) publishes: u8,
    pub(super) reports: u8,
    pub(super) stops: u8,
    /// Games of ours that end by themselves, well or by a crash.
    pub(super) game_ends: u8,
    /// Times that time passes although a message is pending.
    pub(super) delays: u8,
    /// The network falls silent for good.
    pub(super) silences: u8,
    /// Times that time goes on to the next deadline.
    pub(super) ticks: u8,
}

/// What a check looks at; everything else is quiet: answered in the step in which it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    /// Calls whose messages are on their own.
    pub(super) slow: &'static [CallKind],
    /// The answers of these travel too; else they come in the step in which the request arrives.
    pub(super) answers_travel: bool,
    pub(super) slow_store: bool,
    pub(super) slow_login: bool,
    /// The lifetime of a token.
    pub(super) lifetime: Option<Duration>,
}

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A request reaches the backend.
    Arrive(usize),
    /// An answer reaches the agent.
    Return(usize),
    /// A call fails: how, and whether the request may reach the backend all the same, at any later time.
    Fail(usize, FailureKind, bool),
    /// A login comes back, well or not.
    Login(usize, bool),
    /// The oldest batch of an agent is on disk, or refused.
    Stored(usize, bool),
    /// A process is killed; so many batches of its agents had reached the disk.
    Crash(usize, usize),
    Report(usize),
    /// The game takes the oldest notification and acknowledges it.
    Ack(usize),
    Stop(usize),
    /// A game of ours ends like this.
    GameEnds(usize, EndStatus),
    Publish,
    Reassign,
    TokenDies(usize),
    Silence,
    Tick,
}

/// Where a call is.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Going,
    /// A long poll, held by the backend until then.
    Held(Instant),
    Back(Result<Answer, Failure>, Option<Shown>),
}

/// A call on its way. Without an id nobody waits for its answer any more.
#[derive(Debug, Clone)]
struct Flight {
    host: usize,
    id: Option<CallId>,
    call: Call,
    token: Option<Generation>,
    until: Instant,
    stage: Stage,
    /// What its sender knew of the owner, by version.
    knew: u32,
}

/// What was printed of each host, as long as it has not changed.
type Prints = Vec<Option<(u64, Vec<u64>)>>;

/// See the module.
#[derive(Clone)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) scope: Scope,
    pub(super) budget: Budget,
    pub(super) hosts: Vec<Rc<Host>>,
    pub(super) processes: Vec<Process>,
    pub(super) backend: Backend,
    flights: Vec<Flight>,
    pub(super) silent: bool,
    /// Reports that were confirmed to their callers, by label, with the host that did.
    pub(super) accepted: Vec<(usize, String)>,
    /// How often the outcome of a report was unknown to its sender.
    pub(super) ambiguous: std::collections::BTreeMap<String, u32>,
    reports: u64,
    /// Where the next allocation goes.
    pub(super) next_allocation: Option<(&'static str, &'static str)>,
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
    /// Races seen in this step that no unfenced client can avoid.
    pub(super) races: Vec<&'static str>,
    /// There was such a race.
    pub(super) raced: bool,
    prints: RefCell<Prints>,
}

/// A token without a lifetime of its own never dies of age.
const ANY: u32 = u32::MAX;

impl World {
    /// Agents, each with the number of its process.
    pub(super) fn new(scope: Scope, budget: Budget, agents: Vec<(&'static str, usize, Params)>) -> Self {
        let now = crate::clock::now();
        let count = agents.iter().map(|(_, process, _)| process + 1).max().unwrap_or_default();
        let hosts: Vec<_> =
            agents.into_iter().map(|(name, process, params)| Rc::new(Host::new(name, process, params, now))).collect();
        let mut world = Self {
            now,
            scope,
            budget,
            prints: RefCell::new(vec![None; hosts.len()]),
            hosts,
            processes: (0..count).map(|_| process(now)).collect(),
            backend: Backend::default(),
            flights: Vec::new(),
            silent: false,
            accepted: Vec::new(),
            ambiguous: Default::default(),
            reports: 0,
            next_allocation: None,
            broken: None,
            races: Vec::new(),
            raced: false,
        };
        world.settle();
        world
    }

    pub(super) fn host_mut(&mut self, host: usize) -> &mut Host {
        if let Some(print) = self.prints.borrow_mut().get_mut(host) {
            *print = None;
        }
        Rc::make_mut(&mut self.hosts[host])
    }

    pub(super) fn break_rule(&mut self, words: impl Into<String>) {
        self.broken.get_or_insert_with(|| words.into());
    }

    /// Whether anything that somebody waits for is under way.
    pub(super) fn is_busy(&self) -> bool {
        let message = |flight: &Flight| flight.id.is_some() && !matches!(flight.stage, Stage::Held(_));
        self.hosts.iter().any(|host| !host.batches.is_empty())
            || self.processes.iter().any(|process| process.login.is_some())
            || (!self.silent && self.flights.iter().any(message))
    }

    /// All that can happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let budget = &self.budget;
        for (at, flight) in self.flights.iter().enumerate() {
            match &flight.stage {
                _ if self.silent && flight.id.is_some() => {}
                Stage::Going => {
                    steps.push(Step::Arrive(at));
                    if budget.losses > 0 && flight.id.is_some() {
                        steps.push(Step::Fail(at, FailureKind::Unreachable, false));
                        steps.push(Step::Fail(at, FailureKind::Cut, true));
                        steps.push(Step::Fail(at, FailureKind::Server, true));
                    }
                    if budget.forbidden > 0 && flight.id.is_some() {
                        steps.push(Step::Fail(at, FailureKind::Forbidden, false));
                    }
                }
                Stage::Held(_) => {
                    if budget.losses > 0 {
                        steps.push(Step::Fail(at, FailureKind::Cut, false));
                    }
                }
                Stage::Back(..) => steps.push(Step::Return(at)),
            }
        }
        for (at, process) in self.processes.iter().enumerate() {
            if process.login.is_some() {
                steps.push(Step::Login(at, true));
                if budget.login_failures > 0 {
                    steps.push(Step::Login(at, false));
                }
            } else if budget.token_deaths > 0 && process.view.generation > Some(process.dead) {
                steps.push(Step::TokenDies(at));
            }
            if budget.crashes > 0 {
                let mine = || self.hosts.iter().filter(|host| host.process == at);
                if mine().all(|host| host.over.is_none()) {
                    let batches = mine().map(|host| host.batches.len()).max().unwrap_or_default();
                    steps.extend((0..=batches).map(|kept| Step::Crash(at, kept)));
                }
            }
        }
        for (at, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.over.is_none()) {
            if !host.batches.is_empty() {
                steps.push(Step::Stored(at, true));
                let identity = |record: &Record| matches!(record, Record::Identity { .. });
                if budget.disk_faults > 0
                    && !host.batches.iter().take(1).any(|(_, records)| records.iter().any(identity))
                {
                    steps.push(Step::Stored(at, false));
                }
            }
            if budget.reports > 0 {
                steps.push(Step::Report(at));
            }
            let acks = host.waiting.values().any(|waiter| matches!(waiter, Waiter::Ack(_)));
            if host.params.notifications && !acks && !host.agent.snapshot().notifications.inbox.is_empty() {
                steps.push(Step::Ack(at));
            }
            if budget.stops > 0 && host.stopped.is_none() {
                steps.push(Step::Stop(at));
            }
            let by_itself = budget.game_ends > 0;
            steps.extend(host.game.ends(by_itself).into_iter().map(|status| Step::GameEnds(at, status)));
        }
        if budget.publishes > 0 {
            steps.push(Step::Publish);
        }
        if budget.reassignments > 0 && self.next_allocation.is_some() {
            steps.push(Step::Reassign);
        }
        if budget.silences > 0 && !self.silent && self.hosts.iter().any(|host| host.stopped.is_some()) {
            steps.push(Step::Silence);
        }
        if budget.ticks > 0 && (!self.is_busy() || budget.delays > 0) {
            steps.push(Step::Tick);
        }
        steps
    }

    /// What a fair world without faults does next: everything that is under way first, the oldest first, then time. What
    /// nobody waits for any more is lost.
    pub(super) fn fair_step(&mut self) -> Step {
        self.flights.retain(|flight| flight.id.is_some());
        self.budget = Budget { ticks: u8::MAX, ..Budget::default() };
        let steps = self.steps();
        steps.iter().find(|step| !matches!(step, Step::Tick)).copied().unwrap_or(Step::Tick)
    }

    pub(super) fn take(&mut self, step: Step) {
        self.races.clear();
        match step {
            Step::Arrive(at) => self.arrive(at),
            Step::Return(at) => {
                let flight = self.flights.remove(at);
                if let Stage::Back(result, shown) = flight.stage {
                    self.answer(flight.host, flight.id, &flight.call, result, shown);
                }
            }
            Step::Fail(at, kind, carried_out) => {
                if kind == FailureKind::Forbidden {
                    self.budget.forbidden -= 1;
                } else {
                    self.budget.losses -= 1;
                }
                self.fail(at, kind, carried_out);
            }
            Step::Login(at, well) => self.logged_in(at, well),
            Step::Stored(at, well) => {
                self.budget.disk_faults -= u8::from(!well);
                self.stored(at, well);
            }
            Step::Crash(at, kept) => {
                self.budget.crashes -= 1;
                self.crash(at, kept);
            }
            Step::Report(at) => {
                self.budget.reports -= 1;
                self.reports += 1;
                let error = format!("r{}", self.reports);
                self.ask(at, Waiter::Report(error.clone()), Request::Fubar { error, key: None });
            }
            Step::Ack(at) => {
                let inbox = self.hosts[at].agent.snapshot().notifications.inbox;
                if let Some(first) = inbox.front() {
                    let id = first.notification_id.clone();
                    self.host_mut(at).asked.insert(id.to_string());
                    self.ask(at, Waiter::Ack(id.to_string()), Request::Ack(id));
                }
            }
            Step::Stop(at) => {
                self.budget.stops -= 1;
                let now = self.now;
                self.host_mut(at).stopped = Some(now);
                self.tell(at, Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
            }
            Step::GameEnds(at, status) => {
                self.budget.game_ends -= u8::from(self.hosts[at].game.is_by_itself(status));
                self.host_mut(at).game_ends(status);
                self.tell(at, Event::Game(ended(status)));
            }
            Step::Publish => {
                self.budget.publishes -= 1;
                self.backend.published += 1;
                for flight in &mut self.flights {
                    if matches!(flight.stage, Stage::Held(_)) {
                        flight.stage = Stage::Going;
                    }
                }
            }
            Step::Reassign => {
                self.budget.reassignments -= 1;
                if let Some((allocation, instance)) = self.next_allocation.take() {
                    self.backend.allocate(allocation, instance);
                }
            }
            Step::TokenDies(at) => {
                self.budget.token_deaths -= 1;
                let process = &mut self.processes[at];
                process.dead = process.view.generation.unwrap_or_default();
            }
            Step::Silence => {
                self.budget.silences -= 1;
                self.silent = true;
            }
            Step::Tick => {
                self.budget.delays -= u8::from(self.is_busy());
                self.budget.ticks -= 1;
                self.tick();
            }
        }
        self.settle();
        self.raced |= !self.races.is_empty();
        rules::state(self);
    }

    /// A request reaches the backend.
    fn arrive(&mut self, at: usize) {
        let flight = self.flights[at].clone();
        let dead = self.processes[self.hosts[flight.host].process].dead;
        let refused = flight.token.is_some_and(|token| token <= dead);
        let held = matches!(flight.call, Call::Poll { .. }) && !self.backend.has_news(&flight.call);
        let (result, shown) = if refused {
            let failure = Failure::local(FailureKind::Unauthorised, "");
            (Err(Failure { token: flight.token, ..failure }), None)
        } else if held {
            let Call::Poll { deadline, .. } = &flight.call else { return };
            self.flights[at].stage = Stage::Held(self.now + *deadline);
            return;
        } else {
            rules::arrival(self, flight.host, &flight.call, flight.knew);
            self.backend.process(&flight.call)
        };
        if flight.id.is_none() {
            self.flights.remove(at);
        } else if self.scope.answers_travel && self.scope.slow.contains(&flight.call.kind()) {
            self.flights[at].stage = Stage::Back(result, shown);
        } else {
            self.flights.remove(at);
            self.answer(flight.host, flight.id, &flight.call, result, shown);
        }
    }

    /// An answer reaches its agent.
    fn answer(
        &mut self,
        at: usize,
        id: Option<CallId>,
        call: &Call,
        result: Result<Answer, Failure>,
        shown: Option<Shown>,
    ) {
        let Some(id) = id else { return };
        let now = self.now;
        let host = self.host_mut(at);
        match &result {
            Ok(_) => {
                host.failed_at.remove(&wants(call));
                if let Call::Fubar { report, .. } = call {
                    host.done.insert(report.error.clone());
                }
            }
            Err(failure) => {
                if failure.kind == FailureKind::Unauthorised {
                    host.refused_token = host.refused_token.max(failure.token);
                } else {
                    host.failed_at.insert(wants(call), now);
                }
            }
        }
        if let Some(shown) = shown
            && host.known.as_ref().is_none_or(|known| known.shown.version <= shown.version)
        {
            if shown.look {
                host.looked = Some(now);
            }
            if host.known.as_ref().is_some_and(|known| known.shown.version < shown.version) {
                // Things have changed: what failed before may be tried again.
                host.failed_at.clear();
            }
            host.known = Some(Known { shown, at: now });
        }
        if let Err(failure) = &result {
            if let (FailureKind::Unauthorised, Some(token)) = (failure.kind, failure.token) {
                let process = &mut self.processes[self.hosts[at].process];
                if process.view.generation == Some(token) {
                    process.excuse = Some("a token was refused");
                }
            }
            if let (Call::Fubar { report, .. }, true) = (call, failure.is_ambiguous()) {
                *self.ambiguous.entry(report.error.clone()).or_default() += 1;
            }
        }
        self.tell(at, Event::Answered { id, result });
    }

    fn fail(&mut self, at: usize, kind: FailureKind, carried_out: bool) {
        let mut flight = self.flights.remove(at);
        let (host, id, call) = (flight.host, flight.id.take(), flight.call.clone());
        if carried_out && flight.stage == Stage::Going {
            self.forget(flight);
        }
        self.answer(host, id, &call, Err(Failure::local(kind, "")), None);
    }

    /// A request that nobody waits for: kept only if it could change something.
    fn forget(&mut self, flight: Flight) {
        let changes = matches!(
            flight.call.kind(),
            CallKind::Register
                | CallKind::Update
                | CallKind::Unregister
                | CallKind::Fubar
                | CallKind::PostEvent
                | CallKind::Audit
                | CallKind::Match
                | CallKind::Browser
                | CallKind::UpdateSession
                | CallKind::RemovePlayer
        );
        if changes && flight.stage == Stage::Going {
            self.flights.push(Flight { id: None, until: self.now, ..flight });
        }
    }

    fn logged_in(&mut self, at: usize, well: bool) {
        self.budget.login_failures -= u8::from(!well);
        let lifetime = self.scope.lifetime;
        let now = self.now;
        let process = &mut self.processes[at];
        let Some((id, _, _)) = process.login.take() else { return };
        let result = if well {
            process.given = Some(now);
            Ok(LoggedIn { lifetime, can_refresh: lifetime.is_some() })
        } else {
            process.excuse = Some("a login failed");
            Err(Failure::local(FailureKind::Unreachable, ""))
        };
        process.auth.reseed(3);
        process.auth.handle_event(AuthEvent::Answered { id, result }, now);
    }

    fn stored(&mut self, at: usize, well: bool) {
        let host = self.host_mut(at);
        let Some((ticket, records)) = host.batches.pop_front() else { return };
        host.disk.write(&records, !well);
        self.tell(at, Event::Stored { ticket, result: if well { Ok(()) } else { Err(StoreFault::Failed) } });
    }

    fn crash(&mut self, at: usize, kept: usize) {
        let now = self.now;
        self.processes[at] = process(now);
        for host in 0..self.hosts.len() {
            if self.hosts[host].process != at {
                continue;
            }
            let (lost, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.host == host);
            self.flights = others;
            let before = self.hosts[host].done.clone();
            self.host_mut(host).crash(kept, now);
            let waiting: Vec<String> =
                self.hosts[host].disk.synced.outbox.iter().map(|r| r.content.label().to_owned()).collect();
            for label in waiting {
                let flew = |flight: &Flight| flight.id.is_some() && is_fubar(&flight.call, &label);
                if before.contains(&label) || lost.iter().any(flew) {
                    *self.ambiguous.entry(label).or_default() += 1;
                }
            }
            let done = self.accepted.iter().filter(|(by, label)| {
                *by == host && !self.hosts[host].disk.synced.outbox.iter().any(|r| r.content.label() == label)
            });
            let done = done.map(|(_, label)| label.clone()).collect();
            self.host_mut(host).done = done;
            for flight in lost {
                // A token of another life is good for ever: the worst case.
                self.forget(Flight { token: None, ..flight });
            }
        }
    }

    fn ask(&mut self, at: usize, waiter: Waiter, request: Request) {
        // Numbers by what is asked, so that the order of other questions does not matter.
        let number = match &waiter {
            Waiter::Report(_) => self.reports,
            Waiter::Ack(_) => 1000,
        };
        self.host_mut(at).waiting.insert(number, waiter);
        let wall = wall() + jiff::SignedDuration::from_secs(i64::try_from(number).unwrap());
        self.tell(at, Event::Request { id: RequestId(number), request, wall });
    }

    fn tick(&mut self) {
        let deadlines = self
            .hosts
            .iter()
            .filter_map(|host| host.agent.poll_timeout())
            .chain(self.processes.iter().filter_map(|process| process.auth.poll_timeout()))
            .chain(self.flights.iter().filter(|flight| flight.id.is_some()).map(|flight| match flight.stage {
                Stage::Held(until) => until.min(flight.until),
                Stage::Going | Stage::Back(..) => flight.until,
            }));
        let Some(next) = deadlines.min() else { return };
        self.now = self.now.max(next);
        self.prints.borrow_mut().fill(None);
        while let Some(at) = self.flights.iter().position(|flight| flight.id.is_some() && flight.until <= self.now) {
            self.fail(at, FailureKind::TimedOut, true);
        }
        let over = |flight: &Flight, now| matches!(flight.stage, Stage::Held(until) if until <= now);
        while let Some(at) = self.flights.iter().position(|flight| over(flight, self.now)) {
            let flight = self.flights.remove(at);
            self.answer(flight.host, flight.id, &flight.call, Ok(Answer::Page(Page::default())), None);
        }
        for host in 0..self.hosts.len() {
            // The store tries again by itself, about once a second.
            if self.hosts[host].disk.ailing {
                self.host_mut(host).disk.write(&[], false);
            }
        }
        for process in &mut self.processes {
            process.auth.reseed(3);
            process.auth.handle_timeout(self.now);
        }
        let now = self.now;
        for at in 0..self.hosts.len() {
            if self.hosts[at].agent.poll_timeout().is_some_and(|due| due <= now) {
                let seed = self.hosts[at].seed();
                let host = self.host_mut(at);
                host.agent.reseed(seed);
                host.agent.handle_timeout(now);
            }
        }
    }

    /// Tells an agent something.
    fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        let seed = self.hosts[at].seed();
        let host = self.host_mut(at);
        host.agent.reseed(seed);
        host.agent.handle_event(event, now);
        self.drain(at);
    }

    /// Carries out what is wanted until nobody wants anything.
    fn settle(&mut self) {
        for _ in 0..100 {
            let mut idle = true;
            for at in 0..self.processes.len() {
                while let Some(action) = self.processes[at].auth.poll_action() {
                    idle = false;
                    if let AuthAction::Login { id, login, generation } = action {
                        rules::login(self, at, login);
                        self.processes[at].login = Some((id, login, generation));
                        self.processes[at].logins += 1;
                    }
                }
            }
            for at in 0..self.processes.len() {
                let view = self.processes[at].auth.snapshot();
                if *self.processes[at].view != view {
                    self.processes[at].view = Arc::new(view);
                }
            }
            for at in 0..self.hosts.len() {
                let view = &self.processes[self.hosts[at].process].view;
                if self.hosts[at].over.is_none() && self.hosts[at].auth != *view {
                    idle = false;
                    let view = Arc::clone(view);
                    self.host_mut(at).auth = Arc::clone(&view);
                    self.tell(at, Event::Auth(view));
                }
                idle &= !self.drain(at);
            }
            idle &= !self.do_quietly();
            if idle {
                return;
            }
        }
        self.break_rule("the agents keep asking without end in one moment");
    }

    /// Does one thing that this check does not look at; says whether there was one.
    fn do_quietly(&mut self) -> bool {
        if let Some(at) = self.hosts.iter().position(|host| host.game == Game::Ordered) {
            self.host_mut(at).game = Game::Running;
            self.tell(at, Event::Game(GameEvent::Started { pid: 1 }));
        } else if !self.scope.slow_login
            && let Some(at) = self.processes.iter().position(|process| process.login.is_some())
        {
            self.logged_in(at, true);
        } else if !self.scope.slow_store
            && let Some(at) = self.hosts.iter().position(|host| !host.batches.is_empty())
        {
            self.stored(at, true);
        } else if !self.silent
            && let Some(at) = self.flights.iter().position(|flight| {
                flight.id.is_some() && flight.stage == Stage::Going && !self.scope.slow.contains(&flight.call.kind())
            })
        {
            self.arrive(at);
        } else {
            return false;
        }
        true
    }

    /// Carries out an agent's actions; says whether there were any.
    fn drain(&mut self, at: usize) -> bool {
        let mut any = false;
        loop {
            let Some(action) = self.host_mut(at).agent.poll_action() else { return any };
            any = true;
            self.perform(at, action);
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        if self.hosts[at].over.is_some() {
            self.break_rule(format!("{}: an action after the end: {action:?}", self.hosts[at].name));
        }
        match action {
            Action::Send { id, call, limit } => {
                let kind = call.kind();
                if self.flights.iter().any(|other| other.host == at && other.id.is_some() && other.call.kind() == kind)
                {
                    self.break_rule(format!("{}: two calls of kind {kind} in flight", self.hosts[at].name));
                }
                rules::sent(self, at, &call);
                let token = self.processes[self.hosts[at].process].view.generation;
                let knew = self.hosts[at].known.as_ref().map_or(ANY, |known| known.shown.version);
                let until = self.now + limit;
                self.flights.push(Flight { host: at, id: Some(id), call, token, until, stage: Stage::Going, knew });
            }
            Action::Cancel(id) => {
                let wanted = |flight: &Flight| flight.host == at && flight.id.as_ref() == Some(&id);
                if let Some(found) = self.flights.iter().position(wanted) {
                    let flight = self.flights.remove(found);
                    if let Call::Fubar { report, .. } = &flight.call {
                        *self.ambiguous.entry(report.error.clone()).or_default() += 1;
                    }
                    self.forget(flight);
                } else {
                    self.break_rule("cancelled, but not in flight");
                }
            }
            Action::Store { ticket, records } => {
                self.host_mut(at).batches.push_back((ticket, records));
            }
            Action::Reply { id, verdict } => {
                if let Some(waiter) = self.host_mut(at).waiting.remove(&id.0) {
                    match (waiter, verdict) {
                        (Waiter::Report(label), Ok(Granted::Accepted(_))) => {
                            self.accepted.push((at, label));
                            self.accepted.sort();
                        }
                        (Waiter::Ack(notification), Ok(Granted::Acknowledged(_))) => {
                            rules::acknowledged(self, at, &notification);
                        }
                        _ => {}
                    }
                }
            }
            Action::TokenRejected(generation) => {
                let process = self.hosts[at].process;
                let now = self.now;
                self.processes[process].auth.reseed(3);
                self.processes[process].auth.handle_event(AuthEvent::Rejected(generation), now);
            }
            Action::Game(order) => {
                let ordered = self.host_mut(at).game.ordered(&order);
                if let Err(words) = ordered {
                    self.break_rule(format!("{}: {words}", self.hosts[at].name));
                }
            }
            // A world without a push way.
            Action::Note(_) | Action::Learnt { .. } | Action::HandOver(_) => {}
            Action::Exit(outcome) => {
                let host = self.host_mut(at);
                host.over = Some(outcome);
                // The store writes what it was given before the process ends.
                for (_, records) in std::mem::take(&mut host.batches) {
                    host.disk.write(&records, false);
                }
                host.waiting.clear();
                rules::exit(self, at, outcome);
            }
        }
    }

    /// What a step would do, in words.
    pub(super) fn describe(&self, step: Step) -> String {
        let flight = |at: usize| {
            self.flights.get(at).map_or(String::new(), |flight| {
                let by = self.hosts[flight.host].name;
                let late = if flight.id.is_none() { ", which nobody waits for" } else { "" };
                format!("{by}'s {:?}{late}", flight.call)
            })
        };
        match step {
            Step::Arrive(at) => format!("arrives: {}", flight(at)),
            Step::Return(at) => format!("is answered: {}: {:?}", flight(at), self.flights[at].stage),
            Step::Fail(at, kind, _) => format!("fails ({}): {}", kind.as_str(), flight(at)),
            other => format!("{other:?}"),
        }
    }

    /// Where everybody stands, in words.
    pub(super) fn standing(&self) -> String {
        let hosts = self.hosts.iter().map(|host| format!("{} {}", host.name, host.agent.snapshot().phase.as_str()));
        let shown = self.backend.instance.as_ref().map(|shown| shown.join_status.as_str().to_owned());
        let hosts: Vec<_> = hosts.collect();
        format!("{}; owner {:?} {}", hosts.join(", "), self.backend.owner(), shown.unwrap_or_default())
    }

    /// Whether the last step touched this agent.
    pub(super) fn is_touched(&self, at: usize) -> bool {
        self.prints.borrow().get(at).is_none_or(Option::is_none)
    }

    /// The print of this state, without what may still go wrong.
    pub(super) fn print(&self) -> u64 {
        let mut prints = self.prints.borrow_mut();
        let mut whole = DefaultHasher::new();
        for (host, print) in self.hosts.iter().zip(prints.iter_mut()) {
            print.get_or_insert_with(|| host.print(self.now)).0.hash(&mut whole);
        }
        let mut flights: Vec<String> = Vec::with_capacity(self.flights.len());
        for flight in &self.flights {
            let names = prints[flight.host].as_ref().map(|(_, names)| names.clone());
            let mut print = Print::new(self.now, names);
            print.add(&flight.host).add(&flight.id).add(&flight.call).add(&flight.token).add(&flight.knew);
            if flight.id.is_some() {
                print.add(&flight.until).add(&flight.stage);
            }
            flights.push(print.take());
        }
        flights.sort();
        flights.hash(&mut whole);
        let mut print = Print::new(self.now, None);
        print
            .add(&self.backend)
            .add(&self.silent)
            .add(&self.raced)
            .add(&self.accepted)
            .add(&self.ambiguous)
            .add(&self.next_allocation);
        for process in &self.processes {
            print.add(&process.auth).add(&process.login).add(&process.dead).add(&process.excuse).add(&process.given);
        }
        print.hash().hash(&mut whole);
        whole.finish()
    }
}

fn process(now: Instant) -> Process {
    let auth = Auth::new(3, &crate::core::auth::Past::default(), now);
    Process {
        view: Arc::new(AuthView::default()),
        auth,
        login: None,
        dead: Generation(0),
        excuse: Some("the start"),
        given: None,
        logins: 0,
    }
}

fn is_fubar(call: &Call, label: &str) -> bool {
    matches!(call, Call::Fubar { report, .. } if report.error == label)
}
