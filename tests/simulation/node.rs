//! One simulated host: a disk, a wall clock, a game, and the process of an agent on it, as long as it runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use rallyhere_agent::core::allocation::AllocationParams;
use rallyhere_agent::core::api::Choice;
use rallyhere_agent::core::call::{CallKind, Login};
use rallyhere_agent::core::durable::Record;
use rallyhere_agent::core::event::StoreFault;
use rallyhere_agent::core::ids::{CallId, Generation, InstanceId, InstanceName, ReportId, SessionId, Ticket};
use rallyhere_agent::core::instance::JoinParams;
use rallyhere_agent::core::params::{Deliver, Params, Process, Readiness, Target};
use rallyhere_agent::core::{Agent, Auth, AuthView, Outcome, Phase};
use rallyhere_agent::io::store::Engine;

use crate::disk::SimDisk;
use crate::rules::Watch;

/// Who waits for a verdict of the agent.
#[derive(Debug, Clone)]
pub(crate) enum Waiter {
    Report { label: String, key: Option<String> },
    Ack { instance: InstanceId, through: usize },
    Ready,
    Other,
}

/// The agent's process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) agent: Agent,
    pub(crate) auth: Auth,
    pub(crate) engine: Engine<SimDisk>,
    /// What the login last told the agent.
    pub(crate) view: Arc<AuthView>,
    /// The token that calls are sent with: of which login, and its number in the world.
    pub(crate) vault: Option<(Generation, usize)>,
    pub(crate) login: Option<(CallId, Login, Generation)>,
    pub(crate) batches: VecDeque<(Ticket, Vec<Record>)>,
    pub(crate) committing: bool,
    pub(crate) ticking: bool,
    pub(crate) waiting: BTreeMap<u64, Waiter>,
    pub(crate) requests: u64,
    /// When the loops wake up next.
    pub(crate) wake: Option<Instant>,
    pub(crate) auth_wake: Option<Instant>,
    /// Calls that somebody waits for.
    pub(crate) flights: Vec<u64>,
    pub(crate) phase: Phase,
    pub(crate) fault_told: Option<StoreFault>,
    pub(crate) looking: bool,
    /// It is in its first moment.
    pub(crate) begins: bool,
}

/// What a game of this host is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Game {
    /// It said ready, and was heard.
    pub(crate) ready: bool,
    /// It runs, as a child of the agent.
    pub(crate) child: bool,
    pub(crate) pushing: bool,
    /// Not there to take anything until then.
    pub(crate) absent_until: Option<Instant>,
}

/// What survives the process beside the store: the file of the login.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keepsake {
    pub(crate) attempts: Vec<i64>,
    pub(crate) token: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) name: InstanceName,
    pub(crate) dice: Rng,
    pub(crate) params: Params,
    pub(crate) session: SessionId,
    /// How many tasks this host has had.
    pub(crate) tasks: u32,
    /// How many processes.
    pub(crate) life: u32,
    pub(crate) disk: SimDisk,
    pub(crate) keepsake: Keepsake,
    pub(crate) wall: SignedDuration,
    pub(crate) running: Option<Running>,
    pub(crate) stalled: Option<Instant>,
    /// How the task ended.
    pub(crate) over: Option<Outcome>,
    pub(crate) game: Game,
    pub(crate) watch: Watch,
    pub(crate) reports: u64,
    pub(crate) slow_disk: Option<Instant>,
    /// The labels of reports, by their ids.
    pub(crate) labels: BTreeMap<ReportId, String>,
    /// It was started once more after its end.
    pub(crate) again: bool,
    /// How it must end then.
    pub(crate) ends_as: Option<Outcome>,
    /// How often its deadline came again in the same moment.
    pub(crate) spun: Option<Instant>,
    pub(crate) spins: usize,
}

/// When every world begins, by the wall clock.
pub(crate) const EPOCH: i64 = 1_795_000_000;

impl Node {
    pub(crate) fn new(at: usize, seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed ^ (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let name = InstanceName::parse("default").unwrap();
        let session = SessionId::parse("none").unwrap();
        Self {
            at,
            params: params(&mut dice, &name, Target::Session { session: session.clone(), allocation: None }),
            name,
            session,
            tasks: 0,
            life: 0,
            disk: SimDisk::new(dice.u64(..)),
            keepsake: Keepsake::default(),
            wall: SignedDuration::ZERO,
            running: None,
            stalled: None,
            over: None,
            game: Game::default(),
            watch: Watch::default(),
            reports: 0,
            slow_disk: None,
            labels: BTreeMap::new(),
            again: false,
            ends_as: None,
            spun: None,
            spins: 0,
            dice,
        }
    }

    /// The wall clock of this host.
    pub(crate) fn wall(&self, since_start: Duration) -> Timestamp {
        let epoch = Timestamp::from_second(EPOCH).unwrap();
        let elapsed = SignedDuration::try_from(since_start).unwrap();
        epoch.checked_add(elapsed).and_then(|at| at.checked_add(self.wall)).unwrap_or(epoch)
    }

    /// Whether an instance is the one that this host is to be.
    pub(crate) fn is_ours(
        &self,
        id: Option<&InstanceId>,
        allocation: Option<&rallyhere_agent::core::ids::AllocationId>,
    ) -> bool {
        match self.params.target.allocation() {
            Some(ours) => allocation == Some(ours),
            None => id.is_some_and(|id| id.as_str().starts_with(&self.id_prefix())),
        }
    }

    /// What every instance id begins with that this host makes for this task.
    pub(crate) fn id_prefix(&self) -> String {
        format!("i-{}-{}-", self.at, self.tasks)
    }

    pub(crate) fn is_pushed_to(&self) -> bool {
        self.params.deliver == Deliver::Push
    }
}

/// Settings of a task.
pub(crate) fn params(dice: &mut Rng, name: &InstanceName, target: Target) -> Params {
    let ours = dice.u8(..4) == 0;
    Params {
        name: name.clone(),
        api: Choice::V2023_11,
        target,
        allocation: AllocationParams::default(),
        instance_id: None,
        host_type: "dedicated".to_owned(),
        region: "eu".to_owned(),
        version: Some("1.2.3".to_owned()),
        join_params: JoinParams { public_conn_str: "192.0.2.7:7777".to_owned(), ..JoinParams::default() },
        custom_data: BTreeMap::new(),
        publish_players: None,
        publish_labels: Vec::new(),
        startup_params: None,
        matchmaking_profile_id: None,
        source_provider: None,
        readiness: if dice.u8(..4) == 0 { Readiness::Immediate } else { Readiness::Sdk },
        process: if ours { Process::Ours } else { Process::Unknown },
        stop_timeout: Duration::from_secs(dice.u64(5..30)),
        ready_timeout: Duration::from_secs(300),
        default_cadence: Duration::from_secs(10),
        startup_grace: Duration::from_secs(60),
        heartbeat_timeout: Duration::from_secs(15),
        unhealthy_after: 3,
        healthy_after: 1,
        probes: Vec::new(),
        deliver: if dice.u8(..3) == 0 { Deliver::Push } else { Deliver::Api },
        notifications: true,
        page_size: if dice.bool() { 100 } else { dice.u8(1..10) },
        session_interval: Duration::from_secs(5),
        poll_deadline: Duration::from_secs(25),
        inbox_limit: if dice.bool() { 1000 } else { dice.usize(1..20) },
        automatic_fubar: true,
        drain_timeout: Duration::from_secs(dice.u64(1..60)),
    }
}

/// The place of a kind in a table.
pub(crate) fn index(kind: CallKind) -> usize {
    kind as usize
}
