//! The one loop that drives a machine of the core.
