//! Too little of everything: descriptors, memory, disk.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rallyhere_agent::simulator::{Fault, Outage};

use super::Scenario;
use crate::program::uses;
use crate::run::{Plan, Run};
use crate::timeline::What;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("no descriptor left", Plan::default(), |run| Box::pin(descriptors(run)))
            .quick()
            .unless(none("prlimit")),
        // It takes 256 of them at once.
        Scenario::new("a crowd at the socket", Plan { descriptors: 300, ..Plan::default() }, |run| {
            Box::pin(crowd(run))
        })
        .quick(),
        Scenario::new("little memory", Plan::default(), |run| Box::pin(memory(run))).quick().unless(none("prlimit")),
        Scenario::new("full disk", Plan::default(), |run| Box::pin(disk(run))).quick().unless(no_mounts()),
    ]
}

fn none(program: &str) -> Option<String> {
    let tried = Command::new(program).arg("--version").output();
    tried.is_err().then(|| format!("there is no {program} here"))
}

fn no_mounts() -> Option<String> {
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/tmp"]).output();
    match tried {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(format!("no mounts of one's own: {}", String::from_utf8_lossy(&tried.stderr).trim())),
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

fn prlimit(pid: u32, limit: &str) {
    let (pid, limit) = (pid.to_string(), format!("--nofile={limit}"));
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit {limit}");
}

/// What it has is all that it may have; then even that is cut. Once there are more again, so is everything else.
async fn descriptors(run: &mut Run) {
    run.serve().await;
    let open = uses(run.pid()).map_or(0, |uses| uses.descriptors);
    run.trouble("no descriptor more than there are");
    prlimit(run.pid(), &format!("{open}:4096"));
    run.pass(Duration::from_secs(6)).await;
    run.calm();
    run.outage("none, and every connection cut");
    prlimit(run.pid(), "8:4096");
    run.simulator.set_outage(Outage::Refuse);
    run.pass(Duration::from_secs(2)).await;
    run.simulator.set_outage(Outage::None);
    run.pass(Duration::from_secs(10)).await;
    prlimit(run.pid(), "1024:4096");
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// More callers than there is room for, who say nothing: the backend does not notice.
async fn crowd(run: &mut Run) {
    run.serve().await;
    run.trouble("a crowd at the socket");
    for _ in 0..3 {
        let socket = run.home.socket();
        let crowd: Vec<UnixStream> = (0..400).map_while(|_| UnixStream::connect(&socket).ok()).collect();
        run.pass(Duration::from_secs(3)).await;
        drop(crowd);
    }
    run.calm();
    run.recover().await;
    // Whoever came has gone.
    run.pass(Duration::from_secs(1)).await;
    let open = uses(run.pid()).map_or(0, |uses| uses.descriptors);
    if open > 48 {
        run.note(What::Broken { words: format!("{open} descriptors after the crowd has gone") });
    }
    run.stop().await;
}

/// An address space in which the faults that cost most must fit.
async fn memory(run: &mut Run) {
    run.home.words = ["prlimit", "--as=268435456"].map(str::to_owned).to_vec();
    run.serve().await;
    run.outage("an address space of 256 MiB, and answers of 64 MiB");
    run.simulator.inject(vec![Fault::Oversize { bytes: 64 << 20 }.always()]).unwrap();
    run.pass(Duration::from_secs(10)).await;
    run.simulator.clear_faults();
    run.simulator
        .inject(vec![
            Fault::Garbage { body: "[".repeat(1 << 20), code: 200, content_type: "application/json".to_owned() }
                .always(),
        ])
        .unwrap();
    run.pass(Duration::from_secs(10)).await;
    run.simulator.clear_faults();
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// A small file system that others fill: nothing is called durable that is not, and no health post is missing.
async fn disk(run: &mut Run) {
    let script = "mount -t tmpfs -o size=512k,mode=700 none \"$XDG_STATE_HOME\" && exec \"$@\"";
    let words = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-c", script, "sh"];
    run.home.words = words.map(str::to_owned).to_vec();
    run.serve().await;
    let filler =
        |run: &Run| PathBuf::from(format!("/proc/{}/root{}", run.pid(), run.home.path("state/filler").display()));
    for _ in 0..2 {
        run.pass(Duration::from_secs(3)).await;
        run.trouble("a full disk");
        let path = filler(run);
        if let Ok(mut file) = fs::File::create(&path) {
            while file.write_all(&[0; 512]).is_ok() {}
        }
        run.pass(Duration::from_secs(6)).await;
        fs::remove_file(&path).unwrap();
        run.calm();
    }
    let (accepted, denied) = run.recorder.read(|entries| {
        let count = |fits: fn(&What) -> bool| entries.iter().filter(|entry| fits(&entry.what)).count();
        (count(|what| matches!(what, What::Accepted { .. })), count(|what| matches!(what, What::Denied { .. })))
    });
    run.note(What::Note { words: format!("{accepted} reports taken, {denied} refused") });
    run.recover().await;
    run.stop().await;
}
