//! One log line: what it holds, and how each format writes it.
//!
//! Whatever comes from outside (a game's words, a backend's answer) may stand in a line. Line breaks, control characters and
//! the invisible ones that reorder text are escaped, so that nobody can forge a line or write to an operator's terminal.

use std::error::Error;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::config::settings::LogFormat;

/// The longest value, in bytes before escaping; the rest is cut. A line stays well below the 48 KiB at which the journal
/// splits it (journald.conf(5), LineMax=).
const VALUE_LIMIT: usize = 4096;

/// What stands where a value was cut.
const CUT: char = '…';

/// Names that a JSON line uses itself; a field of that name gets an underscore.
const RESERVED: [&str; 4] = ["time", "level", "target", "message"];

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// Written as it is: a number or a boolean.
    Bare(String),
    /// Quoted and escaped as the format needs.
    Text(String),
}

/// The fields of an event or a span, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    message: String,
    pairs: Vec<(&'static str, Value)>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        match self.pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.pairs.push((name, value)),
        }
    }

    /// Adds the fields of an outer span. What is nearer to the event stays.
    pub(super) fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.pairs {
            if self.pairs.iter().all(|(known, _)| known != name) {
                self.pairs.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = bounded(format_args!("{value:?}"));
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, Value::Text(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", Chain(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        // JSON has no infinity.
        self.set(field, if value.is_finite() { Value::Bare(text) } else { Value::Text(text) });
    }
}

/// An error and its causes, outermost first.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Writes one line, with its line break.
pub(super) fn render(format: LogFormat, time: Timestamp, level: Level, target: &str, fields: &Fields) -> String {
    let mut line = String::with_capacity(160);
    match format {
        LogFormat::Text => {
            put(&mut line, format_args!("{time:.3} {:<5} ", level.as_str()));
            put_text(&mut line, fields);
        }
        LogFormat::Journald => {
            put(&mut line, format_args!("<{}>", syslog(level)));
            put_text(&mut line, fields);
        }
        LogFormat::Json => {
            put(&mut line, format_args!("{{\"time\":\"{time:.3}\",\"level\":"));
            put_json(&mut line, &level.as_str().to_ascii_lowercase());
            line.push_str(",\"target\":");
            put_json(&mut line, target);
            line.push_str(",\"message\":");
            put_json(&mut line, &fields.message);
            for (name, value) in &fields.pairs {
                line.push(',');
                let reserved = if RESERVED.contains(name) { "_" } else { "" };
                put_json(&mut line, &format!("{name}{reserved}"));
                line.push(':');
                match value {
                    Value::Bare(text) => line.push_str(text),
                    Value::Text(text) => put_json(&mut line, text),
                }
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

/// The line that says that lines are missing.
pub(super) fn lost(format: LogFormat, time: Timestamp, lost: u64) -> String {
    let fields = Fields {
        message: "log lines were lost: nobody read them in time".to_owned(),
        pairs: vec![("lost", Value::Bare(lost.to_string()))],
    };
    render(format, time, Level::WARN, module_path!(), &fields)
}

/// The level in the words of sd-daemon(3).
fn syslog(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn put_text(line: &mut String, fields: &Fields) {
    put_escaped(line, &fields.message, "");
    for (name, value) in &fields.pairs {
        line.push(' ');
        put_escaped(line, name, "");
        line.push('=');
        match value {
            Value::Bare(text) => line.push_str(text),
            Value::Text(text) => {
                let plain = !text.is_empty()
                    && text.chars().all(|c| !c.is_whitespace() && !is_hidden(c) && !matches!(c, '"' | '\\' | '='));
                if plain {
                    line.push_str(text);
                } else {
                    line.push('"');
                    put_escaped(line, text, "\"\\");
                    line.push('"');
                }
            }
        }
    }
}

/// Text without anything that breaks a line or hides in it; the characters in `also` get a backslash.
fn put_escaped(line: &mut String, text: &str, also: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_hidden(c) => put(line, format_args!("\\u{{{:x}}}", u32::from(c))),
            c => {
                if also.contains(c) {
                    line.push('\\');
                }
                line.push(c);
            }
        }
    }
}

/// A JSON string (RFC 8259), in which the same characters are escaped as in text.
fn put_json(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // All of them are in the basic plane: four digits are enough.
            c if is_hidden(c) => put(line, format_args!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Control characters (C0, DEL, C1), the line and paragraph separators, and the marks that reorder text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Formats into a string; that cannot fail.
fn put(line: &mut String, text: fmt::Arguments<'_>) {
    let _infallible = line.write_fmt(text);
}

/// The text of a value, cut at [`VALUE_LIMIT`].
fn bounded(text: fmt::Arguments<'_>) -> String {
    let mut buffer = Bounded { text: String::new() };
    if buffer.write_fmt(text).is_err() {
        buffer.text.push(CUT);
    }
    buffer.text
}

/// Takes text up to [`VALUE_LIMIT`], at a character's boundary, then refuses more.
struct Bounded {
    text: String,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = VALUE_LIMIT.saturating_sub(self.text.len());
        let fits = (0..=room.min(more.len())).rev().find(|end| more.is_char_boundary(*end)).unwrap_or_default();
        self.text.push_str(more.get(..fits).unwrap_or_default());
        if fits < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
