//! Reading the messages of a request.

use std::fmt;

use axum::extract::Request;
use serde::de::{DeserializeOwned, Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tonic::Code;

use super::super::engine::Engine;
use super::super::failure::Failure;
use crate::io::local::body;
use crate::wire::reader;

/// A message without fields.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Empty {}

/// A label or an annotation.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct KeyValue {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
}

/// A span of time.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Span {
    pub(super) seconds: Option<Int64>,
}

/// A whole number of 64 bits: `5`, `5.0` or `"5"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Int64(pub(super) i64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Int64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 64 bits, or one as text")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Int64, E> {
                Ok(Int64(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Int64, E> {
                i64::try_from(number).map(Int64).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "within bounds, and whole"
            )]
            fn visit_f64<E: Error>(self, number: f64) -> Result<Int64, E> {
                if number.fract() == 0.0 && number.abs() < i64::MAX as f64 {
                    Ok(Int64(number as i64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Int64, E> {
                text.parse().map(Int64).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Whole)
    }
}

async fn read(engine: &Engine, request: Request) -> Result<axum::body::Bytes, Failure> {
    body::read(request, engine.limits().body).await.map_err(|refusal| Failure::from(&refusal))
}

fn bad(why: &dyn fmt::Display) -> Failure {
    Failure::new(Code::InvalidArgument, format!("the body is not what this call takes: {why}"))
}

/// The one message of a call; no body is an empty message.
pub(super) async fn one<M: DeserializeOwned + Default>(engine: &Engine, request: Request) -> Result<M, Failure> {
    parse_one(&read(engine, request).await?)
}

fn parse_one<M: DeserializeOwned + Default>(bytes: &[u8]) -> Result<M, Failure> {
    let bytes = bytes.trim_ascii();
    match bytes.first() {
        None => Ok(M::default()),
        Some(b'{') => reader::document(bytes).map_err(|error| bad(&error)),
        Some(_) => Err(bad(&"it must be a JSON object, {…}")),
    }
}

/// Messages without fields, one after the other.
pub(super) async fn at_least_one(engine: &Engine, request: Request) -> Result<(), Failure> {
    parse_all(&read(engine, request).await?)
}

fn parse_all(bytes: &[u8]) -> Result<(), Failure> {
    let mut count = 0;
    let mut messages = serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>();
    for message in messages.by_ref() {
        if !message.map_err(|error| bad(&error))?.is_object() {
            return Err(bad(&"each message must be a JSON object, {…}"));
        }
        count += 1;
    }
    if count == 0 {
        return Err(bad(&"it is empty; one heartbeat is {}"));
    }
    Ok(())
}

/// How many of the calls take these bytes for their messages.
pub(super) fn takers(bytes: &[u8]) -> usize {
    let taken = [
        parse_one::<Empty>(bytes).is_ok(),
        parse_one::<KeyValue>(bytes).is_ok(),
        parse_one::<Span>(bytes).is_ok(),
        parse_all(bytes).is_ok(),
    ];
    taken.iter().filter(|taken| **taken).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_be_a_text_but_not_a_fraction() {
        let seconds = |body: &str| parse_one::<Span>(body.as_bytes()).map(|span| span.seconds.unwrap_or_default().0);
        for (body, number) in [
            ("", 0),
            ("{}", 0),
            (r#"{"seconds":null}"#, 0),
            (r#"{"seconds":5}"#, 5),
            (r#"{"seconds":"5"}"#, 5),
            (r#"{"seconds":5.0,"unknown":[1,{}]}"#, 5),
            (r#"{"seconds":"-5"}"#, -5),
            (r#"{"seconds":9223372036854775807}"#, i64::MAX),
        ] {
            assert_eq!(seconds(body), Ok(number), "{body}");
        }
        for bad in [
            r#"{"seconds":5.5}"#,
            r#"{"seconds":"5.5"}"#,
            r#"{"seconds":"x"}"#,
            r#"{"seconds":1e30}"#,
            r#"{"seconds":[]}"#,
        ] {
            assert_eq!(seconds(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn heartbeats_may_come_in_a_row_but_one_there_must_be() {
        for good in ["{}", "{}{}{}", " {} \n {\"x\":1} "] {
            assert_eq!(parse_all(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", " \n", "{", "{}{", "[]", "{}[]", "null", "5", "{} x"] {
            assert_eq!(parse_all(bad.as_bytes()).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_message_is_one_object() {
        for bad in ["[]", "null", "7", "{", "{}{}", "{} x", "\u{feff}{}", r#"{"key":5}"#] {
            assert_eq!(parse_one::<KeyValue>(bad.as_bytes()).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        let read = parse_one::<KeyValue>(br#" {"key":"a","other":{},"value":null} "#).unwrap();
        assert_eq!(read, KeyValue { key: Some("a".to_owned()), value: None });
    }
}
