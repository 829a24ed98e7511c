//! Reading JSON that may be anything: checked as a whole first, then read into types that bend where the contract allows.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{reader, text};
use crate::core::ids::IdError;

/// Why a successful answer cannot be used. It never quotes the answer: a login's would carry a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// No body where one is promised.
    #[error("the answer has no body")]
    Empty,
    /// A syntax error, a number or a text that cannot be, or more than 128 levels.
    #[error("the answer is not JSON that can be read (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// JSON, but not an object.
    #[error("the answer is JSON, but not an object")]
    NotObject,
    /// An object of the wrong shape.
    #[error("the answer is not what the contract promises: {path} is missing something or has the wrong type")]
    Shape { path: String },
    /// A required field is missing or null.
    #[error("the answer has no {0}")]
    Missing(&'static str),
    /// An id that cannot be one.
    #[error("the answer's {field} is no identifier")]
    Id { field: &'static str, source: IdError },
    /// A token that no header can carry.
    #[error("the login gave a token that cannot be sent in a header")]
    Token,
}

/// Checks that a body is JSON from end to end, at most 128 levels deep (serde_json's limit).
pub(super) fn checked(body: &[u8]) -> Result<Kind, Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    serde_json::from_slice(body)
        .map_err(|error: serde_json::Error| Unreadable::NotJson { line: error.line(), column: error.column() })
}

/// Reads a body that has to be an object.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    match checked(body)? {
        Kind::Object => {}
        Kind::Other => return Err(Unreadable::NotObject),
    }
    reader::read(body).map_err(|misfit| Unreadable::Shape { path: text::for_people(&misfit.path, &[]) })
}

/// What a document is at its outermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Other,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        // Through `Kind` again and not `IgnoredAny`, which would not count levels.
        while list.next_element::<Kind>()?.is_some() {}
        Ok(Kind::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        while map.next_entry::<Kind, Kind>()?.is_some() {}
        Ok(Kind::Object)
    }
}

/// A value that is read as what it is: reading it never fails on its type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Loose {
    /// Absent, or null.
    #[default]
    Null,
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// Anything else.
    Other,
}

impl Loose {
    /// The text, if it is one and not empty.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Text(_) | Self::Null | Self::Number(_) | Self::Other => None,
        }
    }

    /// The number, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds; nobody counts on the last of 2^53 of them")]
    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f64))
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds; nobody counts on the last of 2^53 of them")]
    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Loose::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

/// A struct that is read from an object only: serde's derive would take an array of its fields in order, too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

struct ObjectVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}
