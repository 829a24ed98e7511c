//! The real program, scraped: what is there before anything has happened, and what moves when something does.

use std::collections::BTreeSet;
use std::fs;

use rallyhere_agent::simulator::Outage;
use rallyhere_agent::telemetry::metrics::Kind;
use rustix::process::Signal;
use serde_json::json;

use super::text::Scraped;
use super::tools::check_metrics;
use crate::process::agent::Agent;
use crate::process::generations::{Reports as _, not_today, permissions, way};
use crate::process::home::Home;
use crate::process::socket;
use crate::process::stage::{SESSION, Stage, until};

const OPEN: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5");

/// Where the admin listener is, as the log says.
pub(super) async fn admin(agent: &Agent) -> String {
    until("the address of the admin listener", async || {
        let output = agent.output();
        let rest = output.split(" admin=").nth(1)?;
        Some(rest.split_whitespace().next()?.to_owned())
    })
    .await
}

async fn scrape(address: &str, headers: &[(&str, &str)]) -> String {
    let (status, text) = socket::call_tcp(address, "GET /metrics", headers, None).await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// Scrapes until a series has a value.
async fn until_seen(address: &str, series: &str, wanted: impl Fn(f64) -> bool) -> Scraped {
    until(series, async || {
        let scraped = Scraped::read(&scrape(address, &[]).await);
        wanted(scraped.get(series)).then_some(scraped)
    })
    .await
}

fn home(stage: &Stage) -> Home {
    Home::new(stage).set("admin.listen", "127.0.0.1:0")
}

#[tokio::test]
async fn everything_is_there_before_its_first_event() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let agent = home(&stage).start();
    let address = admin(&agent).await;
    let plain = scrape(&address, &[]).await;
    let open = scrape(&address, &[OPEN]).await;

    for (text, is_open_metrics) in [(&plain, false), (&open, true)] {
        let scraped = Scraped::read(text);
        scraped.is_the_list(is_open_metrics);
        assert!((scraped.get("rallyhere_agent_phase{instance=\"default\",phase=\"resolving\"}") - 1.0).abs() < 1e-9);
        let moved: Vec<_> = scraped
            .series
            .iter()
            .filter(|(series, value)| **value > 0.0 && is_counter(series))
            .map(|(series, _)| series.as_str())
            .filter(|series| {
                !["requests_total", "request_duration", "logins", "process_"].iter().any(|of| series.contains(of))
            })
            .collect();
        // The store has written the id that it made, and that is all that can have happened.
        assert!(moved.iter().all(|series| series.contains("store_write")), "{moved:?}");
    }
    assert!(plain.is_ascii() && plain.ends_with('\n') && plain.len() < 128 * 1024, "{}", plain.len());
    assert!(open.ends_with("\n# EOF\n"));
    check_metrics(&plain);
    agent.stop().await;
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    rallyhere_agent::telemetry::metrics::ALL.iter().any(|family| match family.kind {
        Kind::Counter => name == family.name,
        Kind::Histogram => name.strip_suffix("_count") == Some(family.name),
        Kind::Gauge | Kind::States => false,
    })
}

#[tokio::test]
async fn what_happens_is_counted() {
    if not_today("2023-11: they count what the long poll brings") {
        return;
    }
    let stage = Stage::start().await;
    let home = home(&stage);
    let mut agent = home.start();
    let address = admin(&agent).await;
    agent.post("/v1/ready", json!({"public_conn_str": "unreal://192.0.2.7:7777"})).await;
    agent.until_phase("serving").await;
    stage.until_beats(3).await;

    let id = stage.notify("hello");
    let (_, page) = agent.call("GET", "/v1/notifications?wait=25", None).await;
    assert_eq!(page["notifications"][0]["notification_id"], json!(id));
    agent.post("/v1/notifications/ack", json!({"notification_id": id})).await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    assert_eq!(agent.call("POST", "/v1/fubar", Some(json!({"error": ""}))).await.0, 422);
    stage.until("the report", |ledger| ledger.fubars_told().len() == 1).await;

    let default = "{instance=\"default\"}";
    let sent = until_seen(&address, &format!("rallyhere_agent_reports_sent_total{default}"), |sent| sent > 0.5).await;
    let scraped = until_seen(&address, "rallyhere_agent_polls_total{outcome=\"news\"}", |news| news > 0.5).await;
    drop(sent);
    let is = |series: &str, wanted: f64| {
        let found = scraped.get(series);
        assert!((found - wanted).abs() < 1e-9, "{series} is {found}, not {wanted}");
    };
    is("rallyhere_agent_phase{instance=\"default\",phase=\"serving\"}", 1.0);
    is("rallyhere_agent_phase{instance=\"default\",phase=\"loading\"}", 0.0);
    is("rallyhere_agent_ready{instance=\"default\"}", 1.0);
    is("rallyhere_agent_health_verdict{instance=\"default\",verdict=\"healthy\"}", 1.0);
    is("rallyhere_agent_health_answer{instance=\"default\",answer=\"healthy\"}", 1.0);
    is("rallyhere_agent_health_cadence_seconds{instance=\"default\"}", 1.0);
    is("rallyhere_agent_auth_state{state=\"valid\"}", 1.0);
    is("rallyhere_agent_logins_total{result=\"ok\"}", 1.0);
    is("rallyhere_agent_requests_total{call=\"login\",class=\"2xx\"}", 1.0);
    is(&format!("rallyhere_agent_requests_total{{call=\"{}\",class=\"2xx\"}}", way("fubar")), 1.0);
    is(&format!("rallyhere_agent_request_duration_seconds_count{{call=\"{}\"}}", way("fubar")), 1.0);
    is("rallyhere_agent_notifications_received_total{instance=\"default\"}", 1.0);
    is("rallyhere_agent_notifications_acknowledged_total{instance=\"default\"}", 1.0);
    is("rallyhere_agent_notification_handoff_seconds_count{instance=\"default\"}", 1.0);
    is("rallyhere_agent_inbox_depth{instance=\"default\"}", 0.0);
    is("rallyhere_agent_reports_accepted_total{instance=\"default\"}", 1.0);
    is("rallyhere_agent_reports_refused_total{instance=\"default\"}", 0.0);
    is("rallyhere_agent_outbox_depth{instance=\"default\"}", 0.0);
    is("rallyhere_agent_local_requests_total{instance=\"default\",route=\"fubar\",class=\"2xx\"}", 1.0);
    is("rallyhere_agent_local_requests_total{instance=\"default\",route=\"fubar\",class=\"4xx\"}", 1.0);
    is("rallyhere_agent_local_requests_total{instance=\"default\",route=\"ack\",class=\"2xx\"}", 1.0);
    is("rallyhere_agent_store_state{state=\"ok\"}", 1.0);

    let posts = scraped.get(&format!("rallyhere_agent_health_posts_sent_total{default}"));
    let gaps = scraped.get(&format!("rallyhere_agent_health_gap_seconds_count{default}"));
    assert!(posts >= 3.0 && (posts - gaps - 1.0).abs() < 1e-9, "{posts} posts have {gaps} gaps between them");
    let sum = scraped.get(&format!("rallyhere_agent_health_gap_seconds_sum{default}"));
    assert!(sum > 0.4 && sum < 1.3 * gaps, "{gaps} gaps of a second or less make {sum} s");
    let handed = scraped.get(&format!("rallyhere_agent_notification_handoff_seconds_sum{default}"));
    assert!(handed > 0.0 && handed < 5.0, "{handed}");
    assert!(scraped.get("rallyhere_agent_store_write_duration_seconds_count") >= 4.0);
    assert!(scraped.get("process_resident_memory_bytes") > 1e6 && scraped.get("process_open_fds") > 5.0);

    // Nothing that grows with what happens: no id of this run is in any label.
    let status = agent.status().await;
    let ids = [&status["instance"]["instance_id"], &status["session"]["session_id"], &json!(id)];
    let values = scraped.label_values();
    for id in ids.iter().filter_map(|id| id.as_str()) {
        assert!(values.iter().all(|value| !value.contains(id)), "{id} is in a label: {values:?}");
    }
    let plain = scrape(&address, &[]).await;
    let open = scrape(&address, &[OPEN]).await;
    for secret in home.secrets() {
        assert!(!plain.contains(&secret) && !open.contains(&secret));
    }
    assert!(!plain.contains(SESSION) && !plain.contains(&stage.url));
    check_metrics(&plain);
    agent.finish().await;
}

#[tokio::test]
async fn the_same_series_from_the_first_scrape_to_the_last() {
    if not_today("2023-11: they count what the long poll brings") {
        return;
    }
    let stage = Stage::start().await;
    let home = home(&stage);
    let mut agent = home.start();
    let address = admin(&agent).await;
    let names = |text: &str| Scraped::read(text).series.into_keys().collect::<BTreeSet<_>>();
    let before = names(&scrape(&address, &[]).await);
    agent.post("/v1/ready", json!({"public_conn_str": "unreal://192.0.2.7:7777"})).await;
    agent.until_phase("serving").await;
    for number in 0..20 {
        agent.call("GET", &format!("/v1/nothing/{number}"), None).await;
        agent.post("/v1/fubar", json!({"error": format!("error-{number}"), "key": format!("key-{number}")})).await;
        stage.notify(&format!("message {number}"));
    }
    agent.until("all", |status| status["notifications"]["inbox"] == 20).await;
    let after = names(&scrape(&address, &[]).await);
    assert_eq!(after, before);
    assert_eq!(Scraped::read(&scrape(&address, &[OPEN]).await).series.into_keys().collect::<BTreeSet<_>>(), before);
    agent.finish().await;
}

#[tokio::test]
async fn a_refused_login_and_a_missing_permission_are_shown() {
    let stage = Stage::start().await;
    for permission in permissions("fubar") {
        stage.simulator.revoke(crate::process::stage::CLIENT, permission);
    }
    let mut home = home(&stage).alone();
    let mut agent = home.start();
    let address = admin(&agent).await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    let call = way("fubar");
    let missing = format!("rallyhere_agent_permission_missing{{instance=\"default\",call=\"{call}\"}}");
    let scraped = until_seen(&address, &missing, |missing| missing > 0.5).await;
    let refused = format!("rallyhere_agent_requests_total{{call=\"{call}\",class=\"4xx\"}}");
    assert!((scraped.get(&refused) - 1.0).abs() < 1e-9);
    assert!((scraped.get("rallyhere_agent_outbox_depth{instance=\"default\"}") - 1.0).abs() < 1e-9);
    agent.signal(Signal::KILL);
    drop(agent);

    home.secret_file("client-secret", "another secret, and a wrong one");
    fs::remove_dir_all(home.state()).unwrap();
    let agent = home.start();
    let address = admin(&agent).await;
    let scraped = until_seen(&address, "rallyhere_agent_auth_state{state=\"denied\"}", |denied| denied > 0.5).await;
    assert!((scraped.get("rallyhere_agent_logins_total{result=\"denied\"}") - 1.0).abs() < 1e-9);
    agent.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_counted() {
    let stage = Stage::start().await;
    let home = home(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.kill().await;
    let log = home.state().join("log");
    // Behind what is whole: nothing that the agent must know is lost.
    let bytes = [fs::read(&log).unwrap(), b"not a record of ours".to_vec()].concat();
    fs::write(&log, bytes).unwrap();

    let mut agent = home.start();
    let address = admin(&agent).await;
    let scraped = Scraped::read(&scrape(&address, &[]).await);
    let found = |kind| scraped.get(&format!("rallyhere_agent_store_findings_total{{kind=\"{kind}\"}}"));
    assert!((found("damaged") + found("torn") - 1.0).abs() < 1e-9 && found("gap") < 0.5, "{}", agent.output());
    agent.until_phase("serving").await;
    agent.finish().await;
}

#[tokio::test]
async fn many_scrapers_at_once_and_wrong_calls_are_answered() {
    let stage = Stage::start().await;
    let agent = home(&stage).alone().start();
    let address = admin(&agent).await;
    let mut scrapers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let address = address.clone();
        scrapers.spawn(async move { scrape(&address, &[OPEN]).await });
    }
    while let Some(text) = scrapers.join_next().await {
        Scraped::read(&text.unwrap()).is_the_list(true);
    }
    let posted = socket::call_tcp(&address, "POST /metrics", &[], None).await.unwrap();
    let browsed = socket::call_tcp(&address, "GET /metrics", &[("origin", "http://evil.example")], None).await.unwrap();
    assert_eq!((posted.0, browsed.0), (405, 403));
    stage.until_beats(1).await;
    agent.stop().await;
}
