//! The network between the simulated hosts and the backend: what becomes of each call and each login.

use std::time::Duration;

use rallyhere_agent::core::auth::AuthEvent;
use rallyhere_agent::core::call::{Answer, Call, CallKind, Failure, FailureKind, LoggedIn, Login};
use rallyhere_agent::core::event::Event;
use rallyhere_agent::core::ids::{CallId, Generation, InstanceId};

use crate::backend::{Told, failure};
use crate::options::Fault;
use crate::rules;
use crate::world::{Flight, Outage, Token, What, World};

type Returned = (Result<Answer, Failure>, Option<Told>);

/// How long one way takes.
const WAY: std::ops::Range<u64> = 1000..40_000;

impl World {
    fn way(&mut self, at: usize) -> Duration {
        Duration::from_micros(self.nodes[at].dice.u64(WAY))
    }

    /// What a backend asks for that wants peace.
    fn patience(&mut self, at: usize) -> Duration {
        let dice = &mut self.nodes[at].dice;
        let most = if dice.u8(..8) == 0 { 900 } else { 60 };
        Duration::from_secs(dice.u64(1..=most))
    }

    /// What an outage makes of a request, and after how long.
    fn stopped_by_outage(&mut self, at: usize, limit: Duration) -> Option<(Duration, Failure)> {
        let outage = self.outage?;
        let way = self.way(at);
        Some(match outage {
            Outage::Refused => (way, Failure::local(FailureKind::Unreachable, "simulated")),
            // The connection is not even made, or it was there before.
            Outage::BlackHole if self.nodes[at].dice.bool() => {
                (limit.min(Duration::from_secs(5)), Failure::local(FailureKind::Unreachable, "simulated"))
            }
            Outage::BlackHole => (limit, Failure::local(FailureKind::TimedOut, "simulated")),
            Outage::Unavailable(after) => {
                (2 * way, Failure { retry_after: after, ..failure(FailureKind::Server, 503) })
            }
        })
    }

    pub(crate) fn send(&mut self, at: usize, id: CallId, call: Call, limit: Duration) {
        let now = self.now;
        let broken = rules::sent(&mut self.nodes[at], &call, now);
        if !broken.is_empty() {
            let words = broken.join("; ");
            return self.break_rule(at, format!("{words} ({call:?})"));
        }
        let kind = call.kind();
        self.mix(kind as u64);
        if self.options.trace {
            println!("{:>14.6} n{at} sends {call:?}", (now - self.start).as_secs_f64());
        }
        let node = &mut self.nodes[at];
        let life = node.life;
        let Some(running) = &mut node.running else { return };
        let Some(token) = running.vault else { return };
        let knew = node.watch.told.as_ref().map_or(0, |(told, _)| told.version);
        let flight = Flight {
            node: at,
            life,
            id,
            call,
            token,
            sent: now,
            until: now + limit,
            knew,
            arrived: false,
            held: false,
            closed: false,
        };
        let lost = self.stopped_by_outage(at, limit).or_else(|| {
            self.fault(at, Fault::Loss, 0.004).then(|| {
                let dice = &mut self.nodes[at].dice;
                match dice.u8(..3) {
                    0 => (limit, Failure::local(FailureKind::TimedOut, "simulated")),
                    _ => (
                        Duration::from_millis(dice.u64(1..3000)).min(limit),
                        Failure::local(FailureKind::Unreachable, "simulated"),
                    ),
                }
            })
        });
        let mut way = self.way(at);
        if lost.is_none() && self.fault(at, Fault::Delay, 0.004) {
            let millis = u64::try_from(limit.as_millis()).unwrap_or(1000);
            way += Duration::from_millis(self.nodes[at].dice.u64(..3 * millis));
        }
        let flight = self.take_off(flight);
        if let Some(running) = &mut self.nodes[at].running {
            running.flights.push(flight);
        }
        if let Some((wait, failure)) = lost {
            if let Some(flight) = self.flights.get_mut(&flight) {
                flight.arrived = true;
            }
            self.later(wait, at, life, What::Return(flight, Box::new((Err(failure), None))));
            return;
        }
        self.later(way, at, 0, What::Arrive(flight));
        if way >= limit {
            let late = Err(Failure::local(FailureKind::TimedOut, "simulated"));
            self.later(limit, at, life, What::Return(flight, Box::new((late, None))));
        }
    }

    /// A request reaches the backend.
    pub(crate) fn arrive(&mut self, at: u64) {
        let Some(flight) = self.flights.get_mut(&at) else { return };
        let (node, closed) = (flight.node, flight.closed);
        flight.arrived = true;
        let token = flight.token;
        let dead = self.tokens[token.1].dead || self.tokens[token.1].ends.is_some_and(|ends| ends <= self.now);
        if dead {
            let failure = Failure { token: Some(token.0), ..failure(FailureKind::Unauthorised, 401) };
            return self.answer(at, (Err(failure), None));
        }
        if !closed && let Some(failure) = self.turned_away(node) {
            return self.answer(at, (Err(failure), None));
        }
        let Some(flight) = self.flights.get_mut(&at) else { return };
        if self.backend.holds(&flight.call) {
            if closed {
                self.flights.remove(&at);
                return;
            }
            flight.held = true;
            return self.hold(at);
        }
        self.carry_out(at);
    }

    /// A backend that answers, and does nothing.
    fn turned_away(&mut self, at: usize) -> Option<Failure> {
        if self.fault(at, Fault::Throttle, 0.002) {
            let after = Some(self.patience(at));
            let dice = &mut self.nodes[at].dice;
            let (kind, status) = if dice.bool() { (FailureKind::Throttled, 429) } else { (FailureKind::Server, 503) };
            return Some(Failure { retry_after: after, ..failure(kind, status) });
        }
        if self.fault(at, Fault::ServerError, 0.003) {
            let status = [500, 502, 503, 504][self.nodes[at].dice.usize(..4)];
            return Some(failure(FailureKind::Server, status));
        }
        if self.fault(at, Fault::Forbidden, 0.0003) {
            return Some(Failure { code: Some("insufficient_role".into()), ..failure(FailureKind::Forbidden, 403) });
        }
        None
    }

    /// The request does what it is to do. Its answer may still be lost.
    fn carry_out(&mut self, at: u64) {
        let Some(flight) = self.flights.get(&at) else { return };
        let (node, kind) = (flight.node, flight.call.kind());
        let limit = flight.until.saturating_duration_since(self.now);
        self.trespass(at);
        let Some(flight) = self.flights.get(&at) else { return };
        let (result, told) = self.backend.process(&flight.call);
        let label = rules::label(&flight.call).map(ToOwned::to_owned);
        if let Some(label) = &label {
            self.copied(node, label);
        }
        if !kind.is_safe() && self.fault(node, Fault::Duplicate, 0.002) {
            if let Some(label) = label {
                *self.nodes[node].watch.ambiguous.entry(label.clone()).or_default() += 1;
                let Some(flight) = self.flights.get(&at) else { return };
                let _same = self.backend.process(&flight.call);
                self.copied(node, &label);
            } else if let Some(flight) = self.flights.get(&at) {
                let _same = self.backend.process(&flight.call);
            }
        }
        if result.is_ok() && self.fault(node, Fault::AnswerLoss, 0.004) {
            let dice = &mut self.nodes[node].dice;
            let (wait, kind) = match dice.u8(..3) {
                0 => (limit, FailureKind::TimedOut),
                1 => (Duration::from_millis(dice.u64(1..200)).min(limit), FailureKind::Server),
                _ => (Duration::from_millis(dice.u64(1..2000)).min(limit), FailureKind::Cut),
            };
            return self.answer_in(at, wait, (Err(Failure::local(kind, "simulated")), None));
        }
        if result.is_ok() && self.fault(node, Fault::Malformed, 0.001) {
            return self.answer(at, (Err(failure(FailureKind::Malformed, 200)), None));
        }
        self.answer(at, (result, told));
    }

    /// A write without a fence may meet somebody who came after the look, but nobody of whom its sender knew.
    fn trespass(&mut self, at: u64) {
        let Some(flight) = self.flights.get(&at) else { return };
        let session = match &flight.call {
            Call::Register { session, .. } | Call::Unregister { session } => session,
            Call::Update { session, update } if update.allocation_id.is_none() => session,
            _ => return,
        };
        let Some(seat) = self.backend.seats.get(session) else { return };
        let (node, knew) = (flight.node, flight.knew);
        let prefix = self.nodes[node].id_prefix();
        let theirs = seat.instance.as_ref().and_then(|shown| shown.instance_id.as_ref());
        if let Some(theirs) = theirs
            && !theirs.as_str().starts_with(&prefix)
            && knew >= seat.version
            && self.nodes[node].life == flight.life
        {
            let words = format!("{} on {theirs}, which it knew to be there", flight.call.kind());
            self.break_rule(node, words);
        }
    }

    /// One more copy of a report has come.
    fn copied(&mut self, at: usize, label: &str) {
        let copies = self.backend.copies.get(label).copied().unwrap_or_default();
        let watch = &self.nodes[at].watch;
        let ambiguous = watch.ambiguous.get(label).copied().unwrap_or_default();
        if copies > 1 + ambiguous {
            self.break_rule(at, format!("{copies} copies of report {label}, {ambiguous} ambiguous outcomes"));
        }
        let watch = &self.nodes[at].watch;
        if watch.reports.get(label).is_some_and(|report| report.refused) && !watch.doubt {
            self.break_rule(at, format!("report {label} was refused, and comes all the same"));
        }
    }

    fn answer(&mut self, at: u64, returned: Returned) {
        let Some(node) = self.flights.get(&at).map(|flight| flight.node) else { return };
        let mut way = self.way(node);
        if self.fault(node, Fault::Delay, 0.004) {
            way += Duration::from_millis(self.nodes[node].dice.u64(..20_000));
        }
        self.answer_in(at, way, returned);
    }

    fn answer_in(&mut self, at: u64, wait: Duration, returned: Returned) {
        let Some(flight) = self.flights.get(&at) else { return };
        if flight.closed {
            self.flights.remove(&at);
            return;
        }
        let (node, life, until) = (flight.node, flight.life, flight.until);
        if self.now + wait < until {
            self.later(wait, node, life, What::Return(at, Box::new(returned)));
        } else {
            let late = Err(Failure::local(FailureKind::TimedOut, "simulated"));
            self.push(until.max(self.now), node, life, What::Return(at, Box::new((late, None))));
        }
    }

    /// The backend holds a poll until there is news, its deadline, or somebody cuts it.
    fn hold(&mut self, at: u64) {
        let Some(flight) = self.flights.get(&at) else { return };
        let Call::Poll { deadline, .. } = &flight.call else { return };
        let (node, life, deadline) = (flight.node, flight.life, *deadline);
        let limit = self.climate.idle_limit.filter(|limit| *limit < deadline);
        let cut = if self.fault(node, Fault::Cut, 0.01) {
            Some(deadline.mul_f64(self.nodes[node].dice.f64()))
        } else {
            limit.filter(|_| !self.calm && !self.options.without.contains(&Fault::Cut))
        };
        match cut {
            Some(cut) => {
                let failure = Failure::local(FailureKind::Cut, "simulated");
                self.later(cut, node, life, What::Return(at, Box::new((Err(failure), None))));
                // What is published until then is lost with the connection.
                if let Some(flight) = self.flights.get_mut(&at) {
                    flight.held = self.nodes[node].dice.bool();
                }
            }
            None => self.later(deadline, node, life, What::Held(at)),
        }
    }

    /// The poll is held no longer: with news, or because its time is over.
    pub(crate) fn release(&mut self, at: u64, news_for: Option<&InstanceId>) {
        let Some(flight) = self.flights.get_mut(&at) else { return };
        let wanted =
            matches!(&flight.call, Call::Poll { instance, .. } if news_for.is_none_or(|news| news == instance));
        if flight.held && wanted {
            flight.held = false;
            self.carry_out(at);
        }
    }

    /// An answer reaches the agent.
    pub(crate) fn returns(&mut self, at: u64, (result, told): Returned) {
        let Some(flight) = self.flights.get(&at) else { return };
        let (node, life) = (flight.node, flight.life);
        if flight.closed || self.nodes[node].life != life {
            return;
        }
        let now = self.now;
        let Some(running) = &mut self.nodes[node].running else { return };
        running.flights.retain(|other| *other != at);
        let broken = rules::answered(&mut self.nodes[node], &flight.call, flight.sent, &result, told, now);
        let id = flight.id.clone();
        self.mix(result.as_ref().err().map_or(0, |failure| failure.kind as u64 + 1));
        self.give_up(at);
        if let Some(words) = broken {
            return self.break_rule(node, words);
        }
        if self.fault(node, Fault::Twice, 0.002) {
            self.soon(0..9000, node, What::Again(id.clone(), Box::new(result.clone())));
        }
        self.tell(node, Event::Answered { id, result });
    }

    pub(crate) fn again(&mut self, node: usize, id: CallId, result: Result<Answer, Failure>) {
        self.tell(node, Event::Answered { id, result });
    }

    /// A held poll loses its connection.
    pub(crate) fn cut(&mut self, at: u64) {
        let Some(flight) = self.flights.get_mut(&at) else { return };
        flight.held = false;
        self.answer(at, (Err(Failure::local(FailureKind::Cut, "simulated")), None));
    }

    pub(crate) fn log_in(&mut self, at: usize, id: CallId, login: Login, generation: Generation) {
        let refresh = login == Login::Refresh;
        let life = self.nodes[at].life;
        let limit = Duration::from_secs(10);
        self.mix(CallKind::Login as u64);
        if let Some((wait, failure)) = self.stopped_by_outage(at, limit) {
            return self.later(wait, at, life, What::Login(id, generation, refresh, Err(failure)));
        }
        let wait = self.way(at) + self.way(at);
        if self.fault(at, Fault::Login, 0.1) {
            let after = self.patience(at);
            let failed = match self.nodes[at].dice.u8(..6) {
                0 => Failure { code: Some("basic_invalid".into()), ..failure(FailureKind::Unauthorised, 401) },
                1 => failure(FailureKind::Rejected, 400),
                2 => Failure { retry_after: Some(after), ..failure(FailureKind::Server, 503) },
                3 => failure(FailureKind::Malformed, 200),
                4 => Failure::local(FailureKind::TimedOut, "simulated"),
                _ => Failure::local(FailureKind::Unreachable, "simulated"),
            };
            let wait = if failed.kind == FailureKind::TimedOut { limit } else { wait };
            return self.later(wait, at, life, What::Login(id, generation, refresh, Err(failed)));
        }
        let lifetime = self.climate.lifetime;
        self.tokens.push(Token { dead: false, ends: Some(self.now + lifetime) });
        let logged_in = LoggedIn {
            lifetime: self.climate.tells_lifetime.then_some(lifetime),
            can_refresh: self.climate.can_refresh,
        };
        self.later(wait, at, life, What::Login(id, generation, refresh, Ok((logged_in, self.tokens.len() - 1))));
    }

    pub(crate) fn logged_in(
        &mut self,
        at: usize,
        id: CallId,
        generation: Generation,
        refresh: bool,
        result: Result<(LoggedIn, usize), Failure>,
    ) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        running.login = None;
        let broken = node.watch.logged_in(result.as_ref().err(), refresh, now);
        if let Ok((logged_in, token)) = &result {
            running.vault = Some((generation, *token));
            node.keepsake.token = Some(*token);
            node.watch.given = Some((now, logged_in.lifetime));
        }
        broken.into_iter().for_each(|words| self.break_rule(at, words));
        self.tell_auth(at, AuthEvent::Answered { id, result: result.map(|(logged_in, _)| logged_in) });
    }
}
