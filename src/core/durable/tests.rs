//! What a fact does to what is remembered: another life takes along what others were promised, and nothing else.

use super::*;

fn session(id: &str) -> SessionId {
    SessionId::parse(id).unwrap()
}

fn instance(id: &str) -> InstanceId {
    InstanceId::parse(id).unwrap()
}

fn allocation(id: &str) -> AllocationId {
    AllocationId::parse(id).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)
}

fn report(id: u128, key: Option<&str>, accepted: Timestamp) -> Report {
    Report {
        id: ReportId::from_uuid(uuid::Uuid::from_u128(id)),
        key: key.map(ToOwned::to_owned),
        accepted,
        content: Content::Event(SessionEvent {
            event_code: "e".to_owned(),
            description: None,
            timestamp: accepted,
            custom_data: CustomData::default(),
        }),
    }
}

fn given(id: &str) -> Allocation {
    Allocation { session_id: None, allocation_id: Some(allocation(id)), address: None }
}

fn identity(session_id: Option<&str>, allocation_id: Option<&str>) -> Record {
    Record::Identity {
        session: session_id.map(session),
        instance: session_id.map(|_| instance("i-1")),
        allocation: allocation_id.map(allocation),
    }
}

fn notification(id: &str) -> Arc<Notification> {
    Arc::new(Notification {
        notification_id: NotificationId::parse(id).unwrap(),
        created: String::new(),
        message: String::new(),
        rh_url: None,
        etag: None,
        custom_data: CustomData::default(),
    })
}

/// Of a life in full swing.
fn lived() -> Durable {
    let mut durable = Durable::default();
    let page =
        |id: &str| Record::Page { cursor: NotificationId::parse(id).unwrap(), notifications: vec![notification(id)] };
    for record in [
        Record::Given(given("a-1")),
        identity(None, Some("a-1")),
        identity(Some("s-1"), Some("a-1")),
        Record::Attached,
        Record::Cadence { millis: 7000 },
        page("n-1"),
        Record::SetAside { id: NotificationId::parse("n-1").unwrap(), reason: "nobody".to_owned(), tries: 3 },
        page("n-2"),
        Record::Accepted(report(1, Some("k"), at(0))),
        Record::Accepted(report(2, None, at(0))),
        Record::Dead { report: report(2, None, at(0)).id, reason: "refused".to_owned() },
    ] {
        durable.apply(&record);
    }
    durable
}

#[test]
fn finding_the_session_of_an_allocation_is_no_other_life() {
    let durable = lived();
    assert_eq!(durable.given, Some(given("a-1")), "the allocation was given before there was a session");
    assert!(durable.attached && durable.spent.is_none());
    let mut durable = durable;
    durable.apply(&identity(Some("s-2"), Some("a-1")));
    assert_eq!((durable.inbox.len(), durable.attached), (1, true), "only nobody at all is another life");
}

#[test]
fn another_life_takes_along_what_was_promised_and_nothing_of_the_old_one() {
    let mut durable = lived();
    durable.apply(&identity(None, None));
    assert_eq!(durable.spent, Some(given("a-1")), "it is not taken again before its source has let go of it");
    assert_eq!((durable.outbox.len(), durable.dead.len(), durable.set_aside.len()), (1, 1, 1), "accepted means kept");
    assert_eq!(durable.keys.len(), 1, "the same key is the same report, also across lives");
    assert_eq!(durable.cadence_millis, Some(7000));
    assert_eq!((durable.cursor, durable.inbox.len(), durable.seen.len(), durable.attached), (None, 0, 0, false));
    assert_eq!((durable.given, durable.session, durable.allocation), (None, None, None));
}

#[test]
fn what_was_given_and_never_used_is_spent_and_nobody_twice_is_nobody() {
    let mut durable = Durable::default();
    durable.apply(&Record::Noticed { print: 5, notification: None });
    durable.apply(&identity(None, None));
    assert!(durable.noticed.is_some(), "there was no life that could be over");
    durable.apply(&Record::Given(given("a-1")));
    durable.apply(&identity(None, None));
    assert_eq!((durable.given.clone(), durable.spent.clone()), (None, Some(given("a-1"))));
    durable.apply(&identity(None, None));
    assert_eq!(durable.spent, Some(given("a-1")));
    durable.apply(&Record::Freed);
    assert_eq!(durable.spent, None);
}

#[test]
fn a_start_takes_up_what_is_of_its_session_allocation_and_id_only() {
    let durable = lived();
    let of = |target: &Target, id: Option<&str>| durable.is_of(target, id.map(instance).as_ref());
    let to_session = |session_id: &str, of_allocation: Option<&str>| Target::Session {
        session: session(session_id),
        allocation: of_allocation.map(allocation),
    };
    assert!(of(&to_session("s-1", None), None) && of(&to_session("s-1", Some("a-1")), None));
    assert!(!of(&to_session("s-2", None), None) && !of(&to_session("s-1", Some("a-2")), None));
    assert!(of(&Target::Allocation(allocation("a-1")), None) && !of(&Target::Allocation(allocation("a-2")), None));
    assert!(of(&Target::Awaited, None), "a source gave it");
    assert!(of(&to_session("s-1", None), Some("i-1")), "the id that is configured is the one that is remembered");
    assert!(!of(&to_session("s-1", None), Some("i-2")), "another id is another instance");
    let nameless = Durable { instance: None, ..durable.clone() };
    assert!(nameless.is_of(&to_session("s-1", None), Some(&instance("i-2"))), "none was made yet");
    assert!(Durable::default().is_of(&to_session("s-9", Some("a-9")), Some(&instance("i-9"))), "nobody's is anybody's");
}

#[test]
fn a_key_is_known_for_a_day_and_so_many_of_them() {
    let mut durable = Durable::default();
    durable.apply(&Record::Accepted(report(1, Some("k"), at(0))));
    durable.forget_keys(at(24 * 3600));
    assert_eq!(durable.keys.len(), 1);
    durable.forget_keys(at(24 * 3600 + 1));
    assert!(durable.keys.is_empty());
}
