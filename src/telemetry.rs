//! Logs and metrics: what the agent says about itself, at no cost to what it does.

pub mod log;
pub mod metrics;
pub mod thin;
