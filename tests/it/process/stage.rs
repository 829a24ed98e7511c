//! The environment: a simulator on a port of its own, and waiting for what happens in it.

use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::simulator::{ClientSpec, Fault, FaultRule, Ledger, Options, Outage, RequestRecord, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::generations::{generation, is_new, way};

/// Who logs in.
pub(crate) const CLIENT: &str = "agent";
/// With what. Long and odd enough to be found wherever it should not be.
pub(crate) const SECRET: &str = "S3cret+of/the=client~4711";
/// The session that is there.
pub(crate) const SESSION: &str = "demo";

/// How long a test waits for anything before it fails. Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until something is there.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = clock::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(clock::now() < deadline, "never seen: {what}");
        clock::sleep(LOOK).await;
    }
}

/// A served environment.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    /// Where it listens.
    pub(crate) url: String,
    _running: JoinSet<()>,
    _stop: oneshot::Sender<()>,
}

/// One client, one session, a health post expected every second.
pub(crate) fn options() -> Options {
    Options {
        api: generation(),
        clients: vec![ClientSpec::new(CLIENT, SECRET)],
        health_cadence_seconds: 1,
        // The second place for a login knows this grant, as the real one does.
        undocumented_login: true,
        ..Options::default()
    }
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let simulator = Simulator::new(&options);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = JoinSet::new();
        running.spawn(simulator.serve(listener, async move { drop(stopped.await) }));
        Self { simulator, url, _running: running, _stop: stop }
    }

    /// Waits until the ledger shows something.
    pub(crate) async fn until(&self, what: &str, seen: impl Fn(&Ledger) -> bool) {
        until(what, async || self.simulator.read_ledger(&seen).then_some(())).await;
    }

    /// Waits until there have been so many requests of a call.
    pub(crate) async fn until_count(&self, call: &str, count: u64) {
        self.until(&format!("{count} x {call}"), |ledger| ledger.count(way(call)) >= count).await;
    }

    /// Waits until so many health posts more were accepted.
    pub(crate) async fn until_beats(&self, more: usize) {
        let wanted = self.simulator.read_ledger(|ledger| ledger.health.len()) + more;
        self.until(&format!("{more} health posts more"), |ledger| ledger.health.len() >= wanted).await;
    }

    /// Waits until the session's instance has a join status.
    pub(crate) async fn until_status(&self, session: &str, wanted: &str) -> Value {
        until(&format!("an instance that is {wanted}"), async || {
            let instance = self.instance(session);
            // Today, a draining instance takes no players before it is closed.
            let shown = &instance["join_status"];
            let drains = is_new() && wanted == "closed" && *shown == json!("unjoinable");
            (*shown == json!(wanted) || drains).then_some(instance)
        })
        .await
    }

    /// The session's instance; null if there is none.
    pub(crate) fn instance(&self, session: &str) -> Value {
        self.simulator.session(session).unwrap_or_default()["instance"].clone()
    }

    pub(crate) fn count(&self, call: &str) -> u64 {
        self.simulator.read_ledger(|ledger| ledger.count(way(call)))
    }

    /// How many logins were accepted.
    pub(crate) fn logins(&self) -> usize {
        self.simulator.read_ledger(|ledger| ledger.logins.iter().filter(|login| login.error_code.is_none()).count())
    }

    /// The requests of the ledger, by number.
    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        self.simulator.read_ledger(|ledger| ledger.requests.iter().cloned().collect())
    }

    /// The calls that changed or tried to change something, after a request.
    pub(crate) fn writes_after(&self, number: u64) -> Vec<String> {
        let requests = self.requests();
        let later = requests.iter().filter(|request| request.number > number && request.method != "GET");
        later.filter_map(|request| request.call).filter(|call| *call != "login").map(str::to_owned).collect()
    }

    /// A fault of a report's call strikes the call that reports go out by.
    pub(crate) fn inject(&self, mut rule: FaultRule) {
        rule.matching.call = rule.matching.call.map(|call| way(&call).to_owned());
        self.simulator.inject(vec![rule]).unwrap();
    }

    /// A status with Retry-After, once.
    pub(crate) fn throttle(&self, call: &str, seconds: u32) {
        let headers = vec![("retry-after".to_owned(), seconds.to_string())];
        self.inject(Fault::Status { code: 429, body: None, headers }.on(call).times(1));
    }

    pub(crate) fn outage(&self, outage: Outage) {
        self.simulator.set_outage(outage);
    }

    /// Writes a notification to the instance's stream, which there must be.
    pub(crate) fn notify_stream(&self, message: &str) {
        self.simulator.publish_to_session(SESSION, &[json!({"message": message})]).unwrap();
    }

    /// Writes a notification to the instance's stream and gives its id.
    pub(crate) fn notify(&self, message: &str) -> String {
        if is_new() {
            // No id is known before the agent makes one.
            self.simulator.change_session(SESSION, &json!({"message": message})).unwrap();
            return String::new();
        }
        let written = self.simulator.publish_to_session(SESSION, &[json!({"message": message})]).unwrap();
        written[0].clone()
    }
}

impl Drop for Stage {
    /// Promise 25: no request that the contract refuses; and nothing that a good host does not do.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let ledger = self.simulator.ledger();
        assert!(ledger.rejections.is_empty(), "refused by the contract: {:?}", ledger.rejections);
        assert!(ledger.replacements.is_empty(), "taken from somebody else: {:?}", ledger.replacements);
        assert!(ledger.oddities.is_empty(), "a good host does not: {:?}", ledger.oddities);
    }
}

/// A clock for a promise of a time. The promises are for two cores with nothing else to do: `RALLYHERE_SLOW` is by how much this
/// machine is slower, or busier.
pub(crate) struct Stopwatch(Instant);

fn slowness() -> u32 {
    std::env::var("RALLYHERE_SLOW").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(clock::now())
    }

    #[track_caller]
    pub(crate) fn at_most(&self, seconds: u64, what: &str) {
        self.at_most_millis(seconds * 1000, what);
    }

    pub(crate) fn seconds(&self) -> f64 {
        (clock::now() - self.0).as_secs_f64()
    }

    #[track_caller]
    pub(crate) fn at_most_millis(&self, millis: u64, what: &str) {
        let took = clock::now() - self.0;
        let may = Duration::from_millis(millis) * slowness();
        assert!(took <= may, "{what} took {took:?}, and may take {may:?}");
    }
}
