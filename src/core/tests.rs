//! Tests of the core: scripts that assert exact actions with none left over, and properties on random sequences.

#![expect(
    clippy::unnecessary_wraps,
    clippy::wildcard_enum_match_arm,
    reason = "helpers have the shape of what they stand for"
)]

mod check;
mod life;
mod model;
mod notify;
mod posts;
mod properties;
mod reports;
mod rig;
mod sdk;
