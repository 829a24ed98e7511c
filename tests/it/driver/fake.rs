//! A backend, a login and a store in memory. They are quiet until a test twists them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rallyhere_agent::clock;
use rallyhere_agent::core::Birth;
use rallyhere_agent::core::api::Choice;
use rallyhere_agent::core::call::{Answer, Call, CallKind, Failure, FailureKind, LoggedIn, Login, Page};
use rallyhere_agent::core::durable::{Durable, Record};
use rallyhere_agent::core::event::StoreFault;
use rallyhere_agent::core::ids::{Generation, InstanceId, InstanceName, SessionId};
use rallyhere_agent::core::instance::{HealthConfig, InstanceInfo, JoinParams, JoinStatus, Session};
use rallyhere_agent::core::params::{Deliver, Params, Process, Readiness, Target};
use rallyhere_agent::driver::host::Newborn;
use rallyhere_agent::ports::{Authenticator, Backend, NoSide, Store};

/// How long the backend takes for an answer.
const LATENCY: Duration = Duration::from_millis(1);
/// How often a health post is expected.
pub(crate) const CADENCE: Duration = Duration::from_secs(10);

/// What a call does instead of what it should.
#[derive(Debug, Clone)]
pub(crate) enum Twist {
    Fail(Failure),
    Never,
    Panic,
}

type Rule = Box<dyn FnMut(&Call) -> Option<Twist> + Send>;

#[derive(Default)]
struct Environment {
    instances: HashMap<SessionId, InstanceInfo>,
    log: Vec<(Instant, CallKind)>,
    rule: Option<Rule>,
    /// Calls that were dropped before they had an answer.
    dropped: Vec<CallKind>,
}

/// An environment where every session exists.
#[derive(Clone, Default)]
pub(crate) struct FakeBackend(Arc<Mutex<Environment>>);

/// Notes a call that is dropped before its end.
struct Guard {
    backend: FakeBackend,
    kind: CallKind,
    done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done && !std::thread::panicking() {
            self.backend.with(|environment| environment.dropped.push(self.kind));
        }
    }
}

impl FakeBackend {
    fn with<T>(&self, work: impl FnOnce(&mut Environment) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// From now on every call is looked at first.
    pub(crate) fn twist(&self, rule: impl FnMut(&Call) -> Option<Twist> + Send + 'static) {
        self.with(|environment| environment.rule = Some(Box::new(rule)));
    }

    /// When calls of a kind came.
    pub(crate) fn times(&self, kind: CallKind) -> Vec<Instant> {
        self.with(|environment| environment.log.iter().filter(|(_, k)| *k == kind).map(|(at, _)| *at).collect())
    }

    pub(crate) fn count(&self, kind: CallKind) -> usize {
        self.times(kind).len()
    }

    pub(crate) fn dropped(&self, kind: CallKind) -> usize {
        self.with(|environment| environment.dropped.iter().filter(|dropped| **dropped == kind).count())
    }

    pub(crate) fn instances(&self) -> usize {
        self.with(|environment| environment.instances.len())
    }

    /// Somebody else takes the session.
    pub(crate) fn replace(&self, session: &SessionId) {
        let other = info(InstanceId::parse("other").unwrap(), JoinStatus::Joinable);
        self.with(|environment| environment.instances.insert(session.clone(), other));
    }

    fn answer(&self, call: &Call) -> Answer {
        self.with(|environment| match call {
            Call::ReadSession { session, .. } => session_of(session, environment.instances.get(session).cloned()),
            Call::Register { session, registration } => {
                let info = info(registration.instance_id.clone(), JoinStatus::Pending);
                environment.instances.insert(session.clone(), info.clone());
                Answer::Instance(Box::new(info))
            }
            Call::Update { session, update } => {
                let shown = environment.instances.get_mut(session).unwrap();
                shown.join_status = update.join_status.clone();
                Answer::Instance(Box::new(shown.clone()))
            }
            Call::Unregister { session } => {
                environment.instances.remove(session);
                Answer::Unregistered
            }
            Call::HealthConfig => Answer::HealthConfig(HealthConfig { cadence: CADENCE }),
            Call::PostHealth { health, .. } => Answer::HealthAccepted(*health),
            Call::Fubar { .. } | Call::PostEvent { .. } | Call::Audit { .. } | Call::Duty { .. } => Answer::Accepted,
            Call::Poll { .. } => Answer::Page(Page::default()),
            Call::FindSession { .. }
            | Call::CreateSession { .. }
            | Call::SicRegister { .. }
            | Call::SicState { .. } => unreachable!("no test here has an allocation"),
        })
    }
}

fn info(instance_id: InstanceId, join_status: JoinStatus) -> InstanceInfo {
    InstanceInfo { instance_id: Some(instance_id), allocation_id: None, join_status, health: None }
}

fn session_of(session: &SessionId, instance: Option<InstanceInfo>) -> Answer {
    let session = Session {
        session_id: session.clone(),
        region_id: None,
        instance,
        document: Arc::from("{}"),
        print: 0,
        is_new: false,
    };
    Answer::Session { session: Box::new(session), etag: None }
}

impl Backend for FakeBackend {
    fn call(&self, call: Call, limit: Duration) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static {
        let kind = call.kind();
        let twist = self.with(|environment| {
            environment.log.push((clock::now(), kind));
            environment.rule.as_mut().and_then(|rule| rule(&call))
        });
        let backend = self.clone();
        async move {
            let mut guard = Guard { backend: backend.clone(), kind, done: false };
            clock::sleep(LATENCY).await;
            let answer = match twist {
                Some(Twist::Fail(failure)) => Err(failure),
                Some(Twist::Panic) => panic!("on purpose"),
                Some(Twist::Never) => {
                    clock::sleep(limit).await;
                    Err(Failure::local(FailureKind::TimedOut, "as it was told"))
                }
                None => {
                    if let Call::Poll { deadline, .. } = &call {
                        clock::sleep(*deadline).await;
                    }
                    Ok(backend.answer(&call))
                }
            };
            guard.done = true;
            answer
        }
    }
}

/// The rejection of a token.
pub(crate) fn rejected(token: u64) -> Failure {
    Failure { token: Some(Generation(token)), ..Failure::local(FailureKind::Unauthorised, "auth_token_expired") }
}

/// A login that succeeds, unless it is told to panic first.
#[derive(Clone, Default)]
pub(crate) struct FakeLogin {
    pub(crate) tried: Arc<AtomicUsize>,
    pub(crate) panics: Arc<AtomicUsize>,
}

impl FakeLogin {
    pub(crate) fn count(&self) -> usize {
        self.tried.load(Ordering::Relaxed)
    }
}

impl Authenticator for FakeLogin {
    fn login(
        &self,
        _login: Login,
        _generation: Generation,
    ) -> impl Future<Output = Result<LoggedIn, Failure>> + Send + 'static {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let panics = self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        async move {
            assert!(!panics, "on purpose");
            Ok(LoggedIn { lifetime: None, can_refresh: false })
        }
    }
}

/// A store that takes everything, until it stops answering.
#[derive(Clone, Default)]
pub(crate) struct FakeStore {
    pub(crate) hangs: Arc<Mutex<bool>>,
    written: Arc<Mutex<Durable>>,
}

impl FakeStore {
    pub(crate) fn hang(&self) {
        *self.hangs.lock().unwrap() = true;
    }

    pub(crate) fn written(&self) -> Durable {
        self.written.lock().unwrap().clone()
    }
}

impl Store for FakeStore {
    fn append(
        &self,
        _instance: &InstanceName,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + 'static {
        let hangs = *self.hangs.lock().unwrap();
        if !hangs {
            records.iter().for_each(|record| self.written.lock().unwrap().apply(record));
        }
        async move { if hangs { std::future::pending().await } else { Ok(()) } }
    }

    fn recall(&self, _instance: &InstanceName) -> impl Future<Output = Result<Durable, StoreFault>> + Send + 'static {
        std::future::ready(Ok(self.written()))
    }
}

/// The session of an instance of this name.
pub(crate) fn session(name: &str) -> SessionId {
    SessionId::parse(&format!("session-of-{name}")).unwrap()
}

/// The same as [`instance`], without a game's side.
pub(crate) fn newborn(name: &str) -> Newborn<NoSide> {
    let (params, birth) = instance(name);
    Newborn { params: params.into(), birth, side: NoSide, game: None, again: None, begins: clock::now() }
}

/// A self-registered instance that is ready at once.
pub(crate) fn instance(name: &str) -> (Params, Birth) {
    let params = Params {
        name: InstanceName::parse(name).unwrap(),
        api: Choice::Auto,
        target: Target::Session { session: session(name), allocation: None },
        allocation: Default::default(),
        instance_id: None,
        host_type: "dedicated".to_owned(),
        region: "eu".to_owned(),
        version: None,
        join_params: JoinParams { public_conn_str: "192.0.2.1:7777".to_owned(), ..JoinParams::default() },
        custom_data: [].into(),
        publish_players: None,
        publish_labels: Vec::new(),
        startup_params: None,
        matchmaking_profile_id: None,
        source_provider: None,
        readiness: Readiness::Immediate,
        process: Process::Unknown,
        stop_timeout: Duration::from_secs(30),
        ready_timeout: Duration::from_secs(300),
        default_cadence: CADENCE,
        startup_grace: Duration::from_secs(60),
        heartbeat_timeout: Duration::from_secs(15),
        unhealthy_after: 3,
        healthy_after: 1,
        probes: Vec::new(),
        deliver: Deliver::Api,
        notifications: true,
        page_size: 100,
        poll_deadline: Duration::from_secs(25),
        session_interval: Duration::from_secs(5),
        inbox_limit: 1000,
        automatic_fubar: true,
        drain_timeout: Duration::from_secs(60),
    };
    let birth = Birth {
        durable: Durable::default(),
        fresh_id: InstanceId::parse(&format!("instance-of-{name}")).unwrap(),
        seed: 7,
        wall: Timestamp::UNIX_EPOCH,
    };
    (params, birth)
}
