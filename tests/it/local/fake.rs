//! A core that says what a test wants, and the local API in front of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::config::secret::{Secret, SecretOrigin};
use rallyhere_agent::config::settings;
use rallyhere_agent::core::allocation::AllocationView;
use rallyhere_agent::core::event::{Granted, Request, Verdict};
use rallyhere_agent::core::ids::{Etag, InstanceId, InstanceName, NotificationId, ReportId, SessionId};
use rallyhere_agent::core::instance::{Health, JoinParams, JoinStatus, Notification, Session};
use rallyhere_agent::core::phase::Phase;
use rallyhere_agent::core::sdk::{SdkView, Told};
use rallyhere_agent::core::snapshot::{
    GameView, HandOffView, HealthView, InstanceView, NotificationsView, PollState, SessionView, Snapshot, StoreView,
};
use rallyhere_agent::io::local::{Limits, LocalApi, Proxy};
use rallyhere_agent::ports::InstanceHandle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::raw::Via;

pub(crate) const DOCUMENT: &str = r#"{"session_id":"s-1","unknown_to_us":{"kept":[1,2.50]}}"#;

pub(crate) fn snapshot() -> Snapshot {
    let now = clock::now();
    let session_id = SessionId::parse("s-1").unwrap();
    Snapshot {
        name: InstanceName::parse("default").unwrap(),
        phase: Phase::Serving,
        phase_since: now,
        ready: true,
        allocation: AllocationView { source: "fixed", ..AllocationView::default() },
        auth: Arc::default(),
        forbidden: [].into(),
        api: rallyhere_agent::core::api::ApiView::default(),
        health: HealthView {
            verdict: Health::Healthy,
            reason: Arc::from("the game says so"),
            cadence: Duration::from_secs(10),
            last_sent: Some(now),
            last_said: Some(Health::Healthy),
            last_answer: Some((Health::Healthy, now)),
        },
        game: GameView::default(),
        notifications: NotificationsView {
            state: PollState::Polling,
            inbox: Arc::default(),
            cursor: None,
            hand_off: HandOffView::default(),
        },
        sdk: Arc::new(sdk()),
        outbox: rallyhere_agent::core::snapshot::OutboxView::default(),
        store: StoreView::default(),
        session: Some(SessionView {
            session: Arc::new(Session {
                session_id: session_id.clone(),
                region_id: Some("eu".to_owned()),
                instance: None,
                document: Arc::from(DOCUMENT),
                print: 0,
                is_new: false,
            }),
            etag: Some(Etag::parse("\"v7\"").unwrap()),
            seen: now,
        }),
        instance: InstanceView {
            session_id: Some(session_id),
            instance_id: Some(InstanceId::parse("i-1").unwrap()),
            join_status: Some(JoinStatus::Joinable),
            ..InstanceView::default()
        },
        drain: None,
        outcome: None,
        counters: rallyhere_agent::core::snapshot::Counters::default(),
    }
}

/// What a game that serves is told.
pub(crate) fn sdk() -> SdkView {
    SdkView {
        version: 7,
        state: Told::Ready,
        session_id: Some(SessionId::parse("s-1").unwrap()),
        instance_id: Some(InstanceId::parse("i-1").unwrap()),
        created: "2026-11-22T10:00:00Z".parse().unwrap(),
        join_params: JoinParams { public_conn_str: "unreal://203.0.113.7:7777".to_owned(), ..JoinParams::default() },
        heartbeat_timeout: Duration::from_secs(15),
        startup_grace: Duration::from_secs(60),
        ..SdkView::default()
    }
}

pub(crate) fn notification(id: &str) -> Arc<Notification> {
    Arc::new(Notification {
        notification_id: NotificationId::parse(id).unwrap(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        message: format!("message {id}"),
        rh_url: None,
        etag: None,
        custom_data: [].into(),
    })
}

type Judge = Box<dyn FnMut(&Request) -> Option<Verdict> + Send>;

/// The receiving end of a handle.
pub(crate) struct Fake {
    pub(crate) handle: InstanceHandle,
    pub(crate) snapshots: Arc<watch::Sender<Arc<Snapshot>>>,
    asked: Arc<Mutex<Vec<Request>>>,
    judge: Arc<Mutex<Option<Judge>>>,
    tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::start_with(snapshot())
    }

    pub(crate) fn start_with(snapshot: Snapshot) -> Self {
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
        let snapshots = Arc::new(snapshots);
        let (handle, mut queue) = InstanceHandle::new(InstanceName::parse("default").unwrap(), receiver);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let judge = Arc::new(Mutex::new(None::<Judge>));
        let mut tasks = JoinSet::new();
        let (seen, judges, shown) = (Arc::clone(&asked), Arc::clone(&judge), Arc::clone(&snapshots));
        tasks.spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(asked) = queue.recv().await {
                seen.lock().unwrap().push(asked.request.clone());
                let verdict = match &mut *judges.lock().unwrap() {
                    Some(judge) => judge(&asked.request),
                    None => Some(Ok(usual(&asked.request, &shown))),
                };
                match verdict {
                    Some(verdict) => drop(asked.reply.send(verdict)),
                    None => unanswered.push(asked.reply),
                }
            }
        });
        Self { handle, snapshots, asked, judge, tasks }
    }

    /// What was asked, without the first greeting.
    pub(crate) fn take_asked(&self) -> Vec<Request> {
        let all = std::mem::take(&mut *self.asked.lock().unwrap());
        all.into_iter().filter(|request| *request != Request::ClientSeen).collect()
    }

    pub(crate) fn greetings(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| **request == Request::ClientSeen).count()
    }

    /// Judges every request from now on; `None` never answers.
    pub(crate) fn judge(&self, judge: impl FnMut(&Request) -> Option<Verdict> + Send + 'static) {
        *self.judge.lock().unwrap() = Some(Box::new(judge));
    }

    pub(crate) fn show(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshots.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    pub(crate) fn notify(&self, ids: &[&str]) {
        self.show(|snapshot| {
            let inbox = Arc::make_mut(&mut snapshot.notifications.inbox);
            inbox.extend(ids.iter().map(|id| notification(id)));
        });
    }

    /// The instance ends: nobody reads its queue any more.
    pub(crate) async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// What a core in good health says.
fn usual(request: &Request, snapshots: &watch::Sender<Arc<Snapshot>>) -> Granted {
    match request {
        Request::Fubar { .. } | Request::Event { .. } | Request::Duty { .. } => {
            Granted::Accepted(ReportId::parse("r-1").unwrap())
        }
        Request::Ack(id) => {
            let mut count = 0;
            snapshots.send_modify(|snapshot| {
                let inbox = Arc::make_mut(&mut Arc::make_mut(snapshot).notifications.inbox);
                if let Some(at) = inbox.iter().position(|waiting| waiting.notification_id == *id) {
                    count = inbox.drain(..=at).count();
                }
            });
            Granted::Acknowledged(count)
        }
        Request::Drain { .. } | Request::Shutdown { .. } | Request::TakeBack => Granted::Draining,
        Request::Give(_) => Granted::Allocated { fresh: true },
        Request::Ready(_)
        | Request::Source(_)
        | Request::Health { .. }
        | Request::Heartbeat
        | Request::Allocate
        | Request::Reserve { .. }
        | Request::Label { .. }
        | Request::Annotation { .. }
        | Request::Instance(_)
        | Request::RetryDead(_)
        | Request::DropDead(_)
        | Request::ClientSeen => Granted::Done,
    }
}

/// The API in front of a fake core, on both kinds of door.
pub(crate) struct Served {
    pub(crate) fake: Fake,
    pub(crate) addr: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    server: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::start_with(Fake::start(), Limits::default(), None)
    }

    pub(crate) fn start_with(fake: Fake, limits: Limits, token: Option<&str>) -> Self {
        Self::start_proxied(fake, limits, token, None)
    }

    pub(crate) fn start_proxied(fake: Fake, limits: Limits, token: Option<&str>, proxy: Option<Proxy>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let settings = settings::LocalApi {
            socket: Some(socket.clone()),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            grpc_listen: Some("127.0.0.1:0".parse().unwrap()),
            allow_remote: false,
            token: token.map(|token| Secret::new(token.to_owned(), SecretOrigin::Value)),
        };
        let api = LocalApi::bind(&settings, fake.handle.clone()).unwrap().with_limits(limits).with_proxy(proxy);
        let addr = api.tcp_addr().unwrap();
        let grpc = api.grpc_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = JoinSet::new();
        server.spawn(api.serve(async move { drop(stopped.await) }));
        Self { fake, addr, grpc, socket, stop: Some(stop), server, _dir: dir }
    }

    pub(crate) fn doors(&self) -> [Via; 2] {
        [Via::Tcp(self.addr), Via::Socket(self.socket.clone())]
    }

    pub(crate) fn tcp(&self) -> Via {
        Via::Tcp(self.addr)
    }

    pub(crate) fn uds(&self) -> Via {
        Via::Socket(self.socket.clone())
    }

    /// Tells the server to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has, without a panic.
    pub(crate) async fn ended(&mut self) {
        while let Some(ended) = self.server.join_next().await {
            ended.unwrap();
        }
    }
}
