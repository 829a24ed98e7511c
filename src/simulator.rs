//! An in-memory RallyHere environment of the 2023-11 contract, of today's (2026-08) or of the time between, for the demo, for
//! tests and for local development.
//!
//! It is meant to be so faithful that a client of the real service cannot tell, and stricter where strictness finds
//! mistakes: a field or parameter that the contract does not know is refused. What the service does comes from the
//! published OpenAPI document and from the list of traps that was learned beside it; each is named where it is played.
//!
//! A request's way: `server` accepts, `handler` keeps the ledger and injects faults, `world` judges it by the
//! table in `contract` and carries it out. `control_api` (`/_sim/…`) and the methods of [`Simulator`] play the
//! backend's own part, other people's, and the bad weather.
//!
//! **Architecture Invariant:** nothing here uses [`crate::wire`]. Requests are judged by rules of their own over plain
//! JSON, so that a mistake in our client's types is not mirrored by the thing that tests it. `world` has no I/O and no
//! clock.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use crate::clock;

mod arrived;
mod body;
mod contract;
mod control;
mod control_api;
mod desk;
mod fault;
mod handler;
mod happening;
mod health;
mod ledger;
mod options;
mod reply;
mod rules;
mod server;
mod session;
mod stream;
mod world;

pub use fault::{Fault, FaultError, FaultRule, Match};
pub use happening::{Happening, What};
pub use ledger::{
    Authorization, DutyRecord, HealthRecord, Ledger, LoginRecord, OddityRecord, Outcome, RejectionRecord,
    ReplacementRecord, ReportRecord, RequestRecord,
};
pub use options::{
    ALL_PERMISSIONS, AllocationSpec, ClientSpec, DEMO_SESSION, FlagError, Generation, Options, SessionSpec, UserSpec,
};
pub use world::{ControlError, SicSpec, SicStatus};

use session::Moment;
use world::World;

/// An outage of everything but the control API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// All is well.
    None,
    /// Connections are closed as soon as they come, and those that are open now.
    Refuse,
    /// Every call is answered with 503.
    Unavailable,
}

/// A running environment. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

struct Shared {
    generation: Generation,
    world: Mutex<World>,
    outage: watch::Sender<Outage>,
    happenings: broadcast::Sender<Happening>,
}

/// Why the simulator could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; choose another with --listen, for example 127.0.0.1:0")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Simulator {
    /// An environment as the options describe it. It does nothing until it is served.
    pub fn new(options: &Options) -> Self {
        let happenings = broadcast::Sender::new(happening::LISTENER_QUEUE);
        let world = World::new(options, Moment::read(), happenings.clone());
        Self {
            shared: Arc::new(Shared {
                generation: options.api,
                world: Mutex::new(world),
                outage: watch::Sender::new(Outage::None),
                happenings,
            }),
        }
    }

    /// Serves plain HTTP on a listener until `shutdown` is ready; then every connection is closed. The future owns all
    /// tasks; dropping it ends them too.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        server::serve(self.clone(), listener, shutdown)
    }

    /// What happens from now on. A listener that is 1024 happenings behind misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Happening> {
        self.shared.happenings.subscribe()
    }

    /// Which generation of the API it has.
    pub fn generation(&self) -> Generation {
        self.shared.generation
    }

    fn outage(&self) -> Outage {
        *self.shared.outage.borrow()
    }

    fn watch_outage(&self) -> watch::Receiver<Outage> {
        self.shared.outage.subscribe()
    }

    /// The state. Held for the length of one call, never across a wait.
    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

impl Moment {
    fn read() -> Self {
        Self { now: clock::now(), wall: clock::wall() }
    }
}

/// Runs a simulator on an address until `shutdown` is ready: the `simulate` command. `bound` learns the address that it
/// really has (port 0 takes a free one) and the handle, before the first request is served.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(
    options: &Options,
    listen: SocketAddr,
    bound: impl FnOnce(SocketAddr, &Simulator),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let failed = |source| RunError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let simulator = Simulator::new(options);
    bound(address, &simulator);
    simulator.serve(listener, shutdown).await;
    Ok(())
}
