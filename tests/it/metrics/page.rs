//! What is written of odd, of many and of rich instances.

use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::auth::AuthState;
use rallyhere_agent::core::ids::InstanceName;
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::core::process::{Figures, Players};
use rallyhere_agent::core::snapshot::{ProbeView, Snapshot};
use rallyhere_agent::telemetry::metrics::{Format, InstanceMeter, Meters, Metrics, Seen, StoreSeen, Unfinished};
use tokio::task::JoinSet;

use super::text::Scraped;
use super::tools::check_metrics;
use crate::local::fake::snapshot;

fn metrics(snapshots: Vec<Snapshot>) -> Metrics {
    let shown = |snapshot: Snapshot| (Arc::new(snapshot), Arc::new(InstanceMeter::new(Arc::default())));
    let instances: Vec<_> = snapshots.into_iter().map(shown).collect();
    Metrics::new(Meters::default(), move || Seen {
        now: clock::now(),
        instances: instances.clone(),
        auth: AuthState::Valid,
        store: StoreSeen::default(),
        log_lines_dropped: 0,
        slowest_loop: Duration::ZERO,
    })
}

fn named(name: &str) -> Snapshot {
    Snapshot { name: InstanceName::parse(name).unwrap(), ..snapshot() }
}

fn probe(name: &str, health: Option<Health>) -> ProbeView {
    ProbeView { name: name.to_owned(), health, reason: Arc::from("") }
}

#[tokio::test]
async fn a_game_and_its_probes_are_shown() {
    let mut snapshot = named("default");
    snapshot.game.pid = Some(4711);
    snapshot.game.players = Some(Players { count: 7, capacity: 16 });
    snapshot.game.figures = Figures {
        memory: Some(1 << 30),
        memory_limit: Some(2 << 30),
        cpu: Some(Duration::from_millis(1500)),
        ..Figures::default()
    };
    snapshot.game.probes = vec![
        probe("a2s 127.0.0.1:7777", Some(Health::Degraded)),
        probe("a2s 127.0.0.1:7777", Some(Health::Healthy)),
        probe("process", None),
    ];
    let text = metrics(vec![snapshot]).text(Format::Prometheus).await.unwrap();
    let scraped = Scraped::read(&text);
    for (series, wanted) in [
        ("game_up{instance=\"default\"}", 1.0),
        ("game_players{instance=\"default\"}", 7.0),
        ("game_player_slots{instance=\"default\"}", 16.0),
        ("game_cpu_seconds_total{instance=\"default\"}", 1.5),
        ("game_memory_bytes{instance=\"default\"}", 1_073_741_824.0),
        ("game_memory_limit_bytes{instance=\"default\"}", 2_147_483_648.0),
        // Two probes of one name are one series: the first.
        ("probe_health{instance=\"default\",probe=\"a2s 127.0.0.1:7777\",verdict=\"degraded\"}", 1.0),
        ("probe_health{instance=\"default\",probe=\"a2s 127.0.0.1:7777\",verdict=\"healthy\"}", 0.0),
        ("probe_health{instance=\"default\",probe=\"process\",verdict=\"healthy\"}", 0.0),
    ] {
        let found = scraped.get(&format!("rallyhere_agent_{series}"));
        assert!((found - wanted).abs() < 1e-9, "{series} is {found}");
    }
    assert!(!text.contains("4711"), "a process id is an id");
    check_metrics(&text);
}

#[tokio::test]
async fn odd_names_are_escaped() {
    let mut snapshots: Vec<_> = ["a\"b", "c\\d", "e{f=\"g\"} 1", "Ünïcode #", "# EOF"].map(named).into();
    snapshots[0].game.probes = vec![probe(&"x".repeat(1000), None), probe("exec \"rm\\n\"\n", None)];
    let metrics = metrics(snapshots);
    let plain = metrics.text(Format::Prometheus).await.unwrap();
    let open = metrics.text(Format::OpenMetrics).await.unwrap();
    for text in [&plain, &open] {
        for series in [r#"ready{instance="a\"b"} 1"#, r#"ready{instance="c\\d"} 1"#, r##"ready{instance="# EOF"} 1"##] {
            assert!(text.contains(&format!("\nrallyhere_agent_{series}\n")), "{series}");
        }
        assert!(text.contains(r#",probe="exec \"rm\\n\"\n",verdict="healthy"} 0"#));
        assert!(!text.contains(&"x".repeat(129)) && text.contains(&"x".repeat(128)));
    }
    check_metrics(&plain);
}

#[tokio::test]
async fn a_scrape_of_many_instances_lets_others_have_their_turn() {
    let many = (0..300).map(|number| named(&format!("instance-{number}"))).collect();
    let metrics = Arc::new(metrics(many));
    let mut tasks = JoinSet::new();
    let scraped = Arc::clone(&metrics);
    tasks.spawn(async move { scraped.text(Format::Prometheus).await.unwrap().len() });
    let mut turns = 0;
    let length = loop {
        if let Some(done) = tasks.try_join_next() {
            break done.unwrap();
        }
        turns += 1;
        tokio::task::yield_now().await;
    };
    assert!(turns >= 8, "{turns} turns while a scrape was written");
    // Bounded: so much for each, and a little for the process.
    assert!(length < 300 * 24 * 1024 + 64 * 1024, "{length}");
}

#[tokio::test]
async fn an_answer_for_a_thousand_comes_in_small_pieces_and_is_whole() {
    // Not a multiple of what is written in one go.
    let many = (0..1003).map(|number| named(&format!("instance-{number}"))).collect();
    let metrics = metrics(many);
    let (mut largest, mut text) = (0, String::new());
    let mut pieces = metrics.pieces(Format::OpenMetrics);
    while let Some(piece) = pieces.next().await.unwrap() {
        largest = largest.max(piece.len());
        text.push_str(&piece);
    }
    assert!(largest < 128 * 1024, "{largest} of {}", text.len());
    assert!(text.ends_with("\n# EOF\n"));
    // Each family has one head, each series is there once.
    Scraped::read(&text);
    for number in [0, 7, 8, 999, 1000, 1002] {
        let name = format!("instance-{number}");
        assert_eq!(text.matches(&format!("rallyhere_agent_ready{{instance=\"{name}\"}} ")).count(), 1, "{name}");
    }
    check_metrics(&metrics.text(Format::Prometheus).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_to_its_end_is_let_go() {
    let metrics = metrics((0..20).map(|number| named(&format!("instance-{number}"))).collect());
    let mut pieces = metrics.pieces(Format::Prometheus);
    assert!(pieces.next().await.unwrap().is_some());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(pieces.next().await, Err(Unfinished::Overdue));
}
