//! Killed and unplugged at random points, with and without a failing disk: what a restart finds.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::super::Options;
use super::super::engine::{Belongs, Engine};
use super::fake::{FakeDisk, Op, Plan};
use super::script::{Fate, History, Step};

/// So small that every script compacts several times.
/// Every state is of the instance that is configured.
pub(super) fn all() -> Box<Belongs> {
    Box::new(|_, _| true)
}

pub(super) fn small() -> Options {
    Options { compact_at: 2_000, limit: 64_000, ..Options::default() }
}

/// Runs a script in groups; stops when the process dies.
pub(super) fn run(
    disk: &FakeDisk,
    options: &Options,
    script: &[Step],
    group: usize,
) -> (History, Option<Engine<FakeDisk>>) {
    let mut history = History::default();
    let Ok(mut engine) = Engine::open(disk.clone(), options, all()) else { return (history, None) };
    for (round, steps) in script.chunks(group).enumerate() {
        if disk.is_dead() {
            break;
        }
        history.commit(&mut engine, disk, steps);
        if round % 3 == 2 {
            history.tick(&mut engine, disk);
        }
    }
    (history, Some(engine))
}

fn script(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 1..steps)
}

fn faults() -> impl Strategy<Value = Plan> {
    let kinds = prop_oneof![
        Just(vec![]),
        Just(vec![Op::Sync]),
        Just(vec![Op::Write]),
        Just(vec![Op::Sync, Op::Truncate]),
        Just(vec![Op::Write, Op::Truncate, Op::Create]),
        Just(vec![Op::Rename]),
        Just(vec![Op::SyncNames]),
        Just(vec![Op::Create, Op::Reserve]),
        Just(vec![Op::Sync, Op::SyncNames, Op::Rename]),
    ];
    let errno = prop_oneof![Just(5), Just(28), Just(30)];
    (kinds, errno, 0_u64..200, 1_u64..60, any::<bool>(), any::<bool>()).prop_map(
        |(only, errno, from, count, after_effect, short)| Plan {
            fail: Some((from..from + count, errno)),
            only,
            after_effect,
            short,
            ..Plan::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No fault, no crash: what was applied is what is found, whichever files it lies in.
    #[test]
    fn replay_gives_what_was_applied(seed: u64, script in script(120), group in 1_usize..9, closed: bool) {
        let disk = FakeDisk::new(seed);
        let (history, engine) = run(&disk, &small(), &script, group);
        let mut engine = engine.unwrap();
        if closed {
            prop_assert_eq!(engine.close(), Ok(()));
        }
        prop_assert_eq!(history.count(Fate::Sure), script.len());
        let again = Engine::open(disk.unplugged(), &small(), all()).unwrap();
        prop_assert_eq!(again.mirror(), &history.expected());
        prop_assert_eq!(again.status().findings.len(), 0);
    }

    /// Killed or unplugged at any operation, on a disk that otherwise works.
    #[test]
    fn a_crash_loses_nothing_that_was_answered(
        seed: u64, script in script(80), group in 1_usize..9, at in 0_u64..250, short: bool, power: bool, twice in 0_u64..20,
    ) {
        let disk = FakeDisk::new(seed);
        disk.plan(Plan { kill_at: Some(at), short, ..Plan::default() });
        let (history, _engine) = run(&disk, &small(), &script, group);
        prop_assert_eq!(history.count(Fate::Refused) + history.count(Fate::Doubt), 0);
        let mut after = if power { disk.unplugged() } else { disk.killed() };
        // It may die again while it puts things in order.
        after.plan(Plan { kill_at: Some(twice), ..Plan::default() });
        let _dies = Engine::open(after.clone(), &small(), all());
        after = if power { after.unplugged() } else { after.killed() };
        let engine = Engine::open(after, &small(), all()).unwrap();
        if let Err(wrong) = history.judge(engine.mirror()) {
            prop_assert!(false, "{}", wrong);
        }
    }

    /// The same on a disk that also fails for a while, in any way.
    #[test]
    fn a_crash_of_a_failing_disk_brings_nothing_refused_back(
        seed: u64, script in script(80), group in 1_usize..9, later in 0_u64..80, faults in faults(), power: bool,
    ) {
        let disk = FakeDisk::new(seed);
        let at = faults.fail.as_ref().map(|(range, _)| range.start + later);
        disk.plan(Plan { kill_at: at, ..faults });
        let (history, _engine) = run(&disk, &small(), &script, group);
        let after = if power { disk.unplugged() } else { disk.killed() };
        let engine = Engine::open(after, &small(), all()).unwrap();
        if let Err(wrong) = history.judge(engine.mirror()) {
            prop_assert!(false, "{}", wrong);
        }
    }

    /// Once the disk is well again, one tick makes everything durable but what was refused.
    #[test]
    fn a_disk_that_recovers_has_everything(
        seed: u64, script in script(80), group in 1_usize..9, faults in faults(), power: bool,
    ) {
        static REFUSED: AtomicUsize = AtomicUsize::new(0);
        let disk = FakeDisk::new(seed);
        disk.plan(faults);
        let (mut history, engine) = run(&disk, &small(), &script, group);
        let mut engine = engine.unwrap();
        disk.plan(Plan::default());
        history.tick(&mut engine, &disk);
        prop_assert_eq!(engine.status().fault, None);
        prop_assert!(!engine.status().in_doubt);
        prop_assert_eq!(engine.status().faults as usize, history.count(Fate::Refused));
        REFUSED.fetch_add(history.count(Fate::Refused), Ordering::Relaxed);
        let after = if power { disk.unplugged() } else { disk.killed() };
        let again = Engine::open(after, &small(), all()).unwrap();
        prop_assert_eq!(again.mirror(), &history.expected());
        prop_assert_eq!(engine.mirror(), &history.expected());
    }
}
