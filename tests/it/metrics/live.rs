//! A real Prometheus that scrapes the real program: it takes the text, and every query of the alerts and the dashboard finds
//! something.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rules::alerts;
use super::scrape::admin;
use super::tools::{find, shipped};
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::stage::{Stage, until};

/// A Prometheus on loopback, with a disk of its own.
struct Prometheus {
    address: String,
    child: Child,
    dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` twice a second, with the alerts as its rules.
    async fn start(program: &Path, target: &str) -> Self {
        // Its port cannot be left to the kernel, because it does not tell which it got: one that was free a moment ago, or
        // another.
        for _ in 0..5 {
            let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string();
            let mut prometheus = Self::spawn(program, target, free);
            let up =
                until("a Prometheus that is ready, or has given up", async || match prometheus.get("/-/ready").await {
                    Ok((200, _)) => Some(true),
                    Ok(_) | Err(_) => prometheus.child.try_wait().unwrap().map(|_gave_up| false),
                });
            if up.await {
                return prometheus;
            }
        }
        panic!("Prometheus does not start");
    }

    fn spawn(program: &Path, target: &str, address: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = shipped("alerts.yaml").display().to_string();
        let config = json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "rallyhere-agent", "static_configs": [{"targets": [target]}]}],
        });
        let file = dir.path().join("prometheus.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap());
        Self { address, child: command.spawn().unwrap(), dir }
    }

    /// HTTP/1.0: the answer ends with the connection, and does not come in chunks.
    async fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, body.to_owned()))
    }

    async fn api(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await.unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!((status, &answer["status"]), (200, &json!("success")), "{path}: {answer}");
        answer["data"].clone()
    }

    /// The series that an expression finds now.
    async fn query(&self, expr: &str) -> Vec<Value> {
        let data = self.api(&format!("/api/v1/query?query={}", utf8_percent_encode(expr, NON_ALPHANUMERIC))).await;
        data["result"].as_array().unwrap_or_else(|| panic!("{expr}: {data}")).clone()
    }
}

impl Drop for Prometheus {
    #[expect(clippy::print_stderr, reason = "the test runner shows it with the test that failed")]
    fn drop(&mut self) {
        // Gone already, or gone now.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- what Prometheus said ---\n{log}");
        }
    }
}

/// Every query of the dashboard, with its variables as they are when all is chosen.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(shipped("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 30 && dashboard["uid"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "name"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "the ids of panels are in order, each once");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut exprs: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    // label_values(SELECTOR, LABEL): the selector must find something that has the label.
    for query in variables.iter().filter_map(|variable| variable["definition"].as_str()) {
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        exprs.push(format!("count by ({label}) ({selector})"));
    }
    let all = [("$__rate_interval", "3s"), ("$job", ".*"), ("$instance", ".*"), ("$name", ".*")];
    let chosen = |expr: String| all.iter().fold(expr, |expr, (variable, value)| expr.replace(variable, value));
    let exprs: Vec<String> = exprs.into_iter().map(chosen).collect();
    assert!(exprs.len() > 40 && exprs.iter().all(|expr| !expr.contains('$')), "{exprs:?}");
    exprs
}

#[tokio::test]
async fn every_query_finds_what_it_asks_for() {
    if not_today("2023-11: it asks for what the long poll brings") {
        return;
    }
    let Some(program) = find("prometheus") else { return };
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("admin.listen", "127.0.0.1:0");
    let mut agent = home.start();
    let target = admin(&agent).await;
    agent.until_phase("serving").await;
    stage.notify("hello");
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    let prometheus = Prometheus::start(&program, &target).await;

    // Two scrapes that were good: a rate needs them.
    until("two good scrapes", async || {
        let found = prometheus.query("count_over_time(up{job=\"rallyhere-agent\"}[1m]) * up >= 2").await;
        if let [bad] = &prometheus.query("up == 0").await[..] {
            let targets = prometheus.api("/api/v1/targets").await;
            panic!("the scrape failed: {bad} {}", targets["activeTargets"][0]["lastError"]);
        }
        (!found.is_empty()).then_some(())
    })
    .await;
    // Both names of an instance, as the queries have them.
    let phase = prometheus.query("rallyhere_agent_phase{phase=\"serving\"} == 1").await;
    assert_eq!(phase[0]["metric"]["exported_instance"], "default");
    assert_eq!(phase[0]["metric"]["instance"], json!(target));

    for expr in dashboard() {
        // Without a probe in the configuration, and where a query leaves out what is 0, there is nothing to find.
        let may_be_empty = expr.contains("rallyhere_agent_probe_health") || expr.ends_with(" > 0");
        let what = format!("what the dashboard asks for: {expr}");
        until(&what, async || {
            let found = prometheus.query(&expr).await;
            (may_be_empty || !found.is_empty()).then_some(())
        })
        .await;
    }
    let loaded = prometheus.api("/api/v1/rules").await;
    let loaded = loaded["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(loaded.len(), alerts().len());
    for alert in alerts() {
        // An alert that finds something now would wake somebody about an agent that is well.
        let found = prometheus.query(&alert.expr).await;
        assert!(found.is_empty(), "{}: {found:?}", alert.name);
        // But what it looks at is there: each name in it has a series.
        for name in names(&alert.expr) {
            assert!(!prometheus.query(&name).await.is_empty(), "{}: nothing is called {name}", alert.name);
        }
    }
    agent.finish().await;
}

/// The metrics that an expression names.
fn names(expr: &str) -> Vec<String> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("rallyhere_agent_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}
