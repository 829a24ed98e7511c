//! Tests of the core: scripts that assert exact actions with none left over, and properties on random sequences.

mod life;
mod model;
mod notify;
mod posts;
mod properties;
mod reports;
mod rig;
