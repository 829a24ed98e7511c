//! Clocks that jump. The wall clock does, under libfaketime (Debian's package of that name); the monotonic clock cannot, but it begins
//! anywhere, as after a boot, in a time namespace.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Scenario;
use crate::run::{Plan, Run};

/// Where Debian puts it, on the machines that we know.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    let obstacle = library.is_none().then(|| "libfaketime is not installed".to_owned());
    let library = library.unwrap_or_default();
    vec![
        Scenario::new("wall clock jumps", Plan::default(), move |run| Box::pin(jumps(run, library)))
            .quick()
            .unless(obstacle),
        Scenario::new("monotonic clock of another boot", Plan::default(), |run| Box::pin(another_boot(run)))
            .quick()
            .unless(no_time_namespace()),
    ]
}

fn no_time_namespace() -> Option<String> {
    let tried = Command::new("unshare").args(["-T", "--monotonic", "1000", "true"]).output();
    match tried {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(format!("no time namespace: {}", String::from_utf8_lossy(&tried.stderr).trim())),
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

/// Hours and days, forth and back, in the middle of everything: no health post is missing and nothing expires.
async fn jumps(run: &mut Run, library: &str) {
    let clock = run.home.path("clock");
    std::fs::write(&clock, "+0").unwrap();
    for (name, value) in [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        // Read at every look at the clock, and only the wall clock is another.
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ] {
        run.home.env.insert(name.to_owned(), value);
    }
    run.serve().await;
    for jump in ["+3600", "-3600", "+86400", "-864000", "+0"] {
        run.pass(Duration::from_secs(3)).await;
        run.trouble(&format!("the wall clock jumps to {jump} s"));
        let fresh = run.home.path("clock.new");
        std::fs::write(&fresh, jump).unwrap();
        std::fs::rename(fresh, &clock).unwrap();
        run.until_beats(2).await;
        run.calm();
        // The next agent finds what the one before wrote by another clock.
        run.kill_and_start();
        run.until_beats(1).await;
    }
    run.recover().await;
    run.stop().await;
}

/// Killed, and started where the monotonic clock stands elsewhere: eleven days on, or near its beginning.
async fn another_boot(run: &mut Run) {
    run.serve().await;
    let up = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: f64 = up.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
    for offset in [1_000_000, 30 - up as i64, 0] {
        run.pass(Duration::from_secs(3)).await;
        let offset = offset.to_string();
        run.home.words = ["unshare", "-T", "--monotonic", &offset, "--boottime", &offset].map(str::to_owned).to_vec();
        run.kill_and_start();
        run.until_beats(2).await;
    }
    run.recover().await;
    run.stop().await;
}
