//! The parts of a running agent, put together and taken apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::observe;
use super::station::{Ground, Station, until};
use crate::clock;
use crate::config::settings::{Instance, Settings, Surroundings};
use crate::core::action::Outcome;
use crate::core::durable::Durable;
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;
use crate::driver::host::{Host, Pace};
use crate::exit::Exit;
use crate::io::admin::{Admin, AdminError, Member};
use crate::io::game::reaper;
use crate::io::http::{HttpBackend, HttpSetupError};
use crate::io::local::LocalApiError;
use crate::io::shutdown::{self, Reasons};
use crate::io::store::{self, OpenError, Opened, StoreStatus};
use crate::ports::{Store as _, boxed};
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Meters;

/// How many instances a host has room for that begins with fewer.
const HOST_ROOM: usize = 64;
/// How long the local APIs may take for their last answers.
const SERVERS_END: Duration = Duration::from_secs(1);
/// How long a superseded instance can still be asked.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long the store may take for its last records.
const STORE_END: Duration = Duration::from_secs(2);

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum StartError {
    /// The state directory.
    #[error("the state cannot be used")]
    Store(#[from] OpenError),
    /// The HTTP client.
    #[error("the backend's client could not be set up")]
    Http(#[from] HttpSetupError),
    /// A local API.
    #[error("the local API of instance {name} could not be opened")]
    Local {
        /// Whose.
        name: InstanceName,
        /// Why.
        #[source]
        source: LocalApiError,
    },
}

impl StartError {
    /// The exit code that tells it.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::Store(OpenError::Locked { .. }) => Exit::Locked,
            // Somebody has to mend it first; a restart would not help.
            Self::Store(OpenError::NotOwned { .. } | OpenError::TooOpen { .. }) => Exit::Config,
            Self::Store(OpenError::Io { .. }) | Self::Http(_) | Self::Local { .. } => Exit::Failure,
        }
    }
}

/// A running agent.
#[derive(Debug)]
pub(in crate::cli) struct Running {
    /// The instances' loops.
    pub(in crate::cli) host: Host,
    /// The settings as they are now; secrets may be read again, and instances may come and go.
    pub(in crate::cli) settings: Settings,
    /// The instances, in the order of the configuration, then as they came.
    pub(in crate::cli) stations: Vec<Station>,
    /// Where the admin listener is.
    pub(in crate::cli) admin: Option<SocketAddr>,
    /// The store's state.
    pub(in crate::cli) store_status: watch::Receiver<StoreStatus>,
    /// The fault that was last told.
    pub(in crate::cli) store_fault: Option<StoreFault>,
    /// What the instances were last told of.
    pub(in crate::cli) store_told: StoreStatus,
    pub(super) ground: Ground,
    roster: watch::Sender<Arc<Vec<Member>>>,
    servers: JoinSet<()>,
    /// Whether orphans are collected.
    reaping: bool,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts everything, in this order: the state directory first, because its lock says whether we may run at all; then
    /// each instance with its local API, because games give up on it soon. `log` is asked for the lines that it lost.
    pub(in crate::cli) fn start(
        settings: Settings,
        surroundings: &Surroundings,
        seed: Option<u64>,
        log: Option<LogHandle>,
    ) -> Result<Self, StartError> {
        let Opened { store, mut recovered, findings, status } =
            store::open(&settings.state.dir, &store_options(&settings), belongs(&settings))?;
        for finding in &findings {
            tracing::warn!(kind = finding.kind(), "the state directory: {finding}");
        }
        let (backend, past) = HttpBackend::remembering(&settings.environment, &settings.auth, &settings.state.dir)?;
        let meters = Meters { requests: backend.requests(), writes: store.writes() };
        let seed = seed.unwrap_or_else(random);
        let mut host = Host::start(backend.clone(), &past, seed);
        if !settings.proxy.allow.is_empty() {
            let allow = &settings.proxy.allow;
            tracing::info!(?allow, "games may call the environment through /rallyhere/ of the local API");
        }
        let mut ground = Ground {
            proxy: settings.proxy.clone(),
            backend,
            store,
            surroundings: surroundings.clone(),
            news: Arc::new(Notify::new()),
            seed,
            started: 0,
            pace: Pace::default(),
        };
        let mut stations = Vec::with_capacity(settings.instances.len());
        for instance in &settings.instances {
            let durable = recovered.remove(instance.name()).unwrap_or_default();
            let station = Station::open(Arc::clone(instance), durable, &mut host, &mut ground)
                .map_err(|source| StartError::Local { name: instance.name().clone(), source })?;
            stations.push(station);
        }
        let (roster, shown) = watch::channel(Arc::new(Vec::new()));
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        let admin = match Admin::bind(&settings.admin, shown.clone()) {
            Ok(admin) => {
                let address = admin.addr();
                let metrics = observe::metrics(shown, &host, meters, status.clone(), log);
                let pulses = host.pulses();
                let admin = admin.with_metrics(metrics).alive_while(move || observe::all_turn(&pulses));
                servers.spawn(boxed(admin.serve(until(stopped))));
                address
            }
            Err(error) => {
                admin_is_missing(&error);
                None
            }
        };
        let store_told = status.borrow().clone();
        let mut running = Self {
            host,
            settings,
            stations,
            admin,
            store_status: status,
            store_fault: None,
            store_told,
            ground,
            roster,
            servers,
            reaping: false,
            stop,
        };
        running.call_the_roll();
        if !findings.is_empty() {
            let status = running.store_status.borrow().clone();
            running.tell_store(&status);
        }
        Ok(running)
    }

    /// Shows who is there, and sees to what depends on it.
    fn call_the_roll(&mut self) {
        self.roster.send_replace(Arc::new(self.stations.iter().map(|station| station.member.clone()).collect()));
        if !self.reaping && (reaper::is_first() || self.stations.iter().any(Station::starts_its_game)) {
            self.reaping = true;
            self.servers.spawn(boxed(reaper::run(until(self.stop.subscribe()))));
        }
    }

    /// The settings of the instances that are there.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.stations.iter().map(|station| &*station.settings)
    }

    /// Whether the process stays when its instances have ended, because others may come: until it is told to end.
    pub(super) fn stays(&self) -> bool {
        self.settings.host || self.instances().any(|instance| instance.recycle)
    }

    /// Starts one more instance, with what is remembered of its name.
    pub(super) async fn add(&mut self, instance: Arc<Instance>) {
        let name = instance.name().clone();
        let Ok(durable) = self.ground.store.recall(&name).await else { return };
        match Station::open(instance, durable, &mut self.host, &mut self.ground) {
            Ok(station) => {
                tracing::info!(instance = name.as_str(), "the instance was added");
                self.stations.push(station);
            }
            Err(error) => tracing::error!(
                instance = name.as_str(),
                "the instance was not added, its local API could not be opened: {}",
                super::Chain(&error)
            ),
        }
        self.call_the_roll();
    }

    /// Takes an ended instance apart.
    pub(super) async fn remove(&mut self, name: &InstanceName) {
        if let Some(at) = self.stations.iter().position(|station| station.name() == name) {
            let station = self.stations.remove(at);
            self.call_the_roll();
            station.stopped().await;
            tracing::info!(instance = name.as_str(), "the instance was taken away");
        }
    }

    /// Lets the instances show how the store is.
    pub(in crate::cli) fn tell_store(&self, status: &StoreStatus) {
        let findings = status.findings.iter().map(ToString::to_string).collect();
        self.host.store_is(status.fault, Arc::new(findings));
    }

    /// Looks for what the host says of its own end. The host waits for us while the sender says so.
    pub(in crate::cli) fn watch_the_host(&mut self, surroundings: &Surroundings) -> (Reasons, watch::Sender<bool>) {
        let (holds, held) = watch::channel(false);
        let longest = self.settings.instances.iter().map(|instance| instance.params.drain_timeout).max();
        let stop = &self.stop;
        let reasons = shutdown::watch(
            &self.settings.shutdown,
            surroundings,
            held,
            longest.unwrap_or_default(),
            &mut self.servers,
            || until(stop.subscribe()),
        );
        (reasons, holds)
    }

    /// Waits until every instance has ended, then takes the rest apart.
    pub(in crate::cli) async fn finish(mut self, mut exit: Exit) -> Exit {
        while let Some((name, outcome)) = self.host.ended().await {
            exit = worse(exit, ended(&name, outcome));
        }
        if exit == Exit::Superseded {
            // The game must be able to read it: a stream and a long wait end with it at once, a poll of the status soon.
            clock::sleep(LAST_LOOK).await;
        }
        self.take_apart().await;
        exit
    }

    /// Whether an instance has its game from us: then the game does not outlive us.
    pub(in crate::cli) fn has_own_game(&self) -> bool {
        self.stations.iter().any(Station::starts_its_game)
    }

    /// Ends at once and leaves every instance as it is: nothing is said to the backend any more, and all that was accepted is
    /// on disk. The next agent goes on with it.
    pub(in crate::cli) async fn leave(mut self) -> Exit {
        self.host.abandon().await;
        self.take_apart().await;
        Exit::Left
    }

    async fn take_apart(mut self) {
        self.stop.send_replace(true);
        self.stations.iter().for_each(Station::stop);
        let stations = std::mem::take(&mut self.stations);
        let servers = async {
            for station in stations {
                station.stopped().await;
            }
            while self.servers.join_next().await.is_some() {}
        };
        tokio::select! {
            () = servers => {}
            () = clock::sleep(SERVERS_END) => {}
        }
        if let Err(fault) = self.ground.store.close(STORE_END).await {
            tracing::error!("the state could not be written at the end: {fault}");
        }
    }
}

/// Whether a remembered state is of the instance that is configured under its name. A name that is not configured (any
/// more) is nobody's business.
fn belongs(settings: &Settings) -> impl Fn(&InstanceName, &Durable) -> bool + Send + 'static {
    let configured: Vec<_> = settings
        .instances
        .iter()
        .map(|instance| {
            let params = &instance.params;
            (params.name.clone(), params.target.clone(), params.instance_id.clone())
        })
        .collect();
    move |name, durable| {
        let configured = configured.iter().find(|(configured, _, _)| configured == name);
        configured.is_none_or(|(_, target, id)| durable.is_of(target, id.as_ref()))
    }
}

/// The listener of the operator is not worth a game's life.
fn admin_is_missing(error: &AdminError) {
    tracing::warn!("the admin listener is missing, the agent runs without it: {}", super::Chain(error));
}

/// Says how an instance ended.
pub(in crate::cli) fn ended(name: &InstanceName, outcome: Option<Outcome>) -> Exit {
    match outcome {
        Some(Outcome::Ended) => {
            tracing::info!(instance = name.as_str(), "the instance has ended in good order");
            Exit::Done
        }
        Some(Outcome::Superseded) => Exit::Superseded,
        Some(Outcome::Game(code)) => {
            tracing::info!(instance = name.as_str(), code, "the instance has ended with its game");
            Exit::Game(code)
        }
        None => Exit::Failure,
    }
}

/// The exit code of a process whose instances ended in different ways: the one that somebody should look at.
pub(in crate::cli) fn worse(one: Exit, other: Exit) -> Exit {
    if other == Exit::Done { one } else { other }
}

/// A host of many has room for many: each may remember a quarter of a megabyte on average.
fn store_options(settings: &Settings) -> store::Options {
    let default = store::Options { machine: store::machine_marker(), ..store::Options::default() };
    if !settings.host {
        return default;
    }
    let expected = settings.instances.len().clamp(HOST_ROOM, 1000);
    let limit = default.limit + u64::try_from(expected).unwrap_or_default() * (256 << 10);
    store::Options { limit, compact_at: limit / 8, queue: default.queue.max(expected * 16), ..default }
}

fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}
