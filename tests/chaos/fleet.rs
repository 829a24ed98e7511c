//! Many real agents on one machine, and every connection of theirs cut at once (promises.md 14): refused, 503, a black hole, a blip.
//!
//! 200 instances in 20 processes where a process may host several (`[instances.NAME]`), else 60 processes with one each.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::{ClientSpec, Options, Outage, SessionSpec, Simulator};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::front;
use crate::ills::{Gate, Ills};
use crate::program::{CLIENT, Home, Process, SECRET};
use crate::run::fresh_dir;
use crate::table::print_columns;
use crate::timeline::{Recorder, What};

/// Processes, and instances in each: as it should be, and where one process hosts one.
const MANY: (usize, usize) = (20, 10);
const SINGLE: (usize, usize) = (60, 1);
/// How long it is looked at without anything wrong, and after something was.
const STEADY: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(75);
/// A peak is the busiest of such spans: with so few agents, one second of them is dice.
const PEAK_MS: u64 = 5000;
/// promises.md 14: of the steady rate, at the peak, in the outage, after it.
const LIMITS: [f64; 3] = [3.0, 1.0, 1.5];
/// What dice may add to a rate that is counted over a minute.
const DICE: f64 = 0.15;

#[derive(Debug, Clone, Copy)]
enum Cut {
    Refused,
    Unavailable,
    BlackHole,
    Blip,
}

impl Cut {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "503",
            Self::BlackHole => "hole",
            Self::Blip => "blip",
        }
    }
}

/// What came of one cut.
struct Row {
    name: &'static str,
    seconds: u64,
    peak: f64,
    peak_second: f64,
    during: f64,
    after: f64,
}

struct Fleet {
    recorder: Recorder,
    simulator: Simulator,
    ills: Ills,
    processes: Vec<Process>,
}

/// Whether all rates are as promised.
pub(crate) fn run(agent: &Path, dir: &Path, long: bool, words: &[String]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fleet(agent, dir, long, words))
}

async fn fleet(agent: &Path, dir: &Path, long: bool, words: &[String]) -> bool {
    let recorder = Recorder::start();
    let probe = Home::new(&fresh_dir(dir, "probe"), "http://127.0.0.1:1", "s-0");
    let (processes, each) = if hosts_many(agent, probe) { MANY } else { SINGLE };
    let sessions = processes * each;
    let simulator = Simulator::new(&Options {
        clients: vec![ClientSpec::new(CLIENT, SECRET)],
        sessions: (0..sessions).map(|n| SessionSpec::new(format!("s-{n}"))).collect(),
        ..Options::default()
    });
    let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let before = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (backend, url) = (behind.local_addr().unwrap(), format!("http://{}", before.local_addr().unwrap()));
    let ills = Ills::new(recorder.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(simulator.serve(behind, std::future::pending()));
    tasks.spawn(front::serve(before, backend, None, ills.clone(), recorder.clone()));
    println!("{sessions} instances in {processes} processes, health every 10 s");

    let mut fleet = Fleet { recorder, simulator, ills, processes: Vec::new() };
    for process in 0..processes {
        let mut home = Home::new(&fresh_dir(dir, &format!("p{process}")), &url, &format!("s-{}", process * each));
        home.set("log.level", "warn");
        host(&mut home, process * each, each);
        fleet.processes.push(home.start(agent));
    }
    let serving = |ledger: &rallyhere_agent::simulator::Ledger| {
        let mut seen: Vec<&str> = ledger.health.iter().map(|beat| beat.session_id.as_str()).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    while fleet.simulator.read_ledger(serving) < sessions {
        clock::sleep(Duration::from_millis(100)).await;
    }
    // The polls settle.
    clock::sleep(Duration::from_secs(30)).await;
    let began = fleet.recorder.now_ms();
    clock::sleep(STEADY).await;
    let steady = fleet.rate(began, fleet.recorder.now_ms());
    let outage = Duration::from_secs(if long { 300 } else { 60 });
    let mut rows = Vec::new();
    for cut in [Cut::Refused, Cut::Unavailable, Cut::BlackHole, Cut::Blip] {
        if !words.is_empty() && !words.iter().any(|word| word == cut.name()) {
            continue;
        }
        rows.push(fleet.cut(cut, outage).await);
    }
    let alive = fleet.processes.iter_mut().all(|process| process.ended().is_none());
    let complaints = fleet.simulator.read_ledger(|ledger| ledger.rejections.len() + ledger.oddities.len());
    let peak = fleet.processes.iter().filter_map(Process::uses).map(|uses| uses.peak_kib).max().unwrap_or(0);
    println!("steady: {steady:.1} requests a second; the largest process had {peak} KiB at its peak");
    let good = report(&rows, steady);
    if !alive || complaints > 0 {
        println!("FOUND  all alive: {alive}; requests that the contract refuses: {complaints}");
    }
    good && alive && complaints == 0
}

/// More than one instance of a process: each with a name, and a session of its own.
fn host(home: &mut Home, first: usize, count: usize) {
    if count > 1 {
        home.unset("instance.session_id");
        for n in first..first + count {
            home.set(&format!("instances.g{n}.instance.session_id"), format!("s-{n}"));
        }
    }
}

/// Whether this agent takes several instances in its configuration.
fn hosts_many(agent: &Path, mut home: Home) -> bool {
    host(&mut home, 0, 2);
    let mut check = Command::new(agent);
    check.arg("check").arg("--config").arg(home.path("agent.toml")).envs(&home.env);
    check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    check.status().is_ok_and(|status| status.success())
}

impl Fleet {
    async fn cut(&mut self, cut: Cut, outage: Duration) -> Row {
        let began = self.recorder.now_ms();
        let (name, time) = (cut.name(), if matches!(cut, Cut::Blip) { Duration::from_secs(2) } else { outage });
        match cut {
            Cut::Refused | Cut::Blip => self.simulator.set_outage(Outage::Refuse),
            Cut::Unavailable => self.simulator.set_outage(Outage::Unavailable),
            Cut::BlackHole => self.ills.set_gate(Gate::BlackHole),
        }
        clock::sleep(time).await;
        self.simulator.set_outage(Outage::None);
        self.ills.set_gate(Gate::Open);
        let over = self.recorder.now_ms();
        clock::sleep(AFTER).await;
        let end = self.recorder.now_ms();
        Row {
            name,
            seconds: time.as_secs(),
            peak: self.busiest(began, end, PEAK_MS),
            peak_second: self.busiest(began, end, 1000),
            during: self.rate(began, over),
            after: self.rate(over, end),
        }
    }

    /// Requests that came, and connections that came to nothing, by their time.
    fn arrivals(&self, from: u64, to: u64) -> Vec<u64> {
        let mut times: Vec<u64> =
            self.simulator.read_ledger(|ledger| ledger.requests.iter().map(|request| request.at_ms).collect());
        self.recorder.read(|entries| {
            times
                .extend(entries.iter().filter(|entry| matches!(entry.what, What::Met { .. })).map(|entry| entry.at_ms));
        });
        times.retain(|at| (from..to).contains(at));
        times.sort_unstable();
        times
    }

    /// A second.
    fn rate(&self, from: u64, to: u64) -> f64 {
        self.arrivals(from, to).len() as f64 / ((to - from).max(1) as f64 / 1000.0)
    }

    fn busiest(&self, from: u64, to: u64, span: u64) -> f64 {
        let times = self.arrivals(from, to);
        let most = times
            .iter()
            .enumerate()
            .map(|(at, begin)| times[at..].iter().take_while(|time| **time < begin + span).count());
        most.max().unwrap_or(0) as f64 / (span as f64 / 1000.0)
    }
}

fn report(rows: &[Row], steady: f64) -> bool {
    let cell = |text: &str| text.to_owned();
    let head = ["all cut", "for s", "peak of 5 s", "peak of 1 s", "in the outage", "after it", "of the steady rate"];
    let mut table = vec![head.map(cell).to_vec()];
    let limits = format!(
        "limits: {} at the peak, {} in an outage of five minutes (--long), {} after it",
        LIMITS[0], LIMITS[1], LIMITS[2]
    );
    let mut good = true;
    for row in rows {
        let during = row.during / steady;
        // The back-offs of the first minute are no rate yet: the promise is for five.
        let judged = if row.seconds >= 300 { during } else { 0.0 };
        let ratios = [row.peak / steady, judged, row.after / steady];
        let kept = ratios.iter().zip(LIMITS).all(|(ratio, limit)| *ratio <= limit + DICE);
        good &= kept;
        table.push(vec![
            cell(row.name),
            row.seconds.to_string(),
            format!("{:.2}", ratios[0]),
            format!("{:.2}", row.peak_second / steady),
            if row.seconds > 2 { format!("{during:.2}") } else { String::new() },
            format!("{:.2}", ratios[2]),
            if kept { String::new() } else { cell("BAD") },
        ]);
    }
    print_columns(&table);
    println!("{limits}");
    good
}
