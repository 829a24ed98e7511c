//! A million notifications and ten thousand reconnects: what grows?
//!
//! Every answer of the backend ends its connection, so that each page needs a connection of its own; now and then one is reset
//! in the middle, and all tokens die. The game takes every notification and acknowledges it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rallyhere_agent::clock;
use rallyhere_agent::simulator::{ClientSpec, Options, SessionSpec, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::door::Door;
use crate::front;
use crate::ills::{End, Ill, Ills, Step};
use crate::program::{CLIENT, Home, Process, SECRET};
use crate::run::{SESSION, fresh_dir, join_status};
use crate::table::print_columns;
use crate::timeline::Recorder;

const NOTIFICATIONS: usize = 1_000_000;
/// In one publication, and in one page.
const PAGE: usize = 100;
/// The publisher is never further ahead: the stream keeps ten thousand.
const AHEAD: usize = 1000;
/// How often a connection is reset inside a page; each costs a back-off of up to 15 s.
const RESETS: usize = 10;
/// How often the kernel is asked.
const SAMPLES: usize = 400;
/// What a slope may be and count as none: KiB for 100,000 notifications, in the second half.
const SLOPE: f64 = 16.0;

/// What was seen after so many notifications.
struct Point {
    notifications: f64,
    rss_kib: f64,
    descriptors: u64,
}

struct Soak {
    simulator: Simulator,
    ills: Ills,
    process: Process,
    waits: Door,
    acks: Door,
    points: Vec<Point>,
}

/// Whether nothing grows.
pub(crate) fn run(agent: &Path, dir: &Path, count: Option<usize>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(soak(agent, dir, count.unwrap_or(NOTIFICATIONS)))
}

async fn soak(agent: &Path, dir: &Path, count: usize) -> bool {
    let began = clock::now();
    let recorder = Recorder::start();
    let simulator = Simulator::new(&Options {
        clients: vec![ClientSpec::new(CLIENT, SECRET)],
        sessions: vec![SessionSpec::new(SESSION)],
        health_cadence_seconds: 1,
        ..Options::default()
    });
    let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let before = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (backend, url) = (behind.local_addr().unwrap(), format!("http://{}", before.local_addr().unwrap()));
    let ills = Ills::new(recorder.clone());
    ills.close_each(true);
    let mut tasks = JoinSet::new();
    tasks.spawn(simulator.serve(behind, std::future::pending()));
    tasks.spawn(front::serve(before, backend, None, ills.clone(), recorder.clone()));

    let mut home = Home::new(&fresh_dir(dir, "soak"), &url, SESSION);
    home.set("log.level", "warn");
    let process = home.start(agent);
    let (waits, acks) = (Door::new(home.socket()), Door::new(home.socket()));
    while join_status(&simulator) != "joinable" {
        clock::sleep(Duration::from_millis(20)).await;
    }
    let mut soak = Soak { simulator, ills, process, waits, acks, points: Vec::new() };
    let good = soak.go(count).await;
    let reconnects = soak.ills.connections();
    let ended = soak.process.ended();
    report(&soak.points, count, reconnects, began.elapsed());
    if let Some(ended) = ended {
        println!("FOUND  it ended by itself: {ended}");
    }
    let log = std::fs::read_to_string(home.log()).unwrap_or_default();
    println!("{} lines of its log at level warn", log.lines().count());
    good && ended.is_none() && slope(&soak.points[soak.points.len() / 2..]) <= SLOPE
}

impl Soak {
    /// Publishes, takes and acknowledges so many; false if one is lost, or comes again, or out of order.
    async fn go(&mut self, count: usize) -> bool {
        let (mut published, mut taken, mut last) = (0, 0, String::new());
        let mut resets = 0;
        while taken < count {
            while published < count && published < taken + AHEAD {
                let batch: Vec<Value> = (0..PAGE).map(|n| json!({"message": (published + n).to_string()})).collect();
                self.simulator.publish_to_session(SESSION, &batch).unwrap();
                published += PAGE;
            }
            if taken * (RESETS + 1) > count * (resets + 1) {
                resets += 1;
                self.ills.add(Some("poll"), Some(1), Ill::new(Step::AnswerBody, End::Reset));
                self.simulator.expire_tokens(true);
            }
            let after = utf8_percent_encode(&last, NON_ALPHANUMERIC);
            let path = format!("/v1/notifications?wait=25&limit={PAGE}&after={after}");
            let Ok(answer) = self.waits.call("GET", &path, None).await else { return false };
            let page = answer.json();
            for notification in page["notifications"].as_array().into_iter().flatten() {
                if notification["message"] != json!(taken.to_string()) {
                    println!("FOUND  {} came where {taken} was to come", notification["message"]);
                    return false;
                }
                taken += 1;
                last = notification["notification_id"].as_str().unwrap_or_default().to_owned();
            }
            let ack = json!({"notification_id": last});
            if taken > 0 && self.acks.call("POST", "/v1/notifications/ack", Some(&ack)).await.is_err() {
                return false;
            }
            if taken * SAMPLES >= count * self.points.len() {
                self.look(taken);
            }
        }
        true
    }

    fn look(&mut self, taken: usize) {
        if let Some(uses) = self.process.uses() {
            self.points.push(Point {
                notifications: taken as f64,
                rss_kib: uses.rss_kib as f64,
                descriptors: uses.descriptors,
            });
        }
        if self.points.len() % 40 == 1 {
            let uses = self.process.uses().unwrap_or_default();
            eprintln!("{taken} notifications, {} KiB, {} descriptors", uses.rss_kib, uses.descriptors);
        }
    }
}

/// Least squares: KiB for 100,000 notifications.
fn slope(points: &[Point]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.notifications), mean(|point| point.rss_kib));
    let over: f64 = points.iter().map(|point| (point.notifications - x) * (point.rss_kib - y)).sum();
    let under: f64 = points.iter().map(|point| (point.notifications - x).powi(2)).sum();
    if under == 0.0 { 0.0 } else { over / under * 100_000.0 }
}

fn report(points: &[Point], count: usize, reconnects: u64, took: Duration) {
    let cell = |text: &str| text.to_owned();
    let mut rows = vec![
        ["half", "notifications", "RSS first KiB", "last", "peak", "KiB for 100,000 more", "descriptors", ""]
            .map(cell)
            .to_vec(),
    ];
    let (first, second) = points.split_at(points.len() / 2);
    for (name, half) in [("first", first), ("second", second)] {
        let rss = |point: Option<&Point>| point.map_or(0.0, |point| point.rss_kib).to_string();
        let peak = half.iter().map(|point| point.rss_kib).fold(0.0, f64::max);
        let descriptors = half.iter().map(|point| point.descriptors);
        rows.push(vec![
            cell(name),
            format!("{}", half.last().map_or(0.0, |point| point.notifications)),
            rss(half.first()),
            rss(half.last()),
            peak.to_string(),
            format!("{:+.1}", slope(half)),
            format!("{}..{}", descriptors.clone().min().unwrap_or(0), descriptors.max().unwrap_or(0)),
            String::new(),
        ]);
    }
    print_columns(&rows);
    println!("{count} notifications and {reconnects} connections in {:.0} s", took.as_secs_f64());
}
