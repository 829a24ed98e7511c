//! What a browser makes of it: Debian's Chromium, without a screen.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Events, eventful, get, home, serving, until};
use crate::process::generations::not_today;
use crate::process::stage::Stage;

/// A phone, and a desk.
const SIZES: [(&str, u32, u32); 2] = [("phone", 390, 844), ("desk", 1280, 900)];

/// Where Chromium is. CI has it; elsewhere the test is told to pass, and why.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was not tried")]
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("chromium")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must have chromium");
        eprintln!("page: there is no chromium here (Debian's package chromium has it): the page was not looked at");
    }
    found
}

/// The browser, with what keeps it quiet.
fn browser(chromium: &Path, profile: &Path, size: (u32, u32), args: &[&str], url: &str) -> Command {
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .args(args)
        .arg(url)
        .env("HOME", profile)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end; gives what it printed.
async fn run(chromium: &Path, size: (u32, u32), args: &[&str], url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = browser(chromium, profile.path(), size, args, url);
    let output =
        tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("chromium hangs").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The part of a document from a mark on, up to the next card.
fn card<'a>(dom: &'a str, name: &str) -> &'a str {
    let mark = format!("data-card=\"{name}\"");
    let part = dom.split(&mark).nth(1).unwrap_or_else(|| panic!("no card {name}: {dom}"));
    part.split("data-card=").next().unwrap()
}

/// The page as it would be after one event. Chromium prints a page once it is loaded, and an open stream does not hold that
/// up: so here the event is there at once.
fn after(html: &str, event: &Value) -> String {
    let told = event.to_string().replace('<', "\\u003c");
    let stub = format!(
        "<script>class EventSource{{constructor(){{Promise.resolve().then(()=>this.onmessage({{data:JSON.stringify({told})}}))}}}}</script>"
    );
    html.replacen("<script>", &format!("{stub}<script>"), 1)
}

#[tokio::test]
async fn a_browser_shows_it_on_a_phone_and_on_a_desk() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let Some(chromium) = chromium() else { return };
    let stage = Stage::start().await;
    let (agent, address) = eventful(&stage, &home(&stage)).await;
    let (_, html) = get(&address, "/", &[]).await;
    let event = Events::open(&address).await.next().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("page.html");
    std::fs::write(&file, after(&html, &event)).unwrap();
    let url = format!("file://{}", file.display());
    // Kept for whoever wants to look.
    let pictures = std::env::var_os("RALLYHERE_PICTURES").map(PathBuf::from);
    for (name, width, height) in SIZES {
        let dom = run(&chromium, (width, height), &["--dump-dom"], &url).await;
        assert!(dom.contains("data-over=\"0\""), "{name}: something sticks out to the side: {dom}");
        let state = card(&dom, "state");
        assert!(state.contains("<g data-phase=\"serving\" class=\"lit\">"), "{name}: {state}");
        assert_eq!(state.matches("class=\"lit").count(), 1, "{name}: {state}");
        let notifications = card(&dom, "notifications");
        assert!(notifications.contains("the match is full") && notifications.contains(" by api"), "{notifications}");
        assert!(notifications.contains("&lt;img src=x") && !dom.contains("<img"), "text is text: {notifications}");
        assert!(notifications.contains("waiting"), "{notifications}");
        assert!(card(&dom, "game").contains("a tick takes 31 ms"), "{dom}");
        assert!(card(&dom, "health").contains("sent degraded, answered degraded"), "{dom}");
        assert!(card(&dom, "dead").contains("physics_stuck"), "{dom}");
        if let Some(dir) = &pictures {
            let file = format!("--screenshot={}", dir.join(format!("{name}.png")).display());
            run(&chromium, (width, height), &[&file], &url).await;
            let file = format!("--screenshot={}", dir.join(format!("{name}-whole.png")).display());
            run(&chromium, (width, 2400), &[&file], &url).await;
        }
    }
    agent.finish().await;
}

/// The pages of a browser as it lists them itself, if it does so now.
async fn pages(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET /json/list HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut answer, mut chunk) = (String::new(), vec![0; 64 * 1024]);
    // A list in JSON, and the connection stays open behind it.
    while !answer.trim_end().ends_with(']') {
        match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut chunk)).await {
            Ok(Ok(count)) if count > 0 => answer.push_str(&String::from_utf8_lossy(&chunk[..count])),
            _ => return None,
        }
    }
    Some(answer)
}

#[tokio::test]
async fn a_browser_is_told_of_changes_by_the_agent_itself() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let Some(chromium) = chromium() else { return };
    let stage = Stage::start().await;
    let (mut agent, address) = serving(&home(&stage)).await;
    let profile = tempfile::tempdir().unwrap();
    let url = format!("http://{address}/");
    let args = ["--remote-debugging-port=0"];
    let mut child = browser(&chromium, profile.path(), (390, 844), &args, &url).stderr(Stdio::null()).spawn().unwrap();
    let port = until("the port of the browser's own listener", async || {
        let text = std::fs::read_to_string(profile.path().join("DevToolsActivePort")).ok()?;
        text.lines().next()?.parse::<u16>().ok()
    })
    .await;
    // The title of the page has the phase, and a browser lists the titles of its pages.
    let shows = async |phase: &str| {
        let wanted = format!("default: {phase}");
        until(&wanted, async || pages(port).await?.contains(&wanted).then_some(())).await;
    };
    shows("serving").await;
    // A game that has spoken to the agent is waited for.
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.post("/v1/drain", json!({})).await;
    shows("draining").await;
    child.kill().await.unwrap();
    agent.kill().await;
}
