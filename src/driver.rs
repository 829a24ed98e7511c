//! The one loop that drives a machine of the core.
//!
//! Drain the actions, publish the snapshot, wait for what happens next, hand it in. Performing an action never waits: it
//! spawns into a set that the loop owns, or puts something into a queue with a bound.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::clock;
use crate::core::auth::AuthView;
use crate::core::machine::Machine;
use crate::core::process::GameEvent;
use crate::ports::{Asked, boxed};

pub mod host;
pub mod instance;
pub mod lives;
pub mod login;
mod narrate;

/// The loop turns at least this often, so that its pulse tells a hang from idleness.
const TURN: Duration = Duration::from_secs(5);

/// What a machine's actions mean, and how what happens becomes its events.
pub trait World<M: Machine> {
    /// Carries out one action. Never waits.
    fn perform(&mut self, action: M::Action, tasks: &mut Tasks<M::Event>);
    /// Shows the machine's state after a step.
    fn publish(&mut self, snapshot: M::Snapshot);
    /// A request of the local API came.
    fn asked(&mut self, asked: Asked) -> Option<M::Event>;
    /// The login has changed.
    fn auth(&mut self, view: Arc<AuthView>) -> Option<M::Event>;
    /// Something is known of the game.
    fn game(&mut self, event: GameEvent) -> Option<M::Event>;
}

/// A world in a box, which is handed on without room for it in every future on the way.
impl<M: Machine, W: World<M>> World<M> for Box<W> {
    fn perform(&mut self, action: M::Action, tasks: &mut Tasks<M::Event>) {
        W::perform(self, action, tasks);
    }

    fn publish(&mut self, snapshot: M::Snapshot) {
        W::publish(self, snapshot);
    }

    fn asked(&mut self, asked: Asked) -> Option<M::Event> {
        W::asked(self, asked)
    }

    fn auth(&mut self, view: Arc<AuthView>) -> Option<M::Event> {
        W::auth(self, view)
    }

    fn game(&mut self, event: GameEvent) -> Option<M::Event> {
        W::game(self, event)
    }
}

/// Where a loop's outside events come from. A queue of tokio has room for 32 entries from its beginning, whatever they are: what is
/// large comes in a box.
#[derive(Debug)]
pub struct Inbox<E> {
    /// Commands of the process.
    pub commands: mpsc::Receiver<Box<E>>,
    /// Requests of the local API, for an instance.
    pub asked: Option<mpsc::Receiver<Box<Asked>>>,
    /// The login, for an instance.
    pub auth: Option<watch::Receiver<Arc<AuthView>>>,
    /// The game's process and probes, for an instance.
    pub game: Option<mpsc::Receiver<Box<GameEvent>>>,
}

/// When a loop last turned, in milliseconds since it began; for the watchdog.
#[derive(Debug, Clone)]
pub struct Pulse {
    began: Instant,
    beat: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Pulse {
    /// A loop that begins now.
    pub fn new() -> Self {
        Self { began: clock::now(), beat: Arc::new(AtomicU64::new(0)), over: Arc::new(AtomicBool::new(false)) }
    }

    /// Whether somebody but the one who asks holds it: the loop, or who may start another.
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.over) > 1
    }

    fn begin_again(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.beat();
    }

    fn beat(&self) {
        let millis = clock::now().saturating_duration_since(self.began).as_millis();
        self.beat.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the loop still has something to do.
    pub fn is_running(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// How long ago the loop turned.
    pub fn age(&self) -> Duration {
        let last = self.began + Duration::from_millis(self.beat.load(Ordering::Relaxed));
        clock::now().saturating_duration_since(last)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// The work that a loop has begun and not finished. Dropping it takes everything back.
#[derive(Debug)]
pub struct Tasks<E> {
    set: JoinSet<E>,
    /// What to say if a task is lost to a fault of ours, so that nobody waits for ever.
    /// In boxes: the table has room for more of them than ever come together.
    fallbacks: HashMap<Id, Box<E>>,
}

impl<E: Send + 'static> Tasks<E> {
    fn new() -> Self {
        Self { set: JoinSet::new(), fallbacks: HashMap::new() }
    }

    /// Begins something that ends in an event.
    pub fn spawn(&mut self, work: impl Future<Output = E> + Send + 'static, fallback: E) -> AbortHandle {
        let handle = self.set.spawn(boxed(work));
        self.fallbacks.insert(handle.id(), Box::new(fallback));
        handle
    }

    /// The next event; never ends while there is nothing to do. Cancel-safe, as `join_next` is.
    async fn next(&mut self) -> E {
        loop {
            match self.set.join_next_with_id().await {
                Some(Ok((id, event))) => {
                    self.fallbacks.remove(&id);
                    return event;
                }
                Some(Err(lost)) => {
                    let fallback = self.fallbacks.remove(&lost.id());
                    if lost.is_panic() {
                        tracing::error!(error = %lost, "a task panicked; this is a bug, please report it");
                        if let Some(event) = fallback {
                            return *event;
                        }
                    }
                }
                None => std::future::pending().await,
            }
        }
    }
}

/// Drives a machine to its end. World and inbox outlive it. The machine comes in a box: a future has room of its own for whatever
/// is handed down to it, and a host would pay for five machines an instance.
pub async fn drive<M, W>(
    mut machine: Box<M>,
    mut world: W,
    mut inbox: Inbox<M::Event>,
    pulse: Pulse,
) -> (W, Inbox<M::Event>)
where
    M: Machine,
    M::Event: Send + 'static,
    W: World<M>,
{
    let mut tasks = Tasks::new();
    loop {
        while let Some(action) = machine.poll_action() {
            world.perform(action, &mut tasks);
        }
        world.publish(machine.snapshot());
        pulse.beat();
        if machine.is_over() {
            pulse.over.store(true, Ordering::Relaxed);
            break;
        }
        let turn = clock::now() + TURN;
        let wake = machine.poll_timeout().map_or(turn, |deadline| deadline.min(turn));
        match next(&mut world, &mut tasks, &mut inbox, wake).await {
            Some(event) => machine.handle_event(event, clock::now()),
            None => machine.handle_timeout(clock::now()),
        }
    }
    (world, inbox)
}

/// The one place where a loop waits. Every future here may be dropped at any time without losing anything: `recv` and
/// `changed` are cancel-safe, and the sleep only wakes us (the machine compares its deadlines with the clock itself).
async fn next<M, W>(
    world: &mut W,
    tasks: &mut Tasks<M::Event>,
    inbox: &mut Inbox<M::Event>,
    wake: Instant,
) -> Option<M::Event>
where
    M: Machine,
    M::Event: Send + 'static,
    W: World<M>,
{
    tokio::select! {
        biased;
        // 1. What we began has ended: it frees what it held.
        event = tasks.next() => Some(event),
        // 2. The owner of the process: signals.
        Some(command) = inbox.commands.recv() => Some(*command),
        // 3. The login: calls may wait for it.
        view = changed(&mut inbox.auth) => world.auth(view),
        // 4. The game: its end must be known before somebody is told that all is well.
        event = received(&mut inbox.game) => world.game(*event),
        // 5. Local clients, who can wait.
        asked = received(&mut inbox.asked) => world.asked(*asked),
        // 6. Time. Last, because every event looks at the deadlines too.
        () = clock::sleep_until(Some(wake)) => None,
    }
}

async fn changed(auth: &mut Option<watch::Receiver<Arc<AuthView>>>) -> Arc<AuthView> {
    if let Some(receiver) = auth
        && receiver.changed().await.is_ok()
    {
        return Arc::clone(&receiver.borrow_and_update());
    }
    // The login is over: the process ends, and our own end is on its way as a command.
    std::future::pending().await
}

async fn received<T>(queue: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(receiver) = queue
        && let Some(received) = receiver.recv().await
    {
        return received;
    }
    std::future::pending().await
}
