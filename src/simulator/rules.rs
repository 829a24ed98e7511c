//! The simulator's own reading of what a request may contain: rules over plain JSON.
//!
//! Written from the contract and not from our client's types, so that a mistake there is not repeated here. The answers
//! are those of the real service: FastAPI's, with pydantic's words. Stricter in one way: an unknown field is refused.

use serde_json::{Value, json};
use uuid::Uuid;

mod format;

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// A string of so many characters.
    Text { min: usize, max: usize },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number within these limits.
    Integer { min: i64, max: i64 },
    /// true or false.
    Boolean,
    /// A string that is a UUID.
    Uuid,
    /// A string that is a semantic version.
    Semver,
    /// A string that is an RFC 3339 time with a zone.
    DateTime,
    /// One of these numbers.
    Codes(&'static [i64]),
    /// Names of the caller's own, each with a number.
    Numbers,
    /// custom_data: string to string, values of 1..4096 characters.
    Data,
    /// A list of so many items.
    List { min: usize, max: usize, item: &'static Self },
    /// An object with these fields and no others.
    Object(&'static [Field]),
}

/// A field of an object, or a parameter of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What it may be.
    pub(super) rule: Rule,
}

/// A field that must be there.
pub(super) const fn required(name: &'static str, rule: Rule) -> Field {
    Field { name, required: true, rule }
}

/// A field that may be left out (`null` is not the same).
pub(super) const fn optional(name: &'static str, rule: Rule) -> Field {
    Field { name, required: false, rule }
}

/// One thing that is wrong, in the contract's ValidationError.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    loc: Vec<Value>,
    message: String,
    kind: &'static str,
}

impl Complaint {
    /// A complaint about one place.
    pub(super) fn new(loc: Vec<Value>, message: impl Into<String>, kind: &'static str) -> Self {
        Self { loc, message: message.into(), kind }
    }

    /// The ValidationError.
    pub(super) fn document(&self) -> Value {
        json!({"loc": self.loc, "msg": self.message, "type": self.kind})
    }

    /// One line for the ledger.
    pub(super) fn words(&self) -> String {
        let place: Vec<String> =
            self.loc.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
        format!("{}: {} ({})", place.join("."), self.message, self.kind)
    }
}

/// Checks JSON against rules and gathers everything that is wrong.
#[derive(Debug, Default)]
pub(super) struct Checker {
    complaints: Vec<Complaint>,
}

impl Checker {
    /// Everything that was wrong.
    pub(super) fn finish(self) -> Vec<Complaint> {
        self.complaints
    }

    /// Something that no rule can see.
    pub(super) fn complain(&mut self, loc: &[Value], message: impl Into<String>, kind: &'static str) {
        self.complaints.push(Complaint::new(loc.to_vec(), message, kind));
    }

    /// A parameter of the path or the query: text that becomes the value its rule names.
    pub(super) fn parameter(&mut self, place: &'static str, field: &Field, text: &str) -> Option<Value> {
        let loc = [json!(place), json!(field.name)];
        let value = match field.rule {
            Rule::Integer { .. } => text.parse::<i64>().map_or_else(|_not| json!(text), |number| json!(number)),
            Rule::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" | "t" | "y" => json!(true),
                "false" | "0" | "off" | "no" | "f" | "n" => json!(false),
                _ => json!(text),
            },
            Rule::Text { .. }
            | Rule::OneOf(_)
            | Rule::Uuid
            | Rule::Semver
            | Rule::DateTime
            | Rule::Codes(_)
            | Rule::Numbers
            | Rule::Data
            | Rule::List { .. }
            | Rule::Object(_) => json!(text),
        };
        let before = self.complaints.len();
        self.value(&field.rule, &value, &loc);
        (self.complaints.len() == before).then_some(value)
    }

    /// A value at a place.
    pub(super) fn value(&mut self, rule: &Rule, value: &Value, loc: &[Value]) {
        if value.is_null() {
            return self.complain(loc, "none is not an allowed value", "type_error.none.not_allowed");
        }
        match *rule {
            Rule::Text { min, max } => self.text(value, min, max, loc),
            Rule::OneOf(words) => self.word(value, words, loc),
            Rule::Integer { min, max } => self.integer(value, min, max, loc),
            Rule::Boolean if !value.is_boolean() => {
                self.complain(loc, "value could not be parsed to a boolean", "type_error.bool");
            }
            Rule::Boolean => {}
            Rule::Uuid => self.shaped(
                value,
                |text| Uuid::try_parse(text).is_ok(),
                "value is not a valid uuid",
                "type_error.uuid",
                loc,
            ),
            Rule::Semver => self.shaped(
                value,
                format::is_semver,
                "value is not a valid semantic version",
                "value_error.semver",
                loc,
            ),
            Rule::DateTime => self.shaped(
                value,
                format::is_zoned_time,
                "invalid datetime format, or no time zone",
                "value_error.datetime",
                loc,
            ),
            Rule::Codes(codes) => self.code(value, codes, loc),
            Rule::Numbers => self.numbers(value, loc),
            Rule::Data => self.data(value, loc),
            Rule::List { min, max, item } => self.list(value, min, max, item, loc),
            Rule::Object(fields) => self.object(value, fields, loc),
        }
    }

    fn text(&mut self, value: &Value, min: usize, max: usize, loc: &[Value]) {
        let Some(text) = value.as_str() else {
            return self.complain(loc, "str type expected", "type_error.str");
        };
        let length = text.chars().count();
        if length < min {
            self.complain(
                loc,
                format!("ensure this value has at least {min} characters"),
                "value_error.any_str.min_length",
            );
        }
        if length > max {
            self.complain(
                loc,
                format!("ensure this value has at most {max} characters"),
                "value_error.any_str.max_length",
            );
        }
    }

    fn word(&mut self, value: &Value, words: &[&str], loc: &[Value]) {
        if !value.as_str().is_some_and(|word| words.contains(&word)) {
            let permitted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let message = format!("value is not a valid enumeration member; permitted: {}", permitted.join(", "));
            self.complain(loc, message, "type_error.enum");
        }
    }

    fn code(&mut self, value: &Value, codes: &[i64], loc: &[Value]) {
        if !value.as_i64().is_some_and(|code| codes.contains(&code)) {
            self.complain(loc, "value is not a valid enumeration member", "type_error.enum");
        }
    }

    fn numbers(&mut self, value: &Value, loc: &[Value]) {
        let Some(entries) = value.as_object() else {
            return self.complain(loc, "value is not a valid dict", "type_error.dict");
        };
        for (name, _) in entries.iter().filter(|(_, entry)| !entry.is_number()) {
            self.complain(&below(loc, json!(name)), "value is not a valid float", "type_error.float");
        }
    }

    fn integer(&mut self, value: &Value, min: i64, max: i64, loc: &[Value]) {
        match value.as_i64() {
            None => self.complain(loc, "value is not a valid integer", "type_error.integer"),
            Some(number) if number < min => {
                let message = format!("ensure this value is greater than or equal to {min}");
                self.complain(loc, message, "value_error.number.not_ge");
            }
            Some(number) if number > max => {
                let message = format!("ensure this value is less than or equal to {max}");
                self.complain(loc, message, "value_error.number.not_le");
            }
            Some(_) => {}
        }
    }

    fn shaped(&mut self, value: &Value, fits: fn(&str) -> bool, message: &str, kind: &'static str, loc: &[Value]) {
        match value.as_str() {
            None => self.complain(loc, "str type expected", "type_error.str"),
            Some(text) if !fits(text) => self.complain(loc, message, kind),
            Some(_) => {}
        }
    }

    fn data(&mut self, value: &Value, loc: &[Value]) {
        let Some(entries) = value.as_object() else {
            return self.complain(loc, "value is not a valid dict", "type_error.dict");
        };
        for (name, entry) in entries {
            self.value(&Rule::Text { min: 1, max: 4096 }, entry, &below(loc, json!(name)));
        }
    }

    fn list(&mut self, value: &Value, min: usize, max: usize, item: &Rule, loc: &[Value]) {
        let Some(items) = value.as_array() else {
            return self.complain(loc, "value is not a valid list", "type_error.list");
        };
        if items.len() < min {
            let message = format!("ensure this value has at least {min} items");
            self.complain(loc, message, "value_error.list.min_items");
        }
        if items.len() > max {
            let message = format!("ensure this value has at most {max} items");
            return self.complain(loc, message, "value_error.list.max_items");
        }
        for (index, entry) in items.iter().enumerate() {
            self.value(item, entry, &below(loc, json!(index)));
        }
    }

    fn object(&mut self, value: &Value, fields: &[Field], loc: &[Value]) {
        let Some(entries) = value.as_object() else {
            return self.complain(loc, "value is not a valid dict", "type_error.dict");
        };
        for field in fields {
            let place = below(loc, json!(field.name));
            match entries.get(field.name) {
                Some(entry) => self.value(&field.rule, entry, &place),
                None if field.required => self.complain(&place, "field required", "value_error.missing"),
                None => {}
            }
        }
        for name in entries.keys().filter(|name| !fields.iter().any(|field| field.name == name.as_str())) {
            self.complain(&below(loc, json!(name)), "extra fields not permitted", "value_error.extra");
        }
    }
}

fn below(loc: &[Value], part: Value) -> Vec<Value> {
    let mut place = loc.to_vec();
    place.push(part);
    place
}

#[cfg(test)]
mod tests;
