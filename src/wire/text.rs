//! Text of the backend, made fit for a log line: secrets taken out, cut, escaped.

/// The most characters of the backend's text in a failure.
pub const TEXT_LIMIT: usize = 200;
/// What stands where a secret was.
const REDACTED: &str = "[redacted]";
/// A secret shorter than this may be part of an ordinary error code by chance; codes are compared, so they are left alone.
const CODE_SECRET: usize = 8;

/// Text of others, fit for a log line: without these secrets, on one line, at most [`TEXT_LIMIT`] characters.
pub fn for_people(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.trim().to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if clean.contains(secret) {
            clean = clean.replace(secret, REDACTED);
        }
    }
    escaped(&clean, TEXT_LIMIT)
}

/// Text of others on one line: at most `limit` characters, control characters escaped, what was cut shows as `…`.
pub fn one_line(text: &str, limit: usize) -> String {
    escaped(text.trim(), limit)
}

/// An `error_code`: without secrets, on one line, at most 128 characters; `None` if nothing is left.
pub(super) fn code(text: &str, secrets: &[&str]) -> Option<Box<str>> {
    if secrets.iter().any(|secret| secret.len() >= CODE_SECRET && text.contains(secret)) {
        return Some(REDACTED.into());
    }
    let code = escaped(text.trim(), 128);
    (!code.is_empty()).then(|| code.into_boxed_str())
}

/// The id that a backend gave a request, for log lines; `None` if nothing is left of it.
pub fn id_of_the_backend(text: &str, secrets: &[&str]) -> Option<Box<str>> {
    code(text, secrets)
}

/// At most `limit` characters, the escapes counted; what was cut shows as `…`.
fn escaped(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for character in text.chars() {
        let piece: String =
            if misleads(character) { character.escape_default().collect() } else { character.to_string() };
        let size = piece.chars().count();
        if length + size > limit {
            // Room for the mark is made by giving up the last character.
            if length == limit {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push_str(&piece);
        length += size;
    }
    out
}

/// Control characters, and those that reorder or hide what stands around them in a terminal.
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_escaped() {
        assert_eq!(for_people("a\nb\u{1b}[31m\u{202e}", &[]), "a\\nb\\u{1b}[31m\\u{202e}");
        let long = for_people(&"ü".repeat(500), &[]);
        assert_eq!(long.chars().count(), TEXT_LIMIT);
        assert!(long.ends_with('…'));
        assert_eq!(for_people(&"x".repeat(TEXT_LIMIT), &[]), "x".repeat(TEXT_LIMIT));
        assert!(for_people(&"\u{7}".repeat(500), &[]).chars().count() <= TEXT_LIMIT);
    }

    #[test]
    fn secrets_are_taken_out_before_the_cut() {
        let text = format!("{}hunter2-hunter2", "x".repeat(TEXT_LIMIT - 4));
        assert!(!for_people(&text, &["hunter2-hunter2"]).contains("hunt"));
        assert_eq!(code("bad_hunter2-hunter2", &["hunter2-hunter2"]).as_deref(), Some("[redacted]"));
        assert_eq!(code("session_not_found", &["session"]).as_deref(), Some("session_not_found"));
    }

    #[test]
    fn the_id_of_a_request_is_kept_unless_nothing_is_left_of_it() {
        assert_eq!(id_of_the_backend(" 0af7\n", &[]).as_deref(), Some("0af7"));
        assert_eq!(id_of_the_backend("  ", &[]), None);
        assert_eq!(id_of_the_backend("hunter2-hunter2", &["hunter2-hunter2"]).as_deref(), Some("[redacted]"));
    }
}
