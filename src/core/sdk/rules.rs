//! Which labels and annotations are taken: the rules of Kubernetes, and bounds of our own.

use super::SdkState;
use crate::core::event::Denied;
use crate::core::instance::CUSTOM_VALUE_LIMIT;

/// How many labels there may be, and how many annotations.
pub const ENTRIES_LIMIT: usize = 64;
/// The bytes of all keys and values together.
pub const BYTES_LIMIT: usize = 64 * 1024;
/// Characters of the name in a Kubernetes key (`[prefix/]name`), of which ours begins with `sdk-`.
const NAME_LIMIT: usize = 63;
/// What the name of a key begins with; the key itself is `agones.dev/sdk-KEY`.
const NAME_PREFIX: &str = "sdk-";
/// Characters of a label's value (Kubernetes, "Syntax and character set").
const LABEL_LIMIT: usize = 63;

fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The rule of Kubernetes for the name of a key, which here is `sdk-KEY`.
pub fn is_key(key: &str) -> bool {
    key.len() + NAME_PREFIX.len() <= NAME_LIMIT
        && key.bytes().all(is_inner)
        && key.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric())
}

pub(super) fn check_key(key: &str) -> Result<(), Denied> {
    if is_key(key) {
        return Ok(());
    }
    Err(Denied::Field {
        field: "key",
        reason: format!(
            "must have 1 to {} characters out of a-z, A-Z, 0-9, '-', '_' and '.', the last one a letter or a digit",
            NAME_LIMIT - NAME_PREFIX.len()
        ),
    })
}

pub(super) fn check_label(value: &str) -> Result<(), Denied> {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = value.len() <= LABEL_LIMIT
        && value.bytes().all(is_inner)
        && (value.is_empty() || (is_end(value.bytes().next()) && is_end(value.bytes().last())));
    if good {
        return Ok(());
    }
    Err(Denied::Field {
        field: "value",
        reason: format!(
            "of a label must have at most {LABEL_LIMIT} characters out of a-z, A-Z, 0-9, '-', '_' and '.', the first and the \
             last one a letter or a digit; an annotation may be any text"
        ),
    })
}

pub(super) fn check_annotation(value: &str) -> Result<(), Denied> {
    let length = value.chars().count();
    if length <= CUSTOM_VALUE_LIMIT {
        return Ok(());
    }
    let reason = format!("has {length} characters, at most {CUSTOM_VALUE_LIMIT} are allowed");
    Err(Denied::Field { field: "value", reason })
}

/// Whether so much is kept.
pub(super) fn check_room(next: &SdkState) -> Result<(), Denied> {
    let full = |field, reason| Err(Denied::Field { field, reason });
    if next.labels.len() > ENTRIES_LIMIT {
        return full("labels", format!("there are {ENTRIES_LIMIT} already, and more are not kept"));
    }
    if next.annotations.len() > ENTRIES_LIMIT {
        return full("annotations", format!("there are {ENTRIES_LIMIT} already, and more are not kept"));
    }
    let bytes = next.bytes();
    if bytes > BYTES_LIMIT {
        return full(
            "annotations",
            format!("labels and annotations would have {bytes} bytes together, at most {BYTES_LIMIT} are kept"),
        );
    }
    Ok(())
}
