//! All instances of a process, and the login that they share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::core::Outcome;
use rallyhere_agent::core::auth::AuthState;
use rallyhere_agent::core::call::{Call, CallKind};
use rallyhere_agent::core::event::Request;
use rallyhere_agent::core::ids::{InstanceName, SessionId};
use rallyhere_agent::core::phase::Phase;
use tokio::task::yield_now;

use super::fake::{CADENCE, FakeBackend, FakeLogin, Twist, newborn, rejected, session};
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
        let mut context = Context::from_waker(Waker::noop());
        refused += usize::from(matches!(ask.as_mut().poll(&mut context), Poll::Ready(Err(_busy))));
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

/// When the health of each session was posted.
type Posts = Arc<Mutex<BTreeMap<SessionId, Vec<Instant>>>>;

/// Notes the posts from now on; `twist` has a look at each call too.
fn noted(bench: &Bench, mut twist: impl FnMut(&Call) -> Option<Twist> + Send + 'static) -> Posts {
    let posts = Posts::default();
    let noting = Arc::clone(&posts);
    bench.backend.twist(move |call| {
        if let Call::PostHealth { session, .. } = call {
            noting.lock().unwrap().entry(session.clone()).or_default().push(clock::now());
        }
        twist(call)
    });
    posts
}

/// Promise 8, for each of these: a post in every slot, and the slots apart by the cadence within 5 %.
fn assert_rhythm(posts: &Posts, names: &[&str], slots: usize) {
    let posts = posts.lock().unwrap();
    for name in names {
        let posts = posts.get(&session(name)).map(Vec::as_slice).unwrap_or_default();
        assert!((slots - 1..=slots + 1).contains(&posts.len()), "{name}: {} posts", posts.len());
        for pair in posts.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(CADENCE.mul_f64(0.95) <= gap && gap <= CADENCE.mul_f64(1.05), "{name}: {gap:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_of_one_leaves_the_rhythm_of_the_others_alone() {
    for trouble in [Twist::Never, Twist::Panic, Twist::Fail(rejected(0))] {
        let bench = Bench::start(&NAMES);
        all_serving(&bench).await;
        let troubled = bench.handles[2].clone();
        let id = troubled.snapshot().instance.instance_id.clone().unwrap();
        let marks = [session("c").as_str().to_owned(), id.as_str().to_owned()];
        let posts = noted(&bench, move |call| {
            let call = format!("{call:?}");
            marks.iter().any(|mark| call.contains(mark)).then(|| trouble.clone())
        });
        for _ in 0..20 {
            // Besides, more is asked of it than it takes.
            let mut asking: Vec<_> = (0..300).map(|_| Box::pin(troubled.ask(Request::ClientSeen))).collect();
            let mut context = Context::from_waker(Waker::noop());
            asking.iter_mut().for_each(|ask| drop(ask.as_mut().poll(&mut context)));
            clock::sleep(CADENCE).await;
        }
        assert_rhythm(&posts, &["a", "b", "d", "e"], 20);
        assert!(bench.backend.count(CallKind::PostHealth) > 80, "the troubled one tries too");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_come_and_go_leave_the_rhythm_of_the_others_alone() {
    let mut bench = Bench::start(&NAMES);
    all_serving(&bench).await;
    let posts = noted(&bench, |_| None);
    let polls = bench.backend.dropped(CallKind::Poll);
    let mut gone = 0;
    for second in 0..200 {
        let come = format!("guest-{second}");
        bench.handles.push(bench.host.add(newborn(&come), &bench.backend, &bench.store));
        if second >= 3 {
            let go = InstanceName::parse(&format!("guest-{}", second - 3)).unwrap();
            bench.host.drain_one(&go, "a test");
            assert_eq!(bench.host.ended().await, Some((go, Some(Outcome::Ended))));
            gone += 1;
        }
        clock::sleep(Duration::from_secs(1)).await;
    }
    assert_rhythm(&posts, &NAMES, 20);
    assert_eq!(bench.login.count(), 1);
    assert!(bench.backend.dropped(CallKind::Poll) - polls <= gone, "nobody else's poll was taken back");
    assert_eq!(bench.backend.instances(), NAMES.len() + 3);
}
