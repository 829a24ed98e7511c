//! Tests of the list: what every metric must be like, and that the documentation has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

const TABLE: &str = include_str!("table.md");

#[test]
fn the_table_of_the_documentation_is_the_list() {
    let mut table = String::from("| metric | kind | labels | what it tells |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
        writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    assert_eq!(TABLE, table, "src/telemetry/metrics/table.md should be:\n{table}");
}

#[test]
fn names_and_words_are_conventional() {
    let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), ALL.len(), "each name once");
    for family in ALL {
        let name = family.name;
        assert!(name.starts_with("rallyhere_agent_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(!family.help.is_empty() && !family.help.contains(['"', '\\', '\n', '|']), "{name}: {}", family.help);
        assert!(!family.help.ends_with('.'), "{name}: no stop, as in all the others");
        // A label that holds an id would make a series for each of them.
        let known = ["instance", "phase", "call", "verdict", "answer", "state", "probe", "route", "class", "result"];
        let more = ["outcome", "kind", "version", "target", "source"];
        assert!(family.labels.iter().all(|label| known.contains(label) || more.contains(label)), "{name}");
    }
}

#[tokio::test]
async fn an_agent_without_instances_answers_too() {
    let metrics = Metrics::new(Meters::default(), || Seen {
        now: clock::now(),
        instances: Vec::new(),
        auth: AuthState::Denied,
        store: StoreSeen { fault: Some(StoreFault::ReadOnly), findings: vec![("gap", 3)], ..StoreSeen::default() },
        log_lines_dropped: 7,
        slowest_loop: Duration::from_millis(1500),
    });
    let open = metrics.text(Format::OpenMetrics).await.unwrap();
    let plain = metrics.text(Format::Prometheus).await.unwrap();
    for sample in [
        "rallyhere_agent_auth_state{state=\"denied\"} 1\n",
        "rallyhere_agent_auth_state{state=\"valid\"} 0\n",
        "rallyhere_agent_store_state{state=\"read_only\"} 1\n",
        "rallyhere_agent_store_findings_total{kind=\"gap\"} 3\n",
        "rallyhere_agent_log_dropped_lines_total 7\n",
        "rallyhere_agent_loop_pulse_age_seconds 1.5\n",
        "rallyhere_agent_requests_total{call=\"login\",class=\"timed_out\"} 0\n",
        "rallyhere_agent_request_duration_seconds_bucket{le=\"+Inf\",call=\"poll\"} 0\n",
        "rallyhere_agent_store_write_duration_seconds_count 0\n",
    ] {
        assert!(open.contains(sample) && plain.contains(sample), "{sample}\n{plain}");
    }
    assert!(open.ends_with("\n# EOF\n") && !plain.contains("EOF"));
    assert!(open.contains("\n# TYPE rallyhere_agent_logins counter\n"));
    assert!(plain.contains("\n# TYPE rallyhere_agent_logins_total counter\n"));
    // In the order of the list, each once.
    let heads: Vec<_> = plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(heads, ALL.iter().map(|family| family.name).collect::<Vec<_>>());
}
