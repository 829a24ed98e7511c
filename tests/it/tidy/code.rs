//! Rust text, read just well enough for the rules: without comments, strings and inline tests, and as a list of paths.

/// The text with comments and the insides of strings and characters blanked. Lines keep their numbers.
pub(super) fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest, out.chars().next_back());
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// How many bytes of a comment, a string or a character begin here; 0 if none does.
fn skipped(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    let in_a_word = before.is_some_and(is_word);
    if !in_a_word && rest.starts_with(['r', 'b', 'c']) {
        let marks = rest.trim_start_matches(['r', 'b', 'c']);
        let prefix = rest.len() - marks.len();
        let hashes = marks.len() - marks.trim_start_matches('#').len();
        if rest[..prefix].contains('r') && prefix <= 2 && marks[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = prefix + hashes + 1;
            return rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len());
        }
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        // A character ends with a quote; a lifetime does not.
        let mut chars = inside.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return quoted(rest, '\'');
        }
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// Blanked text with its inline test modules blanked too.
pub(super) fn without_tests(blanked: &str) -> String {
    let mut out = blanked.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        let after = &out[start..];
        let item = after["#[cfg(test)]".len()..].trim_start();
        let end = match (after.find('{'), after.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|semicolon| open < semicolon) => block_end(after, open),
            (_, Some(semicolon)) => semicolon + 1,
            (_, None) => after.len(),
        };
        if item.starts_with("mod ") || item.starts_with("pub") || item.starts_with("fn ") || item.starts_with("use ") {
            let hidden: String = after[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            out.replace_range(start..start + end, &hidden);
        }
        from = start + "#[cfg(test)]".len().min(out.len() - start);
    }
    out
}

fn block_end(text: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return open + at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// A path as it is written: its line, counted from 1, and its parts. `use a::{b, c::d};` gives `a::b` and `a::c::d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) line: usize,
    pub(super) parts: Vec<String>,
}

/// Every path of a blanked text, single words included.
pub(super) fn paths(blanked: &str) -> Vec<Written> {
    let tokens = tokens(blanked);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = path(&tokens, at, &[], &mut found).max(at + 1);
    }
    found
}

/// Reads the path that begins at a token, after `before`; gives the token after it.
fn path(tokens: &[(usize, &str)], mut at: usize, before: &[String], found: &mut Vec<Written>) -> usize {
    let mut parts = before.to_vec();
    let line = tokens[at].0;
    while let Some((_, token)) = tokens.get(at) {
        if *token == "{" && !parts.is_empty() {
            at += 1;
            while tokens.get(at).is_some_and(|(_, token)| *token != "}") {
                at = path(tokens, at, &parts, found).max(at + 1);
            }
            return at + 1;
        }
        if !token.starts_with(is_word) {
            // `a::b::<T>`, `a::*`
            break;
        }
        parts.push((*token).to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|(_, token)| *token != "::") {
            break;
        }
        at += 1;
    }
    if parts.len() > before.len() {
        found.push(Written { line, parts });
    }
    at
}

fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let (mut line, mut rest) = (1, text);
    while let Some(c) = rest.chars().next() {
        let length = if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        if c == '\n' {
            line += 1;
        }
        if !c.is_whitespace() {
            tokens.push((line, &rest[..length]));
        }
        rest = &rest[length..];
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn comments_and_strings_are_blanked_and_lines_stay() {
    let text = "a /* b /* c */ d */ e // f\n\"g\\\"h//\" 'i' '\\'' 'life r#\"j\"k\"# br\"l\" bar\"m\"\nn";
    let blank = blanked(text);
    let words: Vec<_> = blank.split_whitespace().collect();
    assert_eq!(words, ["a", "e", "'life", "bar", "n"]);
    assert_eq!(blank.lines().count(), text.lines().count());
}

#[test]
fn inline_tests_are_blanked() {
    let text =
        "use a;\n#[cfg(test)]\nmod tests {\n use b; fn f() { if c {} }\n}\nuse d;\n#[cfg(test)]\nmod tests;\nuse e;";
    let code = without_tests(&blanked(text));
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["use", "a;", "use", "d;", "use", "e;"]);
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn groups_are_spread() {
    let written = paths("use std::{fs::{self, File}, net};\nx(std::env::var::<u8>(y)) { z } use a::*;");
    let shown: Vec<_> =
        written.iter().map(|written| format!("{} {}", written.line, written.parts.join("::"))).collect();
    assert_eq!(
        shown,
        [
            "1 use",
            "1 std::fs::self",
            "1 std::fs::File",
            "1 std::net",
            "2 x",
            "2 std::env::var",
            "2 u8",
            "2 y",
            "2 z",
            "2 use",
            "2 a"
        ]
    );
}
