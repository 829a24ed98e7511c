//! All instances of the process, which may come and go, and the login that they share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::instance::InstanceWorld;
use super::lives::{Again, Lives};
use super::login::LoginWorld;
use super::{Inbox, Pulse, drive};
use crate::clock;
use crate::core::action::Outcome;
use crate::core::agent::{Agent, Birth};
use crate::core::auth::{Auth, AuthEvent, AuthView, Past};
use crate::core::event::{Command, Event, StoreFault};
use crate::core::ids::InstanceName;
use crate::core::machine::Machine as _;
use crate::core::params::Params;
use crate::core::process::GameEvent;
use crate::ports::{Authenticator, Backend, InstanceHandle, LoginHandle, Side, Store, boxed};

/// Commands that may wait for a loop. There are few of them: signals.
const COMMANDS: usize = 16;
/// Rejections of tokens that may wait for the login.
const REJECTIONS: usize = 1024;

/// An instance to start, and the game's side of it.
#[derive(Debug)]
pub struct Newborn<G> {
    /// Its settings.
    pub params: Arc<Params>,
    /// What it is born with.
    pub birth: Birth,
    /// Where its orders go.
    pub side: G,
    /// What is found out about its game.
    pub game: Option<mpsc::Receiver<Box<GameEvent>>>,
    /// What its next lives begin with, if it is to have any.
    pub again: Option<Box<Again>>,
    /// When its life begins; until then it only listens. See [`Pace`].
    pub begins: Instant,
}

/// How fast instances begin: a host of a thousand would ask for all its sessions at once, on a connection each, and keep the memory
/// that this takes for ever.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next one would begin if there were no haste at the start.
    next: Option<Instant>,
}

impl Pace {
    /// So many begin at once.
    const AT_ONCE: u32 = 32;
    /// And then one in this time: a thousand in 4 s, which is what a core needs for it.
    const APART: Duration = Duration::from_millis(4);

    /// When the next one begins.
    pub fn begins(&mut self, now: Instant) -> Instant {
        let next = self.next.map_or(now, |next| next.max(now)) + Self::APART;
        self.next = Some(next);
        next.checked_sub(Self::APART * Self::AT_ONCE).map_or(now, |begins| begins.max(now))
    }
}

/// The loops' pulses, for the watchdog. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulses(Arc<Mutex<Vec<Pulse>>>);

impl Pulses {
    fn add(&self, pulse: Pulse) {
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(Pulse::is_held);
        pulses.push(pulse);
    }

    /// How long ago the loop turned that has not turned for longest. An ended one owes nothing.
    pub fn slowest(&self) -> Duration {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().filter(|pulse| pulse.is_running()).map(Pulse::age).max().unwrap_or_default()
    }
}

/// An instance, as the process sees it.
#[derive(Debug)]
struct Member {
    name: InstanceName,
    commands: mpsc::Sender<Box<Event>>,
    /// Its life is its last.
    last: watch::Sender<bool>,
    abort: AbortHandle,
}

/// The running instances.
#[derive(Debug)]
pub struct Host {
    instances: JoinSet<(InstanceName, Option<Outcome>)>,
    /// Ends with us.
    login_loop: JoinSet<()>,
    members: Vec<Member>,
    login: mpsc::Sender<Box<AuthEvent>>,
    pulses: Pulses,
    auth: watch::Receiver<Arc<AuthView>>,
}

impl Host {
    /// Starts the login, with what is known of earlier ones. There is no instance yet.
    pub fn start<A: Authenticator>(authenticator: A, past: &Past, seed: u64) -> Self {
        let (views, auth) = watch::channel(Arc::new(AuthView::default()));
        let (login, rejections) = mpsc::channel(REJECTIONS);
        let pulse = Pulse::new();
        let pulses = Pulses::default();
        pulses.add(pulse.clone());
        let mut login_loop = JoinSet::new();
        let inbox = Inbox { commands: rejections, asked: None, auth: None, game: None };
        let world = LoginWorld::new(authenticator, views);
        let machine = Box::new(Auth::new(seed, past, clock::now()));
        login_loop.spawn(boxed(async move {
            drive(machine, world, inbox, pulse).await;
        }));
        Self { instances: JoinSet::new(), login_loop, members: Vec::new(), login, pulses, auth }
    }

    /// Starts a loop for an instance. One of the same name that has ended makes room for it.
    pub fn add<B, S, G>(&mut self, newborn: Newborn<G>, backend: &B, store: &S) -> InstanceHandle
    where
        B: Backend,
        S: Store,
        G: Side,
    {
        let Newborn { params, birth, side, game, again, begins } = newborn;
        let name = params.name.clone();
        let agent = Box::new(Agent::new(params, birth, clock::now()));
        let (snapshots, shown) = watch::channel(Arc::new(agent.snapshot()));
        let (handle, asked) = InstanceHandle::new(name.clone(), shown);
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (last, is_last) = watch::channel(false);
        let pulse = Pulse::new();
        let mut auth = self.auth.clone();
        // The login may have been quicker than we are: what it shows now is news to this loop.
        auth.mark_changed();
        let inbox = Inbox { commands: orders, asked: Some(asked), auth: Some(auth), game };
        let world =
            InstanceWorld::new(name.clone(), backend.clone(), store.clone(), side, self.login.clone(), snapshots);
        let world = Box::new(world);
        self.pulses.add(pulse.clone());
        let lives = Lives { name: name.clone(), store: store.clone(), again, is_last, begins };
        let theirs = name.clone();
        let abort = self.instances.spawn(boxed(async move { (theirs, lives.live(agent, world, inbox, pulse).await) }));
        self.members.retain(|member| member.name != name);
        self.members.push(Member { name, commands, last, abort });
        handle
    }

    /// The loops' pulses.
    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    /// The login's state.
    pub fn auth(&self) -> watch::Receiver<Arc<AuthView>> {
        self.auth.clone()
    }

    /// How to speak to the login.
    pub fn login(&self) -> LoginHandle {
        LoginHandle::new(self.auth.clone(), self.login.clone())
    }

    /// Tells every instance to drain. No life comes after.
    pub fn drain(&self, reason: &str) {
        self.members.iter().for_each(|member| member.drain(reason));
    }

    /// Tells one instance to drain. No life comes after.
    pub fn drain_one(&self, name: &InstanceName, reason: &str) {
        self.members.iter().filter(|member| member.name == *name).for_each(|member| member.drain(reason));
    }

    /// After this life of an instance no other comes.
    pub fn last_life(&self, name: &InstanceName) {
        for member in self.members.iter().filter(|member| member.name == *name) {
            member.last.send_replace(true);
        }
    }

    /// Takes back an instance that was added and has not had a turn yet. It leaves no trace.
    pub fn take_back(&mut self, name: &InstanceName) {
        self.members.iter().filter(|member| member.name == *name).for_each(|member| member.abort.abort());
        self.members.retain(|member| member.name != *name);
    }

    /// Ends every loop where it stands: calls in flight are taken back, nothing more is sent, and what was accepted stays on
    /// disk for the next agent.
    pub async fn abandon(&mut self) {
        self.login_loop.shutdown().await;
        self.instances.shutdown().await;
    }

    /// Secrets were read again: what was refused may be tried at once.
    pub fn reloaded(&self) {
        // Full: a reload has the last place, because rejections leave it free.
        let _full = self.login.try_send(Box::new(AuthEvent::Reloaded));
        self.command(&Command::Reloaded);
    }

    /// The store has failed, is well again by itself, or has found something.
    pub fn store_is(&self, fault: Option<StoreFault>, findings: Arc<Vec<String>>) {
        self.command(&Command::Store { fault, findings });
    }

    fn command(&self, command: &Command) {
        for Member { commands, .. } in &self.members {
            // The last place is for a drain. When only that is left, the loop is far behind, and a reload is waiting already.
            if commands.capacity() > 1 {
                let _ended = commands.try_send(Box::new(Event::Command(command.clone())));
            }
        }
    }

    /// Waits for the next instance to end for good; `None` once all have.
    pub async fn ended(&mut self) -> Option<(InstanceName, Option<Outcome>)> {
        loop {
            match self.instances.join_next().await? {
                Ok(ended) => return Some(ended),
                // Taken back.
                Err(lost) if lost.is_cancelled() => {}
                Err(lost) => {
                    tracing::error!(error = %lost, "an instance's loop was lost; this is a bug, please report it");
                    return InstanceName::parse("unknown").ok().map(|name| (name, None));
                }
            }
        }
    }
}

impl Member {
    fn drain(&self, reason: &str) {
        self.last.send_replace(true);
        // Closed: the instance has ended. Full: a drain has the last place.
        let _ended = self.commands.try_send(Box::new(Event::Command(Command::Drain { reason: reason.to_owned() })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_begin_at_once_and_a_thousand_in_four_seconds() {
        let (now, mut pace) = (clock::now(), Pace::default());
        let begin: Vec<Duration> = (0..1000).map(|_| pace.begins(now) - now).collect();
        assert!(begin[..32].iter().all(Duration::is_zero), "{begin:?}");
        assert!(begin.windows(2).all(|pair| pair[1] - pair[0] <= Pace::APART), "{begin:?}");
        assert!(Duration::from_millis(3800) < begin[999] && begin[999] < Duration::from_secs(4), "{:?}", begin[999]);
        // Whoever comes later does not wait for what is over.
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.begins(later), later);
    }
}
