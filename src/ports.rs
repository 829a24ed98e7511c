//! The small traits between the driver and the world, and the handle through which the world asks an instance.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::core::auth::{AuthEvent, AuthState, AuthView};
use crate::core::call::{Answer, Call, Failure, LoggedIn, Login};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Request, StoreFault, Verdict};
use crate::core::ids::{Generation, InstanceName};
use crate::core::process::{HandOver, Order, Untaken};
use crate::core::snapshot::Snapshot;

/// Work of any kind, as one type.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Makes it that: of every type of future that is spawned, tokio's task is compiled once more, which is 5 kB each.
pub fn boxed<T>(work: impl Future<Output = T> + Send + 'static) -> Work<T> {
    Box::pin(work)
}

/// Calls to the backend. One for the whole process: token, connections and limits are shared.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Makes one call and gives up after `limit`. Dropping the future takes the call back.
    fn call(&self, call: Call, limit: Duration) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static;
}

/// The login. The token goes from here to [`Backend`] without passing the core.
pub trait Authenticator: Clone + Send + Sync + 'static {
    /// Logs in and, if that succeeds, uses the new token for every call from now on, under this generation.
    fn login(
        &self,
        login: Login,
        generation: Generation,
    ) -> impl Future<Output = Result<LoggedIn, Failure>> + Send + 'static;
}

/// The state on disk. One for the whole process.
pub trait Store: Clone + Send + Sync + 'static {
    /// Hands over records of one instance, all or none. The order of calls is the order on disk, whenever the futures are
    /// polled; the future ends once the records are synced, or refused.
    fn append(
        &self,
        instance: &InstanceName,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + 'static;
    /// What is remembered of an instance, with every record that was handed over before: for its next life. Nothing, if
    /// nobody of this name was ever there.
    fn recall(&self, instance: &InstanceName) -> impl Future<Output = Result<Durable, StoreFault>> + Send + 'static;
}

/// The game's side of one instance: its process, and whoever is pushed its notifications. What it finds out comes back as
/// [`crate::core::process::GameEvent`]s through the channel that the instance was started with.
pub trait Side: Clone + Send + Sync + 'static {
    /// Takes an order. Never waits; an order that cannot be carried out shows in the events.
    fn order(&self, order: Order);
    /// Pushes a notification, and says whether the game took it or why not. It ends within its own limit.
    fn hand_over(&self, what: HandOver) -> impl Future<Output = Result<(), Untaken>> + Send + 'static;
}

/// No game of whom anything is known, and nobody to push to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSide;

impl Side for NoSide {
    fn order(&self, _order: Order) {}

    fn hand_over(&self, _what: HandOver) -> impl Future<Output = Result<(), Untaken>> + Send + 'static {
        std::future::ready(Err(Untaken::Absent(Box::from("nobody is configured to take notifications"))))
    }
}

/// A source of allocations that the core does not ask itself: it watches something on this host, and says through the handle of the
/// instance what holds now, as [`Request::Source`]. It may say the same as often as it likes, and it ends with the instance.
///
/// This is where a PlayFab GSDK-style source would come in: a small server that answers a game's heartbeats, and says a `Given` when
/// the state in them becomes active and a `Nothing` when it is to terminate. Nothing else would have to change.
pub trait Allocator: Send + 'static {
    /// Watches and says, until the instance has ended.
    fn run(self, handle: InstanceHandle) -> impl Future<Output = ()> + Send;
}

/// A request and where its verdict goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the verdict goes; a closed one means that nobody waits any more.
    pub reply: oneshot::Sender<Verdict>,
}

/// How many requests may wait for an instance's loop. More are refused with 503.
pub const REQUEST_QUEUE: usize = 256;

/// How the local API and the admin listener speak to one instance.
#[derive(Debug, Clone)]
pub struct InstanceHandle {
    /// Its name in the configuration.
    pub name: InstanceName,
    /// Its state after every step.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Box<Asked>>,
    /// The keys of the configuration that say something else by now than what it lives by.
    waiting: Arc<Mutex<Vec<String>>>,
}

/// Why an instance could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Its queue is full.
    #[error("the agent is busy; try again")]
    Busy,
    /// It has ended.
    #[error("the instance has ended")]
    Ended,
}

impl InstanceHandle {
    /// A handle, and the queue that its instance reads.
    pub fn new(name: InstanceName, snapshots: watch::Receiver<Arc<Snapshot>>) -> (Self, mpsc::Receiver<Box<Asked>>) {
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        (Self { name, snapshots, requests, waiting: Arc::default() }, queue)
    }

    /// From now on these keys say something else than what it lives by.
    pub fn settings_wait(&self, keys: Vec<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The keys whose new values wait for its next life, or for the next start of the agent.
    pub fn waiting_settings(&self) -> Vec<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Asks, and waits for the verdict.
    ///
    /// # Errors
    /// If the queue is full or the instance has ended; in the latter case the request may have been carried out.
    pub async fn ask(&self, request: Request) -> Result<Verdict, AskError> {
        let (reply, verdict) = oneshot::channel();
        self.requests.try_send(Box::new(Asked { request, reply })).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Ended,
        })?;
        verdict.await.map_err(|_gone| AskError::Ended)
    }
}

/// How those who use the token without being an instance speak to the login.
#[derive(Debug, Clone)]
pub struct LoginHandle {
    views: watch::Receiver<Arc<AuthView>>,
    events: mpsc::Sender<Box<AuthEvent>>,
}

impl LoginHandle {
    /// A handle on the login that shows itself and listens there.
    pub fn new(views: watch::Receiver<Arc<AuthView>>, events: mpsc::Sender<Box<AuthEvent>>) -> Self {
        Self { views, events }
    }

    /// Tells it that the backend refused the token of this generation, and waits for a newer one; false if the login fails. Whoever
    /// waits brings a limit of their own; dropping the future takes nothing back.
    pub async fn renewed(&self, refused: Generation) -> bool {
        let is_newer = |view: &AuthView| view.generation.is_some_and(|generation| generation > refused);
        let mut views = self.views.clone();
        if !is_newer(&views.borrow_and_update()) {
            // The last place is left for a reload. Without one, somebody else's rejection is on its way.
            if self.events.capacity() > 1 {
                let _ended = self.events.try_send(Box::new(AuthEvent::Rejected(refused)));
            }
        }
        let settled = |view: &AuthView| match view.state {
            AuthState::None | AuthState::Denied => true,
            AuthState::Valid | AuthState::Refreshing => is_newer(view),
            AuthState::LoggingIn => false,
        };
        let settled = views.wait_for(|view| settled(view)).await;
        settled.is_ok_and(|view| view.state.has_token() && is_newer(&view))
    }
}
