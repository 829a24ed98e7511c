//! Reading JSON into a type, and saying where it does not fit: `teams[0].players`.
//!
//! For text whose grammar was checked. It reads out of the bytes, value by value ([`super::spans`]), so that junk costs no
//! memory. It is one plain type and not a wrapper around `serde_json`'s reader: that would be built again for every type that
//! is read, and for every type in it, which was a twentieth of the program. And a struct is an object: `serde_json` would take a
//! list for one too, which nobody writes, and which is as much code again.

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Number};

use super::spans;

/// Levels of objects and lists in each other; `serde_json` has the same limit.
const LEVEL_LIMIT: u8 = 128;

/// JSON that is not what it should be.
#[derive(Debug)]
pub struct Misfit {
    /// The place: `name.list[3].name`, or `.` for the whole.
    pub path: String,
    /// What is wrong there. Line and column, if it has some, count from that place.
    pub error: Error,
}

/// Reads a whole document, which must be JSON.
///
/// # Errors
/// If it does not fit the type, or has a text or a number that cannot be.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Misfit> {
    let mut steps = Vec::new();
    T::deserialize(Reader { text: text.trim_ascii(), levels: 0, steps: &mut steps })
        .map_err(|error| Misfit { path: path(&steps), error })
}

/// Reads a whole document of which nothing is known.
///
/// # Errors
/// If it is not JSON, or does not fit the type.
pub fn document<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice::<IgnoredAny>(text)?;
    read(text).map_err(|misfit| misfit.error)
}

/// The way to the place of an error, from the inside out.
type Steps = Vec<Step>;

#[derive(Debug)]
enum Step {
    Name(String),
    Index(usize),
}

fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps.iter().rev() {
        match step {
            Step::Name(name) if path.is_empty() => path.push_str(name),
            Step::Name(name) => {
                path.push('.');
                path.push_str(name);
            }
            Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
        }
    }
    if path.is_empty() { ".".to_owned() } else { path }
}

/// One value.
struct Reader<'de, 'p> {
    text: &'de [u8],
    levels: u8,
    steps: &'p mut Steps,
}

impl<'de> Reader<'de, '_> {
    fn deeper(&self) -> Result<u8, Error> {
        if self.levels == LEVEL_LIMIT { Err(Error::custom("recursion limit exceeded")) } else { Ok(self.levels + 1) }
    }

    fn visit_text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inside = self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default();
        match std::str::from_utf8(inside) {
            Ok(text) if !inside.contains(&b'\\') => visitor.visit_borrowed_str(text),
            Ok(_) | Err(_) => visitor.visit_string(serde_json::from_slice(self.text)?),
        }
    }

    fn visit_object<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let levels = self.deeper()?;
        let fields = spans::fields(self.text).into_iter().flatten();
        visitor.visit_map(Inside { entries: fields, levels, steps: self.steps, now: (&[], &[]) })
    }

    fn visit_list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let levels = self.deeper()?;
        let entries = spans::elements(self.text).into_iter().flatten().enumerate();
        let mut elements = Inside { entries, levels, steps: self.steps, now: (&[], &[]) };
        let read = visitor.visit_seq(&mut elements)?;
        // Where a pair is read.
        if elements.entries.next().is_some() { Err(Error::custom("the list is too long")) } else { Ok(read) }
    }

    /// What to say where the type wants another kind of value.
    fn misfit(&self, wanted: &dyn Expected) -> Error {
        let name: String;
        let found = match self.text {
            [b'"', ..] => match serde_json::from_slice(self.text) {
                Ok(text) => {
                    name = text;
                    Unexpected::Str(&name)
                }
                Err(error) => return error,
            },
            [b'{', ..] => Unexpected::Map,
            [b'[', ..] => Unexpected::Seq,
            b"null" => Unexpected::Unit,
            b"true" => Unexpected::Bool(true),
            b"false" => Unexpected::Bool(false),
            number => match serde_json::from_slice::<Number>(number) {
                Ok(number) => unexpected(&number),
                Err(error) => return error,
            },
        };
        Error::invalid_type(found, wanted)
    }
}

fn unexpected(number: &Number) -> Unexpected<'static> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), _, _) => Unexpected::Unsigned(number),
        (None, Some(number), _) => Unexpected::Signed(number),
        (None, None, number) => Unexpected::Float(number.unwrap_or_default()),
    }
}

/// The kinds that a type asks for by name, each with the beginnings of a value that fits.
macro_rules! only {
    ($first:pat, $visit:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if matches!(self.text, [$first, ..]) { self.$visit(visitor) } else { Err(self.misfit(&visitor)) }
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text {
            [b'"', ..] => self.visit_text(visitor),
            [b'{', ..] => self.visit_object(visitor),
            [b'[', ..] => self.visit_list(visitor),
            b"null" => visitor.visit_unit(),
            b"true" => visitor.visit_bool(true),
            b"false" => visitor.visit_bool(false),
            number => serde_json::from_slice::<Number>(number)?.deserialize_any(visitor),
        }
    }

    only! { b'"', visit_text: deserialize_str deserialize_string deserialize_identifier }
    only! { b'[', visit_list: deserialize_seq }
    only! { b'{', visit_object: deserialize_map }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.text == b"null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.text {
            [b'"', ..] => {
                let name: String = serde_json::from_slice(self.text)?;
                visitor.visit_enum(StringDeserializer::<Error>::new(name))
            }
            [b'{', ..] => {
                let levels = self.deeper()?;
                let entries = spans::fields(self.text).into_iter().flatten();
                let fields = Inside { entries, levels, steps: self.steps, now: (&[], &[]) };
                visitor.visit_enum(MapAccessDeserializer::new(fields))
            }
            _ => Err(Error::invalid_type(Unexpected::Other("another value"), &"a text or an object")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
    }
}

/// What stands in an object or a list.
struct Inside<'de, 'p, I> {
    entries: I,
    levels: u8,
    steps: &'p mut Steps,
    /// The field whose name was taken and whose value was not.
    now: (&'de [u8], &'de [u8]),
}

impl<'de, I> Inside<'de, '_, I> {
    fn one<S: DeserializeSeed<'de>>(
        &mut self,
        text: &'de [u8],
        seed: S,
        step: impl FnOnce() -> Step,
    ) -> Result<S::Value, Error> {
        let read = seed.deserialize(Reader { text, levels: self.levels, steps: self.steps });
        if read.is_err() {
            self.steps.push(step());
        }
        read
    }
}

fn named(name: &[u8]) -> Step {
    Step::Name(serde_json::from_slice(name).unwrap_or_default())
}

impl<'de, I: Iterator<Item = (&'de [u8], &'de [u8])>> MapAccess<'de> for Inside<'de, '_, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.now = (name, value);
        // A name that may not be there is the place itself.
        self.one(name, seed, || named(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, value) = self.now;
        self.one(value, seed, || named(name))
    }
}

impl<'de, I: Iterator<Item = (usize, &'de [u8])>> SeqAccess<'de> for Inside<'de, '_, I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, text)) = self.entries.next() else { return Ok(None) };
        self.one(text, seed, || Step::Index(index)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        With(u8),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        #[serde(default)]
        list: Vec<Self>,
        #[serde(default)]
        texts: BTreeMap<String, String>,
        kind: Option<Kind>,
        number: f64,
    }

    #[track_caller]
    fn misfit(text: &str) -> (String, String) {
        let Misfit { path, error } = read::<Whole>(text.as_bytes()).unwrap_err();
        (path, error.to_string())
    }

    #[test]
    fn a_document_is_read_as_serde_json_reads_it() {
        for text in [
            r#"{"number":1}"#,
            r#" { "number" : -1.5e3 , "kind":null, "list" : [ {"number":0,"kind":"plain"}, {"number":18446744073709551615} ] } "#,
            r#"{"kind":{"with":7},"texts":{"a\"}":"\u00e4\n","ä":"","\\":"]"},"number":2}"#,
        ] {
            assert_eq!(read::<Value>(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
            let (ours, theirs) = (read::<Whole>(text.as_bytes()), serde_json::from_str::<Whole>(text));
            assert_eq!(ours.ok(), theirs.ok(), "{text}");
        }
    }

    #[test]
    fn a_misfit_says_where() {
        for (text, path, says) in [
            ("[[],{},null,1]", ".", "invalid type: sequence, expected struct Whole"),
            (r#"{"number":1,"list":{}}"#, "list", "invalid type: map, expected a sequence"),
            (r#"{"number":1,"texts":["a"]}"#, "texts", "invalid type: sequence, expected a map"),
            (r#"{"number":1,"texts":{"a":null}}"#, "texts.a", "invalid type: null, expected a string"),
            ("{}", ".", "missing field `number`"),
            (r#"{"number":"1"}"#, "number", "invalid type: string \"1\", expected f64"),
            (r#"{"number":null}"#, "number", "invalid type: null, expected f64"),
            (r#"{"number":1,"number":2}"#, ".", "duplicate field `number`"),
            (r#"{"numbre":1}"#, "numbre", "unknown field `numbre`"),
            (r#"{"list":[{"number":1},{"kind":"plain"}],"number":1}"#, "list[1]", "missing field `number`"),
            (r#"{"list":[{"number":1,"texts":{"a b":7}}]}"#, "list[0].texts.a b", "invalid type: integer `7`"),
            (r#"{"kind":"odd"}"#, "kind", "unknown variant `odd`"),
            (r#"{"kind":{"with":-1}}"#, "kind.with", "invalid value: integer `-1`"),
            (r#"{"kind":3}"#, "kind", "expected a text or an object"),
            (r#"{"texts":{"a":"\ud800"}}"#, "texts.a", "hex escape"),
        ] {
            let (found, error) = misfit(text);
            assert_eq!(found, path, "{text}: {error}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn levels_are_limited_and_what_is_not_read_has_none() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read::<Value>(deep(128).as_bytes()).is_ok());
        assert!(read::<Value>(deep(129).as_bytes()).is_err());
        assert!(read::<IgnoredAny>(deep(100_000).as_bytes()).is_ok());
    }
}
