//! What can go wrong between a client command and the agent: what was tried, what came back, what to do.

use std::io;
use std::path::PathBuf;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// None of the usual sockets is there.
    #[error(
        "no agent was found: there is no {}. Start the agent, or say where it is with --socket PATH or --url http://HOST:PORT",
        words(tried)
    )]
    NoSocket {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// --url is not an address of an agent.
    #[error("--url {url}: {reason}; write it like http://127.0.0.1:9358")]
    Url {
        /// What was said.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// --token-file cannot be read.
    #[error("--token-file {}: cannot be read", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request cannot be made.
    #[error("{call}: the request cannot be made; is the token one line of plain text?")]
    Request {
        /// What was asked.
        call: String,
        /// Why.
        source: hyper::http::Error,
    },
    /// Nobody answers there.
    #[error("no connection to the agent on {target} ({hint})")]
    Connect {
        /// Where.
        target: String,
        /// What to do.
        hint: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers there, not even with a no.
    #[error(
        "no connection to the agent on {target} within {seconds} s: does it hang, or is the address another machine's?"
    )]
    NoConnection {
        /// Where.
        target: String,
        /// How long.
        seconds: u64,
    },
    /// The connection ended before the answer.
    #[error(
        "{call}: the connection to {target} ended before the whole answer came; it may have been carried out. Look with `rallyhere-agent status`"
    )]
    Broken {
        /// Where.
        target: String,
        /// What was asked.
        call: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent takes too long.
    #[error("{call}: no answer from {target} within {seconds} s; it may still be carried out. Look at the agent's log")]
    NoAnswer {
        /// Where.
        target: String,
        /// What was asked.
        call: String,
        /// How long.
        seconds: u64,
    },
    /// What came back is not an agent's answer.
    #[error("{call}: what answers on {target} does not speak like an agent; is something else there?")]
    NotUnderstood {
        /// Where.
        target: String,
        /// What was asked.
        call: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The agent said no.
    #[error("{call}: the agent refused ({status} {code}): {message}{}", hint_for(*status))]
    Refused {
        /// What was asked.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The agent's word for it.
        code: String,
        /// The agent's words.
        message: String,
    },
}

impl ClientError {
    /// Whether nobody listens there, and the socket was taken away: what an agent leaves that has ended in good order.
    pub(in crate::cli) fn is_gone(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether nobody listens there just now, or somebody has stopped in the middle of an answer.
    pub(in crate::cli) fn is_silence(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::NoConnection { .. } | Self::Broken { .. } | Self::NoAnswer { .. } => true,
            Self::NoSocket { .. }
            | Self::Url { .. }
            | Self::TokenFile { .. }
            | Self::Request { .. }
            | Self::NotUnderstood { .. }
            | Self::Refused { .. } => false,
        }
    }
}

fn words(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", no ")
}

fn hint_for(status: u16) -> &'static str {
    match status {
        401 => ". Give it with --token-file or RALLYHERE_AGENT_TOKEN",
        _ => "",
    }
}
