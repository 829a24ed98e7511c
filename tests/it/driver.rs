//! Tests: driver. The loop on tokio's paused clock, without a socket and without a disk: first with a machine that is a toy,
//! then with the real ones between a backend, a login and a store that do as they are told.

mod fake;
mod hosting;
mod instances;
mod toy;
mod turns;
