//! rallyhere-agent: the program beside a dedicated game server on RallyHere. This page is the map; read it first.

pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod driver;
pub mod exit;
pub mod io;
pub mod ports;
pub mod simulator;
pub mod telemetry;
pub mod wire;
