//! What a browser makes of it: Debian's Chromium, without a screen.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{eventful, home};
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

/// The browser was each time done before the first event came.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was not tried")]
fn not_seen(name: &str) {
    eprintln!(
        "page: chromium printed the page before its first event each time: {name}: its content was not looked at"
    );
}

/// Runs it to its end; gives what it printed.
async fn run(chromium: &Path, size: (u32, u32), args: &[&str], url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--timeout=4000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .args(args)
        .arg(url)
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
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

#[tokio::test]
async fn a_browser_shows_it_on_a_phone_and_on_a_desk() {
    let Some(chromium) = chromium() else { return };
    let stage = Stage::start().await;
    let (agent, address) = eventful(&stage, &home(&stage)).await;
    let url = format!("http://{address}/");
    // Kept for whoever wants to look.
    let pictures = std::env::var_os("RALLYHERE_PICTURES").map(PathBuf::from);
    for (name, width, height) in SIZES {
        // It prints the document as soon as that is loaded, which may be before the first event.
        let mut told = None;
        for _ in 0..5 {
            let dom = run(&chromium, (width, height), &["--dump-dom"], &url).await;
            told = told.or_else(|| dom.contains("data-over=").then_some(dom));
        }
        let Some(dom) = told else {
            not_seen(name);
            continue;
        };
        assert!(dom.contains("data-over=\"0\""), "{name}: something sticks out to the side: {dom}");
        let state = card(&dom, "state");
        assert!(state.contains("<g data-phase=\"serving\" class=\"lit\">"), "{name}: {state}");
        assert_eq!(state.matches("class=\"lit").count(), 1, "{name}: {state}");
        let notifications = card(&dom, "notifications");
        assert!(notifications.contains("a player was invited") && notifications.contains(" by api"), "{notifications}");
        assert!(notifications.contains("&lt;img src=x") && !dom.contains("<img"), "text is text: {notifications}");
        assert!(notifications.contains("waiting"), "{notifications}");
        assert!(card(&dom, "game").contains("a tick takes 31 ms"), "{dom}");
        assert!(card(&dom, "health").contains("sent degraded, answered degraded"), "{dom}");
        assert!(card(&dom, "dead").contains("physics_stuck"), "{dom}");
        assert!(dom.contains("<div id=\"gone\" role=\"alert\" hidden=\"\">"), "{name}: the stream is open: {dom}");
        if let Some(dir) = &pictures {
            let file = format!("--screenshot={}", dir.join(format!("{name}.png")).display());
            run(&chromium, (width, height), &[&file], &url).await;
            let file = format!("--screenshot={}", dir.join(format!("{name}-whole.png")).display());
            run(&chromium, (width, 2400), &[&file], &url).await;
        }
    }
    agent.finish().await;
}
