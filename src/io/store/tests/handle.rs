//! The handle and its thread: order, bound, end.

use std::sync::LazyLock;
use std::time::Duration;

use super::super::queue::Queue;
use super::super::{DiskStore, MemoryStore, Opened, Options, start};
use super::fake::{FakeDisk, Op, Plan};
use super::script::{accepted, name, report_id, said};
use crate::core::durable::Record;
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;
use crate::ports::Store;

const LONG: Duration = Duration::from_secs(60);
static GAME: LazyLock<InstanceName> = LazyLock::new(|| name(0));

fn open(disk: &FakeDisk) -> Opened {
    start(disk.clone(), &Options { heal_every: Duration::from_millis(5), ..Options::default() }, super::crash::all())
        .unwrap()
}

#[tokio::test]
async fn the_order_of_calls_is_the_order_on_disk_and_one_sync_serves_many() {
    let disk = FakeDisk::new(0);
    let Opened { store, .. } = open(&disk);
    let operations = disk.world().ops.len();
    let batches = 300;
    let held = disk.world(); // The thread waits at its first operation; meanwhile all others line up behind.
    let mut waiting: Vec<_> = (0..batches).map(|number| store.append(&GAME, vec![accepted(number)])).collect();
    drop(held);
    // Polled from the last to the first: that must not matter.
    while let Some(last) = waiting.pop() {
        assert_eq!(last.await, Ok(()));
    }
    let syncs = disk.world().ops[operations..].iter().filter(|op| **op == Op::Sync).count();
    assert!(syncs <= 3, "{syncs} syncs for {batches} batches");
    let Opened { recovered, .. } = open(&disk.unplugged());
    let ids: Vec<_> = recovered[&name(0)].outbox.iter().map(|report| report.id.clone()).collect();
    assert_eq!(ids, (0..batches).map(report_id).collect::<Vec<_>>());
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "holding it is how the disk hangs; only the thread of the store waits for it"
)]
async fn a_disk_that_hangs_fills_the_queue_and_never_the_caller() {
    let disk = FakeDisk::new(0);
    let Opened { store, status, .. } = start(
        disk.clone(),
        &Options { queue: 4, heal_every: Duration::from_millis(5), ..Options::default() },
        super::crash::all(),
    )
    .unwrap();
    let hang = disk.world();
    let mut waiting = Vec::new();
    let mut refused = Vec::new();
    for number in 0..14 {
        // The thread may have taken some before it hung, so that more than four are on their way.
        let append = store.append(&GAME, vec![accepted(number), said(number)]);
        if waiting.len() < 8 { waiting.push(append) } else { refused.push(append) }
    }
    for late in refused {
        assert_eq!(late.await, Err(StoreFault::Full), "at once, while the disk hangs");
    }
    drop(hang);
    let mut taken = 0;
    for append in waiting {
        taken += usize::from(append.await.is_ok());
    }
    assert!((4..=8).contains(&taken), "{taken}");
    assert_eq!(store.close(LONG).await, Ok(()));
    let Opened { recovered, .. } = open(&disk.unplugged());
    let durable = &recovered[&name(0)];
    assert_eq!(durable.outbox.len(), taken);
    assert_eq!(durable.said.version.as_deref(), Some("1.0.13"), "the last word of the game was not lost");
    assert_eq!(status.borrow().faults as usize, 14 - taken);
}

#[tokio::test]
async fn it_heals_by_itself_and_says_so() {
    let disk = FakeDisk::new(0);
    let Opened { store, mut status, .. } = open(&disk);
    disk.plan(Plan { fail: Some((0..u64::MAX, 30)), ..Plan::default() });
    assert_eq!(store.append(&GAME, vec![said(1)]).await, Err(StoreFault::ReadOnly));
    assert_eq!(status.borrow().fault, Some(StoreFault::ReadOnly), "before the answer");
    assert_eq!(status.borrow().faults, 1);
    disk.plan(Plan::default());
    status.wait_for(|status| status.fault.is_none()).await.unwrap();
    let Opened { recovered, .. } = open(&disk.unplugged());
    assert!(recovered[&name(0)].said.ready);
}

#[tokio::test]
async fn closing_answers_everything_and_leaves_a_snapshot() {
    let disk = FakeDisk::new(0);
    let Opened { store, .. } = open(&disk);
    let other = store.clone();
    let before = store.append(&GAME, vec![accepted(1)]);
    let (first, second) = tokio::join!(store.close(LONG), other.close(LONG));
    assert_eq!((first, second, before.await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(other.append(&GAME, vec![accepted(2)]).await, Err(StoreFault::Failed));
    assert_eq!(store.close(LONG).await, Ok(()), "it is closed");
    assert!(!String::from_utf8_lossy(&disk.file("log").unwrap()).contains("accepted"), "all is in the snapshot");
    assert_eq!(open(&disk.killed()).recovered[&name(0)].outbox.len(), 1);
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "holding it is how the disk hangs; only the thread of the store waits for it"
)]
async fn closing_has_an_end_and_tells_of_failure() {
    let disk = FakeDisk::new(0);
    let Opened { store, .. } = open(&disk);
    let hang = disk.world();
    let append = store.append(&GAME, vec![accepted(1)]);
    assert_eq!(store.close(Duration::from_millis(1)).await, Err(StoreFault::Failed));
    drop(hang);
    assert_eq!(store.close(LONG).await, Ok(()), "it went on behind");
    assert_eq!(append.await, Ok(()));

    let Opened { store, .. } = open(&disk);
    disk.plan(Plan { fail: Some((0..u64::MAX, 28)), ..Plan::default() });
    assert_eq!(store.append(&GAME, vec![said(1)]).await, Err(StoreFault::Full));
    assert_eq!(store.close(LONG).await, Err(StoreFault::Full));
}

#[tokio::test]
async fn when_the_last_handle_goes_everything_is_still_written() {
    let disk = FakeDisk::new(0);
    let Opened { store, mut status, .. } = open(&disk);
    let append = store.append(&GAME, vec![accepted(1)]);
    drop(store);
    assert_eq!(append.await, Ok(()));
    while status.changed().await.is_ok() {}
    assert_eq!(open(&disk.killed()).recovered[&name(0)].outbox.len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_thread_that_is_gone() {
    let queue = Queue::new(8);
    let (reply, verdict) = tokio::sync::oneshot::channel();
    assert_eq!(queue.push(&name(0), vec![accepted(1)], reply), Ok(()));
    assert!(queue.end().is_empty());
    assert!(verdict.await.is_err());
    let (reply, _verdict) = tokio::sync::oneshot::channel();
    assert_eq!(queue.push(&name(0), vec![accepted(1)], reply), Err(StoreFault::Failed));
    assert_eq!(queue.close().await, Ok(Ok(())));
}

#[tokio::test]
async fn a_store_in_memory_takes_everything() {
    async fn use_it(store: impl Store) {
        assert_eq!(store.append(&GAME, vec![accepted(1), Record::Attached]).await, Ok(()));
        assert_eq!(store.append(&GAME, vec![]).await, Ok(()));
    }
    let memory = MemoryStore::default();
    use_it(memory.clone()).await;
    assert!(memory.recovered()[&name(0)].attached);
    let disk = FakeDisk::new(0);
    let disk_store: DiskStore = open(&disk).store;
    use_it(disk_store).await;
}
