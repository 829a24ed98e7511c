//! The Agones SDK: what it says, what it is told, and that an answer means the disk.

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Command, Denied, Event, Granted, Request, Said, StoreFault};
use crate::core::instance::{Health, JoinStatus};
use crate::core::params::Params;
use crate::core::phase::Phase;
use crate::core::sdk::{BYTES_LIMIT, ENTRIES_LIMIT, Hold, SdkChange, SdkState, Told};
use crate::core::{Machine as _, Outcome};

fn label(key: &str, value: &str) -> Request {
    Request::Label { key: key.to_owned(), value: value.to_owned() }
}

fn annotation(key: &str, value: &str) -> Request {
    Request::Annotation { key: key.to_owned(), value: value.to_owned() }
}

fn ready() -> Request {
    Request::Ready(Said::default())
}

impl Rig {
    fn told(&self) -> Told {
        self.agent.snapshot().sdk.state
    }

    /// What a restart would find.
    fn remembered(&self) -> Durable {
        let mut durable = Durable::default();
        self.records.iter().for_each(|record| durable.apply(record));
        durable
    }
}

#[test]
fn the_states_of_a_life_come_in_order() {
    let mut rig = Rig::new(params());
    assert_eq!(rig.told(), Told::Starting, "before the backend has answered anything");
    rig.log_in();
    rig.attach();
    assert_eq!(rig.told(), Told::Scheduled);
    assert_eq!(rig.ask(ready()), Ok(Granted::Done));
    assert_eq!(rig.told(), Told::RequestReady, "the backend does not show it yet");
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    assert_eq!(rig.told(), Told::Ready);
    assert_eq!(rig.ask(Request::Allocate), Ok(Granted::Done));
    assert_eq!(rig.told(), Told::Allocated);
    assert_eq!(rig.ask(ready()), Ok(Granted::Done));
    assert_eq!(rig.told(), Told::Ready);
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    assert_eq!(rig.told(), Told::Shutdown);
}

#[test]
fn ready_goes_to_the_backend_at_once_and_once() {
    let mut rig = Rig::loading(params());
    assert_eq!(rig.ask(ready()), Ok(Granted::Done));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Joinable, "in the same moment");
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    assert_eq!(rig.ask(ready()), Ok(Granted::Done));
    assert!(!rig.kinds().contains(&CallKind::Update), "said twice is said once");
}

#[test]
fn a_game_that_allocates_itself_is_ready() {
    let mut rig = Rig::loading(params());
    assert_eq!(rig.ask(Request::Allocate), Ok(Granted::Done));
    assert_eq!((rig.phase(), rig.told()), (Phase::Serving, Told::Allocated));
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Joinable);
    let again = Rig::restarted(params(), rig.remembered());
    assert_eq!(again.told(), Told::Allocated, "also before the backend has answered");
    assert!(again.agent.snapshot().ready);

    let mut lost = Rig::loading(Params { join_params: Default::default(), ..params() });
    let verdict = lost.ask(Request::Allocate);
    assert!(matches!(verdict, Err(Denied::Field { field: "public_conn_str", .. })), "{verdict:?}");
}

#[test]
fn a_reservation_ends_with_its_time() {
    let mut rig = Rig::serving(params());
    assert_eq!(rig.ask(Request::Reserve { seconds: 5 }), Ok(Granted::Done));
    assert_eq!(rig.told(), Told::Reserved);
    assert_eq!(
        rig.agent.snapshot().instance.join_status,
        Some(JoinStatus::Joinable),
        "of which the backend knows nothing"
    );
    rig.pass_quietly(Duration::from_millis(4900), false);
    assert_eq!(rig.told(), Told::Reserved);
    rig.pass_quietly(Duration::from_millis(200), false);
    assert_eq!(rig.told(), Told::Ready);
    assert_eq!(rig.remembered().sdk.hold, Hold::Free);

    rig.ask(Request::Reserve { seconds: 0 }).unwrap();
    rig.pass_quietly(Duration::from_secs(600), false);
    assert_eq!(rig.told(), Told::Reserved, "without a time until it says otherwise");
    rig.ask(Request::Reserve { seconds: u64::MAX }).unwrap();
    rig.ask(Request::Reserve { seconds: 2 }).unwrap();
    rig.ask(Request::Allocate).unwrap();
    rig.pass_quietly(Duration::from_secs(3), false);
    assert_eq!(rig.told(), Told::Allocated, "an allocation ends the timer");
    rig.ask(Request::Reserve { seconds: 2 }).unwrap();
    rig.ask(ready()).unwrap();
    assert_eq!(rig.told(), Told::Ready);
}

#[test]
fn a_reservation_goes_on_over_a_restart() {
    let mut rig = Rig::serving(params());
    rig.ask(Request::Reserve { seconds: 5 }).unwrap();
    let mut again = Rig::restarted(params(), rig.remembered());
    assert_eq!(again.told(), Told::Reserved);
    again.pass(Duration::from_millis(4900));
    assert_eq!(again.told(), Told::Reserved);
    again.pass(Duration::from_millis(200));
    assert_eq!(again.told(), Told::RequestReady);
}

#[test]
fn who_reserves_before_it_is_ready_is_ready_afterwards() {
    let mut rig = Rig::loading(params());
    rig.ask(Request::Reserve { seconds: 1 }).unwrap();
    assert_eq!((rig.phase(), rig.told()), (Phase::Loading, Told::Reserved));
    rig.pass(Duration::from_millis(1100));
    assert_eq!(rig.phase(), Phase::Serving);

    let mut lost = Rig::loading(Params { join_params: Default::default(), ..params() });
    lost.ask(Request::Reserve { seconds: 1 }).unwrap();
    lost.pass(Duration::from_millis(1100));
    assert_eq!((lost.phase(), lost.told()), (Phase::Loading, Told::Scheduled), "nobody could reach it");
}

#[test]
fn shutdown_is_allowed_in_every_state_and_twice() {
    let mut unhealthy = Rig::serving(params());
    unhealthy.request(Request::Health { status: Health::Unhealthy, reason: None });
    assert_eq!(unhealthy.told(), Told::Unhealthy);
    let shutdown = || Request::Shutdown { reason: None };
    for mut rig in [Rig::new(params()), Rig::loading(params()), Rig::serving(params()), unhealthy] {
        rig.store = None;
        assert_eq!(rig.ask(shutdown()), Ok(Granted::Draining));
        assert_eq!(rig.told(), Told::Shutdown);
        if rig.exit.is_none() {
            assert_eq!(rig.ask(shutdown()), Ok(Granted::Draining));
        }
    }
}

#[test]
fn what_takes_players_is_refused_once_it_ends() {
    let mut rig = Rig::serving(params());
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    for request in [ready(), Request::Allocate, Request::Reserve { seconds: 1 }] {
        assert!(matches!(rig.ask(request), Err(Denied::Phase(_))));
    }
    assert_eq!(rig.ask(label("a", "1")), Ok(Granted::Done), "but it may still say who it is");
    let view = rig.agent.snapshot().sdk;
    let left = view.deletion.unwrap().duration_since(wall());
    assert!((59..=60).contains(&left.as_secs()), "the drain's deadline: {left:?}");
}

#[test]
fn a_heartbeat_is_a_sign_of_life_and_no_verdict() {
    let mut rig = Rig::serving(params());
    rig.request(Request::Health { status: Health::Degraded, reason: Some("slow".to_owned()) });
    for _ in 0..30 {
        rig.pass_quietly(Duration::from_secs(5), false);
        assert_eq!(rig.ask(Request::Heartbeat), Ok(Granted::Done));
    }
    let health = rig.agent.snapshot().health;
    assert_eq!((health.verdict, &*health.reason), (Health::Degraded, "slow"), "what it said stays");
    rig.pass_quietly(Duration::from_secs(16), false);
    assert_eq!((rig.agent.snapshot().health.verdict, rig.told()), (Health::Unhealthy, Told::Unhealthy));
}

#[test]
fn a_game_of_heartbeats_alone_is_well_again_when_they_go_on() {
    let mut rig = Rig::serving(params());
    rig.pass_quietly(Duration::from_secs(61), false);
    assert_eq!(rig.told(), Told::Ready, "who never sent one is not silent: that may be a restart of ours");
    rig.ask(Request::Heartbeat).unwrap();
    rig.pass_quietly(Duration::from_secs(16), false);
    assert_eq!(rig.told(), Told::Unhealthy);
    rig.ask(Request::Heartbeat).unwrap();
    assert_eq!((rig.told(), rig.agent.snapshot().health.verdict), (Told::Ready, Health::Healthy));
}

#[test]
fn an_answer_means_the_disk() {
    for request in [Request::Allocate, Request::Reserve { seconds: 5 }, label("a", "1"), annotation("a", "1")] {
        let mut rig = Rig::serving(params());
        rig.store = None;
        let before = rig.agent.snapshot().sdk;
        let id = rig.request(request.clone());
        assert!(rig.replies.is_empty(), "{request:?}: not before the disk");
        rig.stored(Err(StoreFault::Full));
        assert_eq!(rig.verdict(&id), Err(Denied::Store(StoreFault::Full)));
        assert_eq!(rig.agent.snapshot().sdk, before, "{request:?}: refused has not happened");
        let id = rig.request(request.clone());
        rig.stored(Ok(()));
        assert_eq!(rig.verdict(&id), Ok(Granted::Done));
        assert_ne!(rig.agent.snapshot().sdk, before);
        let records = rig.records.len();
        rig.request(request.clone());
        let again = usize::from(matches!(request, Request::Reserve { .. }));
        assert_eq!(rig.records.len() - records, again, "{request:?}: what is so already needs no disk");
    }
}

#[test]
fn changes_come_into_force_in_the_order_in_which_they_were_said() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    let allocate = rig.request(Request::Allocate);
    let free = rig.request(ready());
    let tickets: Vec<_> = rig.tickets.drain(..).collect();
    assert_eq!(tickets.len(), 2);
    for ticket in tickets.iter().rev() {
        rig.event(Event::Stored { ticket: ticket.clone(), result: Ok(()) });
    }
    assert_eq!((rig.verdict(&allocate), rig.verdict(&free)), (Ok(Granted::Done), Ok(Granted::Done)));
    assert_eq!(rig.told(), Told::Ready);
    assert_eq!(rig.remembered().sdk.hold, Hold::Free, "as on disk");
}

#[test]
fn a_disk_in_trouble_keeps_no_player_away() {
    let mut rig = Rig::loading(params());
    rig.store = Some(Err(StoreFault::Failed));
    assert_eq!(rig.ask(ready()), Ok(Granted::Done));
    assert_eq!(rig.phase(), Phase::Serving);
}

#[test]
fn keys_and_values_follow_the_rules_of_kubernetes() {
    let mut rig = Rig::serving(params());
    for key in ["a", "A-b_c.d", "_a", &"k".repeat(59)] {
        assert_eq!(rig.ask(label(key, "v")), Ok(Granted::Done), "{key}");
        assert_eq!(rig.ask(annotation(key, "v")), Ok(Granted::Done), "{key}");
    }
    for key in ["", "a-", "a/b", "a b", "ä", "a\n", &"k".repeat(60)] {
        for request in [label(key, "v"), annotation(key, "v")] {
            let verdict = rig.ask(request);
            assert!(matches!(verdict, Err(Denied::Field { field: "key", .. })), "{key:?}: {verdict:?}");
        }
    }
    for value in ["", "v", "1.2_3-x", &"v".repeat(63)] {
        assert_eq!(rig.ask(label("a", value)), Ok(Granted::Done), "{value}");
    }
    for value in ["-a", "a.", "a b", "ü", &"v".repeat(64)] {
        let verdict = rig.ask(label("a", value));
        assert!(matches!(verdict, Err(Denied::Field { field: "value", .. })), "{value:?}: {verdict:?}");
    }
    assert_eq!(rig.ask(annotation("a", &"ü\n".repeat(2048))), Ok(Granted::Done));
    assert!(matches!(rig.ask(annotation("a", &"x".repeat(4097))), Err(Denied::Field { field: "value", .. })));
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut rig = Rig::serving(params());
    for number in 0..ENTRIES_LIMIT {
        rig.ask(label(&format!("l{number}"), "v")).unwrap();
    }
    assert!(matches!(rig.ask(label("more", "v")), Err(Denied::Field { field: "labels", .. })));
    assert_eq!(rig.ask(label("l0", "other")), Ok(Granted::Done), "one that is there may change");
    let mut bytes = 0;
    let mut number = 0;
    let denied = loop {
        match rig.ask(annotation(&format!("a{number}"), &"x".repeat(4096))) {
            Ok(_) => bytes += 4096,
            Err(denied) => break denied,
        }
        number += 1;
    };
    assert!(matches!(denied, Denied::Field { field: "annotations", .. }), "{denied:?}");
    assert!(bytes > BYTES_LIMIT / 2 && bytes <= BYTES_LIMIT, "{bytes}");
    // What is on its way to the disk counts too.
    let mut rig = Rig::serving(params());
    rig.store = None;
    let ids: Vec<_> = (0..=ENTRIES_LIMIT).map(|number| rig.request(label(&format!("l{number}"), "v"))).collect();
    assert_eq!(rig.replies.len(), 1);
    assert!(matches!(rig.verdict(&ids[ENTRIES_LIMIT]), Err(Denied::Field { field: "labels", .. })));
}

#[test]
fn only_what_is_allowed_leaves_the_host() {
    let mut rig =
        Rig::serving(Params { publish_labels: ["mode", "map", "gone"].map(str::to_owned).to_vec(), ..params() });
    rig.ask(label("token", "secret")).unwrap();
    assert_eq!(rig.kinds(), [CallKind::Poll], "nothing of it goes out");
    rig.ask(annotation("map", "a canyon")).unwrap();
    rig.ask(label("mode", "ctf")).unwrap();
    rig.ask(annotation("mode", "a label comes first")).unwrap();
    rig.ask(annotation("gone", "")).unwrap();
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    let Call::Update { update, .. } = rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable)))) else {
        unreachable!()
    };
    let sent: Vec<_> = update.custom_data.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(sent, [("map", "a canyon"), ("mode", "ctf")], "over what is configured");
    let said = Said { custom_data: Some([("mode".to_owned(), "said".to_owned())].into()), ..Said::default() };
    rig.ask(Request::Instance(said)).unwrap();
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.custom_data["mode"], "said", "below what the game says by our own API");
}

#[test]
fn everything_said_outlives_a_restart_but_not_the_session() {
    let mut rig = Rig::serving(params());
    rig.ask(label("a", "1")).unwrap();
    rig.ask(annotation("b", "2")).unwrap();
    rig.ask(Request::Allocate).unwrap();
    let durable = rig.remembered();
    let text = serde_json::to_string(&durable).unwrap();
    assert_eq!(serde_json::from_str::<Durable>(&text).unwrap(), durable);
    for record in &rig.records {
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), *record, "{text}");
    }
    let view = Rig::restarted(params(), durable.clone()).agent.snapshot().sdk;
    assert_eq!((view.state, view.labels["a"].as_str(), view.annotations["b"].as_str()), (Told::Allocated, "1", "2"));

    let other = crate::core::ids::SessionId::parse("s-2").unwrap();
    let target = crate::core::params::Target::Session { session: other, allocation: None };
    let view = Rig::restarted(Params { target, ..params() }, durable).agent.snapshot().sdk;
    assert_eq!((view.state, view.labels.len(), view.annotations.len()), (Told::Starting, 0, 0), "another life");

    let old: Durable = serde_json::from_str(r#"{"session":"s-1","attached":true,"said":{"ready":true}}"#).unwrap();
    assert_eq!(old.sdk, SdkState::default(), "a state of an agent that knew nothing of this");
}

#[test]
fn a_game_is_told_ready_again_only_after_the_backend_has_confirmed_it() {
    let mut rig = Rig::serving(params());
    assert_eq!(rig.told(), Told::Ready);
    rig.pass_quietly(Duration::from_secs(50), false);
    rig.pass(Duration::from_secs(15));
    while rig.kinds().contains(&CallKind::PostHealth) {
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
    }
    if rig.kinds().contains(&CallKind::ReadSession) {
        rig.answer(CallKind::ReadSession, Ok(session_tagged(None, "\"e2\"")));
        assert_eq!((rig.phase(), rig.told()), (Phase::Registering, Told::RequestReady), "the backend has lost us");
    } else {
        panic!("no look at the session: {:?}", rig.kinds());
    }
}

#[test]
fn an_outage_changes_nothing_that_a_game_is_told() {
    let mut rig = Rig::serving(params());
    let version = rig.agent.snapshot().sdk.version;
    for _ in 0..20 {
        rig.pass(Duration::from_secs(3));
        for kind in rig.kinds() {
            rig.answer(kind, Err(failure(FailureKind::Unreachable)));
        }
    }
    assert_eq!((rig.told(), rig.exit), (Told::Ready, None::<Outcome>));
    assert_eq!(rig.agent.snapshot().sdk.version, version);
}

#[test]
fn a_change_that_is_refused_is_not_kept_by_the_store_either() {
    for change in [
        SdkChange::Allocated,
        SdkChange::Reserved { until: None },
        SdkChange::Label { key: "a".to_owned(), value: String::new() },
        SdkChange::Annotation { key: "a".to_owned(), value: String::new() },
    ] {
        assert!(change.is_refusable(), "{change:?}");
    }
    assert!(!SdkChange::Freed.is_refusable(), "the game was told that it is so");
}

#[test]
fn annotations_have_as_much_room_as_labels() {
    let mut rig = Rig::serving(params());
    for number in 0..ENTRIES_LIMIT {
        rig.ask(annotation(&format!("a{number}"), "v")).unwrap();
    }
    assert!(matches!(rig.ask(annotation("more", "v")), Err(Denied::Field { field: "annotations", .. })));
}

#[test]
fn a_game_that_the_backend_shows_as_joinable_after_a_restart_is_told_ready_at_once() {
    let before = Rig::serving(params());
    let mut durable = Durable::default();
    before.records.iter().for_each(|record| durable.apply(record));
    for (shown, told) in [(JoinStatus::Joinable, Told::Ready), (JoinStatus::Pending, Told::RequestReady)] {
        let mut rig = Rig::restarted(params(), durable.clone());
        rig.log_in();
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(shown.clone())))));
        assert!(rig.kinds().contains(&CallKind::Update));
        assert_eq!(rig.told(), told, "{shown:?}");
    }
}

#[test]
fn the_version_of_what_a_game_is_told_counts_its_changes() {
    let mut rig = Rig::serving(params());
    let version = |rig: &Rig| rig.agent.snapshot().sdk.version;
    let begun = version(&rig);
    for (turn, value) in [(1, "a"), (1, "a"), (2, "b"), (3, "c")] {
        rig.ask(label("l", value)).unwrap();
        assert_eq!(version(&rig), begun + turn, "{value}");
    }
    assert!(begun > 1, "{begun}");
    assert_eq!(rig.agent.snapshot().sdk.session_id, Some(session_id()));
    assert_eq!(Rig::new(params()).agent.snapshot().sdk.session_id, Some(session_id()), "it is configured");
    assert_eq!(params().target.session(), Some(&session_id()));
    assert_eq!(Rig::new(allocated()).agent.snapshot().sdk.session_id, None, "nobody knows it yet");
}
