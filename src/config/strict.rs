//! The strict pass over one file: every mistake of syntax, every unknown key and every wrong type, each with its line.
//!
//! `config` alone would coerce silently (`7` for a text) and stop at the first mistake. The messages never quote the file:
//! a line with a mistake in it may be the line with the secret in it. So they give line and column instead.

use std::ops::Range;

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, dotted};
use super::layer::{Layer, unknown, wrong_type};
use super::shape::{Kind, Shape};

/// The most mistakes of syntax that are told of one file: those after the first few are mostly its echo.
const SYNTAX_LIMIT: usize = 10;

/// What a file gave.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Its good values.
    pub(super) layer: Layer,
    /// Its mistakes, from the top to the bottom.
    pub(super) mistakes: Vec<Mistake>,
    /// Keys that were meant but are not in `layer`, because of the mistakes.
    pub(super) lost: Vec<String>,
    /// Whether it was no TOML, so that nobody knows what it would have set.
    pub(super) broken: bool,
}

/// Reads the text of one file. `name` is its path, for messages.
pub(super) fn parse(shape: &Shape, name: &str, text: &str) -> Parsed {
    let lines = Lines::new(name, text);
    let (table, mut errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        // What the parser made of the rest is a guess; complaints about guesses help nobody.
        let mistakes = errors
            .iter()
            .take(SYNTAX_LIMIT)
            .map(|error| Mistake {
                key: String::new(),
                origin: Some(error.span().map_or_else(|| name.to_owned(), |span| lines.place(&span))),
                reason: format!("is not TOML: {}", error.message()),
            })
            .collect();
        return Parsed { mistakes, broken: true, ..Parsed::default() };
    }
    let mut walk = Walk { shape, place: &|span| lines.place(span), out: Parsed::default(), found: Vec::new() };
    walk.section(&mut Vec::new(), table.get_ref());
    walk.finish()
}

/// Reads one value in TOML's own syntax, from a text that has no lines of its own, checks it for its kind and adds it.
pub(super) fn parse_value(shape: &Shape, path: &[String], kind: Kind, text: &str, origin: &str, out: &mut Parsed) {
    let Ok(value) = DeValue::parse(text) else {
        out.mistakes.push(wrong_type(path, kind, "this (it is read as TOML)", origin));
        out.lost.push(dotted(path));
        return;
    };
    let mut walk = Walk { shape, place: &|_| origin.to_owned(), out: std::mem::take(out), found: Vec::new() };
    walk.value(&mut path.to_vec(), kind, &value);
    *out = walk.finish();
}

struct Walk<'a> {
    shape: &'a Shape,
    place: &'a dyn Fn(&Range<usize>) -> String,
    out: Parsed,
    found: Vec<(usize, Mistake)>,
}

impl Walk<'_> {
    fn section(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            match self.shape.find(path) {
                Some(kind) => self.value(path, kind, value),
                None => {
                    let (mistake, meant) = unknown(self.shape, path, &(self.place)(&name.span()));
                    self.found.push((name.span().start, mistake));
                    self.out.lost.extend(meant);
                }
            }
            path.pop();
        }
    }

    fn value(&mut self, path: &mut Vec<String>, kind: Kind, value: &Spanned<DeValue<'_>>) {
        match (kind, value.get_ref()) {
            (Kind::Section, DeValue::Table(table)) => self.section(path, table),
            (Kind::Free, DeValue::Table(table)) => {
                self.out.layer.host = true;
                for (name, value) in table {
                    path.push(name.get_ref().to_string());
                    // A name with nothing below it is an instance all the same.
                    let place = (self.place)(&name.span());
                    self.out.layer.put(path, ValueKind::Table(Map::new()), &place);
                    self.out.layer.named.insert(dotted(path), place);
                    self.value(path, Kind::Section, value);
                    path.pop();
                }
            }
            (Kind::Map, DeValue::Table(table)) => {
                for (name, value) in table {
                    path.push(name.get_ref().to_string());
                    self.value(path, Kind::Text, value);
                    path.pop();
                }
            }
            (Kind::Text, DeValue::String(_)) | (Kind::Flag, DeValue::Boolean(_)) => self.put(path, value),
            (Kind::Number, DeValue::Integer(number)) => {
                if i64::from_str_radix(number.as_str(), number.radix()).is_ok() {
                    self.put(path, value);
                } else {
                    self.wrong(path, kind, "one that large", value);
                }
            }
            (Kind::Texts, DeValue::Array(list)) => {
                match list.iter().enumerate().find(|(_, item)| !item.get_ref().is_str()) {
                    None => self.put(path, value),
                    Some((index, item)) => {
                        self.wrong(path, kind, &format!("{} at place {}", named(item.get_ref()), index + 1), item);
                    }
                }
            }
            (Kind::Tables, DeValue::Array(list)) => {
                match list.iter().enumerate().find(|(_, item)| !item.get_ref().is_table()) {
                    None => self.put(path, value),
                    Some((index, item)) => {
                        self.wrong(path, kind, &format!("{} at place {}", named(item.get_ref()), index + 1), item);
                    }
                }
            }
            (
                Kind::Section
                | Kind::Map
                | Kind::Text
                | Kind::Flag
                | Kind::Number
                | Kind::Texts
                | Kind::Tables
                | Kind::Free,
                found,
            ) => self.wrong(path, kind, named(found), value),
        }
    }

    fn put(&mut self, path: &[String], value: &Spanned<DeValue<'_>>) {
        let origin = (self.place)(&value.span());
        let kind = converted(value.get_ref(), self.place);
        self.out.layer.put(path, kind, &origin);
    }

    fn wrong(&mut self, path: &[String], kind: Kind, found: &str, value: &Spanned<DeValue<'_>>) {
        let origin = (self.place)(&value.span());
        self.found.push((value.span().start, wrong_type(path, kind, found, &origin)));
        self.out.lost.push(dotted(path));
    }

    fn finish(mut self) -> Parsed {
        // The parser sorts keys by name; people read from the top.
        self.found.sort_by_key(|(offset, _)| *offset);
        self.out.mistakes.extend(self.found.into_iter().map(|(_, mistake)| mistake));
        self.out
    }
}

fn named(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn converted(value: &DeValue<'_>, place: &dyn Fn(&Range<usize>) -> String) -> ValueKind {
    let nested =
        |inner: &Spanned<DeValue<'_>>| Value::new(Some(&place(&inner.span())), converted(inner.get_ref(), place));
    match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::I64),
        DeValue::Float(number) => ValueKind::String(number.to_string()),
        DeValue::Datetime(date) => ValueKind::String(date.to_string()),
        DeValue::Array(list) => ValueKind::Array(list.iter().map(nested).collect()),
        DeValue::Table(table) => ValueKind::Table(
            table.iter().map(|(name, inner)| (name.get_ref().to_string(), nested(inner))).collect::<Map<_, _>>(),
        ),
    }
}

/// Lines and columns of a text.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, starts }
    }

    /// `NAME:LINE:COLUMN`, both counted from 1, columns in characters.
    fn place(&self, span: &Range<usize>) -> String {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..span.start).map_or(0, |before| before.chars().count());
        format!("{}:{line}:{}", self.name, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_come_from_the_top_to_the_bottom_with_line_and_column() {
        let shape = Shape::new().unwrap();
        let places = |text: &str| -> Vec<String> {
            parse(&shape, "f", text).mistakes.into_iter().filter_map(|mistake| mistake.origin).collect()
        };
        assert_eq!(
            places("[log]\nlevel = 7\n[auth]\n  grant = 1\n# ü\n[admin]\nx = 'ü' \n"),
            ["f:2:9", "f:4:11", "f:7:1"]
        );
        // The parser itself tells the fifth line before the fourth.
        assert_eq!(places("[environment\nurl = 'x'\n[log]\nlevel = \nfoo\n"), ["f:1:13", "f:4:9", "f:5:4"]);
    }
}
