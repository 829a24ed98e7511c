//! Tests: local.
