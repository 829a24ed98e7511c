//! `simulate`: only the simulated environment.

use std::net::SocketAddr;
use std::time::Duration;

use super::Terminal;
use super::values::{duration, seconds};
use crate::config::secret::{Secret, SecretOrigin};
use crate::config::settings::Surroundings;
use crate::core::ids::{AllocationId, SessionId};
use crate::exit::Exit;

/// What may be said to `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen, for instance 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Credentials that may log in. May be repeated; without any, all are good. These are no secrets of a real environment.
    #[arg(long, value_name = "ID:SECRET", value_parser = client)]
    pub client: Vec<Credentials>,
    /// A session that there is. May be repeated; without any there is one named "demo".
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Vec<SessionId>,
    /// An allocation and the session that it is bound to. May be repeated.
    #[arg(long, value_name = "ID=SESSION", value_parser = allocation)]
    pub allocation: Vec<Allocation>,
    /// How often health is expected.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub cadence: Option<Duration>,
    /// How long a token lives.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub token_lifetime: Option<Duration>,
}

/// Credentials of the simulated environment.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Before the first colon.
    pub id: String,
    /// After it.
    pub secret: Secret,
}

/// An allocation of the simulated environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Its id.
    pub id: AllocationId,
    /// The session that it is bound to.
    pub session: SessionId,
}

fn client(text: &str) -> Result<Credentials, String> {
    match text.split_once(':') {
        Some((id, secret)) if !id.is_empty() => {
            Ok(Credentials { id: id.to_owned(), secret: Secret::new(secret.to_owned(), SecretOrigin::Value) })
        }
        _ => Err("write ID:SECRET".to_owned()),
    }
}

fn session(text: &str) -> Result<SessionId, String> {
    SessionId::parse(text).map_err(|error| format!("the session id {error}"))
}

fn allocation(text: &str) -> Result<Allocation, String> {
    let (id, bound) = text.split_once('=').ok_or_else(|| "write ID=SESSION".to_owned())?;
    let id = AllocationId::parse(id).map_err(|error| format!("the allocation id {error}"))?;
    Ok(Allocation { id, session: session(bound)? })
}

/// Runs the simulator.
pub fn run(_args: Args, _surroundings: &Surroundings, terminal: &mut Terminal<'_>) -> Exit {
    terminal.complain("rallyhere-agent: `simulate` is not built yet");
    Exit::Failure
}
