//! One instance in its loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::auth::{AuthEvent, AuthState, AuthView};
use rallyhere_agent::core::call::CallKind;
use rallyhere_agent::core::event::{Denied, Granted, Request, Said};
use rallyhere_agent::core::ids::{Generation, InstanceName};
use rallyhere_agent::core::phase::Phase;
use rallyhere_agent::core::{Agent, Machine as _, Outcome, Snapshot};
use rallyhere_agent::driver::host::Host;
use rallyhere_agent::driver::instance::InstanceWorld;
use rallyhere_agent::driver::{Inbox, Pulse, drive};
use rallyhere_agent::ports::{AskError, InstanceHandle, NoSide};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, yield_now};

use super::fake::{CADENCE, FakeBackend, FakeLogin, FakeStore, Twist, instance, newborn, rejected, session};

/// The pieces of a process with one instance.
pub(super) struct Bench {
    pub(super) backend: FakeBackend,
    pub(super) login: FakeLogin,
    pub(super) store: FakeStore,
    pub(super) host: Host,
    pub(super) handles: Vec<InstanceHandle>,
}

impl Bench {
    pub(super) fn start(names: &[&str]) -> Self {
        Self::with(FakeBackend::default(), FakeLogin::default(), names)
    }

    pub(super) fn with(backend: FakeBackend, login: FakeLogin, names: &[&str]) -> Self {
        let store = FakeStore::default();
        let mut host = Host::start(login.clone(), &Default::default(), 1);
        let handles = names.iter().map(|name| host.add(newborn(name), &backend, &store)).collect();
        Self { backend, login, store, host, handles }
    }

    pub(super) fn handle(&self) -> &InstanceHandle {
        &self.handles[0]
    }

    /// Waits until the first instance shows something.
    pub(super) async fn until(&self, seen: impl FnMut(&Arc<Snapshot>) -> bool) -> Arc<Snapshot> {
        let mut snapshots = self.handle().snapshots.clone();
        let waiting = snapshots.wait_for(seen);
        let shown = tokio::time::timeout(Duration::from_secs(600), waiting).await.expect("ten minutes").unwrap();
        Arc::clone(&shown)
    }

    /// A bench whose instance serves.
    pub(super) async fn serving() -> Self {
        let bench = Self::start(&["one"]);
        bench.until(|shown| shown.phase == Phase::Serving && shown.health.last_answer.is_some()).await;
        bench
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_reaches_who_asked() {
    let bench = Bench::serving().await;
    let handle = bench.handle();
    let fubar = Request::Fubar { error: "stuck".to_owned(), key: Some("k".to_owned()) };
    let Ok(Granted::Accepted(first)) = handle.ask(fubar.clone()).await.unwrap() else { panic!("not accepted") };
    assert!(bench.store.written().keys.iter().any(|key| key.report == first), "accepted is durable");
    // Somebody who does not wait for the answer takes nothing from the others.
    let mut gone = Box::pin(handle.ask(fubar.clone()));
    assert!(tokio::time::timeout(Duration::ZERO, &mut gone).await.is_err());
    drop(gone);
    assert_eq!(handle.ask(fubar).await.unwrap(), Ok(Granted::Accepted(first)));
    let unreachable =
        Said { public_conn_str: Some(String::new()), private_conn_str: Some(String::new()), ..Said::default() };
    let refused = handle.ask(Request::Ready(unreachable)).await.unwrap();
    assert!(matches!(refused, Err(Denied::Field { field: "public_conn_str", .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_back_is_dropped_at_once() {
    let mut bench = Bench::serving().await;
    assert_eq!((bench.backend.count(CallKind::Poll), bench.backend.dropped(CallKind::Poll)), (1, 0));
    bench.backend.twist(|call| (call.kind() == CallKind::Unregister).then_some(Twist::Never));
    bench.host.drain("a test");
    bench.until(|shown| shown.phase == Phase::Closing).await;
    yield_now().await;
    assert_eq!(bench.backend.dropped(CallKind::Poll), 1, "with 25 s to go, and the loop still at work");
    let (name, outcome) = bench.host.ended().await.unwrap();
    assert_eq!((name.as_str(), outcome), ("one", Some(Outcome::Ended)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_a_failure_like_any_other() {
    let backend = FakeBackend::default();
    let mut panics = 2;
    backend.twist(move |call| {
        let panic = call.kind() == CallKind::PostHealth && panics > 0;
        panics -= usize::from(panic);
        panic.then_some(Twist::Panic)
    });
    let bench = Bench::with(backend, FakeLogin::default(), &["one"]);
    let shown = bench.until(|shown| shown.counters.health_answered >= 2).await;
    assert_eq!((shown.counters.health_failed, shown.phase), (2, Phase::Serving));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_panics_is_tried_again() {
    let login = FakeLogin::default();
    login.panics.store(1, Ordering::Relaxed);
    let bench = Bench::with(FakeBackend::default(), login, &["one"]);
    bench.until(|shown| shown.phase == Phase::Serving).await;
    assert_eq!(bench.login.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_does_not_stop_health() {
    let bench = Bench::serving().await;
    bench.store.hang();
    let handle = bench.handle().clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { handle.ask(Request::Fubar { error: "stuck".to_owned(), key: None }).await });
    let before = bench.backend.count(CallKind::PostHealth);
    clock::sleep(CADENCE * 20).await;
    let posts = bench.backend.times(CallKind::PostHealth);
    assert!((19..=21).contains(&(posts.len() - before)), "{} posts", posts.len() - before);
    let longest = posts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= CADENCE, "{longest:?}");
    assert!(asking.try_join_next().is_none(), "not durable, not accepted");
    // Nor does it stop the end.
    let mut bench = bench;
    bench.host.drain("a test");
    let began = clock::now();
    assert_eq!(bench.host.ended().await.unwrap().1, Some(Outcome::Ended));
    assert!(clock::now() - began < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn who_asks_an_instance_that_has_ended_is_told() {
    let mut bench = Bench::serving().await;
    bench.backend.replace(&session("one"));
    let handle = bench.handle().clone();
    assert_eq!(bench.host.ended().await.unwrap().1, Some(Outcome::Superseded));
    assert_eq!(handle.ask(Request::ClientSeen).await, Err(AskError::Ended));
    assert_eq!(handle.snapshot().phase, Phase::Superseded, "the last word stays");
}

#[tokio::test(start_paused = true)]
async fn each_phase_is_shown_and_nothing_is_shown_twice() {
    let bench = Bench::start(&["one"]);
    let mut snapshots = bench.handle().snapshots.clone();
    let mut shown = vec![snapshots.borrow_and_update().clone()];
    while shown.last().unwrap().health.last_answer.is_none() {
        snapshots.changed().await.unwrap();
        shown.push(snapshots.borrow_and_update().clone());
    }
    assert!(shown.windows(2).all(|pair| pair[0] != pair[1]));
    let mut phases: Vec<_> = shown.iter().map(|shown| shown.phase).collect();
    phases.dedup();
    // A game that is ready at once is loaded within one step.
    assert_eq!(phases, [Phase::Resolving, Phase::Registering, Phase::Serving]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_hold_no_other() {
    let bench = Bench::serving().await;
    bench.backend.twist(|call| (call.kind() != CallKind::PostHealth).then_some(Twist::Never));
    let before = bench.backend.count(CallKind::PostHealth);
    bench.handle().ask(Request::Fubar { error: "stuck".to_owned(), key: None }).await.unwrap().unwrap();
    clock::sleep(CADENCE * 20).await;
    assert!((19..=21).contains(&(bench.backend.count(CallKind::PostHealth) - before)));
    assert!(bench.backend.count(CallKind::Fubar) > 1, "each ends at its limit and is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_login_queue_that_is_full_loses_no_rejection() {
    let (login, mut queue) = mpsc::channel(2);
    let waiting = [AuthEvent::Rejected(Generation(0)), AuthEvent::Rejected(Generation(0))];
    waiting.iter().for_each(|event| login.try_send(Box::new(event.clone())).unwrap());
    let backend = FakeBackend::default();
    backend.twist(|call| (call.kind() == CallKind::ReadSession).then(|| Twist::Fail(rejected(1))));
    let (params, birth) = instance("one");
    let agent = Agent::new(params, birth, clock::now());
    let (snapshots, _shown) = watch::channel(Arc::new(agent.snapshot()));
    let (_commands, orders) = mpsc::channel(1);
    let view = AuthView { state: AuthState::Valid, generation: Some(Generation(1)), ..AuthView::default() };
    let (auth, mut views) = watch::channel(Arc::new(view));
    views.mark_changed();
    let inbox = Inbox { commands: orders, asked: None, auth: Some(views), game: None };
    let name = InstanceName::parse("one").unwrap();
    let world = InstanceWorld::new(name, backend.clone(), FakeStore::default(), NoSide, login, snapshots);
    let mut loops = JoinSet::new();
    loops.spawn(drive(Box::new(agent), world, inbox, Pulse::new()));
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.count(CallKind::ReadSession), 1, "refused once, and not sent again with the same token");
    for event in waiting {
        assert_eq!(queue.recv().await, Some(Box::new(event)));
    }
    let rejected = tokio::time::timeout(Duration::from_secs(10), queue.recv()).await.expect("it was lost");
    assert_eq!(rejected, Some(Box::new(AuthEvent::Rejected(Generation(1)))));
    drop(auth);
}
