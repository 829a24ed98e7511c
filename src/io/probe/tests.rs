//! Tests: when probes run. The clock is paused, and nothing here touches a socket.

use std::sync::{Arc, Mutex};

use super::*;
use tokio::sync::oneshot;

const SECOND: Duration = Duration::from_secs(1);

/// When a run began, counted from the fake's own beginning, and for which process.
type Run = (Duration, Option<u32>);

/// What a fake probe does in each run: for how long, and then what. After the last it does nothing for ever.
#[derive(Clone, Default)]
struct Fake {
    runs: Arc<Mutex<Vec<Run>>>,
    dropped: Arc<Mutex<u32>>,
    begun: Option<Instant>,
    lengths: Vec<Duration>,
}

struct Dropped(Arc<Mutex<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Fake {
    fn new(lengths: &[u64]) -> Self {
        let lengths = lengths.iter().map(|millis| Duration::from_millis(*millis)).collect();
        Self { begun: Some(clock::now()), lengths, ..Self::default() }
    }

    /// When each run began, in milliseconds since the fake was made.
    fn begins(&self) -> Vec<u128> {
        self.runs.lock().unwrap().iter().map(|(at, _)| at.as_millis()).collect()
    }

    fn pids(&self) -> Vec<Option<u32>> {
        self.runs.lock().unwrap().iter().map(|(_, pid)| *pid).collect()
    }
}

impl Asks for Fake {
    async fn ask(&mut self, pid: Option<u32>, progress: &mut Progress) -> Found {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        let turn = {
            let mut runs = self.runs.lock().unwrap();
            let turn = u32::try_from(runs.len()).unwrap();
            runs.push((clock::now() - self.begun.unwrap(), pid));
            turn
        };
        progress.is(format!("run {turn} works"));
        match self.lengths.get(turn as usize) {
            Some(length) => clock::sleep(*length).await,
            None => std::future::pending().await,
        }
        Ok(Finding::healthy(format!("run {turn}")))
    }
}

fn turn(interval: Duration, timeout: Duration) -> Turn {
    let probe = Probe { kind: ProbeKind::Process, interval, timeout, failure: Health::Degraded };
    Turn { place: 3, probe, delay: Duration::ZERO }
}

async fn result(told: &mut mpsc::Receiver<Box<GameEvent>>) -> ProbeResult {
    match told.recv().await.map(|event| *event) {
        Some(GameEvent::Probed { probe: 3, result }) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn runs_begin_one_interval_apart_however_long_they_take() {
    let fake = Fake::new(&[3000, 0, 4999]);
    let (events, mut told) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(turn(5 * SECOND, 5 * SECOND), fake.clone(), None, events));
    for reason in ["run 0", "run 1", "run 2"] {
        assert_eq!(
            result(&mut told).await,
            ProbeResult { health: Health::Healthy, reason: reason.to_owned(), players: None }
        );
    }
    let hung = result(&mut told).await;
    assert_eq!((hung.health, hung.reason.as_str()), (Health::Degraded, "no result within 5s: run 3 works"));
    assert_eq!(fake.begins()[..4], [0, 5000, 10_000, 15_000]);
    assert_eq!(*fake.dropped.lock().unwrap(), 4, "what hung was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_uses_up_the_interval_does_not_delay_the_next() {
    let fake = Fake::new(&[]);
    let (events, mut told) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(turn(SECOND, SECOND), fake.clone(), None, events));
    for _ in 0..4 {
        result(&mut told).await;
    }
    // The timer's own granularity is a millisecond.
    for (turn, begin) in (0..).zip(fake.begins()) {
        assert!(begin.abs_diff(1000 * turn) <= 5, "{:?}", fake.begins());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_one_run_catches_up_and_the_rhythm_stays() {
    let fake = Fake::new(&[0; 8]);
    let (events, mut told) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(turn(5 * SECOND, SECOND), fake.clone(), None, events));
    result(&mut told).await;
    tokio::time::advance(Duration::from_secs(3601)).await;
    for _ in 0..3 {
        result(&mut told).await;
    }
    assert_eq!(fake.begins(), [0, 3_601_000, 3_605_000, 3_610_000]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_slow_delays_and_loses_nothing() {
    let fake = Fake::new(&[0; 9]);
    let (events, mut told) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(turn(SECOND, SECOND), fake.clone(), None, events));
    clock::sleep(60 * SECOND).await;
    assert_eq!(fake.begins().len(), 2, "one is told, one waits");
    let reasons = [result(&mut told).await, result(&mut told).await, result(&mut told).await].map(|told| told.reason);
    assert_eq!(reasons, ["run 0", "run 1", "run 2"]);
    drop(told);
    assert!(tasks.join_next().await.unwrap().is_ok(), "nobody listens: it ends");
}

#[tokio::test(start_paused = true)]
async fn probes_wait_for_the_process_and_pause_without_it() {
    let fake = Fake::new(&[0, 700, 0, 0, 0]);
    let (events, mut told) = mpsc::channel(8);
    let (pid, pids) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep(turn(SECOND, SECOND), fake.clone(), Some(pids), events));
    clock::sleep(10 * SECOND).await;
    assert_eq!(fake.begins(), [0; 0], "there is nothing to look at");
    pid.send_replace(Some(7));
    assert_eq!(result(&mut told).await.reason, "run 0");
    // The process ends in the middle of the second run.
    clock::sleep(Duration::from_millis(1200)).await;
    pid.send_replace(None);
    clock::sleep(10 * SECOND).await;
    assert_eq!((fake.begins().len(), *fake.dropped.lock().unwrap()), (2, 2), "the run was dropped, no other came");
    pid.send_replace(Some(8));
    assert_eq!(result(&mut told).await.reason, "run 2", "and the dropped one told nothing");
    // Another process at once: nobody has seen the time between.
    pid.send_replace(Some(9));
    assert_eq!(result(&mut told).await.reason, "run 3");
    assert_eq!(fake.pids(), [Some(7), Some(7), Some(8), Some(9)]);
    drop(pid);
    assert!(tasks.join_next().await.unwrap().is_ok(), "no process will ever come: it ends");
}

/// A probe of this kind fails at once where no process is known: a run without any socket.
fn instant(interval: Duration) -> Probe {
    Probe { kind: ProbeKind::Process, interval, timeout: interval, failure: Health::Unhealthy }
}

#[tokio::test(start_paused = true)]
async fn first_runs_are_spread_over_a_second_at_most() {
    for (interval, places) in [(5 * SECOND, [0, 250, 500, 750]), (SECOND / 2, [0, 125, 250, 375])] {
        let begun = clock::now();
        let (events, mut told) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(vec![instant(interval); 4], None, events, std::future::pending()));
        for (place, at) in (0..).zip(places) {
            let Some(GameEvent::Probed { probe, result }) = told.recv().await.map(|event| *event) else {
                panic!("it ended")
            };
            assert_eq!((probe, (clock::now() - begun).as_millis()), (place, at));
            assert_eq!(result.health, Health::Unhealthy);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_told_to_and_when_there_is_nothing_to_do() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (events, mut told) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(run(vec![instant(SECOND)], None, events, async { drop(stopped.await) }));
    assert!(told.recv().await.is_some());
    drop(stop);
    assert!(tasks.join_next().await.unwrap().is_ok());
    while told.recv().await.is_some() {}

    let (events, mut told) = mpsc::channel(8);
    run(Vec::new(), None, events, std::future::pending()).await;
    assert!(told.recv().await.is_none());
}

#[test]
fn the_next_run_is_a_whole_number_of_intervals_away_and_in_the_future() {
    let due = clock::now();
    for (late, ahead) in [(0, 5000), (1, 5000), (4999, 5000), (5000, 10_000), (5001, 10_000), (86_400_001, 86_405_000)]
    {
        let start = due + Duration::from_millis(late);
        let next = next(due, 5 * SECOND, start);
        assert_eq!(next - due, Duration::from_millis(ahead), "{late}");
        assert!(next > start);
    }
    assert_eq!(next(due, Duration::ZERO, due), due, "never a panic");
}

/// On the real clock: a paused one moves only when all is at rest.
#[tokio::test]
async fn work_that_never_rests_is_cut_all_the_same() {
    let restless = async {
        loop {
            tokio::task::consume_budget().await;
        }
    };
    assert_eq!(within::<()>(Duration::from_millis(20), restless).await, None);
    assert_eq!(within(SECOND, std::future::ready(7)).await, Some(7));
}

#[test]
fn a_long_reason_is_cut() {
    let reason = wire::one_line(&"ü\n".repeat(1000), REASON_LIMIT);
    assert_eq!(reason.chars().count(), REASON_LIMIT);
}
