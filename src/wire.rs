//! PURE: the backend's documents, and what its answers mean.
//!
//! [`encode`] turns a [`Call`](crate::core::call::Call) into a request, [`decode`] turns a reply into an answer of the core's
//! vocabulary or into a failure with its sort. [`login`] does the same for the login. What is sent holds strictly to the
//! 2023-11 contract, and where the core says so to the 2026-08 one: no unknown field, absent options left out. What comes back is
//! untrusted: unknown fields and enum values are normal, a wrong type is a typed failure, and nothing of a reply reaches a log
//! uncut or unescaped (backend.md, trap 15).
//!
//! **Architecture invariant:** no I/O, no clock, no logging, nothing async; the wall clock is an argument, and it is used only to
//! read a `Retry-After` that names a date.
//!
//! [`proxy`] says which calls of the game's own are passed on, and which headers with them. [`a2s`] stands apart: it is what a probe asks a game server over UDP.

pub mod a2s;
mod allocation;
mod answer;
mod failure;
mod json;
pub mod login;
pub mod look;
mod page;
pub mod proxy;
pub mod reader;
mod request;
mod retry_after;
mod session;
mod spans;
mod text;

pub use allocation::{FILE_LIMIT, file};
pub use answer::decode;
pub use request::{HttpRequest, Method, encode};
pub use retry_after::RETRY_AFTER_LIMIT;
pub use text::{TEXT_LIMIT, for_people, id_of_the_backend, one_line};

use std::fmt;

/// The most bytes of an answer to the long poll (backend.md, trap 15).
pub const PAGE_BODY_LIMIT: usize = 8 * 1024 * 1024;
/// The most bytes of any other answer (backend.md, trap 15).
pub const BODY_LIMIT: usize = 256 * 1024;
/// The most bytes of a failure's body that are worth reading: its code and text are at the start.
pub const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// A reply, as far as it is read. Header values are `None` where they are absent or not visible ASCII.
#[derive(Clone, Copy, Default)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `ETag`.
    pub etag: Option<&'a str>,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The header `Date`: the backend's own clock, against which a date in `Retry-After` is measured.
    pub date: Option<&'a str>,
    /// The body, or of a failure the beginning of it.
    pub body: &'a [u8],
    /// What must never be repeated in words, even if the reply echoes it: tokens, passwords, client secrets.
    pub secrets: &'a [&'a str],
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("etag", &self.etag)
            .field("retry_after", &self.retry_after)
            .field("date", &self.date)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
