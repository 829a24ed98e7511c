//! The pure core: small state machines that take events and time, and give actions.
//!
//! **Architecture invariant:** nothing in here reads a clock, a file, a socket or a source of randomness; nothing is async,
//! locked or logged. Time, seeds and identities are arguments. `tests/it/tidy.rs` holds this.

pub mod action;
pub mod auth;
pub mod call;
pub mod durable;
pub mod event;
pub mod ids;
pub mod instance;
pub mod params;
pub mod phase;
pub mod snapshot;

pub use action::{Action, Note, Outcome};
pub use event::{Command, Event};
pub use phase::{Phase, Trigger};
pub use snapshot::Snapshot;
