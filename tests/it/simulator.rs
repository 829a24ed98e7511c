//! Tests: simulator.
