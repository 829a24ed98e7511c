//! All instances of a process, and the login that they share.

use std::collections::BTreeSet;
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::Outcome;
use rallyhere_agent::core::auth::AuthState;
use rallyhere_agent::core::call::CallKind;
use rallyhere_agent::core::event::Request;
use rallyhere_agent::core::phase::Phase;
use tokio::task::yield_now;

use super::fake::{FakeBackend, FakeLogin, Twist, rejected, session};
use super::instances::Bench;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn all_serving(bench: &Bench) {
    for handle in &bench.handles {
        let mut snapshots = handle.snapshots.clone();
        let serving = snapshots.wait_for(|shown| shown.phase == Phase::Serving);
        tokio::time::timeout(Duration::from_secs(600), serving).await.expect("ten minutes").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn all_instances_share_one_login() {
    let bench = Bench::start(&NAMES);
    all_serving(&bench).await;
    assert_eq!((bench.login.count(), bench.backend.instances()), (1, 5));
    // The token expires: whoever sends with it is refused, until there is another one.
    let logins = bench.login.clone();
    bench.backend.twist(move |_| (logins.count() < 2).then(|| Twist::Fail(rejected(1))));
    clock::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.login.count(), 2, "one for all of them");
    let answered = |handle: &rallyhere_agent::ports::InstanceHandle| handle.snapshot().counters.health_answered;
    assert!(bench.handles.iter().all(|handle| answered(handle) >= 4));
    assert_eq!(bench.host.auth().borrow().state, AuthState::Valid);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_them_all() {
    let mut bench = Bench::start(&NAMES);
    all_serving(&bench).await;
    bench.host.drain("a test");
    let mut ended = BTreeSet::new();
    while let Some((name, outcome)) = bench.host.ended().await {
        assert_eq!(outcome, Some(Outcome::Ended));
        ended.insert(name.as_str().to_owned());
    }
    assert_eq!(ended, NAMES.map(str::to_owned).into());
    assert_eq!((bench.backend.instances(), bench.backend.count(CallKind::Unregister)), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_superseded_leaves_the_others_alone() {
    let mut bench = Bench::start(&NAMES);
    all_serving(&bench).await;
    bench.backend.replace(&session("c"));
    let (name, outcome) = bench.host.ended().await.unwrap();
    assert_eq!((name.as_str(), outcome), ("c", Some(Outcome::Superseded)));
    clock::sleep(Duration::from_secs(120)).await;
    let phases: Vec<_> = bench.handles.iter().map(|handle| handle.snapshot().phase).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == Phase::Serving).count(), 4, "{phases:?}");
    assert_eq!(bench.login.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_lost_among_reloads() {
    let mut bench = Bench::start(&["one"]);
    all_serving(&bench).await;
    // More than any queue holds, before a loop gets its turn.
    for _ in 0..2000 {
        bench.host.reloaded();
    }
    bench.host.drain("a test");
    let ended = tokio::time::timeout(Duration::from_secs(20), bench.host.ended()).await.expect("the drain was lost");
    assert_eq!(ended.unwrap().1, Some(Outcome::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_of_requests_is_told_and_passes() {
    let bench = Bench::start(&["one"]);
    all_serving(&bench).await;
    let handle = bench.handles[0].clone();
    let mut asking: Vec<_> = (0..300).map(|_| Box::pin(handle.ask(Request::ClientSeen))).collect();
    let mut refused = 0;
    for ask in &mut asking {
        // Polled once, without a turn of the loop in between.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        refused += usize::from(matches!(ask.as_mut().poll(&mut context), std::task::Poll::Ready(Err(_busy))));
    }
    assert_eq!(refused, 300 - rallyhere_agent::ports::REQUEST_QUEUE);
    yield_now().await;
    assert!(handle.ask(Request::ClientSeen).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reload_reaches_a_login_that_was_refused() {
    let login = FakeLogin::default();
    let bench = Bench::with(FakeBackend::default(), login.clone(), &["one"]);
    all_serving(&bench).await;
    // Refused twice while it is new: from then on the login waits, and says why.
    bench.backend.twist(move |_| (login.count() < 3).then(|| Twist::Fail(rejected(login.count() as u64))));
    let mut auth = bench.host.auth();
    auth.wait_for(|view| view.detail.is_some()).await.unwrap();
    assert_eq!(bench.login.count(), 2);
    bench.host.reloaded();
    auth.wait_for(|view| view.detail.is_none() && view.state == AuthState::Valid).await.unwrap();
    assert_eq!(bench.login.count(), 3);
}
