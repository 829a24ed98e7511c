//! What the calls make of a body, without an instance behind them: for a fuzzer, and for the test that reads what it found.

use super::body::{Shape, parse};
use super::{calls, duties, notifications, outbox};
use crate::io::agones::rest;

/// Reads these bytes as the body of every call of the local API and of the Agones SDK; says how many take them.
///
/// Whatever the bytes are, each call has an answer: taken, or refused with 400 or 422 and words. Nothing is carried out.
#[must_use]
pub fn bodies(bytes: &[u8]) -> usize {
    let ours = [
        takes::<calls::ReadyBody>,
        takes::<calls::InstanceBody>,
        takes::<calls::HealthBody>,
        takes::<calls::FubarBody>,
        takes::<calls::EventBody>,
        takes::<calls::ReasonBody>,
        takes::<duties::MatchBody>,
        takes::<duties::ListBody>,
        takes::<duties::ListingBody>,
        takes::<duties::SessionBody>,
        takes::<notifications::AckBody>,
        takes::<outbox::ReportBody>,
    ];
    ours.iter().filter(|takes| takes(bytes)).count() + rest::takers(bytes)
}

fn takes<T: Shape>(bytes: &[u8]) -> bool {
    parse::<T>(bytes).is_ok()
}
