use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::core::durable::SetAside;
use crate::core::ids::{InstanceName, ReportId};
use crate::core::snapshot::{GameView, HandOffView, HealthView, InstanceView, NotificationsView, PollState};

/// A history, the snapshot that it sees next, and the time.
struct Past {
    history: History,
    snapshot: Snapshot,
    start: Instant,
    seconds: u64,
}

impl Past {
    fn new() -> Self {
        let start = clock::now();
        let snapshot = Snapshot {
            name: InstanceName::parse("default").unwrap(),
            phase: Phase::Resolving,
            phase_since: start,
            ready: false,
            allocation: Default::default(),
            auth: Arc::default(),
            forbidden: [].into(),
            api: crate::core::api::ApiView::default(),
            health: HealthView {
                verdict: Health::Healthy,
                reason: Arc::from(""),
                cadence: Duration::from_secs(10),
                last_sent: None,
                last_said: None,
                last_answer: None,
            },
            game: GameView::default(),
            sdk: Arc::default(),
            notifications: NotificationsView {
                state: PollState::Polling,
                inbox: Arc::default(),
                cursor: None,
                hand_off: HandOffView::default(),
            },
            outbox: crate::core::snapshot::OutboxView::default(),
            store: crate::core::snapshot::StoreView::default(),
            session: None,
            instance: InstanceView::default(),
            drain: None,
            outcome: None,
            counters: Counters::default(),
        };
        let mut past = Self { history: History::default(), snapshot, start, seconds: 0 };
        past.look();
        past
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    /// A second later the snapshot is seen.
    fn look(&mut self) {
        self.seconds += 1;
        self.history.observe(&self.snapshot, "exec", self.start + Duration::from_secs(self.seconds));
    }

    fn send(&mut self, said: Health) {
        self.snapshot.health.last_sent = Some(self.now());
        self.snapshot.health.last_said = Some(said);
        self.snapshot.counters.health_sent += 1;
    }

    fn answer(&mut self, answered: Health) {
        self.snapshot.health.last_answer = Some((answered, self.now()));
        self.snapshot.counters.health_answered += 1;
    }

    fn inbox(&mut self, ids: &[&str]) {
        let notification = |id: &&str| {
            Arc::new(Notification {
                notification_id: NotificationId::parse(id).unwrap(),
                created: "2026-01-01T00:00:00Z".to_owned(),
                message: format!("message {id}"),
                rh_url: None,
                etag: None,
                custom_data: [].into(),
            })
        };
        self.snapshot.notifications.inbox = Arc::new(ids.iter().map(notification).collect());
        self.look();
    }

    fn shown(&self) -> Value {
        let start = self.start;
        let wall = move |at: Instant| Timestamp::from_second(i64::try_from((at - start).as_secs()).unwrap()).unwrap();
        serde_json::to_value(self.history.show(wall)).unwrap()
    }

    /// What was sent, and what became of it.
    fn posts(&self) -> Vec<(String, String)> {
        let shown = self.shown();
        let fate = |post: &Value| match (post["answered"].as_str(), post["failed"].as_bool().unwrap()) {
            (Some(answered), false) => answered.to_owned(),
            (None, true) => "failed".to_owned(),
            (None, false) => "open".to_owned(),
            (Some(_), true) => panic!("{post}"),
        };
        let posts = shown["health"].as_array().unwrap().iter();
        posts.map(|post| (post["sent"].as_str().unwrap().to_owned(), fate(post))).collect()
    }

    /// Who took which.
    fn takers(&self) -> Vec<(String, Option<String>)> {
        let shown = self.shown();
        let taker = |one: &Value| (one["id"].as_str().unwrap().to_owned(), one["by"].as_str().map(str::to_owned));
        shown["notifications"].as_array().unwrap().iter().map(taker).collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn took(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    pairs.iter().map(|(id, by)| ((*id).to_owned(), by.map(str::to_owned))).collect()
}

#[test]
fn each_post_has_its_own_answer() {
    let mut past = Past::new();
    assert_eq!(past.posts(), []);
    past.send(Health::Healthy);
    past.look();
    past.look();
    assert_eq!(past.posts(), pairs(&[("healthy", "open")]), "seen twice, it is one");
    past.answer(Health::Degraded);
    past.look();
    past.send(Health::Unhealthy);
    past.look();
    past.snapshot.counters.health_failed += 1;
    past.look();
    past.send(Health::Healthy);
    past.look();
    let wanted = [("healthy", "degraded"), ("unhealthy", "failed"), ("healthy", "open")];
    assert_eq!(past.posts(), pairs(&wanted));
}

#[test]
fn an_answer_goes_to_the_post_that_left_before_it() {
    let mut past = Past::new();
    past.send(Health::Healthy);
    past.look();
    // Seen at once: the answer to the first and, at the same moment, the second.
    past.answer(Health::Unknown);
    past.send(Health::Degraded);
    past.look();
    assert_eq!(past.posts(), pairs(&[("healthy", "unknown"), ("degraded", "open")]));
    // The first one fails and the next leaves.
    past.snapshot.counters.health_failed += 1;
    past.send(Health::Healthy);
    past.look();
    assert_eq!(past.posts()[1..], pairs(&[("degraded", "failed"), ("healthy", "open")]));
    // Sent and answered between two looks.
    past.seconds += 1;
    past.answer(Health::Healthy);
    past.look();
    past.send(Health::Unhealthy);
    past.seconds += 1;
    past.answer(Health::Unhealthy);
    past.look();
    assert_eq!(past.posts()[2..], pairs(&[("healthy", "healthy"), ("unhealthy", "unhealthy")]));
    // Sent and failed between two looks.
    past.send(Health::Healthy);
    past.snapshot.counters.health_failed += 1;
    past.look();
    assert_eq!(past.posts()[4..], pairs(&[("healthy", "failed")]));
}

#[test]
fn a_notification_has_its_taker() {
    let mut past = Past::new();
    past.inbox(&["a", "b"]);
    assert_eq!(past.takers(), took(&[("a", None), ("b", None)]));
    past.snapshot.counters.notifications_acknowledged = 1;
    past.inbox(&["b", "c", "d"]);
    assert_eq!(past.takers()[..2], took(&[("a", Some("api")), ("b", None)]), "no push: the game has asked");
    past.snapshot.notifications.hand_off.state = HandOffState::Pushing;
    past.snapshot.counters.notifications_acknowledged = 2;
    past.inbox(&["c", "d"]);
    let c = Arc::clone(&past.snapshot.notifications.inbox[0]);
    let aside = SetAside { notification: c, reason: "no".to_owned(), tries: 3 };
    past.snapshot.notifications.hand_off.set_aside = Arc::new([aside].into());
    past.inbox(&["d"]);
    past.inbox(&[]);
    let wanted = [("a", Some("api")), ("b", Some("exec")), ("c", Some("set aside")), ("d", Some("nobody"))];
    assert_eq!(past.takers(), took(&wanted));
    let shown = past.shown();
    assert_eq!(shown["notifications"][0]["message"], "message a");
    assert_eq!(shown["notifications"][0]["at"], "1970-01-01T00:00:02Z");
    assert_eq!(shown["notifications"][0]["taken"], "1970-01-01T00:00:03Z");
}

#[test]
fn nothing_grows_without_end() {
    let mut past = Past::new();
    let ids: Vec<String> = (0..300).map(|id| format!("id-{id}")).collect();
    for (at, id) in ids.iter().enumerate() {
        past.send(Health::Healthy);
        past.snapshot.phase = Phase::ALL[at % 4];
        past.snapshot.phase_since = past.now();
        past.inbox(&[id]);
    }
    past.inbox(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let shown = past.shown();
    for (of, limit) in [("health", POSTS), ("notifications", NOTIFICATIONS), ("phases", PHASES)] {
        assert_eq!(shown[of].as_array().unwrap().len(), limit, "{of}");
    }
    assert_eq!(shown["notifications"][NOTIFICATIONS - 1]["id"], "id-299", "the newest is there");
}

#[test]
fn long_words_are_cut_between_characters() {
    assert_eq!(cut(&"ä".repeat(200)), "ä".repeat(200));
    assert_eq!(cut(&"ä".repeat(201)), format!("{}…", "ä".repeat(200)));
}

#[test]
fn a_phase_is_there_once_and_dead_letters_are_the_newest() {
    let mut past = Past::new();
    past.look();
    past.snapshot.phase = Phase::Registering;
    past.snapshot.phase_since = past.now();
    let dead = OutboxEntry {
        id: ReportId::from_uuid(uuid::Uuid::nil()),
        accepted: "2026-01-01T00:00:00Z".parse().unwrap(),
        what: "event",
        label: "match_over".to_owned(),
        reason: Some("400".to_owned()),
    };
    past.snapshot.outbox.dead_letters = Arc::new(vec![dead]);
    past.look();
    past.look();
    let shown = past.shown();
    let phases: Vec<_> = shown["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].clone()).collect();
    assert_eq!(phases, ["resolving", "registering"]);
    let wanted = json!([{"at": "2026-01-01T00:00:00Z", "what": "event", "label": "match_over", "why": "400"}]);
    assert_eq!(shown["dead"], wanted);
}
