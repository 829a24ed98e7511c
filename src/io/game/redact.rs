//! What looks like a secret is taken out of text that leaves this host: pure, and rather too much than too little.
//!
//! Found by their form are tokens in an `Authorization` header or after `Bearer`, JSON Web Tokens, values of keys whose name
//! says that they are secret (`password=…`, `"api_key": "…"`, `--token …`), passwords in URLs and private keys in PEM form.

use std::borrow::Cow;

use regex_lite::Regex;

/// Stands where a secret was.
const GONE: &str = "[redacted]";

/// Takes secrets out of lines.
#[derive(Debug)]
pub(super) struct Redactor {
    /// What is found, and what takes its place.
    patterns: Vec<(Regex, String)>,
    /// Within a private key that goes on over several lines.
    in_key: bool,
}

/// Parts of a name that say that the value is a secret.
const NAMES: &str = "password|passwd|passphrase|passcode|pwd|secret|token|api[_.-]?key|access[_.-]?key|private[_.-]?key|\
                     signing[_.-]?key|credential|authorization|cookie";

impl Redactor {
    /// One for the lines of one text, in their order.
    pub(super) fn new() -> Self {
        // A key, perhaps in quotes, which may be escaped: JSON within JSON.
        let key = format!(r#"[A-Za-z0-9_.-]*(?:{NAMES})[A-Za-z0-9_.-]*"#);
        // In quotes to the next one, or to the end of a line that was cut; else to where a list or a query goes on.
        let value = r#"(?:\\?"[^"]*"?|'[^']*'?|[^\s,;&"')\]}]+)"#;
        let sources = [
            // First those that know where the secret ends: what the others leave is not matched again.
            (
                format!(r#"(?i)({key}(?:\\?["'])?\s*[=:]\s*)(?:(?:basic|digest|bearer|token)\s+)?{value}"#),
                format!("${{1}}{GONE}"),
            ),
            (format!(r"(?i)(--?{key}\s+){value}"), format!("${{1}}{GONE}")),
            (r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@".to_owned(), format!("$1:{GONE}@")),
            (r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{4,}".to_owned(), format!("$1 {GONE}")),
            (r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}".to_owned(), GONE.to_owned()),
        ];
        // None of them is wrong, as the tests show; one that were would be left out instead of ending the agent.
        let patterns =
            sources.into_iter().filter_map(|(source, with)| Some((Regex::new(&source).ok()?, with))).collect();
        Self { patterns, in_key: false }
    }

    /// The next line, without what looks like a secret.
    pub(super) fn line(&mut self, line: &str) -> String {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        let ends = line.contains("-----END ");
        if begins || self.in_key {
            self.in_key = !ends;
            return GONE.to_owned();
        }
        let mut line = Cow::Borrowed(line);
        for (pattern, with) in &self.patterns {
            if let Cow::Owned(changed) = pattern.replace_all(&line, with.as_str()) {
                line = Cow::Owned(changed);
            }
        }
        line.into_owned()
    }
}

/// A line as people read it: without colours and other control characters, as UTF-8, and without the spaces at its end.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // A control sequence ends with the first character from @ to ~ (ECMA-48, 5.4).
            let _last = characters.by_ref().find(|character| ('\u{40}'..='\u{7e}').contains(character));
        } else if character == '\t' || !character.is_control() {
            out.push(character);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_good() {
        assert_eq!(Redactor::new().patterns.len(), 5);
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (line, expected) in [
            ("password=S3CRET next", "password=[redacted] next"),
            ("Password : S3CRET", "Password : [redacted]"),
            ("db_passwd='S3 CRET' ok", "db_passwd=[redacted] ok"),
            (r#"{"token": "S3CRET", "map": "harbour"}"#, r#"{"token": [redacted], "map": "harbour"}"#),
            (r#"body "{\"api_key\":\"S3CRET\",\"n\":1}""#, r#"body "{\"api_key\":[redacted],\"n\":1}""#),
            (r#"{"refresh_token":"S3CR"#, r#"{"refresh_token":[redacted]"#),
            ("GET /x?access_token=S3CRET&map=a", "GET /x?access_token=[redacted]&map=a"),
            ("Authorization: Bearer S3CRET.x", "Authorization: [redacted]"),
            ("authorization: Basic UzNDUkVU", "authorization: [redacted]"),
            ("sent bearer S3CRET== to", "sent bearer [redacted] to"),
            ("./server --auth-token S3CRET -port 7777", "./server --auth-token [redacted] -port 7777"),
            ("./server -password=S3CRET -port 7777", "./server -password=[redacted] -port 7777"),
            ("RCON_PASSWORD=S3CRET", "RCON_PASSWORD=[redacted]"),
            ("steam.client-secret: S3CRET", "steam.client-secret: [redacted]"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTM0NSRVQifQ.S3CRET_-x end", "jwt [redacted] end"),
            ("cut eyJhbGciOiJIUzI1NiJ9", "cut [redacted]"),
            ("postgres://user:S3CRET@db:5432/x", "postgres://user:[redacted]@db:5432/x"),
            ("Set-Cookie: S3CRET", "Set-Cookie: [redacted]"),
            ("password=", "password="),
            ("listening on 0.0.0.0:7777", "listening on 0.0.0.0:7777"),
            ("LogNet: Join succeeded: player: 4", "LogNet: Join succeeded: player: 4"),
            ("the password was wrong", "the password was wrong"),
            ("http://127.0.0.1:9358/v1 mail a@b", "http://127.0.0.1:9358/v1 mail a@b"),
            ("Grüße, ключ: 1", "Grüße, ключ: 1"),
            ("", ""),
        ] {
            assert_eq!(Redactor::new().line(line), expected);
        }
    }

    #[test]
    fn a_private_key_goes_from_its_first_line_to_its_last() {
        let mut redactor = Redactor::new();
        let lines = ["a", "x -----BEGIN EC PRIVATE KEY-----", "S3CRET", "-----END EC PRIVATE KEY-----", "b"];
        let shown: Vec<String> = lines.iter().map(|line| redactor.line(line)).collect();
        assert_eq!(shown, ["a", GONE, GONE, GONE, "b"]);
        assert_eq!(redactor.line("-----BEGIN CERTIFICATE-----"), "-----BEGIN CERTIFICATE-----");
    }

    #[test]
    fn lines_become_readable() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            (b"\x1b[1;31mred\x1b[0m alert\r", "red alert"),
            (b"pass\x1b[0mword=1", "password=1"),
            (b"a\tb\x07\x00c  ", "a\tbc"),
            (b"\xff\xfeok", "\u{fffd}\u{fffd}ok"),
            (b"\x1b", ""),
            (b"\x1b[", ""),
            (b"\x1b[12", ""),
        ] {
            assert_eq!(readable(bytes), text, "{bytes:?}");
        }
    }
}
