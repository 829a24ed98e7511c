//! `doctor`: the built program says what is good, what is not, and what to do. That no secret is in what it says is held by
//! [`Home`] itself, in every test here.

use std::os::unix::fs::PermissionsExt as _;

use rallyhere_agent::simulator::Fault;
use rcgen::{CertificateParams, date_time_ymd};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::stub::{Step, Stub, answer};
use crate::http::tls::{ca, server};
use crate::process::generations::is_new;
use crate::process::home::Home;
use crate::process::shutdown::logind::FakeLogind;
use crate::process::stage::{CLIENT, Stage};

mod allocation;

/// Runs it; gives its exit code and what it found.
async fn doctor(home: &Home) -> (i32, Vec<Value>) {
    let config = home.config().display().to_string();
    let (code, output) = home.command(&["doctor", "--json", "--config", &config]).await;
    let Ok(found) = serde_json::from_str(&output) else { panic!("not JSON: {output}") };
    (code, found)
}

/// What was found by one check.
fn of<'a>(found: &'a [Value], check: &str) -> &'a Value {
    let mut fitting = found.iter().filter(|finding| finding["check"].as_str().unwrap().starts_with(check));
    fitting.next().unwrap_or_else(|| panic!("nothing of {check}: {found:#?}"))
}

#[track_caller]
fn is(found: &[Value], check: &str, result: &str, words: &str) {
    let finding = of(found, check);
    assert!(finding["result"] == *result && finding["detail"].as_str().unwrap().contains(words), "{finding:#}");
    let needs_advice = matches!(result, "warn" | "fail");
    assert_eq!(finding["advice"].is_string(), needs_advice, "{finding:#}");
}

/// The checks that failed.
fn failed(found: &[Value]) -> Vec<&str> {
    let failed = found.iter().filter(|finding| finding["result"] == "fail");
    failed.map(|finding| finding["check"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn all_is_well_and_nothing_is_changed() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("admin.listen", "127.0.0.1:0").set("local_api.listen", "127.0.0.1:0");
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (0, vec![]), "{found:#?}");
    for (check, words) in [
        ("configuration", "agent.toml"),
        ("state directory", "not there yet, and can be made"),
        ("local_api.socket (default)", "can be made"),
        ("local_api.listen (default)", "is free"),
        ("admin.listen", "is free"),
        ("dns", "127.0.0.1"),
        ("tcp", "connected to"),
        ("login", "accepted, with client credentials"),
        ("session:read:any", "granted"),
        ("session:read:config", "granted"),
        ("clock", "within 30 s"),
    ] {
        is(&found, check, "ok", words);
    }
    for unseen in ["session:update:any", "session:instance:health", "session:update:fubar", "session:update:event"] {
        is(&found, unseen, "not_checked", "only a write would show it");
    }
    is(&found, "notification:instance:read", "not_checked", "before the first registration");
    assert_eq!(stage.logins(), 1, "one login");
    assert_eq!(stage.writes_after(0), Vec::<String>::new());
    let sent = stage.requests();
    assert!(sent.iter().all(|request| !format!("{request:?}").contains("refresh_ttl")), "{sent:?}");
    assert!(!home.state().exists() && !home.socket().exists(), "it leaves nothing behind");
}

#[tokio::test]
async fn a_running_agent_is_recognised_and_not_disturbed() {
    let stage = Stage::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new(&stage).alone().set("local_api.listen", free.to_string());
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (0, vec![]), "{found:#?}");
    let running = format!("an agent is running here: process {}", agent.pid());
    assert!(found.iter().any(|finding| finding["detail"] == *running && finding["result"] == "ok"), "{found:#?}");
    is(&found, "local_api.socket", "ok", "answers");
    is(&found, "local_api.listen", "ok", "in use, as it should be");
    let expected = if is_new() { "not needed" } else { "granted" };
    is(&found, "notification:instance:read", "ok", expected);
    stage.until_beats(1).await;
    agent.stop().await;
}

#[tokio::test]
async fn for_people_it_is_one_line_each_and_the_advice_below() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("auth.client_id", "nobody");
    let config = home.config().display().to_string();
    let (code, output) = home.command(&["doctor", "--config", &config]).await;
    assert_eq!(code, 1, "{output}");
    let lines: Vec<&str> = output.lines().collect();
    let login = lines.iter().position(|line| line.starts_with("fail  login: ")).unwrap();
    assert!(lines[login + 1].starts_with("      -> check auth.client_id and the secret"), "{output}");
    assert!(lines.iter().any(|line| line.starts_with("ok    dns: ")), "{output}");
    assert!(lines.iter().any(|line| line.starts_with("-     not checked: permissions: ")), "{output}");
    assert!(output.trim_end().lines().last().unwrap().contains("1 failed"), "{output}");
}

#[tokio::test]
async fn a_wrong_secret_is_told_once_and_never_shown() {
    let stage = Stage::start().await;
    let mut home = Home::new(&stage);
    home.secret_file("client-secret", "Wr0ng+secret/4712==");
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (1, vec!["login"]), "{found:#?}");
    assert_eq!(stage.count("login"), 1, "one login");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let stage = Stage::start().await;
    let body = json!({"auth_success": true, "error_code": "insufficient_role", "desc": "no"});
    stage.inject(Fault::Status { code: 403, body: Some(body), headers: Vec::new() }.on("health_config"));
    let home = Home::new(&stage);
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (1, vec!["session:read:config"]), "{found:#?}");
    is(&found, "session:read:config", "fail", "insufficient_role");
    let advice = of(&found, "session:read:config")["advice"].as_str().unwrap();
    assert_eq!(advice, "grant the client the permission session:read:config");

    stage.simulator.revoke(CLIENT, "session:read:allocation");
    let (code, found) = doctor(&Home::new(&stage).allocated("alloc-1")).await;
    assert_eq!(code, 1);
    is(&found, "session:read:allocation", "fail", "403");
}

#[tokio::test]
async fn an_allocation_that_is_not_bound_yet_is_no_fault() {
    let stage = Stage::start().await;
    let (code, found) = doctor(&Home::new(&stage).allocated("alloc-1")).await;
    assert_eq!(code, 0, "{found:#?}");
    is(&found, "session:read:allocation", "ok", "no session is bound");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, found) = doctor(&Home::at(&format!("http://{free}"))).await;
    assert_eq!((code, failed(&found)), (1, vec!["tcp", "login"]), "{found:#?}");
    is(&found, "dns", "ok", "127.0.0.1");
    is(&found, "clock", "not_checked", "");
}

#[tokio::test]
async fn places_that_somebody_else_has_are_told() {
    let stage = Stage::start().await;
    let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let home = Home::new(&stage).set("admin.listen", address.as_str());
    std::fs::create_dir(home.state()).unwrap();
    std::fs::set_permissions(home.state(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (1, vec!["state directory", "admin.listen"]), "{found:#?}");
    is(&found, "admin.listen", "fail", &address);
    assert!(of(&found, "state directory")["advice"].as_str().unwrap().starts_with("chmod 700 "));
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_told() {
    let stub = Stub::start(|_, _| {
        let body = r#"{"error_code": "auth_no", "auth_success": false, "desc": "no"}"#;
        vec![Step::Send(answer("403 Forbidden", "Date: Fri, 02 Jan 2015 00:00:00 GMT\r\n", body))]
    })
    .await;
    let (code, found) = doctor(&Home::at(&stub.url)).await;
    assert_eq!((code, failed(&found)), (1, vec!["login"]), "{found:#?}");
    is(&found, "clock", "warn", "ahead of the backend");
}

/// What is said of a server with such a certificate.
async fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<Value> {
    let ca = ca();
    let stub = server("127.0.0.1", Some(&ca), change).await;
    let home = Home::at(&stub.url);
    let file = home.path("ca.pem");
    std::fs::write(&file, ca.certificate.pem()).unwrap();
    doctor(&home.set("environment.ca_file", file.display().to_string())).await.1
}

#[tokio::test]
async fn certificates_are_trusted_short_lived_or_expired() {
    let found = certificate(|_| {}).await;
    is(&found, "tls", "ok", "trusted, for 3650 more days");

    let (year, month, day) = day_in(5);
    let found = certificate(|params| params.not_after = date_time_ymd(year, month, day)).await;
    is(&found, "tls", "warn", "for 4 more days only");

    let found = certificate(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    })
    .await;
    is(&found, "tls", "fail", "expired");

    let stranger = server("127.0.0.1", None, |_| {}).await;
    let (_, found) = doctor(&Home::at(&stranger.url)).await;
    is(&found, "tls", "fail", "certificate");
    assert!(stranger.requests().is_empty(), "no secret to a stranger");
}

/// The beginning of a day, so many days from now.
fn day_in(days: i64) -> (i32, u8, u8) {
    let day = rallyhere_agent::clock::wall() + jiff::SignedDuration::from_hours(24 * days);
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
    (day.year().into(), day.month().try_into().unwrap(), day.day().try_into().unwrap())
}

#[tokio::test]
async fn a_wrong_configuration_is_told_as_by_check() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("environment.url", "gopher://x").set("log.level", 3);
    let config = home.config().display().to_string();
    let (code, told) = home.command(&["doctor", "--config", &config]).await;
    let (checked, mistakes) = home.command(&["check", "--config", &config]).await;
    assert_eq!((code, checked), (78, 78));
    assert_eq!(told.trim(), mistakes.trim());
    assert!(told.contains("environment.url") && told.contains("log.level"), "{told}");
    assert_eq!(stage.count("login"), 0);
}

#[tokio::test]
async fn how_the_host_asks_for_a_drain_is_looked_at() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("admin.listen", "");
    let place = |name: &str| home.path(name).display().to_string();
    let (file, bus) = (place("drain"), format!("unix:path={}", place("bus")));
    let home = home.set("shutdown.trigger_file", file.as_str()).set("shutdown.inhibit", "on");
    let mut home = home.set("shutdown.notice", words(&["sh", "-c", "exit 0"])).env("DBUS_SYSTEM_BUS_ADDRESS", bus);
    let (code, found) = doctor(&home).await;
    assert_eq!(code, 1);
    is(&found, "shutdown.trigger_file", "ok", "is not there");
    is(&found, "shutdown.notice", "ok", "goes on");
    is(&found, "shutdown.inhibit", "fail", "there is no system bus");

    let _logind = FakeLogind::on(home.path("bus"));
    std::fs::write(&file, "").unwrap();
    home.change("shutdown.notice", words(&["sh", "-c", "echo bad gateway; exit 22"]));
    let (_, found) = doctor(&home).await;
    is(&found, "shutdown.trigger_file", "warn", "is there");
    is(&found, "shutdown.notice", "fail", "exit code 22: bad gateway");
    is(&found, "shutdown.inhibit", "warn", "a reboot waits for 5 s at most, shutdown.drain_timeout is 60 s");
}

fn words(command: &[&str]) -> toml::Value {
    command.iter().map(|word| toml::Value::from(*word)).collect::<Vec<_>>().into()
}
