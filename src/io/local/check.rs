//! The limits on what callers may say, all in characters, all from the 2023-11 contract where it has one.

use super::refusal::Refusal;
use crate::core::instance::{CUSTOM_VALUE_LIMIT, CustomData};

/// A reason in words; the limit is ours.
pub(super) const REASON: usize = 256;
/// A fubar's error.
pub(super) const ERROR: usize = 128;
/// A caller's key; the limit is ours.
pub(super) const KEY: usize = 128;
/// An event's code.
pub(super) const EVENT_CODE: usize = 256;
/// An event's description.
pub(super) const DESCRIPTION: usize = 4096;
/// A connection string; the limit is ours.
pub(super) const CONN_STR: usize = 1024;
/// A version; the limit is ours.
const VERSION: usize = 256;

/// A text of 1 to `limit` characters.
pub(super) fn filled(field: &'static str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::field(field, "is empty; say at least one character"));
    }
    short(field, text, limit)
}

/// A text of 0 to `limit` characters.
pub(super) fn short(field: &'static str, text: &str, limit: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if length > limit {
        return Err(Refusal::field(field, format!("has {length} characters, at most {limit} are allowed")));
    }
    Ok(())
}

/// A connection string; "" says that there is none.
pub(super) fn conn_str(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.chars().any(char::is_control) {
        return Err(Refusal::field(field, "contains a control character"));
    }
    short(field, text, CONN_STR)
}

/// String to string; the backend refuses empty values.
pub(super) fn custom_data(data: &CustomData) -> Result<(), Refusal> {
    for (key, value) in data {
        let length = value.chars().count();
        if !(1..=CUSTOM_VALUE_LIMIT).contains(&length) {
            return Err(Refusal::field(
                &format!("custom_data.{key}"),
                format!("has {length} characters, 1 to {CUSTOM_VALUE_LIMIT} are allowed"),
            ));
        }
    }
    Ok(())
}

/// A version as semver.org says: the backend compares it with the players' own.
pub(super) fn version(field: &'static str, text: &str) -> Result<(), Refusal> {
    short(field, text, VERSION)?;
    if is_semver(text) {
        Ok(())
    } else {
        Err(Refusal::field(field, "must be a semantic version like 1.2.3, 1.2.3-beta.1 or 1.2.0+45"))
    }
}

fn is_semver(text: &str) -> bool {
    let (text, build) = split(text, '+');
    let (core, pre) = split(text, '-');
    let mut parts = core.split('.');
    let core = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(major), Some(minor), Some(patch), None) = core else { return false };
    [major, minor, patch].iter().all(|part| is_number(part))
        && pre.is_none_or(|pre| pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_digits(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && is_digits(part) && (part == "0" || !part.starts_with('0'))
}

/// Cuts a text to `limit` characters; says whether something was cut.
pub(super) fn cut(mut text: String, limit: usize) -> (String, bool) {
    match text.char_indices().nth(limit) {
        Some((end, _)) => {
            text.truncate(end);
            (text, true)
        }
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_semver_org() {
        for good in
            ["0.0.0", "1.2.3", "21.3.15-beta+12345", "1.0.0-alpha.1", "1.0.0-0a", "1.0.0+001", "1.2.3--", "10.20.30"]
        {
            assert!(is_semver(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+",
            "1.2.3+a..b",
            "v1.2.3",
            "1.2.x",
            "1.2.3 ",
            "1.2.3-ü",
        ] {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_only() {
        assert_eq!(cut("ü".repeat(128), 128), ("ü".repeat(128), false));
        assert_eq!(cut("ü".repeat(129), 128), ("ü".repeat(128), true));
        assert_eq!(cut(String::new(), 128), (String::new(), false));
    }
}
