//! The game's side of an instance: its process, its probes, and whoever is pushed its notifications.
//!
//! Nothing is decided here. What is found out goes to the core as [`GameEvent`]s; what the core orders is carried out.
//!
//! | file | what it is for |
//! |---|---|
//! | `launch` | starting a game: environment, process group, pipes |
//! | `ours` | a running game that we started, and its end |
//! | `watch` | finding a game that somebody else started, and how it ended |
//! | `grip` | a hold on one process, whoever gets its number later |
//! | `output` | the thread that passes on what the game prints, and keeps its last lines |
//! | `redact` | what looks like a secret is taken out of these |
//! | `meter`, `cgroup`, `proc`, `core_file` | what it uses, and why it ended |
//! | `reaper` | collecting orphans |
//!
//! **The end of a game that we started** is the end of its leader, the process of game.command. What the leader leaves in its
//! process group is ended with it, by SIGKILL, before the leader is collected: only then is it sure that the number of the
//! group is still the game's. A game that puts itself into the background ends at once, as far as we can see; game.pid_file
//! is for such ones.
//!
//! **The end of the agent**: whoever ends the [`Keeper`] ends the game. An agent that is killed cannot: its game is then ended
//! by the service manager (`KillMode=` of the unit) or with the container, else it lives on.

mod cgroup;
mod core_file;
mod grip;
mod launch;
mod meter;
mod ours;
mod output;
mod proc;
pub mod reaper;
mod redact;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::sync::{mpsc, watch as latest};

use self::grip::Grip;
use self::launch::Whom;
use self::meter::Meter;
use self::ours::Ours;
use self::output::Sinks;
use self::watch::{Ending, Watch};
use super::{hand_off, probe};
use crate::clock;
use crate::config::settings::{Command, GameSource, Instance};
use crate::core::process::{End, GameEvent, HandOver, Order, Untaken};
use crate::ports::Side;

/// Orders that may wait for the process's keeper. There are three kinds, and each comes once or twice in a life.
const ORDERS: usize = 16;
/// What may wait for the instance's loop; whoever has more to tell waits.
const EVENTS: usize = 64;
/// How long a game that is killed at the keeper's end may take to be gone.
const ABANDON: Duration = Duration::from_millis(400);

/// Where the game reaches its agent, and what its environment is made from: for a game that we start.
#[derive(Clone, Default)]
pub struct Reach {
    /// The local API's Unix socket.
    pub socket: Option<PathBuf>,
    /// The local API over TCP, also the Agones REST port.
    pub http: Option<SocketAddr>,
    /// Agones gRPC.
    pub grpc: Option<SocketAddr>,
    /// The agent's own environment, as far as it is UTF-8. What is the agent's alone, and may be secret, is left out of the
    /// game's.
    pub env: BTreeMap<String, String>,
}

impl std::fmt::Debug for Reach {
    /// Only the names of the variables: the values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("socket", &self.socket)
            .field("http", &self.http)
            .field("grpc", &self.grpc)
            .field("env", &self.env.keys())
            .finish()
    }
}

/// The process of the game while it runs, for those who look at it from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its process id, as we see it. It is the game's until this is replaced by `None`.
    pub pid: u32,
    /// The directory of its control group in cgroup v2 (cpu.pressure, memory.pressure), where we can see it. It was looked
    /// up at the start; a game may be moved later.
    pub cgroup: Option<PathBuf>,
}

/// Where the core's orders go. See [`Side`].
#[derive(Debug, Clone)]
pub struct GameSide {
    /// `None`: nobody has said where the game is, so there is no keeper.
    orders: Option<mpsc::Sender<Box<Order>>>,
    settings: Arc<Instance>,
}

/// What works behind a [`GameSide`].
#[derive(Debug)]
pub struct Keeper {
    settings: Arc<Instance>,
    orders: mpsc::Receiver<Box<Order>>,
    events: mpsc::Sender<Box<GameEvent>>,
    watched: latest::Sender<Option<Watched>>,
    sinks: Option<[OwnedFd; 2]>,
}

/// A keeper, and where it tells what it finds out.
pub type Kept = (mpsc::Receiver<Box<GameEvent>>, Keeper);

/// The game's side of one instance: where orders go, what comes back, and what must run for both. Of a game of which nobody has
/// said where it is, and that no probe asks, nothing ever comes back, and no order means anything to it.
pub fn side(settings: Arc<Instance>) -> (GameSide, Option<Kept>) {
    if settings.game.source == GameSource::Unknown && settings.probes.is_empty() {
        return (GameSide { orders: None, settings }, None);
    }
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (events, told) = mpsc::channel(EVENTS);
    let (watched, _) = latest::channel(None);
    let keeper = Keeper { settings: Arc::clone(&settings), orders: ordered, events, watched, sinks: None };
    (GameSide { orders: Some(orders), settings }, Some((told, keeper)))
}

impl Side for GameSide {
    fn order(&self, order: Order) {
        let Some(orders) = &self.orders else { return };
        if orders.try_send(Box::new(order)).is_err() {
            tracing::warn!("the keeper of the game's process is gone or stuck; an order was dropped");
        }
    }

    fn hand_over(&self, what: HandOver) -> impl Future<Output = Result<(), Untaken>> + Send + 'static {
        let settings = Arc::clone(&self.settings);
        async move { hand_off::hand_over(&settings.hand_off, &what).await }
    }
}

impl Keeper {
    /// The game's process, while it runs.
    pub fn watched(&self) -> latest::Receiver<Option<Watched>> {
        self.watched.subscribe()
    }

    /// Passes the game's standard output and standard error on to these, instead of our own.
    #[must_use]
    pub fn passing_to(mut self, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        self.sinks = Some([stdout, stderr]);
        self
    }

    /// Keeps the process and runs the probes until `stopped` is over; then a game that we started and that still runs is
    /// ended by SIGKILL.
    ///
    /// A game that we start is started by [`Order::Start`], again after each of its ends. One that somebody else starts is
    /// looked for from the first [`Order::Start`] on, and after each of its ends again without being told.
    pub async fn run(self, reach: Reach, stopped: impl Future<Output = ()>) {
        let Self { settings, orders, events, watched, sinks } = self;
        // Probes of a game whose process is known wait for it.
        let is_known = settings.game.source != GameSource::Unknown;
        let (pids, pids_of_known) = (is_known && !settings.probes.is_empty()).then(|| latest::channel(None)).unzip();
        let (probes, told) = (settings.probes.clone(), events.clone());
        let mut work = Work { settings, orders, events, watched, pids, sinks, reach, ours: None };
        tokio::select! {
            () = stopped => {}
            // Cancelled wherever it is: a game that runs is in `work`, not in the future.
            () = async {
                if probes.is_empty() {
                    drop(told);
                    work.run().await;
                } else {
                    // In a box, as few have any.
                    Box::pin(async {
                        tokio::join!(
                            work.run(),
                            probe::run(probes, pids_of_known, told, std::future::pending())
                        )
                    })
                    .await;
                }
            } => {}
        }
        if let Some(mut ours) = work.ours.take() {
            Box::pin(ours.abandon(ABANDON)).await;
        }
        work.gone();
    }
}

struct Work {
    settings: Arc<Instance>,
    orders: mpsc::Receiver<Box<Order>>,
    events: mpsc::Sender<Box<GameEvent>>,
    watched: latest::Sender<Option<Watched>>,
    /// For probes.
    pids: Option<latest::Sender<Option<u32>>>,
    sinks: Option<[OwnedFd; 2]>,
    reach: Reach,
    /// In a box: few instances have one.
    ours: Option<Box<Ours>>,
}

/// What a running game is waited for.
enum Turn {
    Order(Order),
    Ready,
    Gone,
    Measure,
}

impl Work {
    async fn run(&mut self) {
        let settings = Arc::clone(&self.settings);
        match &settings.game.source {
            GameSource::Command(command) => loop {
                if let Order::Start { session, instance, allocation } = self.order().await {
                    // In boxes: an instance whose game is not ours must not have room for one.
                    Box::pin(self.keep(command, &Whom { session, instance, allocation })).await;
                }
            },
            GameSource::PidFile(_) | GameSource::Unit(_) | GameSource::ProcessName(_) | GameSource::Unknown => {
                match Watch::new(&settings.game.source) {
                    Some(watch) => Box::pin(self.watch(watch)).await,
                    None => loop {
                        self.order().await;
                    },
                }
            }
        }
    }

    /// The next order. Where nobody gives any more it waits: the end is for `stopped` to say.
    async fn order(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => *order,
            None => std::future::pending().await,
        }
    }

    /// An instance that has ended has no ear for its game.
    async fn tell(&self, event: GameEvent) {
        let _ended = self.events.send(Box::new(event)).await;
    }

    fn there(&self, pid: u32, meter: &Meter) {
        let cgroup = meter.cgroup().unified().map(PathBuf::from);
        self.watched.send_replace(Some(Watched { pid, cgroup }));
        if let Some(pids) = &self.pids {
            pids.send_replace(Some(pid));
        }
    }

    fn gone(&self) {
        self.watched.send_replace(None);
        if let Some(pids) = &self.pids {
            pids.send_replace(None);
        }
    }

    /// One life of a game of ours.
    async fn keep(&mut self, command: &Command, whom: &Whom) {
        let pid = match self.start(command, whom) {
            Ok(ours) => {
                let pid = ours.grip.pid();
                self.there(pid, &ours.meter);
                self.ours = Some(Box::new(ours));
                pid
            }
            Err(why) => {
                tracing::warn!("there is no game now: {why}");
                self.tell(GameEvent::NotStarted { why }).await;
                return;
            }
        };
        tracing::info!(pid, program = command.command.first(), "the game was started");
        self.tell(GameEvent::Started { pid }).await;
        let mut next = clock::now() + meter::FIRST;
        while let Some(ours) = &mut self.ours {
            let orders = &mut self.orders;
            let turn = tokio::select! {
                // A game that waits to be collected is told before it is sent signals.
                biased;
                () = ours.grip.gone() => Turn::Gone,
                Some(order) = orders.recv() => Turn::Order(*order),
                () = ours.output.ready() => Turn::Ready,
                () = clock::sleep_until(Some(next)) => Turn::Measure,
            };
            let told = match turn {
                Turn::Order(Order::Start { .. }) => None,
                Turn::Order(Order::Stop) => {
                    ours.stop(command.stop_signal);
                    None
                }
                Turn::Order(Order::Kill) => {
                    tracing::warn!(pid, "the game is killed");
                    ours.kill();
                    None
                }
                Turn::Ready => Some(GameEvent::ReadyLine),
                Turn::Measure => {
                    next = clock::now() + meter::EVERY;
                    ours.meter.measure().map(GameEvent::Figures)
                }
                Turn::Gone => break,
            };
            if let Some(event) = told {
                self.tell(event).await;
            }
        }
        self.ended(pid).await;
    }

    fn start(&mut self, command: &Command, whom: &Whom) -> Result<Ours, String> {
        let lacks = |error: std::io::Error| format!("the game was started, but cannot be kept: {error}; it was ended");
        let sinks = match &self.sinks {
            None => Sinks::ours().map_err(lacks)?,
            Some([stdout, stderr]) => {
                let again = |fd: &OwnedFd| fd.try_clone().map_err(lacks);
                Sinks { stdout: again(stdout)?, stderr: again(stderr)? }
            }
        };
        let game = &self.settings.game;
        // It was tried when the settings were read.
        let ready = game.ready_log.as_deref().and_then(|pattern| Regex::new(pattern).ok());
        let env = launch::environment(&self.reach.env, &command.env, &self.reach, whom);
        let launched = launch::launch(command, &env)?;
        Ours::new(launched, sinks, ready, game.log_tail, command.working_dir.as_deref()).map_err(lacks)
    }

    /// The leader of a game of ours has ended.
    async fn ended(&mut self, pid: u32) {
        self.gone();
        let known = self.settings.local_api.token.iter().map(|token| token.expose().to_owned()).collect();
        let Some(ours) = &mut self.ours else { return };
        let end = ours.end(known).await;
        tracing::info!(pid, status = ?end.status, oom_killed = end.oom_killed, core = end.core, "the game has ended");
        self.tell(GameEvent::Ended(Box::new(end))).await;
        // Whoever reads our output slowly must not delay the news.
        if let Some(ours) = &mut self.ours {
            ours.output.finish().await;
        }
        self.ours = None;
    }

    /// All lives of a game that somebody else starts.
    async fn watch(&mut self, mut watch: Watch) {
        while !matches!(self.order().await, Order::Start { .. }) {}
        loop {
            let grip = self.unless_ordered(watch.find()).await;
            let mut meter = Meter::begin(grip.pid());
            let begun = clock::now();
            let pid = grip.pid();
            self.there(pid, &meter);
            tracing::info!(pid, "the game was found");
            self.tell(GameEvent::Started { pid }).await;
            let mut next = clock::now() + meter::FIRST;
            loop {
                let orders = &mut self.orders;
                let measure = tokio::select! {
                    biased;
                    () = grip.gone() => break,
                    // It is not ours to stop.
                    Some(_order) = orders.recv() => false,
                    () = clock::sleep_until(Some(next)) => true,
                };
                if measure {
                    next = clock::now() + meter::EVERY;
                    if let Some(figures) = meter.measure() {
                        self.tell(GameEvent::Figures(figures)).await;
                    }
                }
            }
            self.gone();
            let uptime = clock::now().saturating_duration_since(begun);
            let end = found_end(&watch, &grip, &mut meter, uptime).await;
            tracing::info!(pid, status = ?end.status, oom_killed = end.oom_killed, "the game has ended");
            self.tell(GameEvent::Ended(Box::new(end))).await;
        }
    }

    /// Waits for something, and lets orders go by.
    async fn unless_ordered<T>(&mut self, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                Some(_order) = self.orders.recv() => {}
            }
        }
    }
}

/// The end of a game that somebody else started, as far as it can be known from outside.
async fn found_end(watch: &Watch, grip: &Grip, meter: &mut Meter, uptime: Duration) -> End {
    // First of all: what is not ours is collected by somebody else at any moment.
    let (figures, in_cgroup) = meter.close();
    let Ending { status, dumped, oom_killed } = watch.status(grip).await;
    End {
        status,
        oom_killed: oom_killed || in_cgroup,
        core: dumped.then(|| "yes (where its parent, or the kernel's core_pattern, puts it)".to_owned()),
        uptime,
        figures,
        tail: Vec::new(),
    }
}
