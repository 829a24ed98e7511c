//! The bound on the state, a full disk, and what gets through all the same.

use super::super::engine::Engine;
use super::super::{Bounds, Options, recover};
use super::crash::all;
use super::fake::{FakeDisk, Op, Plan};
use super::script::{accepted, batch, name, notification_id, page, report_id, said};
use crate::core::durable::Record;
use crate::core::event::StoreFault;

fn options() -> Options {
    Options { limit: 64_000, compact_at: 16_000, ..Options::default() }
}

fn open(disk: &FakeDisk) -> Engine<FakeDisk> {
    Engine::open(disk.clone(), &options(), all()).unwrap()
}

/// Bytes of snapshot and log.
fn at_rest(disk: &FakeDisk) -> u64 {
    [recover::SNAPSHOT, recover::LOG].iter().map(|name| disk.file(name).map_or(0, |bytes| bytes.len() as u64)).sum()
}

/// Accepts reports until one is refused; returns how many were taken.
fn fill(engine: &mut Engine<FakeDisk>, disk: &FakeDisk) -> usize {
    for number in 1.. {
        match engine.commit(&[batch(0, vec![accepted(number)])])[..] {
            [Ok(())] => assert!(at_rest(disk) <= options().limit),
            [Err(StoreFault::Full)] => return number - 1,
            ref other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

#[test]
fn the_parts_make_the_whole() {
    for options in [Options::default(), options()] {
        let Bounds { log, reserve, snapshot, state, .. } = options.bounds();
        assert_eq!(log + reserve + snapshot, options.limit);
        assert!(state < snapshot && state > options.limit / 2);
    }
}

#[test]
fn a_full_state_refuses_growth_and_takes_what_makes_it_smaller() {
    let disk = FakeDisk::new(0);
    let mut engine = open(&disk);
    let count = fill(&mut engine, &disk);
    assert!(count > 100, "{count}");
    assert_eq!(engine.status().fault, Some(StoreFault::Full));
    assert_eq!(engine.status().faults, 1);
    let operations = disk.world().ops.len();
    assert_eq!(engine.commit(&[batch(0, vec![accepted(count + 1)])]), [Err(StoreFault::Full)]);
    engine.tick();
    assert_eq!(disk.world().ops.len(), operations, "a bound is no reason to bother the disk");
    assert_eq!(engine.status().fault, Some(StoreFault::Full));

    let sent = |number| batch(0, vec![Record::Sent { report: report_id(number) }]);
    for number in 1..=count / 2 {
        assert_eq!(engine.commit(&[sent(number)]), [Ok(())], "{number} of {count}");
        assert!(at_rest(&disk) <= options().limit);
    }
    engine.tick();
    assert_eq!(engine.status().fault, None, "there is room again, and nobody had to ask");
    assert_eq!(engine.commit(&[batch(0, vec![accepted(count + 2)])]), [Ok(())]);
    let again = open(&disk.unplugged());
    assert_eq!(again.mirror(), engine.mirror());
    assert_eq!(again.mirror()[&name(0)].outbox.len(), count - count / 2 + 1);
}

#[test]
fn a_full_disk_still_takes_deliveries_and_acknowledgements() {
    let disk = FakeDisk::new(0);
    let mut engine = open(&disk);
    let few: Vec<_> = (1..=20).map(|number| batch(0, vec![accepted(number)])).collect();
    assert!(engine.commit(&few).iter().all(Result::is_ok));
    assert_eq!(engine.commit(&[batch(0, vec![page(1, 2, "hello")])]), [Ok(())]);
    // What was reserved is there; nothing new can be made.
    disk.plan(Plan { fail: Some((0..u64::MAX, 28)), only: vec![Op::Create, Op::Reserve], ..Plan::default() });
    for (number, small) in (1..).zip([
        Record::Acked { through: notification_id(1) },
        Record::SetAside { id: notification_id(2), reason: "exit code 1".to_owned(), tries: 3 },
        Record::Sent { report: report_id(1) },
        Record::Dead { report: report_id(2), reason: "gone".to_owned() },
        Record::Closed,
        Record::Superseded,
    ]) {
        // The first is too large for the log; the others come while the mirror is ahead of the disk.
        let large = batch(1, vec![accepted(100), said(number), page(number, 1, &"x".repeat(20_000 / number.pow(4)))]);
        assert_eq!(engine.commit(&[large, batch(0, vec![small])]), [Err(StoreFault::Full), Ok(())], "{number}");
    }
    let again = open(&disk.unplugged());
    let durable = &again.mirror()[&name(0)];
    assert_eq!((durable.inbox.len(), durable.outbox.len(), durable.dead.len()), (0, 18, 1));
    assert_eq!(durable.set_aside.front().map(|kept| &kept.notification.notification_id), Some(&notification_id(2)));
    assert!(durable.closed && durable.superseded);
    assert!(!again.mirror().contains_key(&name(1)));

    disk.plan(Plan::default());
    engine.tick();
    let again = open(&disk.unplugged());
    let durable = &again.mirror()[&name(1)];
    assert_eq!((durable.inbox.len(), durable.outbox.len()), (6, 0), "the pages had come, the reports were refused");
}

#[test]
fn a_file_system_without_a_byte_left_loses_nothing_and_recovers() {
    for space in (0..40_000).step_by(700) {
        let disk = FakeDisk::new(space);
        disk.plan(Plan { space: Some(space), ..Plan::default() });
        let mut engine = open(&disk);
        let mut taken = Vec::new();
        for number in 1..200 {
            match engine.commit(&[batch(0, vec![accepted(number)])])[..] {
                [Ok(())] => taken.push(report_id(number)),
                [Err(fault)] => assert_eq!(fault, StoreFault::Full),
                ref other => panic!("{other:?}"),
            }
        }
        let outbox = |disk: &FakeDisk| -> Vec<_> {
            let again = open(disk);
            let durable = again.mirror().get(&name(0)).cloned().unwrap_or_default();
            durable.outbox.iter().map(|report| report.id.clone()).collect()
        };
        for after in [disk.killed(), disk.unplugged()] {
            after.plan(Plan { space: Some(space), ..Plan::default() });
            assert_eq!(outbox(&after), taken, "the disk is still full");
        }
        // The headroom of so small a store is 1,000 bytes.
        for report in taken.drain(..taken.len().min(8)) {
            assert_eq!(engine.commit(&[batch(0, vec![Record::Sent { report }])]), [Ok(())], "{space} bytes");
        }
        assert!(!engine.status().in_doubt);
        disk.plan(Plan::default());
        engine.tick();
        assert_eq!(engine.status().fault, None);
        for after in [disk.killed(), disk.unplugged()] {
            assert_eq!(outbox(&after), taken);
        }
    }
}

#[test]
fn a_batch_that_is_too_large_for_the_log_is_refused_and_its_page_comes_with_the_next_snapshot() {
    let disk = FakeDisk::new(0);
    let mut engine = open(&disk);
    let huge = batch(0, vec![accepted(1), page(1, 1, &"x".repeat(20_000))]);
    assert_eq!(
        engine.commit(&[batch(0, vec![accepted(2)]), huge, batch(0, vec![accepted(3)])]),
        [Ok(()), Err(StoreFault::Full), Ok(())]
    );
    engine.tick();
    assert_eq!(engine.status().fault, None);
    let again = open(&disk.unplugged());
    let durable = &again.mirror()[&name(0)];
    assert_eq!((durable.inbox.len(), durable.outbox.len()), (1, 2));
}

#[test]
fn keys_of_yesterday_make_room() {
    let disk = FakeDisk::new(0);
    let mut engine = open(&disk);
    // Accepted, delivered, and their keys remembered: until the keys alone fill the store.
    let mut number = 2;
    while engine.commit(&[batch(0, vec![old(number)])]) == [Ok(())] {
        assert_eq!(engine.commit(&[batch(0, vec![Record::Sent { report: report_id(number) }])]), [Ok(())]);
        number += 2;
        if number > 4_000 {
            break;
        }
    }
    assert!(number > 4_000, "stopped at {number} with {} keys", engine.mirror()[&name(0)].keys.len());
}

/// A report with a key, accepted long ago.
fn old(number: usize) -> Record {
    let Record::Accepted(mut report) = accepted(number) else { unreachable!() };
    report.accepted = jiff::Timestamp::from_second(1_000_000_000 + number as i64).unwrap();
    Record::Accepted(report)
}
