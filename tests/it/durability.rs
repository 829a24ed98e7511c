//! Tests: durability. Nothing accepted is ever lost: what is said here is said of the real program, killed and starved on purpose.
//!
//! [`witness::Witness`] is a game and a backend operator in one: it says things to the agent, remembers what it was promised, and
//! compares that with the simulator's ledger. [`tools`] brings the trouble: `strace`, mount namespaces, signals.

mod disk;
mod kills;
mod login;
mod rivals;
mod syscalls;
mod tools;
mod upgrade;
mod witness;
