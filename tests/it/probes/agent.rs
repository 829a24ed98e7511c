//! The whole program runs its probes, and what it starts does not see what is only the agent's.

use std::fs;

use crate::process::home::Home;
use crate::process::stage::{Stage, until};

#[tokio::test]
async fn a_configured_probe_runs_without_the_agents_own_environment() {
    let stage = Stage::start().await;
    let home = Home::new(&stage);
    let (seen, credentials) = (home.path("seen"), home.path("credentials"));
    fs::create_dir(&credentials).unwrap();
    let probe = toml::toml! { kind = "exec" interval = "100ms" };
    let script = format!("env > {0}.new; mv {0}.new {0}", seen.display());
    let command = ["/bin/sh", "-c", &script].map(toml::Value::from).to_vec();
    let probe: toml::Table = probe.into_iter().chain([("command".to_owned(), command.into())]).collect();
    let home = home
        .alone()
        .set("health.probes", vec![probe])
        .env("NOTIFY_SOCKET", home_socket())
        .env("WATCHDOG_USEC", "30000000")
        .env("WATCHDOG_PID", "1")
        .env("CREDENTIALS_DIRECTORY", credentials.display().to_string())
        .env("RALLYHERE_AGENT_LOG__LEVEL", "info")
        .env("RALLYHERE_AGENT_INSTANCE__REGION", "secret")
        .env("RALLYHERE_GAME_PID", "1")
        .env("OF_THE_OPERATOR", "stays");
    let agent = home.start();
    let environment = until("what the command saw", async || fs::read_to_string(&seen).ok()).await;
    assert!(environment.lines().any(|line| line == "OF_THE_OPERATOR=stays"), "{environment}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG", "CREDENTIALS_DIRECTORY", "RALLYHERE"] {
        assert!(!environment.lines().any(|line| line.starts_with(name)), "{environment}");
    }
    // It comes again.
    fs::remove_file(&seen).unwrap();
    until("a second run", async || fs::read_to_string(&seen).ok()).await;
    agent.stop().await;
    assert!(seen.exists());
}

/// An abstract one, on which nobody listens.
fn home_socket() -> String {
    "@rallyhere-agent-probes-test".to_owned()
}
