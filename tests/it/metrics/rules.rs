//! The alerts of `container/alerts.yaml`: their syntax, when they speak, and that nobody has forgotten one.

use std::collections::BTreeSet;
use std::fs;

use super::tools::{find, run, shipped};

const README: &str = include_str!("../../../README.md");

/// An alert: its name and what it asks.
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) expr: String,
    severity: String,
}

/// The alerts, read as far as a test must: each has its name and its expression on lines of their own.
pub(super) fn alerts() -> Vec<Alert> {
    let text = fs::read_to_string(shipped("alerts.yaml")).unwrap();
    let mut alerts = Vec::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("- alert: ") {
            let expr =
                lines.next().and_then(|line| line.strip_prefix("expr: ")).expect("the expression after the name");
            let severity = lines.find_map(|line| line.strip_prefix("labels: {severity: ")?.strip_suffix('}'));
            let severity = severity.expect("the severity after the expression").to_owned();
            alerts.push(Alert { name: name.to_owned(), expr: expr.to_owned(), severity });
        }
    }
    assert!(alerts.len() >= 10, "{}", alerts.len());
    alerts
}

#[test]
fn promtool_takes_the_alerts_and_they_speak_when_they_should() {
    let Some(promtool) = find("promtool") else { return };
    let file = |name| shipped(name).display().to_string();
    let (content, said) = run(&promtool, &["check", "rules", &file("alerts.yaml")], "");
    assert!(content, "{said}");
    let (content, said) = run(&promtool, &["test", "rules", &file("alerts-test.yaml")], "");
    assert!(content, "{said}");
}

#[test]
fn every_alert_is_tried_and_in_the_readme() {
    let tried = fs::read_to_string(shipped("alerts-test.yaml")).unwrap();
    for Alert { name, severity, .. } in alerts() {
        assert!(tried.contains(&format!("alertname=\"{name}\"")), "no test lets {name} speak");
        let row = README.lines().find(|line| line.starts_with(&format!("| {name} | {severity} | ")));
        let row = row.unwrap_or_else(|| panic!("the README has no row for {name}, {severity}"));
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| cell.trim().len() > 3), "what it means, what to do: {row}");
    }
    let rows = README.lines().filter(|line| line.starts_with("| Rallyhere")).count();
    assert_eq!(rows, alerts().len(), "the README has a row for an alert that is not there");
}

#[test]
fn the_readme_names_metrics_that_there_are() {
    let known: BTreeSet<_> = rallyhere_agent::telemetry::metrics::ALL.iter().map(|family| family.name).collect();
    let named: BTreeSet<_> = README
        .split(|c: char| !c.is_ascii_lowercase() && c != '_')
        .filter(|word| word.starts_with("rallyhere_agent_"))
        .map(|word| word.trim_end_matches("_bucket"))
        .collect();
    assert!(named.len() >= 5 && named.is_subset(&known), "{:?}", named.difference(&known));
}
