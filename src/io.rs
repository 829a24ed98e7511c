//! The adapters to the world. They know nothing of the core's state.

pub mod store;
