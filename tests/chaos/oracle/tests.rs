//! The oracle has teeth: a good time line passes, and each way to break a promise is found.

use super::judge;
use crate::timeline::{Bounds, Entry, What};

const BOUNDS: Bounds =
    Bounds { cadence_ms: 1000, memory_kib: 12_288, descriptors: 48, restart_ms: 1000, slack_ms: 100 };

fn text(text: &str) -> String {
    text.to_owned()
}

fn request(call: &str) -> What {
    What::Request { call: text(call), ended_ms: None, status: Some(200), processed: true, struck: false }
}

/// Twenty seconds in which all is well.
fn good() -> Vec<Entry> {
    let mut entries = vec![
        (0, What::Bounds(BOUNDS)),
        (10, What::Started { serving: false }),
        (100, What::LoggedIn),
        (200, What::Shown { join_status: text("joinable") }),
        (5000, What::Published { id: text("n-1") }),
        (5010, What::Handed { id: text("n-1"), by: 1 }),
        (6000, What::Published { id: text("n-2") }),
        (6010, What::Handed { id: text("n-2"), by: 1 }),
        (7000, What::Accepted { report: text("r-1") }),
        (7010, What::Arrived { report: text("r-1") }),
        (7011, What::Delivered { report: text("r-1"), clean: true }),
        (8000, What::Accepted { report: text("r-2") }),
        (8010, What::Arrived { report: text("r-2") }),
        (9000, What::Sample { rss_kib: 5000, peak_kib: 6000, descriptors: 14 }),
        (9001, What::Scanned { place: text("status"), bytes: 100 }),
        (20_300, What::Told),
        (20_400, What::Exited { code: Some(0) }),
        (20_500, What::Scanned { place: text("log"), bytes: 1000 }),
    ];
    for second in 0..20 {
        entries.push((second * 1000 + 300, request("health")));
        entries.push((second * 1000 + 300, What::Beat { status: text("healthy") }));
    }
    sorted(entries.into_iter().map(|(at_ms, what)| Entry { at_ms, what }).collect())
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.at_ms);
    entries
}

/// The good one with something more.
fn with(more: &[(u64, What)]) -> Vec<Entry> {
    let more = more.iter().map(|(at_ms, what)| Entry { at_ms: *at_ms, what: what.clone() });
    sorted(good().into_iter().chain(more).collect())
}

fn without(gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    good().into_iter().filter(|entry| !gone(entry)).collect()
}

#[track_caller]
fn finds(entries: &[Entry], words: &str) {
    let findings = judge(entries).findings;
    assert!(findings.iter().any(|finding| finding.contains(words)), "{words:?} is not in {findings:#?}");
}

#[track_caller]
fn passes(entries: &[Entry]) {
    assert_eq!(judge(entries).findings, Vec::<String>::new());
}

fn no_beat(from: u64, to: u64) -> impl Fn(&Entry) -> bool {
    move |entry| matches!(entry.what, What::Beat { .. }) && (from..to).contains(&entry.at_ms)
}

#[test]
fn a_good_run_passes() {
    passes(&good());
    finds(&[], "no bounds");
}

#[test]
fn a_missed_health_post_is_found() {
    finds(&without(no_beat(5000, 6000)), "no health post for 2000 ms");
    finds(&without(no_beat(18_000, 20_000)), "no health post");
    finds(&without(no_beat(0, 30_000)), "no health post at all");
}

#[test]
fn a_machine_that_is_late_excuses_as_much_and_no_more() {
    let late = |ms| {
        let mut entries = without(no_beat(5000, 6000));
        entries.push(Entry { at_ms: 5500, what: What::Lag { ms } });
        sorted(entries)
    };
    finds(&late(200), "no health post for 2000 ms");
    passes(&late(350));
}

#[test]
fn a_health_post_may_be_missing_only_in_an_outage_and_comes_back_soon() {
    let outage = |from, to| {
        let mut entries = without(no_beat(5000, 9000));
        let trouble = What::Trouble { words: text("x"), silent: true, blind: false };
        entries.push(Entry { at_ms: from, what: trouble });
        entries.push(Entry { at_ms: to, what: What::Calm });
        sorted(entries)
    };
    passes(&outage(4900, 8500));
    finds(&outage(4900, 7000), "well again, and no health post for 2300 ms");
    finds(&outage(15_000, 16_000), "no health post for 5000 ms");
}

#[test]
fn trouble_with_something_else_excuses_no_health_post() {
    let mut entries = without(no_beat(5000, 9000));
    let trouble = What::Trouble { words: text("x"), silent: false, blind: false };
    entries.push(Entry { at_ms: 4900, what: trouble });
    finds(&sorted(entries), "no health post for 5000 ms");
}

#[test]
fn a_slow_restart_is_found() {
    let killed = |start| {
        let mut entries = without(no_beat(5000, 8000));
        entries.push(Entry { at_ms: start, what: What::Killed });
        entries.push(Entry { at_ms: start, what: What::Started { serving: true } });
        sorted(entries)
    };
    passes(&killed(7800));
    finds(&killed(6000), "started, and no health post for 2300 ms");
}

#[test]
fn a_burst_is_found() {
    let posts = |count| (0..count).map(|n| (10_310 + n * 10, request("health"))).collect::<Vec<_>>();
    passes(&with(&posts(2)));
    finds(&with(&posts(3)), "4 health posts in one cadence");
    // Other calls are counted together.
    let looks = |count| (0..count).map(|n| (9000 + n * 20, request("read_session"))).collect::<Vec<_>>();
    passes(&with(&looks(6)));
    finds(&with(&looks(12)), "requests in 10 s");
}

#[test]
fn more_than_a_healthy_agent_sends_is_found() {
    let looks = |every: u64| (0..20_000 / every).map(|n| (n * every, request("poll"))).collect::<Vec<_>>();
    passes(&with(&looks(3000)));
    finds(&with(&looks(500)), "a healthy agent sends");
}

#[test]
fn a_login_without_a_reason_is_found() {
    finds(&with(&[(9000, What::LoggedIn)]), "2 logins, and 1 had a reason");
    passes(&with(&[(8990, What::Expired), (9000, What::LoggedIn)]));
}

#[test]
fn a_lost_notification_is_found() {
    let lost = |id: &'static str| without(move |entry| entry.what == What::Handed { id: text(id), by: 1 });
    finds(&lost("n-2"), "1 notifications of 2 were never handed over");
    finds(&lost("n-1"), "n-2 is number 1, after number None");
}

#[test]
fn a_notification_out_of_order_is_found() {
    let mut entries = lost_both();
    entries.push(Entry { at_ms: 6500, what: What::Handed { id: text("n-2"), by: 1 } });
    entries.push(Entry { at_ms: 6600, what: What::Handed { id: text("n-1"), by: 1 } });
    finds(&sorted(entries), "after number");
}

fn lost_both() -> Vec<Entry> {
    without(|entry| matches!(entry.what, What::Handed { .. }))
}

#[test]
fn a_notification_is_repeated_only_after_a_crash() {
    finds(&with(&[(9000, What::Handed { id: text("n-2"), by: 1 })]), "again, without a crash");
    passes(&with(&[
        (8500, What::Killed),
        (8600, What::Started { serving: true }),
        (9000, What::Handed { id: text("n-2"), by: 2 }),
    ]));
    // What the one that was killed had said is heard after its end.
    let mut late = without(|entry| entry.what == What::Handed { id: text("n-2"), by: 1 });
    late.extend([
        Entry { at_ms: 5990, what: What::Killed },
        Entry { at_ms: 5995, what: What::Started { serving: true } },
        Entry { at_ms: 6010, what: What::Handed { id: text("n-2"), by: 1 } },
        Entry { at_ms: 6050, what: What::Handed { id: text("n-2"), by: 2 } },
    ]);
    passes(&sorted(late));
    finds(&with(&[(9000, What::Handed { id: text("n-3"), by: 1 })]), "never published");
}

#[test]
fn a_lost_report_and_one_out_of_order_are_found() {
    finds(&without(|entry| entry.what == What::Arrived { report: text("r-1") }), "never arrived: r-1");
    let mut swapped = without(|entry| entry.what == What::Arrived { report: text("r-1") });
    swapped.push(Entry { at_ms: 8500, what: What::Arrived { report: text("r-1") } });
    finds(&sorted(swapped), "out of order");
    finds(&with(&[(10_000, What::Denied { report: text("r-2") })]), "though it was refused");
}

#[test]
fn a_copy_of_a_report_needs_a_doubt() {
    let again = |report: &str| (9500, What::Arrived { report: text(report) });
    finds(&with(&[again("r-1")]), "r-1 was sent again");
    // Nobody knows whether the agent heard that the second one was taken.
    passes(&with(&[again("r-2")]));
    let kill = [(9300, What::Killed), (9350, What::Started { serving: true })];
    passes(&with(&[kill[0].clone(), kill[1].clone(), again("r-1")]));
    finds(&with(&[kill[0].clone(), kill[1].clone(), again("r-1"), again("r-1")]), "2 copies after 1 kills");
}

#[test]
fn an_end_a_secret_a_panic_and_waste_are_found() {
    finds(&with(&[(9000, What::Exited { code: Some(1) })]), "it ended by itself");
    finds(&with(&[(20_350, What::Exited { code: Some(143) })]), "ended with Some(143)");
    finds(&with(&[(9000, What::Leak { place: text("log"), which: text("a token") })]), "a token is in its log");
    finds(&with(&[(9000, What::Fault { line: text("panicked at") })]), "a fault of ours");
    finds(&with(&[(9000, What::Never { what: text("calm") })]), "never seen: calm");
    finds(&with(&[(9000, What::Broken { words: text("odd") })]), "odd");
    finds(&with(&[(9000, What::Complaint { words: text("unknown field") })]), "unknown field");
    finds(&with(&[(9000, What::Sample { rss_kib: 1, peak_kib: 20_000, descriptors: 1 })]), "20000 KiB resident");
    finds(&with(&[(9000, What::Sample { rss_kib: 1, peak_kib: 1, descriptors: 49 })]), "49 descriptors");
    finds(&without(|entry| matches!(entry.what, What::Scanned { .. })), "nothing was there to look");
}

#[test]
fn a_match_that_is_closed_by_trouble_is_found() {
    finds(&with(&[(9000, What::Shown { join_status: text("closed") })]), "is \"closed\" now");
    finds(&with(&[(9000, What::Phase { phase: text("closing") })]), "in the middle of a match");
    passes(&with(&[(20_350, What::Shown { join_status: text("closed") })]));
}
