//! `Retry-After`, both forms (RFC 9110, 10.2.3).

use std::time::Duration;

use jiff::Timestamp;

/// The longest wait that the backend can ask for (backend.md, trap 13).
pub const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long to wait; `None` if the header is absent, says nothing usable, or names a time that is over.
///
/// A date is measured against the reply's own `Date`, so that a wrong clock on either side does no harm; against `wall` where
/// there is none.
pub(super) fn parse(value: Option<&str>, date: Option<&str>, wall: Timestamp) -> Option<Duration> {
    let value = value?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are still a wait.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT));
    }
    let until = moment(value)?;
    let from = date.and_then(moment).unwrap_or(wall);
    let wait = Duration::try_from(until.duration_since(from)).ok()?;
    (!wait.is_zero()).then(|| wait.min(RETRY_AFTER_LIMIT))
}

fn moment(value: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    // Only the last day of the year 9999 is beyond what jiff can hold.
    Some(Timestamp::try_from(date).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_garbage_is_not() {
        let wall: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let secs = |seconds| Some(Duration::from_secs(seconds));
        for (value, date, wait) in [
            ("7", None, secs(7)),
            (" 7 ", None, secs(7)),
            ("0", None, secs(0)),
            ("901", None, secs(900)),
            ("99999999999999999999999", None, secs(900)),
            ("-1", None, None),
            ("1.5", None, None),
            ("", None, None),
            ("soon", None, None),
            ("Sun, 22 Nov 2026 10:00:30 GMT", None, secs(30)),
            ("Sun, 22 Nov 2026 10:00:30 GMT", Some("Sun, 22 Nov 2026 10:00:20 GMT"), secs(10)),
            ("Sun, 22 Nov 2026 10:00:30 GMT", Some("nonsense"), secs(30)),
            ("Sunday, 22-Nov-26 10:00:30 GMT", None, secs(30)),
            ("Sun, 22 Nov 2026 09:59:30 GMT", None, None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None, secs(900)),
        ] {
            assert_eq!(parse(Some(value), date, wall), wait, "{value:?} {date:?}");
        }
        assert_eq!(parse(None, None, wall), None);
    }
}
