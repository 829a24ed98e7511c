//! Tests: process. The real program, as a service manager, a game and an operator meet it, against a simulated environment.
//!
//! Three pieces: a [`stage::Stage`] is the environment, a [`home::Home`] is a machine's disk with one configuration on it, an
//! [`agent::Agent`] is the running program. What every test must hold, they hold themselves when they go: no secret in
//! anything that was said, no panic, no request that the contract refuses.

pub(crate) mod agent;
mod allocation;
mod draining;
mod duties;
mod game;
pub(crate) mod generations;
pub(crate) mod home;
mod host;
mod life;
mod login;
mod logs;
mod manager;
mod operator;
mod outages;
mod permissions;
mod proxy;
mod restart;
mod secrets;
pub(crate) mod shutdown;
pub(crate) mod socket;
pub(crate) mod stage;
mod stopping;
mod superseded;
