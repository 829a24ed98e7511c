//! Tests: posts.
