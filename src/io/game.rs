//! The game's side of an instance: its process, its probes, and whoever is pushed its notifications.
//!
//! Nothing is decided here. What is found out goes to the core as [`GameEvent`]s; what the core orders is carried out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::hand_off;
use crate::config::settings::Instance;
use crate::core::process::{GameEvent, HandOver, Order, Untaken};
use crate::ports::Side;

/// Orders that may wait for the process's keeper. There are three kinds, and each comes once or twice in a life.
const ORDERS: usize = 16;
/// What may wait for the instance's loop; whoever has more to tell waits.
const EVENTS: usize = 64;

/// Where the game reaches its agent: goes into the environment of a game that we start.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// The local API's Unix socket.
    pub socket: Option<PathBuf>,
    /// The local API over TCP, also the Agones REST port.
    pub http: Option<SocketAddr>,
    /// Agones gRPC.
    pub grpc: Option<SocketAddr>,
}

/// Where the core's orders go. See [`Side`].
#[derive(Debug, Clone)]
pub struct GameSide {
    orders: mpsc::Sender<Order>,
    settings: Arc<Instance>,
}

/// What works behind a [`GameSide`].
#[derive(Debug)]
pub struct Keeper {
    settings: Arc<Instance>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<GameEvent>,
}

/// The game's side of one instance: where orders go, what comes back, and what must run for both.
pub fn side(settings: &Instance) -> (GameSide, mpsc::Receiver<GameEvent>, Keeper) {
    let settings = Arc::new(settings.clone());
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (events, told) = mpsc::channel(EVENTS);
    let keeper = Keeper { settings: Arc::clone(&settings), orders: ordered, events };
    (GameSide { orders, settings }, told, keeper)
}

impl Side for GameSide {
    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::warn!("the keeper of the game's process is gone or stuck; an order was dropped");
        }
    }

    fn hand_over(&self, what: HandOver) -> impl Future<Output = Result<(), Untaken>> + Send + 'static {
        let settings = Arc::clone(&self.settings);
        async move { hand_off::hand_over(&settings.hand_off, &what).await }
    }
}

impl Keeper {
    /// Keeps the process and runs the probes until `stopped` is over; then a game that we started and that still runs is
    /// ended by SIGKILL.
    pub async fn run(mut self, _reach: Reach, stopped: impl Future<Output = ()>) {
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                order = self.orders.recv() => {
                    if order.is_none() {
                        break;
                    }
                }
            }
        }
        tracing::trace!(source = ?self.settings.game.source, open = !self.events.is_closed(), "the game's keeper ends");
    }
}
