//! Tests: local. The local API, the admin listener and the client commands, against a fake core.

mod access;
mod admin;
mod calls;
mod cli;
mod duties;
pub(crate) mod fake;
mod garbage;
mod limits;
mod notifications;
mod proxy;
pub(crate) mod raw;
mod sockets;
