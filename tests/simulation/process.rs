//! The agent's process on a simulated host: its two loops as the driver turns them, its store, its births and deaths.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::core::action::{Action, Note, Outcome};
use rallyhere_agent::core::auth::{AuthAction, AuthEvent, PAST_ATTEMPTS, Past};
use rallyhere_agent::core::call::{CallKind, LoggedIn};
use rallyhere_agent::core::durable::Record;
use rallyhere_agent::core::event::{Command, Event, Granted, Request};
use rallyhere_agent::core::ids::{Generation, InstanceId, RequestId};
use rallyhere_agent::core::process::{GameEvent, Order};
use rallyhere_agent::core::{Agent, Auth, AuthView, Birth, Machine as _, Phase};
use rallyhere_agent::io::store::{Batch, Engine, Options as StoreOptions};

use crate::node::{Running, Waiter, index};
use crate::options::Fault;
use crate::rules;
use crate::world::{GameStep, What, World};

/// The loops may turn so often in one moment; more would be a spin.
const TURNS: usize = 200;

impl World {
    pub(crate) fn boot(&mut self, at: usize) {
        let now = self.now;
        let elapsed = now - self.start;
        let (can_refresh, tells) = (self.climate.can_refresh, self.climate.tells_lifetime);
        let node = &mut self.nodes[at];
        if node.running.is_some() || node.over.is_some() {
            return;
        }
        node.life += 1;
        let options = StoreOptions { compact_at: 16 << 10, limit: 4 << 20, ..StoreOptions::default() };
        let engine = match Engine::open(node.disk.clone(), &options, Box::new(|_, _| true)) {
            Ok(engine) => engine,
            Err(error) => return self.break_rule(at, format!("the store does not open: {error}")),
        };
        let found = engine.mirror().get(&node.name).cloned().unwrap_or_default();
        let flew = std::mem::take(&mut self.flew[at]);
        let ours = found.is_of(&node.params.target, None);
        let broken = node.watch.begin(&found, ours, &self.backend.copies, &flew, now);
        let wall = node.wall(elapsed);
        let age = |then: i64| Duration::from_millis(u64::try_from(wall.as_millisecond() - then).unwrap_or_default());
        let token = node.keepsake.token.filter(|token| self.tokens[*token].ends.is_none_or(|ends| ends > now));
        let left = |token: usize| self.tokens[token].ends.filter(|_| tells).map(|ends| ends - now);
        let past = Past {
            attempts: node.keepsake.attempts.iter().map(|then| age(*then)).collect(),
            token: token.map(|token| LoggedIn { lifetime: left(token), can_refresh }),
        };
        let fresh = format!("{}{}", node.id_prefix(), node.life);
        let birth =
            Birth { durable: found, fresh_id: InstanceId::parse(&fresh).unwrap(), seed: node.dice.u64(..), wall };
        node.watch.given = token.map(|token| (now, left(token)));
        node.running = Some(Running {
            agent: Agent::new(node.params.clone(), birth, now),
            auth: Auth::new(node.dice.u64(..), &past, now),
            engine,
            view: Arc::new(AuthView::default()),
            vault: token.map(|token| (Generation(1), token)),
            login: None,
            batches: VecDeque::new(),
            committing: false,
            ticking: false,
            waiting: BTreeMap::new(),
            requests: 0,
            wake: None,
            auth_wake: None,
            flights: Vec::new(),
            phase: Phase::Resolving,
            fault_told: None,
            looking: false,
            begins: true,
        });
        node.game.pushing = false;
        broken.into_iter().for_each(|words| self.break_rule(at, words));
        self.soon(10..5000, at, What::Game(GameStep::Connects));
        self.pump(at);
        if let Some(running) = &mut self.nodes[at].running {
            running.begins = false;
        }
    }

    /// The process dies; with the power, what was not synced is lost or torn.
    pub(crate) fn crash(&mut self, at: usize, power: bool) {
        let node = &mut self.nodes[at];
        let Some(running) = node.running.take() else { return };
        self.crashes += 1;
        let mut flew = BTreeSet::new();
        for flight in &running.flights {
            if let Some(label) = self.flights.get(flight).and_then(|flight| rules::label(&flight.call)) {
                flew.insert(label.to_owned());
            }
        }
        self.flew[at] = flew;
        node.watch.doubt |= running.engine.status().in_doubt;
        node.watch.died_ailing = node.watch.ailing_until.is_some_and(|until| until > self.now);
        node.stalled = None;
        if power {
            node.disk.unplugged();
        } else {
            node.disk.killed();
        }
        // A child ends with its parent.
        node.game.child = false;
        running.flights.into_iter().for_each(|flight| self.give_up(flight));
        let node = &mut self.nodes[at];
        // Whoever starts it again is quick, slow, or in a crash loop.
        let wait = match node.dice.u8(..8) {
            0 => node.dice.u64(60_000..600_000),
            _ => node.dice.u64(100..5000),
        };
        self.later(Duration::from_millis(wait), at, 0, What::Boot);
        if self.nodes[at].dice.u8(..6) == 0 && self.fault(at, Fault::Kill, 1.0) {
            let soon = Duration::from_millis(wait + self.nodes[at].dice.u64(0..3000));
            self.later(soon, at, 0, What::Die(power));
        }
    }

    pub(crate) fn wake(&mut self, at: usize) {
        let now = self.now;
        let Some(running) = &mut self.nodes[at].running else { return };
        // One of an earlier plan.
        if running.wake.take_if(|due| *due <= now).is_none() {
            return;
        }
        if running.agent.poll_timeout().is_some_and(|due| due <= now) {
            running.agent.handle_timeout(now);
        }
        self.pump(at);
    }

    pub(crate) fn auth_wake(&mut self, at: usize) {
        let now = self.now;
        let Some(running) = &mut self.nodes[at].running else { return };
        if running.auth_wake.take_if(|due| *due <= now).is_none() {
            return;
        }
        running.auth.handle_timeout(now);
        self.pump(at);
    }

    /// Tells the agent something.
    pub(crate) fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        let Some(running) = &mut self.nodes[at].running else { return };
        running.agent.handle_event(event, now);
        self.pump(at);
    }

    pub(crate) fn tell_auth(&mut self, at: usize, event: AuthEvent) {
        let now = self.now;
        let Some(running) = &mut self.nodes[at].running else { return };
        running.auth.handle_event(event, now);
        self.pump(at);
    }

    /// Asks the agent something, as the local API does.
    pub(crate) fn ask(&mut self, at: usize, waiter: Waiter, request: Request) {
        let wall = self.nodes[at].wall(self.now - self.start);
        let Some(running) = &mut self.nodes[at].running else { return };
        running.requests += 1;
        let id = RequestId(running.requests);
        running.waiting.insert(running.requests, waiter);
        self.tell(at, Event::Request { id, request, wall });
    }

    /// Turns both loops until nobody wants anything, and sets the alarm.
    fn pump(&mut self, at: usize) {
        let now = self.now;
        for turn in 0.. {
            let mut idle = true;
            loop {
                let Some(running) = &mut self.nodes[at].running else { return };
                let Some(action) = running.auth.poll_action() else { break };
                idle = false;
                self.auth_act(at, action);
            }
            let Some(running) = &mut self.nodes[at].running else { return };
            let view = running.auth.snapshot();
            if *running.view != view {
                running.view = Arc::new(view);
                running.agent.handle_event(Event::Auth(Arc::clone(&running.view)), now);
                idle = false;
            }
            loop {
                let Some(running) = &mut self.nodes[at].running else { return };
                let Some(action) = running.agent.poll_action() else { break };
                idle = false;
                self.act(at, action);
            }
            if self.nodes[at].running.as_ref().is_some_and(|running| running.agent.is_over()) {
                return self.exit(at);
            }
            if turn > TURNS {
                return self.break_rule(at, "the loops turn without end");
            }
            if idle {
                break;
            }
        }
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        let usable = running.vault.is_some_and(|(generation, _)| !node.watch.is_refused(generation));
        node.watch.may_post(running.phase.is_attached() && running.view.state.has_token() && usable, now);
        let life = node.life;
        let wake = running.agent.poll_timeout().map(|due| due.max(now));
        let wake = wake.filter(|due| running.wake.is_none_or(|set| *due < set));
        let auth_wake = running.auth.poll_timeout().map(|due| due.max(now));
        let auth_wake = auth_wake.filter(|due| running.auth_wake.is_none_or(|set| *due < set));
        running.wake = wake.or(running.wake);
        running.auth_wake = auth_wake.or(running.auth_wake);
        if wake == Some(now) {
            node.spins = if node.spun == Some(now) { node.spins + 1 } else { 0 };
            node.spun = Some(now);
            if node.spins > TURNS {
                self.break_rule(at, "the same deadline again and again");
            }
        }
        if let Some(due) = wake {
            self.push(due, at, life, What::Wake);
        }
        if let Some(due) = auth_wake {
            self.push(due, at, life, What::AuthWake);
        }
    }

    fn auth_act(&mut self, at: usize, action: AuthAction) {
        let AuthAction::Login { id, login, generation } = action else { return };
        let (now, wall) = (self.now, self.nodes[at].wall(self.now - self.start));
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        let broken = node.watch.login(running.login.is_some(), now);
        running.login = Some((id.clone(), login, generation));
        node.keepsake.attempts.push(wall.as_millisecond());
        let surplus = node.keepsake.attempts.len().saturating_sub(PAST_ATTEMPTS);
        node.keepsake.attempts.drain(..surplus);
        broken.into_iter().for_each(|words| self.break_rule(at, words));
        self.log_in(at, id, login, generation);
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Send { id, call, limit } => self.send(at, id, call, limit),
            Action::Cancel(id) => {
                let Some(running) = &mut self.nodes[at].running else { return };
                let flights = &self.flights;
                let found = running.flights.iter().position(|flight| flights.get(flight).is_some_and(|f| f.id == id));
                let Some(found) = found else { return self.break_rule(at, "cancelled, but not in flight") };
                let flight = running.flights.swap_remove(found);
                if let Some(call) = self.flights.get(&flight).map(|flight| &flight.call) {
                    let watch = &mut self.nodes[at].watch;
                    watch.kinds[index(call.kind())] = false;
                    if let Some(label) = rules::label(call) {
                        *watch.ambiguous.entry(label.to_owned()).or_default() += 1;
                    }
                }
                self.give_up(flight);
            }
            Action::Store { ticket, records } => {
                let node = &mut self.nodes[at];
                let begins = node.running.as_ref().is_some_and(|running| running.begins);
                let mut broken = None;
                for record in &records {
                    match record {
                        Record::Dead { report, .. } => {
                            let dead = node.labels.get(report).cloned();
                            broken = node.watch.dead(dead, begins);
                        }
                        Record::Accepted(report) => {
                            node.labels.insert(report.id.clone(), report.content.label().to_owned());
                        }
                        _ => {}
                    }
                }
                if let Some(words) = broken {
                    return self.break_rule(at, words);
                }
                let node = &mut self.nodes[at];
                let Some(running) = &mut node.running else { return };
                running.batches.push_back((ticket, records));
                if !std::mem::replace(&mut running.committing, true) {
                    let slow = node.slow_disk.is_some_and(|until| until > self.now);
                    self.soon(if slow { 500..8000 } else { 0..8 }, at, What::Commit);
                }
            }
            Action::Reply { id, verdict } => {
                let Some(running) = &mut self.nodes[at].running else { return };
                if let Some(waiter) = running.waiting.remove(&id.0) {
                    self.replied(at, waiter, verdict);
                }
            }
            Action::TokenRejected(generation) => {
                let now = self.now;
                if let Some(running) = &mut self.nodes[at].running {
                    running.auth.handle_event(AuthEvent::Rejected(generation), now);
                }
            }
            Action::Learnt { feature, finding } => {
                let now = self.now;
                if let Some(running) = &mut self.nodes[at].running {
                    running.auth.handle_event(AuthEvent::Learnt { feature, finding }, now);
                }
            }
            Action::Game(order) => self.ordered(at, &order),
            Action::HandOver(what) => self.pushed(at, &what.notification.notification_id),
            Action::Note(note) => self.note(at, &note),
            // Over once nothing comes after it.
            Action::Exit(outcome) => {
                if self.nodes[at].over.replace(outcome).is_some() {
                    self.break_rule(at, "a second exit");
                }
            }
        }
    }

    fn replied(&mut self, at: usize, waiter: Waiter, verdict: rallyhere_agent::core::event::Verdict) {
        let now = self.now;
        let node = &mut self.nodes[at];
        match (waiter, verdict) {
            (Waiter::Report { label, key }, Ok(Granted::Accepted(id))) => {
                let known = key.and_then(|key| node.watch.keys.insert(key, id.clone()));
                if known.is_some_and(|known| known != id) {
                    self.break_rule(at, format!("report {label} has two ids for one key"));
                } else {
                    node.watch.accepted(&label);
                }
            }
            (Waiter::Report { label, .. }, Err(_)) => node.watch.refused(&label),
            (Waiter::Ack { instance, through }, Ok(Granted::Acknowledged(_)))
                if node.watch.ailing_until.is_none_or(|until| until < now) =>
            {
                let reader = node.watch.readers.entry(instance).or_default();
                reader.settled = reader.settled.max(through + 1);
            }
            (Waiter::Ready, Ok(_)) => node.game.ready = true,
            _ => {}
        }
    }

    fn note(&mut self, at: usize, note: &Note) {
        match note {
            Note::Phase { to, .. } => {
                if let Some(running) = &mut self.nodes[at].running {
                    running.phase = *to;
                }
                self.mix(*to as u64);
            }
            Note::SetAside { id, .. } => self.set_aside(at, id),
            _ => {}
        }
    }

    fn ordered(&mut self, at: usize, order: &Order) {
        match order {
            Order::Start { .. } => {
                let node = &mut self.nodes[at];
                (node.game.child, node.game.ready) = (true, false);
                self.soon(10..2000, at, What::Game(GameStep::Is(GameEvent::Started { pid: 7 })));
                self.soon(3000..20_000, at, What::Game(GameStep::Ready));
            }
            Order::Stop => self.soon(50..4000, at, What::Game(GameStep::Is(crate::game::ended(0, false)))),
            Order::Kill => self.soon(1..50, at, What::Game(GameStep::Is(crate::game::ended(9, true)))),
        }
    }

    /// The disk takes everything that waits, in one go.
    pub(crate) fn commit(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        running.committing = false;
        let (tickets, batches): (Vec<_>, Vec<_>) =
            running.batches.drain(..).map(|(ticket, records)| (ticket, Batch::new(node.name.clone(), records))).unzip();
        let page = |record: &Record| matches!(record, Record::Page { .. });
        let news = batches.iter().any(|batch| batch.records.iter().any(page));
        let verdicts = running.engine.commit(&batches);
        if node.disk.is_dead() {
            let power = node.dice.bool();
            return self.crash(at, power);
        }
        for (ticket, result) in tickets.into_iter().zip(verdicts) {
            self.tell(at, Event::Stored { ticket, result });
        }
        if news {
            self.look_soon(at);
        }
        self.store_is(at);
    }

    pub(crate) fn tick(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        running.ticking = false;
        running.engine.tick();
        if node.disk.is_dead() {
            let power = node.dice.bool();
            return self.crash(at, power);
        }
        self.store_is(at);
    }

    /// The store's own news: it has failed, or is well again.
    fn store_is(&mut self, at: usize) {
        let life = self.nodes[at].life;
        let Some(running) = &mut self.nodes[at].running else { return };
        if running.engine.is_ailing() && !std::mem::replace(&mut running.ticking, true) {
            self.later(Duration::from_secs(1), at, life, What::Tick);
        }
        let Some(running) = &mut self.nodes[at].running else { return };
        let fault = running.engine.status().fault;
        if running.fault_told != fault {
            running.fault_told = fault;
            self.tell(at, Event::Command(Command::Store { fault, findings: Arc::default() }));
        }
    }

    /// The agent has ended of itself.
    fn exit(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some(mut running) = node.running.take() else { return };
        if !running.flights.is_empty() {
            let kinds: Vec<CallKind> =
                running.flights.iter().filter_map(|f| self.flights.get(f)).map(|f| f.call.kind()).collect();
            self.break_rule(at, format!("over with calls in flight: {kinds:?}"));
            return;
        }
        let batches: Vec<_> =
            running.batches.drain(..).map(|(_, records)| Batch::new(node.name.clone(), records)).collect();
        running.engine.commit(&batches);
        let closed = running.engine.close();
        let phase = running.phase;
        drop(running);
        if node.disk.is_dead() {
            node.disk.killed();
        }
        let outcome = node.over;
        if node.watch.stopped.is_some_and(|stopped| now - stopped > rules::stop_limit(node)) {
            self.break_rule(at, "a stop took too long");
            return;
        }
        if node.game.child {
            self.break_rule(at, "it leaves its game running");
            return;
        }
        if outcome == Some(Outcome::Superseded) && phase != Phase::Superseded {
            self.break_rule(at, "superseded in another phase");
            return;
        }
        if node.ends_as.is_some() && node.ends_as != outcome {
            let words = format!("it was {:?} before the restart, and is {outcome:?} now", node.ends_as);
            return self.break_rule(at, words);
        }
        if self.calm {
            return;
        }
        let node = &mut self.nodes[at];
        let superseded = outcome == Some(Outcome::Superseded);
        // Somebody starts it once more for the same session: it must know that this is over.
        if closed.is_ok() && node.dice.u8(..4) == 0 && !std::mem::replace(&mut node.again, true) {
            node.over = None;
            node.ends_as = superseded.then_some(Outcome::Superseded);
            self.soon(100..60_000, at, What::Boot);
        } else {
            let wait = Duration::from_secs(node.dice.u64(30..1800));
            self.assign(at);
            self.later(wait, at, 0, What::Boot);
        }
    }
}
