//! The two string formats of the contract that need more than a length.

use jiff::Timestamp;

/// RFC 3339 with a zone. The contract asks for the zone; a bare local time is refused.
pub(super) fn is_zoned_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let at = |index: usize, allowed: &[u8]| bytes.get(index).is_some_and(|byte| allowed.contains(byte));
    let shaped = digits(0..4)
        && at(4, b"-")
        && digits(5..7)
        && at(7, b"-")
        && digits(8..10)
        && at(10, b"Tt ")
        && digits(11..13)
        && at(13, b":")
        && digits(14..16)
        && at(16, b":")
        && digits(17..19);
    let rest = text.get(19..).unwrap_or_default();
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    shaped && is_zone(zone) && !rest.starts_with(".Z") && text.parse::<Timestamp>().is_ok()
}

fn is_zone(zone: &str) -> bool {
    let bytes = zone.as_bytes();
    matches!(bytes, b"Z" | b"z")
        || matches!(bytes, [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()))
}

/// semver.org 2.0.0: MAJOR.MINOR.PATCH, then `-pre.release`, then `+build`.
pub(super) fn is_semver(text: &str) -> bool {
    let (rest, build) = split(text, '+');
    let (core, pre) = split(rest, '-');
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|number| is_number(number))
        && pre.is_none_or(|pre| {
            pre.split('.').all(|part| is_label(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_label))
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'))
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_zone_and_the_shape_of_rfc_3339() {
        for good in ["2023-11-01T10:20:30Z", "2023-11-01T10:20:30.123456+02:00", "2023-11-01 10:20:30-05:30"] {
            assert!(is_zoned_time(good), "{good}");
        }
        for bad in [
            "",
            "2023-11-01",
            "2023-11-01T10:20:30",
            "2023-11-01T10:20Z",
            "2023-13-01T10:20:30Z",
            "2023-11-01T10:20:30.Z",
            "1700000000",
            "2023-11-01T10:20:30+0200",
            "2023-11-01T10:20:30Z[UTC]",
            "aüüü",
        ] {
            assert!(!is_zoned_time(bad), "{bad}");
        }
    }

    #[test]
    fn a_version_is_semver() {
        for good in ["0.0.0", "21.3.15-beta+12345", "1.2.0+7", "1.0.0-0a.1", "1.0.0+001"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3+", "1.2.3-01", "v1.2.3", "1.2.3 ", "1.2.3.4"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
