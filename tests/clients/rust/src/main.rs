//! A game server with the published Rust client: a whole life, over a restart of the agent.

use std::io::BufRead as _;
use std::time::Duration;

use agones::{GameServer, Sdk};

type Failure = Box<dyn std::error::Error>;

fn ask(what: &str) -> Result<(), Failure> {
    println!("do {what}");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    assert_eq!(answer, "done\n");
    Ok(())
}

/// The states that a watch tells, up to this one.
async fn until(watch: &mut tonic::Streaming<GameServer>, state: &str) -> Result<Vec<String>, Failure> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != state) {
        let told = tokio::time::timeout(Duration::from_secs(20), watch.message()).await??;
        let told = told.ok_or_else(|| format!("the watch has ended after {seen:?}"))?;
        seen.push(told.status.unwrap_or_default().state);
    }
    Ok(seen)
}

async fn state(sdk: &mut Sdk) -> Result<String, Failure> {
    Ok(sdk.get_gameserver().await?.status.unwrap_or_default().state)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut sdk = Sdk::new(None, None).await?;
    assert!(["Starting", "Scheduled"].contains(&state(&mut sdk).await?.as_str()));
    let mut watch = sdk.watch_gameserver().await?;
    sdk.ready().await?;
    let seen = until(&mut watch, "Ready").await?;
    assert_eq!(seen[seen.len() - 2..], ["RequestReady", "Ready"]);
    ask("joinable")?;
    println!("ready, and joinable");

    let beats = sdk.health_check();
    for _ in 0..5 {
        beats.send(()).await?;
    }
    sdk.set_label("mode", "ctf").await?;
    sdk.set_annotation("note", "any text: ü").await?;
    sdk.reserve(Duration::from_secs(1)).await?;
    until(&mut watch, "Reserved").await?;
    until(&mut watch, "Ready").await?;
    sdk.allocate().await?;
    until(&mut watch, "Allocated").await?;
    let server = sdk.get_gameserver().await?;
    let meta = server.object_meta.unwrap_or_default();
    assert_eq!(meta.labels["agones.dev/sdk-mode"], "ctf");
    assert_eq!(meta.annotations["agones.dev/sdk-note"], "any text: ü");
    let status = server.status.unwrap_or_default();
    assert_eq!((status.ports[0].name.as_str(), status.ports[0].port), ("default", 7777));
    assert_eq!((status.address.as_str(), status.addresses.len()), ("203.0.113.7", 1));
    let refused = format!("{:?}", sdk.set_label("a/b", "x").await.expect_err("a key with a slash"));
    assert!(refused.contains("InvalidArgument"), "{refused}");
    let refused = format!("{:?}", sdk.alpha().clone().get_player_count().await.expect_err("player tracking"));
    assert!(refused.contains("Unimplemented"), "{refused}");
    println!("labelled, reserved, allocated");

    // It stops to send heartbeats, which says that it hangs, and goes on.
    until(&mut watch, "Unhealthy").await?;
    beats.send(()).await?;
    until(&mut watch, "Allocated").await?;
    println!("unhealthy, and well again");

    ask("restart")?;
    assert!(watch.message().await.is_err(), "it was cut");
    let mut watch = loop {
        match sdk.watch_gameserver().await {
            Ok(watch) => break watch,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(until(&mut watch, "Allocated").await?, ["Allocated"]);
    assert_eq!(sdk.get_gameserver().await?.object_meta.unwrap_or_default().labels["agones.dev/sdk-mode"], "ctf");
    println!("as before, over a restart of the agent");
    sdk.shutdown().await?;
    until(&mut watch, "Shutdown").await?;
    Ok(())
}
