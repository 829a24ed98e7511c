//! `simulate`: only the simulated environment.

use std::net::SocketAddr;
use std::time::Duration;

use super::values::{duration, seconds};
use super::{CommandError, Terminal, finish, runtime};
use crate::config::settings::Surroundings;
use crate::exit::Exit;
use crate::simulator::{self, AllocationSpec, ClientSpec, Generation, Options, SessionSpec};

/// What may be said to `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen, for instance 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Which generation of the API: 2023-11, between (without fubar, as from March to August 2024), or 2026-08 (today's).
    #[arg(long, value_name = "GENERATION", default_value_t)]
    pub api: Generation,
    /// Credentials that may log in. May be repeated; without any, all are good. These are no secrets of a real environment.
    #[arg(long, value_name = "ID:SECRET")]
    pub client: Vec<ClientSpec>,
    /// A session that there is. May be repeated; without any there is one named "demo".
    #[arg(long, value_name = "ID")]
    pub session: Vec<SessionSpec>,
    /// An allocation and the session that it is bound to. May be repeated.
    #[arg(long, value_name = "ID=SESSION")]
    pub allocation: Vec<AllocationSpec>,
    /// How often health is expected.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub cadence: Option<Duration>,
    /// Take the logins of RallyHere's own adapter, which the contract does not know: client_credentials at /users/v1/login, and
    /// basic and refresh without a client.
    #[arg(long)]
    pub adapter_logins: bool,
    /// How long a token lives.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub token_lifetime: Option<Duration>,
}

impl Args {
    fn options(&self) -> Options {
        let mut options = Options {
            api: self.api,
            clients: self.client.clone(),
            sessions: self.session.clone(),
            allocations: self.allocation.clone(),
            undocumented_login: self.adapter_logins,
            login_without_basic: self.adapter_logins,
            ..Options::default()
        };
        if let Some(cadence) = self.cadence {
            options.health_cadence_seconds = u32::try_from(cadence.as_secs()).unwrap_or(u32::MAX).max(1);
        }
        if let Some(lifetime) = self.token_lifetime {
            options.token_lifetime = lifetime;
        }
        options
    }
}

/// Runs the simulator until it is told to stop.
pub fn run(args: &Args, _surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    finish(terminal, |terminal| {
        runtime()?.block_on(async {
            let mut said = Ok(());
            let bound = |address: SocketAddr, _: &simulator::Simulator| {
                said = terminal.say(&format!(
                    "simulating RallyHere ({}) on http://{address}  (control: http://{address}/_sim/state)",
                    args.api
                ));
            };
            simulator::run(&args.options(), args.listen, bound, stopped()).await.map_err(CommandError::Simulator)?;
            Ok(said?)
        })
    })
}

/// SIGINT or SIGTERM.
pub(super) async fn stopped() {
    let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}
