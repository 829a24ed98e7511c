//! The pure core: small state machines that take events and time, and give actions.
//!
//! **Architecture invariant:** nothing in here reads a clock, a file, a socket or a source of randomness; nothing is async,
//! locked or logged. Time, seeds and identities are arguments. `tests/it/tidy.rs` holds this.

pub mod action;
pub mod agent;
pub mod allocation;
pub mod api;
pub mod auth;
pub mod backoff;
pub mod call;
mod common;
mod drain;
pub mod durable;
pub mod duty;
pub mod event;
pub mod game;
pub mod hand_off;
mod heartbeat;
pub mod ids;
pub mod instance;
mod lifecycle;
mod listing;
pub mod machine;
mod notifications;
pub(crate) mod ordered;
pub mod outbox;
pub mod params;
pub mod phase;
pub mod process;
pub mod proxy;
mod publisher;
pub mod recycle;
pub mod roll;
pub mod sdk;
mod session;
pub mod shutdown;
pub mod snapshot;
mod timers;
mod watch;

#[cfg(test)]
mod tests;

pub use action::{Action, Note, Outcome};
pub use agent::{Agent, Birth};
pub use auth::{Auth, AuthAction, AuthEvent, AuthView};
pub use event::{Command, Event};
pub use machine::Machine;
pub use phase::{Phase, Trigger};
pub use snapshot::Snapshot;
