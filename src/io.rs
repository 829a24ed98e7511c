//! The adapters to the world. They know nothing of the core's state.

pub mod admin;
mod agones;
pub mod allocation;
mod child;
pub mod game;
pub mod hand_off;
pub mod http;
pub mod local;
pub mod notify;
pub mod probe;
pub mod shutdown;
pub mod signals;
pub mod store;
