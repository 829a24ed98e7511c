//! The integration tests: one binary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod agones;
mod config;
mod doctor;
mod driver;
mod durability;
mod fuzz;
mod game;
mod generations;
mod hand_off;
mod http;
mod local;
mod metrics;
mod outbox;
mod page;
mod probes;
mod process;
mod readme;
mod simulator;
mod store;
mod telemetry;
mod tidy;
