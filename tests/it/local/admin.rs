//! The admin listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rallyhere_agent::config::settings;
use rallyhere_agent::core::auth::{AuthState, AuthView};
use rallyhere_agent::core::phase::Phase;
use rallyhere_agent::io::admin::{Admin, AdminError, Member, Roster};
use rallyhere_agent::telemetry::metrics::InstanceMeter;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fake::Fake;
use super::raw::Via;

/// A roster of these, which stays as it is.
fn roster(fakes: &[&Fake]) -> Roster {
    let member = |fake: &&Fake| {
        let meter = Arc::new(InstanceMeter::new(Arc::default()));
        Member { handle: fake.handle.clone(), taker: "api", meter }
    };
    watch::channel(Arc::new(fakes.iter().map(member).collect())).1
}

fn start(fakes: &[&Fake], tasks: &mut JoinSet<()>) -> Via {
    let settings = settings::Admin { listen: Some("127.0.0.1:0".parse().unwrap()) };
    let admin = Admin::bind(&settings, roster(fakes)).unwrap();
    let door = Via::Tcp(admin.addr().unwrap());
    tasks.spawn(admin.serve(std::future::pending()));
    door
}

#[tokio::test]
async fn ready_means_that_every_instance_is_attached() {
    let (one, two) = (Fake::start(), Fake::start());
    let mut tasks = JoinSet::new();
    let door = start(&[&one, &two], &mut tasks);
    for phase in Phase::ALL {
        two.show(|snapshot| snapshot.phase = phase);
        let ready = door.get("/readyz").await;
        let attached = matches!(phase, Phase::Loading | Phase::Serving);
        assert_eq!(ready.status, if attached { 200 } else { 503 }, "{phase:?}");
        assert!(attached || ready.body.contains(phase.as_str()), "{}", ready.body);
        assert_eq!(door.get("/livez").await.status, 200, "{phase:?}");
    }
    two.show(|snapshot| {
        snapshot.phase = Phase::Resolving;
        let detail = Some("user_bad_credentials: check auth.client_secret".to_owned());
        snapshot.auth = Arc::new(AuthView { state: AuthState::Denied, detail, ..AuthView::default() });
    });
    let why = door.get("/readyz").await.body;
    assert_eq!(why, "default: resolving; login denied (user_bad_credentials: check auth.client_secret)\n");
}

#[tokio::test]
async fn it_lives_while_its_loops_turn() {
    let settings = settings::Admin { listen: Some("127.0.0.1:0".parse().unwrap()) };
    let turning = Arc::new(AtomicBool::new(true));
    let turns = Arc::clone(&turning);
    let admin = Admin::bind(&settings, roster(&[])).unwrap().alive_while(move || turns.load(Ordering::Relaxed));
    let door = Via::Tcp(admin.addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.serve(std::future::pending()));
    assert_eq!(door.get("/livez").await.status, 200);
    turning.store(false, Ordering::Relaxed);
    let dead = door.get("/livez").await;
    assert_eq!((dead.status, dead.body.as_str()), (503, "a loop of the agent hangs\n"));
    assert_eq!(door.get("/metrics").await.status, 404, "nobody measures here");
}

#[tokio::test]
async fn status_has_every_instance() {
    let (one, two) = (Fake::start(), Fake::start());
    let mut tasks = JoinSet::new();
    let door = start(&[&one, &two], &mut tasks);
    two.show(|snapshot| snapshot.phase = Phase::Draining);
    let status = door.get("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["instances"][0]["phase"], "serving");
    assert_eq!(status["instances"][1]["phase"], "draining");
}

#[tokio::test]
async fn it_keeps_out_whom_the_local_api_keeps_out_and_changes_nothing() {
    let one = Fake::start();
    let mut tasks = JoinSet::new();
    let door = start(&[&one], &mut tasks);
    for headers in [[("host", "evil.example")], [("origin", "null")], [("sec-fetch-site", "same-site")]] {
        assert_eq!(door.call_with("GET", "/status", &headers, b"").await.status, 403, "{headers:?}");
    }
    let wrong = door.call("POST", "/status", "{}").await;
    assert_eq!((wrong.status, wrong.refusal().0.as_str()), (405, "method_not_allowed"));
    assert_eq!(door.get("/v1/status").await.refusal().0, "not_found");
    assert_eq!(one.greetings(), 0);
}

#[tokio::test]
async fn an_address_in_use_is_named_and_none_is_fine() {
    let one = Fake::start();
    let mut tasks = JoinSet::new();
    let Via::Tcp(addr) = start(&[&one], &mut tasks) else { unreachable!() };
    let error = Admin::bind(&settings::Admin { listen: Some(addr) }, roster(&[])).unwrap_err();
    assert!(matches!(error, AdminError::AddressInUse { .. }) && error.to_string().contains(&addr.to_string()));
    let off = Admin::bind(&settings::Admin { listen: None }, roster(&[])).unwrap();
    assert_eq!(off.addr(), None);
    off.serve(std::future::ready(())).await;
}
