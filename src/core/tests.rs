//! Tests of the core: scripts that assert exact actions with none left over, and properties on random sequences.

#![expect(
    clippy::unnecessary_wraps,
    clippy::wildcard_enum_match_arm,
    reason = "helpers have the shape of what they stand for"
)]

mod allocation;
mod api;
mod check;
mod duties;
mod game;
mod hand_off;
mod life;
mod listing;
mod model;
mod notify;
mod patches;
mod patience;
mod poison;
mod posts;
mod properties;
mod reports;
pub(in crate::core) mod rig;
mod sdk;
mod words;
