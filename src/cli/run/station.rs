//! One instance of the process with all that stands around it: its local API, its game's keeper, who watches it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::observe;
use crate::clock;
use crate::config::settings::{self, GameSource, HandOff, Instance, Surroundings};
use crate::core::agent::Birth;
use crate::core::durable::Durable;
use crate::core::ids::{InstanceId, InstanceName};
use crate::core::phase::Phase;
use crate::core::snapshot::Snapshot;
use crate::driver::host::{Host, Newborn, Pace};
use crate::driver::lives::Again;
use crate::io::admin::Member;
use crate::io::allocation;
use crate::io::game::{self, Reach};
use crate::io::http::HttpBackend;
use crate::io::local::{LocalApi, LocalApiError, Proxy};
use crate::io::store::DiskStore;
use crate::ports::{Allocator as _, InstanceHandle, boxed};
use crate::telemetry::metrics::InstanceMeter;

/// How long the local API may take for its last answers.
const SERVERS_END: Duration = Duration::from_secs(1);

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

/// What all stations share.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) backend: HttpBackend,
    pub(super) store: DiskStore,
    /// What games may call of the environment.
    pub(super) proxy: settings::Proxy,
    /// The agent's own environment, for the games that it starts.
    pub(super) surroundings: Surroundings,
    /// An instance shows something new that concerns `STATUS=`.
    pub(super) news: Arc<Notify>,
    /// Where all randomness comes from.
    pub(super) seed: u64,
    /// How many instances were ever started: each has dice of its own.
    pub(super) started: u64,
    /// How fast they begin.
    pub(super) pace: Pace,
}

/// What becomes of an instance that has ended.
#[derive(Debug)]
pub(super) enum Fate {
    /// It stays to be seen.
    Stay,
    /// It goes.
    Go,
    /// It begins anew with these settings.
    Replace(Arc<Instance>),
}

/// An instance and what stands around it.
#[derive(Debug)]
pub(in crate::cli) struct Station {
    /// Its settings.
    pub(super) settings: Arc<Instance>,
    /// Where its local API is.
    pub(in crate::cli) local: LocalAddress,
    /// How to look at it.
    pub(in crate::cli) member: Member,
    /// What becomes of it once it has ended.
    pub(super) fate: Fate,
    /// It has ended.
    pub(super) over: bool,
    servers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Station {
    /// Starts an instance. If its local API cannot be opened, nothing of it has happened.
    pub(super) fn open(
        settings: Arc<Instance>,
        durable: Durable,
        host: &mut Host,
        ground: &mut Ground,
    ) -> Result<Self, LocalApiError> {
        ground.started += 1;
        let seed = ground.seed.wrapping_add(ground.started);
        let birth = Birth { durable, fresh_id: fresh_id(), seed, wall: clock::wall() };
        let (side, kept) = game::side(Arc::clone(&settings));
        let (game, keeper) = kept.unzip();
        let params = Arc::clone(&settings.params);
        let again = settings
            .recycle
            .then(|| Box::new(Again { params: Arc::clone(&params), seed: seed.wrapping_add(1 << 32), fresh_id }));
        let begins = ground.pace.begins(clock::now());
        let handle = host.add(Newborn { params, birth, side, game, again, begins }, &ground.backend, &ground.store);
        let meter = Arc::new(InstanceMeter::new(ground.backend.requests()));
        let api = match LocalApi::bind(&settings.local_api, handle.clone()) {
            Ok(api) => {
                let proxy = Proxy::new(&ground.proxy, ground.backend.clone(), host.login());
                api.measured(Arc::clone(&meter)).with_proxy(proxy)
            }
            Err(error) => {
                host.take_back(settings.name());
                return Err(error);
            }
        };
        let local = LocalAddress { socket: api.socket().map(Into::into), tcp: api.tcp_addr(), grpc: api.grpc_addr() };
        let reach = Reach {
            socket: local.socket.clone(),
            http: local.tcp,
            grpc: local.grpc,
            // Only for a game of ours: a host of many need not hold it a thousand times.
            env: if starts_its_game(&settings) { ground.surroundings.env.clone() } else { BTreeMap::new() },
        };
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        servers.spawn(boxed(observe::watch(handle.clone(), Arc::clone(&meter), Arc::clone(&ground.news))));
        if let Some(keeper) = keeper {
            servers.spawn(boxed(keeper.run(reach, boxed(until(stopped.clone())))));
        }
        if allocation::source_of(&settings).is_some() {
            servers.spawn(boxed(ask_for_allocations(Arc::clone(&settings), handle.clone(), until(stopped.clone()))));
        }
        servers.spawn(boxed(api.serve(boxed(until(stopped)))));
        let member = Member { handle, taker: taker(&settings), meter };
        Ok(Self { settings, local, member, fate: Fate::Stay, over: false, servers, stop })
    }

    /// Its name.
    pub(super) fn name(&self) -> &InstanceName {
        self.settings.name()
    }

    /// Whether the game is one that we start.
    pub(super) fn starts_its_game(&self) -> bool {
        starts_its_game(&self.settings)
    }

    /// Begins to close its local API, and ends a game of ours that is still there.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until that is done, within its bound.
    pub(super) async fn stopped(mut self) {
        self.stop();
        tokio::select! {
            () = async { while self.servers.join_next().await.is_some() {} } => {}
            () = clock::sleep(SERVERS_END) => {}
        }
    }
}

/// Runs the source of an instance's allocations: for each of its lives, where it is recycled.
async fn ask_for_allocations(settings: Arc<Instance>, mut handle: InstanceHandle, stopped: impl Future<Output = ()>) {
    let lives = async {
        while let Some(source) = allocation::source_of(&settings) {
            source.run(handle.clone()).await;
            let is_another_life = |shown: &Arc<Snapshot>| !matches!(shown.phase, Phase::Ended | Phase::Superseded);
            if !settings.recycle || handle.snapshots.wait_for(is_another_life).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = lives => {}
        // Dropping a look at a file loses nothing.
        () = stopped => {}
    }
}

/// Whether the game of an instance is one that we start.
pub(super) fn starts_its_game(instance: &Instance) -> bool {
    matches!(instance.game.source, GameSource::Command(_))
}

fn fresh_id() -> InstanceId {
    InstanceId::from_uuid(uuid::Uuid::new_v4())
}

/// Who is handed the notifications, in a word.
fn taker(instance: &Instance) -> &'static str {
    match instance.hand_off {
        HandOff::Api => "api",
        HandOff::Exec { .. } => "exec",
        HandOff::Webhook { .. } => "webhook",
        HandOff::Log => "log",
    }
}

/// Waits until it is said.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means that the process is ending too.
    let _gone = stopped.wait_for(|stopped| *stopped).await;
}
