//! Tests: notify.
