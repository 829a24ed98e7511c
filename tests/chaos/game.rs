//! Who lives beside the agent: the game that listens and reports, the environment's publisher, and the watchers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rallyhere_agent::clock;
use rallyhere_agent::simulator::Simulator;
use serde_json::{Value, json};

use crate::door::Door;
use crate::program::{is_agent, uses};
use crate::run::{Live, SESSION, join_status};
use crate::scan;
use crate::timeline::What;

/// How long to stay away from an agent that is not there.
const AWAY: Duration = Duration::from_millis(50);
/// How often the watchers look, and what counts as late.
const TICK: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(30);

/// Takes notifications, and acknowledges each page.
pub(crate) async fn listen(live: Live) {
    let (mut waits, mut acks) = (Door::new(live.socket.clone()), Door::new(live.socket.clone()));
    let (mut last, mut of) = (String::new(), 0);
    loop {
        let generation = live.generation.load(Ordering::Relaxed);
        if generation != of {
            // Another agent: whatever is not acknowledged may come again.
            (last, of) = (String::new(), generation);
        }
        let after = utf8_percent_encode(&last, NON_ALPHANUMERIC);
        let path = format!("/v1/notifications?wait=2&limit=100&after={after}");
        let Ok(answer) = waits.call("GET", &path, None).await else {
            clock::sleep(AWAY).await;
            continue;
        };
        let page = answer.json();
        let ids = page["notifications"].as_array().into_iter().flatten();
        let ids: Vec<&str> = ids.filter_map(|entry| entry["notification_id"].as_str()).collect();
        for id in &ids {
            live.recorder.note(What::Handed { id: (*id).to_owned(), by: generation });
        }
        if let Some(newest) = ids.last() {
            last = (*newest).to_owned();
            let body = json!({"notification_id": last});
            if let Ok(answer) = acks.call("POST", "/v1/notifications/ack", Some(&body)).await {
                local(&live, answer.took, true);
            }
        } else if answer.status != 200 {
            clock::sleep(AWAY).await;
        }
    }
}

/// Publishes one notification after the other.
pub(crate) async fn publish(live: Live, simulator: Simulator, every: Duration) {
    let mut number = 0;
    loop {
        clock::sleep(every).await;
        if !live.working.load(Ordering::Relaxed) {
            continue;
        }
        number += 1;
        if let Ok(ids) = simulator.publish_to_session(SESSION, &[json!({"message": format!("message {number}")})]) {
            ids.into_iter().for_each(|id| live.recorder.note(What::Published { id }));
        }
    }
}

/// Reports one thing after the other, each until there is an answer: the key makes it one report.
pub(crate) async fn report(live: Live, every: Duration) {
    let mut door = Door::new(live.socket.clone());
    loop {
        clock::sleep(every).await;
        if !live.working.load(Ordering::Relaxed) {
            continue;
        }
        tell(&live, &mut door).await;
    }
}

/// One report.
pub(crate) async fn tell(live: &Live, door: &mut Door) {
    let report = format!("report {}", live.reports.fetch_add(1, Ordering::Relaxed) + 1);
    let body = json!({"error": report, "key": report});
    loop {
        match door.call("POST", "/v1/fubar", Some(&body)).await {
            Ok(answer) if answer.status == 202 => {
                live.recorder.note(What::Accepted { report });
                return local(live, answer.took, true);
            }
            Ok(_) => return live.recorder.note(What::Denied { report }),
            // Given up only with the run.
            Err(_) => clock::sleep(AWAY).await,
        }
    }
}

fn local(live: &Live, took: Duration, durable: bool) {
    live.recorder.note(What::Local { micros: u64::try_from(took.as_micros()).unwrap(), durable });
}

/// Looks at what the agent shows of itself and what the backend shows of it.
pub(crate) async fn watch(live: Live, simulator: Simulator) {
    let mut door = Door::new(live.socket.clone());
    let (mut phase, mut shown) = (Value::Null, String::new());
    let mut said = 0_u64;
    loop {
        clock::sleep(Duration::from_millis(200)).await;
        let now = join_status(&simulator);
        if now != shown {
            shown.clone_from(&now);
            live.recorder.note(What::Shown { join_status: now });
        }
        let Ok(answer) = door.call("GET", "/v1/status", None).await else { continue };
        local(&live, answer.took, false);
        let status = answer.json();
        if status["phase"] != phase {
            phase = status["phase"].clone();
            live.recorder.note(What::Phase { phase: phase.as_str().unwrap_or_default().to_owned() });
        }
        said += 1;
        if said % 10 == 1 {
            scan::look(&live.recorder, "status", &answer.text);
        }
    }
}

/// Reads what the kernel says of the agent, and sees how late this machine is.
pub(crate) async fn sample(live: Live) {
    for turn in 0_u64.. {
        let began = clock::now();
        clock::sleep(TICK).await;
        let late = began.elapsed().saturating_sub(TICK);
        if late >= LATE {
            live.recorder.note(What::Lag { ms: u64::try_from(late.as_millis()).unwrap() });
        }
        let pid = live.pid.load(Ordering::Relaxed);
        // What stands before it on its command line may be somebody else for a moment.
        if turn % 5 == 0
            && is_agent(pid)
            && let Some(used) = uses(pid)
        {
            let (rss_kib, peak_kib, descriptors) = (used.rss_kib, used.peak_kib, used.descriptors);
            live.recorder.note(What::Sample { rss_kib, peak_kib, descriptors });
        }
    }
}
