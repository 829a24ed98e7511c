//! All instances of the process, and the login that they share.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::instance::InstanceWorld;
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
use crate::ports::{Authenticator, Backend, InstanceHandle, LoginHandle, Side, Store};

/// Commands that may wait for a loop. There are few of them: signals.
const COMMANDS: usize = 16;
/// Rejections of tokens that may wait for the login.
const REJECTIONS: usize = 1024;

/// An instance to start, and the game's side of it.
#[derive(Debug)]
pub struct Newborn<G> {
    /// Its settings.
    pub params: Params,
    /// What it is born with.
    pub birth: Birth,
    /// Where its orders go.
    pub side: G,
    /// What is found out about its game.
    pub game: mpsc::Receiver<GameEvent>,
}

/// The running instances.
#[derive(Debug)]
pub struct Host {
    instances: JoinSet<(InstanceName, Option<Outcome>)>,
    logins: JoinSet<()>,
    commands: Vec<mpsc::Sender<Event>>,
    login: mpsc::Sender<AuthEvent>,
    handles: Vec<InstanceHandle>,
    pulses: Vec<Pulse>,
    auth: watch::Receiver<Arc<AuthView>>,
}

impl Host {
    /// Starts the login, with what is known of earlier ones, and a loop for every instance.
    pub fn start<B, A, S, G>(
        instances: Vec<Newborn<G>>,
        backend: &B,
        authenticator: A,
        past: &Past,
        store: &S,
        seed: u64,
    ) -> Self
    where
        B: Backend,
        A: Authenticator,
        S: Store,
        G: Side,
    {
        let now = clock::now();
        let (views, auth) = watch::channel(Arc::new(AuthView::default()));
        let (login, rejections) = mpsc::channel(REJECTIONS);
        let pulse = Pulse::new();
        let mut host = Self {
            instances: JoinSet::new(),
            logins: JoinSet::new(),
            commands: Vec::new(),
            login: login.clone(),
            handles: Vec::new(),
            pulses: vec![pulse.clone()],
            auth: auth.clone(),
        };
        let inbox = Inbox { commands: rejections, asked: None, auth: None, game: None };
        let world = LoginWorld::new(authenticator, views);
        let auth_machine = Auth::new(seed, past, now);
        host.logins.spawn(async move {
            drive(auth_machine, world, inbox, pulse).await;
        });
        for newborn in instances {
            host.add(newborn, backend.clone(), store.clone(), login.clone(), auth.clone());
        }
        host
    }

    fn add<B: Backend, S: Store, G: Side>(
        &mut self,
        newborn: Newborn<G>,
        backend: B,
        store: S,
        login: mpsc::Sender<AuthEvent>,
        mut auth: watch::Receiver<Arc<AuthView>>,
    ) {
        let Newborn { params, birth, side, game } = newborn;
        let name = params.name.clone();
        let agent = Agent::new(params, birth, clock::now());
        let (snapshots, shown) = watch::channel(Arc::new(agent.snapshot()));
        let (handle, asked) = InstanceHandle::new(name.clone(), shown);
        let (commands, orders) = mpsc::channel(COMMANDS);
        let pulse = Pulse::new();
        // The login may have been quicker than we are: what it shows now is news to this loop.
        auth.mark_changed();
        let inbox = Inbox { commands: orders, asked: Some(asked), auth: Some(auth), game: Some(game) };
        let world = InstanceWorld::new(name.clone(), backend, store, side, login, snapshots);
        self.handles.push(handle);
        self.commands.push(commands);
        self.pulses.push(pulse.clone());
        self.instances.spawn(async move { (name, drive(agent, world, inbox, pulse).await.outcome()) });
    }

    /// How to speak to the instances.
    pub fn handles(&self) -> &[InstanceHandle] {
        &self.handles
    }

    /// The loops' pulses, for the watchdog.
    pub fn pulses(&self) -> &[Pulse] {
        &self.pulses
    }

    /// The login's state.
    pub fn auth(&self) -> watch::Receiver<Arc<AuthView>> {
        self.auth.clone()
    }

    /// How to speak to the login.
    pub fn login(&self) -> LoginHandle {
        LoginHandle::new(self.auth.clone(), self.login.clone())
    }

    /// Tells every instance to drain.
    pub fn drain(&self, reason: &str) {
        for instance in &self.commands {
            // Closed: the instance has ended. Full: a drain has the last place.
            let _ended = instance.try_send(Event::Command(Command::Drain { reason: reason.to_owned() }));
        }
    }

    /// Secrets were read again: what was refused may be tried at once.
    pub fn reloaded(&self) {
        // Full: a reload has the last place, because rejections leave it free.
        let _full = self.login.try_send(AuthEvent::Reloaded);
        self.command(&Command::Reloaded);
    }

    /// The store has failed, is well again by itself, or has found something.
    pub fn store_is(&self, fault: Option<StoreFault>, findings: Arc<Vec<String>>) {
        self.command(&Command::Store { fault, findings });
    }

    fn command(&self, command: &Command) {
        for instance in &self.commands {
            // The last place is for a drain. When only that is left, the loop is far behind, and a reload is waiting already.
            if instance.capacity() > 1 {
                let _ended = instance.try_send(Event::Command(command.clone()));
            }
        }
    }

    /// Waits for the next instance to end; `None` once all have.
    pub async fn ended(&mut self) -> Option<(InstanceName, Option<Outcome>)> {
        match self.instances.join_next().await? {
            Ok(ended) => Some(ended),
            Err(lost) => {
                tracing::error!(error = %lost, "an instance's loop was lost; this is a bug, please report it");
                InstanceName::parse("unknown").ok().map(|name| (name, None))
            }
        }
    }
}
