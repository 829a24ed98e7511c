//! The parts of a running agent, put together and taken apart in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::observe;
use crate::clock;
use crate::config::settings::{GameSource, Instance, Settings, Surroundings};
use crate::core::action::Outcome;
use crate::core::agent::Birth;
use crate::core::durable::Durable;
use crate::core::event::StoreFault;
use crate::core::ids::{InstanceId, InstanceName};
use crate::driver::host::{Host, Newborn};
use crate::exit::Exit;
use crate::io::admin::{Admin, AdminError};
use crate::io::game::{self, Reach, reaper};
use crate::io::http::{HttpBackend, HttpSetupError};
use crate::io::local::{LocalApi, LocalApiError, Proxy};
use crate::io::store::{self, DiskStore, OpenError, Opened, StoreStatus};
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::{InstanceMeter, Meters};

/// How long the local API may take for its last answers.
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

/// Where an instance's local API is.
#[derive(Debug, Clone)]
pub(in crate::cli) struct LocalAddress {
    /// Its Unix socket.
    pub(in crate::cli) socket: Option<PathBuf>,
    /// Its TCP address.
    pub(in crate::cli) tcp: Option<SocketAddr>,
    /// Where it speaks Agones gRPC.
    pub(in crate::cli) grpc: Option<SocketAddr>,
}

/// A running agent.
#[derive(Debug)]
pub(in crate::cli) struct Running {
    /// The instances.
    pub(in crate::cli) host: Host,
    /// The settings as they are now; secrets may be read again.
    pub(in crate::cli) settings: Settings,
    /// The client of the backend.
    pub(in crate::cli) backend: HttpBackend,
    /// Where the local APIs are, in the order of the instances.
    pub(in crate::cli) locals: Vec<LocalAddress>,
    /// Where the admin listener is.
    pub(in crate::cli) admin: Option<SocketAddr>,
    /// The store's state.
    pub(in crate::cli) store_status: watch::Receiver<StoreStatus>,
    /// The fault that was last told.
    pub(in crate::cli) store_fault: Option<StoreFault>,
    /// What the instances were last told of.
    pub(in crate::cli) store_told: StoreStatus,
    /// An instance shows something new that concerns `STATUS=`.
    pub(in crate::cli) news: Arc<Notify>,
    store: DiskStore,
    servers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Starts everything, in this order: the state directory first, because its lock says whether we may run at all; then
    /// the local API, because games give up on it soon; then the instances. `log` is asked for the lines that it lost.
    pub(in crate::cli) fn start(
        settings: Settings,
        surroundings: &Surroundings,
        seed: Option<u64>,
        log: Option<LogHandle>,
    ) -> Result<Self, StartError> {
        let options = store::Options { machine: store::machine_marker(), ..store::Options::default() };
        let Opened { store, recovered, findings, status } =
            store::open(&settings.state.dir, &options, belongs(&settings))?;
        for finding in &findings {
            tracing::warn!(kind = finding.kind(), "the state directory: {finding}");
        }
        let (backend, past) = HttpBackend::remembering(&settings.environment, &settings.auth, &settings.state.dir)?;
        let (requests, writes) = (backend.requests(), store.writes());
        let meter = |instance: &Instance| Arc::new(InstanceMeter::new(instance.name().clone(), Arc::clone(&requests)));
        let meters = Meters { instances: settings.instances.iter().map(meter).collect(), requests, writes };
        let news = Arc::new(Notify::new());
        let seed = seed.unwrap_or_else(random);
        let mut keepers = Vec::new();
        let births = settings.instances.iter().enumerate().map(|(turn, instance)| {
            let birth = Birth {
                durable: recovered.get(instance.name()).cloned().unwrap_or_default(),
                fresh_id: InstanceId::from_uuid(uuid::Uuid::new_v4()),
                seed: seed.wrapping_add(u64::try_from(turn).unwrap_or_default() + 1),
                wall: clock::wall(),
            };
            let (side, game, keeper) = game::side(instance);
            keepers.push(keeper);
            Newborn { params: instance.params.clone(), birth, side, game }
        });
        let host = Host::start(births.collect(), &backend, backend.clone(), &past, &store, seed);
        if !settings.proxy.allow.is_empty() {
            let allow = &settings.proxy.allow;
            tracing::info!(?allow, "games may call the environment through /rallyhere/ of the local API");
        }
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        let mut locals = Vec::new();
        let described = settings.instances.iter().zip(&meters.instances);
        for (((instance, meter), handle), keeper) in described.zip(host.handles()).zip(keepers) {
            let api = LocalApi::bind(&instance.local_api, handle.clone())
                .map_err(|source| StartError::Local { name: instance.name().clone(), source })?
                .measured(Arc::clone(meter))
                .with_proxy(Proxy::new(&settings.proxy, backend.clone(), host.login()));
            servers.spawn(observe::watch(handle.clone(), Arc::clone(meter), Arc::clone(&news)));
            let env = surroundings.env.clone();
            let reach =
                Reach { socket: api.socket().map(Into::into), http: api.tcp_addr(), grpc: api.grpc_addr(), env };
            servers.spawn(keeper.run(reach, until(stopped.clone())));
            locals.push(LocalAddress {
                socket: api.socket().map(Into::into),
                tcp: api.tcp_addr(),
                grpc: api.grpc_addr(),
            });
            servers.spawn(api.serve(until(stopped.clone())));
        }
        let starts_games =
            settings.instances.iter().any(|instance| matches!(instance.game.source, GameSource::Command(_)));
        if starts_games || reaper::is_first() {
            servers.spawn(reaper::run(until(stopped.clone())));
        }
        let admin = match Admin::bind(&settings.admin, host.handles().to_vec()) {
            Ok(admin) => {
                let address = admin.addr();
                let metrics = observe::metrics(&host, meters, status.clone(), log);
                let pulses = host.pulses().to_vec();
                let admin = admin.with_metrics(metrics).of_instances(&settings.instances);
                let admin = admin.alive_while(move || observe::all_turn(&pulses));
                servers.spawn(admin.serve(until(stopped)));
                address
            }
            Err(error) => {
                admin_is_missing(&error);
                None
            }
        };
        let store_told = status.borrow().clone();
        let running = Self {
            host,
            settings,
            backend,
            locals,
            admin,
            store_status: status,
            store_fault: None,
            store_told,
            news,
            store,
            servers,
            stop,
        };
        if !findings.is_empty() {
            let status = running.store_status.borrow().clone();
            running.tell_store(&status);
        }
        Ok(running)
    }

    /// Lets the instances show how the store is.
    pub(in crate::cli) fn tell_store(&self, status: &StoreStatus) {
        let findings = status.findings.iter().map(ToString::to_string).collect();
        self.host.store_is(status.fault, Arc::new(findings));
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
        self.stop.send_replace(true);
        let servers = async { while self.servers.join_next().await.is_some() {} };
        tokio::select! {
            () = servers => {}
            () = clock::sleep(SERVERS_END) => {}
        }
        if let Err(fault) = self.store.close(STORE_END).await {
            tracing::error!("the state could not be written at the end: {fault}");
        }
        exit
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

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means that the process is ending too.
    let _gone = stopped.wait_for(|stopped| *stopped).await;
}

fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}
