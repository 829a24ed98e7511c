//! The Agones SDK: a game that was built for Agones runs here unchanged.
//!
//! Its sidecar's API is served in both of its forms, with one [`Engine`] behind them: [`rest`] (JSON, chunked and WebSocket
//! watches) beside our own calls on the local API's listeners, and [`grpc`] on an address of its own. What is said goes to the core as
//! requests; what is told is a document made of the core's [`SdkView`](crate::core::sdk::SdkView).
//!
//! * An answer of success means that what was said is on disk; else it is UNAVAILABLE (14), and has not happened. (Ready alone is
//!   in force at once, and a disk in trouble keeps no player away.)
//! * A watcher gets the newest document as soon as it can take one. Nothing is queued for it, so it holds nobody, and a closed
//!   one leaves nothing behind.
//! * Player tracking (`alpha`), counters and lists (`beta`) are answered UNIMPLEMENTED (12).
//!
//! Names, numbers and JSON are those of the `.proto` files that Agones publishes (read at 1.61.0).

mod codec;
mod document;
mod engine;
mod failure;
pub(crate) mod grpc;
mod messages;
pub(crate) mod rest;
mod socket;
mod watcher;

pub(crate) use engine::Engine;
