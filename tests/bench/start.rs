//! From the start of the process to the registration, to READY, to joinable; and back again after kill -9.

use std::time::Instant;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::What;

use crate::Bench;
use crate::environment::Environment;
use crate::program::{Hosted, Over};
use crate::stats::Sample;
use crate::table::{Table, figure};

#[derive(Default)]
struct Seen {
    ready: Sample,
    registered: Sample,
    requests: Sample,
    joinable: Sample,
    ready_again: Sample,
    health_again: Sample,
    floor: Sample,
}

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(1, bench.dir.path());
    let token = environment.token().await;
    let mut seen = Seen::default();
    for _ in 0..bench.size(20, 5) {
        once(bench, &environment, &mut seen).await;
        if let Some(floor) = &bench.programs.floor {
            let session = environment.new_session();
            environment.register(&token, &session, &session).await;
            let mut watch = environment.watch();
            let hosted = Hosted { token: &token, session: &session, instance: &session, cadence: 1, game: false };
            let place = bench.place();
            let process = place.floor(floor, &environment, Over::Http, &hosted);
            let posted = watch.until("a health post of the floor", |what| is_health(what, &session)).await;
            seen.floor.push(millis(process.spawned, posted));
        }
    }
    let floor = Some(seen.floor.median());
    table.title("Start (the floor: from its start to its first request at the backend)");
    table.runs(figure("start to READY and a first local answer", "ms"), &seen.ready, floor);
    // 3 round trips and 30 ms; the way to this backend takes nothing.
    table.runs(figure("start to registered at the backend", "ms").at_most(30.0), &seen.registered, floor);
    table.runs(figure("requests until it is registered", "").at_most(3.0), &seen.requests, None);
    table.runs(figure("POST /v1/ready to joinable at the backend", "ms").at_most(5.0), &seen.joinable, None);
    table.runs(figure("after kill -9: start to READY", "ms").at_most(2000.0), &seen.ready_again, floor);
    table.runs(figure("after kill -9: start to health", "ms").at_most(1000.0), &seen.health_again, floor);
}

async fn once(bench: &Bench, environment: &Environment, seen: &mut Seen) {
    let place = bench.place();
    let session = environment.new_session();
    place.configure(environment, Over::Http, &session);

    let mut watch = environment.watch();
    let asked = environment.simulator.read_ledger(|ledger| ledger.requests_total);
    let agent = place.agent(&bench.programs.agent);
    let (ready, mut door) = place.ready().await;
    seen.ready.push(millis(agent.spawned, ready));
    let registered = watch.until("the registration", |what| is_registration(what, &session)).await;
    seen.registered.push(millis(agent.spawned, registered));
    let of_registration = environment.simulator.read_ledger(|ledger| {
        let register = ledger.of("register").find(|request| request.path.contains(&format!("/{session}/")));
        register.map_or(f64::NAN, |request| (request.number - asked) as f64)
    });
    seen.requests.push(of_registration);
    // The first post of health is behind us then: nothing else is on its way.
    watch.until("a health post", |what| is_health(what, &session)).await;

    let said = clock::now();
    door.call("POST", "/v1/ready", "").await;
    let joinable = watch.until("joinable", |what| is_joinable(what, &session)).await;
    seen.joinable.push(millis(said, joinable));
    drop((agent, door));

    let mut watch = environment.watch();
    let agent = place.agent(&bench.programs.agent);
    let (ready, _door) = place.ready().await;
    seen.ready_again.push(millis(agent.spawned, ready));
    let posted = watch.until("a health post after the restart", |what| is_health(what, &session)).await;
    seen.health_again.push(millis(agent.spawned, posted));
}

pub(crate) fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

fn is_registration(what: &What, session: &str) -> bool {
    matches!(what, What::Registered { session_id, .. } if session_id == session)
}

pub(crate) fn is_health(what: &What, session: &str) -> bool {
    matches!(what, What::Health { session_id, .. } if session_id == session)
}

pub(crate) fn is_joinable(what: &What, session: &str) -> bool {
    matches!(what, What::Updated { session_id, join_status, .. } if session_id == session && join_status == "joinable")
}
