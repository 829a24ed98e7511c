//! One agent of the world: the production core, its disk, and what the checker remembers to hold it to its word.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::backend::Shown;
use super::game::{CRASH, Game};
use super::print::{Print, hash};
use crate::core::auth::Auth;
use crate::core::call::{Call, CallKind};
use crate::core::durable::{Durable, Record};
use crate::core::ids::{Generation, InstanceId, Ticket};
use crate::core::params::Params;
use crate::core::process::EndStatus;
use crate::core::tests::rig::wall;
use crate::core::{Agent, AuthView, Birth, Machine as _, Outcome, Phase};

/// The disk: what a restart finds, and what the store still has in mind to write (see the engine of the store).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Disk {
    pub(super) synced: Durable,
    /// All answered batches and, of refused ones, everything but reports.
    pub(super) mirror: Durable,
    /// The store refused something: what is said is in force, but not durable.
    pub(super) ailing: bool,
    /// Of all this, made anew when something is written.
    print: u64,
}

impl Disk {
    pub(super) fn write(&mut self, records: &[Record], fails: bool) {
        for record in records {
            if !(fails && matches!(record, Record::Accepted(_))) {
                self.mirror.apply(record);
            }
        }
        if !fails {
            self.synced = self.mirror.clone();
        }
        self.ailing = fails;
        self.printed();
    }

    fn printed(&mut self) {
        let text = format!("{:?}{:?}{}", self.synced, self.mirror, self.ailing);
        self.print = hash(&text);
    }
}

/// What an agent was told about the session's owner.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) shown: Shown,
    pub(super) at: Instant,
}

/// Who waits for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiter {
    Report(String),
    Ack(String),
}

/// A login of one process, shared by its agents.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) auth: Auth,
    /// What it shows to its agents.
    pub(super) view: Arc<AuthView>,
    /// The login in flight.
    pub(super) login: Option<(crate::core::ids::CallId, crate::core::call::Login, Generation)>,
    /// Tokens up to this one are dead.
    pub(super) dead: Generation,
    /// Why a login is due, by what the checker itself has seen.
    pub(super) excuse: Option<&'static str>,
    /// When the newest token was given.
    pub(super) given: Option<Instant>,
    pub(super) logins: u32,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: &'static str,
    pub(super) process: usize,
    pub(super) agent: Agent,
    pub(super) life: u32,
    /// The login as it was last told.
    pub(super) auth: Arc<AuthView>,
    pub(super) params: Rc<Params>,
    pub(super) disk: Disk,
    /// Batches that the store has not finished, in order.
    pub(super) batches: VecDeque<(Ticket, Vec<Record>)>,
    /// The newest that it was told of the owner, in this life.
    pub(super) known: Option<Known>,
    /// When it was last told so by a look, and not by the answer to a write.
    pub(super) looked: Option<Instant>,
    /// Reports that this life knows to be delivered or dead.
    pub(super) done: BTreeSet<String>,
    /// Notifications that it was told are done with, and has confirmed.
    pub(super) acked: BTreeSet<String>,
    /// Notifications that the game has asked to be done with, in any life.
    pub(super) asked: BTreeSet<String>,
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// The calls that failed last, by what they wanted.
    pub(super) failed_at: BTreeMap<(CallKind, String), Instant>,
    pub(super) refused_token: Option<Generation>,
    pub(super) stopped: Option<Instant>,
    pub(super) over: Option<Outcome>,
    /// The game of ours.
    pub(super) game: Game,
    /// It crashed in this life, and the backend is to hear of it.
    pub(super) crashed: bool,
}

impl Host {
    pub(super) fn new(name: &'static str, process: usize, params: Params, now: Instant) -> Self {
        let params = Rc::new(params);
        Self {
            agent: born(name, 0, &params, Durable::default(), now),
            name,
            process,
            life: 0,
            auth: Arc::new(AuthView::default()),
            params,
            disk: Disk::default(),
            batches: VecDeque::new(),
            known: None,
            looked: None,
            done: BTreeSet::new(),
            acked: BTreeSet::new(),
            asked: BTreeSet::new(),
            waiting: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            refused_token: None,
            stopped: None,
            over: None,
            game: Game::None,
            crashed: false,
        }
    }

    /// The game ends like this.
    pub(super) fn game_ends(&mut self, status: EndStatus) {
        // Who was superseded says nothing any more.
        let speaks = self.agent.snapshot().phase != Phase::Superseded;
        self.crashed |= status == CRASH && speaks;
        self.game = Game::Gone;
    }

    pub(super) fn seed(&self) -> u64 {
        u64::from(self.name.as_bytes().last().copied().unwrap_or_default())
    }

    /// kill -9 and a new start: the first `kept` batches had reached the disk.
    pub(super) fn crash(&mut self, kept: usize, now: Instant) {
        for (_, records) in self.batches.drain(..).take(kept) {
            self.disk.write(&records, false);
        }
        self.disk.mirror = self.disk.synced.clone();
        self.disk.ailing = false;
        self.disk.printed();
        let new = Self::new(self.name, self.process, self.params.as_ref().clone(), now);
        let life = self.life + 1;
        let agent = born(self.name, life, &self.params, self.disk.synced.clone(), now);
        let disk = std::mem::take(&mut self.disk);
        let (acked, asked) = (std::mem::take(&mut self.acked), std::mem::take(&mut self.asked));
        *self = Self { agent, life, disk, acked, asked, ..new };
    }

    /// A text that is the same for two hosts that can only do the same, and the names of the ids in it.
    pub(super) fn print(&self, now: Instant) -> (u64, Vec<u64>) {
        let mut print = Print::new(now, None);
        print.add(&self.agent).add(&self.batches).add(&self.disk.print);
        // Failures count only for the moment in which they came.
        let failed: Vec<_> = self.failed_at.iter().filter(|(_, at)| **at == now).map(|(kind, _)| kind).collect();
        let age = |at: Instant| now.saturating_duration_since(at).as_secs().min(6);
        print.add(&self.known.as_ref().map(|known| (&known.shown, age(known.at)))).add(&self.looked.map(age));
        print.add(&self.done).add(&self.acked).add(&self.asked).add(&self.waiting).add(&failed);
        print
            .add(&self.game)
            .add(&self.crashed)
            .add(&self.refused_token)
            .add(&self.stopped)
            .add(&self.over)
            .add(&self.life);
        (print.hash(), print.names())
    }
}

/// What a call wants: to try another status after a refused one is no repetition.
pub(super) fn wants(call: &Call) -> (CallKind, String) {
    let status = match call {
        Call::Update { update, .. } => update.join_status.as_str().to_owned(),
        _ => String::new(),
    };
    (call.kind(), status)
}

/// Another life is given another fresh id, so that a second registration would show.
fn born(name: &str, life: u32, params: &Params, durable: Durable, now: Instant) -> Agent {
    let fresh_id = InstanceId::parse(&format!("i-{name}-{life}")).unwrap();
    Agent::new(params.clone(), Birth { durable, fresh_id, seed: 7, wall: wall() }, now)
}
