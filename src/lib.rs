//! rallyhere-agent: the program beside a dedicated game server on RallyHere. This page is the map; read it first.
//!
//! The agent registers the game-server instance with its session, keeps its info and health posted, long-polls its
//! notifications and hands them to the game, reports failures ("fubar"), and takes it down in good order.
//!
//! # The state machine
//!
//! One instance lives through these phases. The drawing is [`core::phase`]'s, whose one table is what runs:
//!
//! ```text
#![doc = include_str!("core/phase.txt")]
//! ```
//!
//! Beside it run seven regions, each a small machine of its own file: the **allocation** ([`core::allocation`], where it is not in the
//! configuration), the **login** ([`core::auth`], one for the process), the
//! **heartbeat**, the **notifications**, their **hand-off** ([`core::hand_off`]), the **outbox**, and the **game**. A region never reaches into another: the life cycle
//! reads their verdicts, they read its phase.
//!
//! # The rooms
//!
//! ```text
//!   game ──── local API ────┐                          ┌──── HTTPS ──── RallyHere
//!   (Unix socket, TCP)      │                          │
//!   operator: CLI, admin ───┴──► driver ◄──► io ◄──────┘
//!   service manager, signals        │ ▲
//!                                   ▼ │
//!                         core (pure machines)
//!                                   │
//!                         store (what must survive)
//! ```
//!
//! | room | what stands there | may import |
//! |---|---|---|
//! | [`core`] | the machines; pure: no clock, I/O, async, lock, log | nothing of ours |
//! | [`wire`] | the backend's documents, and what its answers mean; pure | `core` types |
//! | [`ports`] | the traits between driver and world, the handle of an instance | `core` |
//! | [`driver`] | the one loop: drain actions, publish, wait, hand in | `core`, `ports`, [`clock`] |
//! | [`io`] | HTTP client, local API and the Agones SDK in it, the game's process and probes, files that allocate, store, service manager, signals, the end of the host | `ports`, `wire`, its slice of settings, [`telemetry::metrics`], [`telemetry::thin`] |
//! | [`config`] | raw, merged, validated settings | `core` types, `wire::reader` |
//! | [`simulator`] | a RallyHere environment in memory, left out of what is shipped (the feature of that name); shares no rule with the client | `clock` |
//! | [`telemetry`] | logs, [metrics](telemetry::metrics) | settings, `core` |
//! | [`cli`] | one file per command; puts everything together | all |
//! | [`exit`] | the table of exit codes | nothing |
//!
//! `tests/it/tidy.rs` holds the third column, and the purity of the first two rooms.
//!
//! # The way of an event
//!
//! Something happens (an answer, a signal, a request of the game, a deadline). [`driver::drive`] hands it to the machine with the
//! time; the machine changes its state and leaves actions; the driver carries them out without ever waiting for one; the new
//! state is published as a [`core::Snapshot`], which is all that the local API, the admin listener and `STATUS=` ever read.
//!
//! **Architecture invariant:** a request to the backend is two events with time between them, never an `await` in a machine.
//!
//! **Architecture invariant:** accepted means durable. A report is answered 202 only after [`ports::Store`] has it on disk.
//!
//! **Architecture invariant:** what is not ours is never written to. Whose an instance is, only
//! [`core::phase`]'s life cycle judges, and after the first doubt nothing is sent any more.

pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod driver;
pub mod exit;
pub mod io;
pub mod ports;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod telemetry;
pub mod wire;
