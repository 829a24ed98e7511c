//! A small judge of JSON by the contract's schemas: as much of OpenAPI 3.0 as the contract uses, and strict.
//!
//! Stricter than OpenAPI in one way: an object may have only the properties that its schema names. That finds misspelt
//! fields, in requests and in answers.

use std::path::PathBuf;

use jiff::Timestamp;
use rallyhere_agent::simulator::Generation;
use serde_json::{Value, json};

/// The contract document.
pub(super) struct Contract {
    document: Value,
}

/// One call of it.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) document: &'a Value,
}

/// The contract of a generation, if it lies beside the repository or where the environment says. The one between is the older one
/// without fubar.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(super) fn contract(generation: Generation) -> Option<Contract> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/contract");
    let folder = std::env::var_os("RALLYHERE_CONTRACT_DIR").map_or(beside, PathBuf::from);
    let name = if generation == Generation::V2026_08 { "2026-08" } else { "2023-11" };
    let file = folder.join(format!("rallyhere-{name}.openapi.json"));
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: no contract at {}; set RALLYHERE_CONTRACT_DIR", file.display());
        return None;
    };
    let mut document: Value = serde_json::from_str(&text).expect("the contract is JSON");
    if let Some(paths) = document["paths"].as_object_mut() {
        match generation {
            Generation::V2023_11 => {}
            Generation::Between => paths.retain(|path, _| !path.ends_with("/instance/fubar")),
            Generation::V2026_08 => forget_what_is_not_played(paths),
        }
    }
    Some(Contract { document })
}

/// What no instance agent calls, and the simulator does not play (it answers 501): the match service, which is another one than a
/// session's match of 2023-11, backfill, and players by other ways.
fn forget_what_is_not_played(paths: &mut serde_json::Map<String, Value>) {
    paths.retain(|path, _| {
        !path.starts_with("/match/") && !path.contains("/backfill/") && !path.contains("/v2/session/")
    });
    for (path, method) in [
        ("/session/v1/session/{session_id}", "delete"),
        ("/session/v1/session/{session_id}/player/{player_uuid}", "get"),
    ] {
        assert!(paths[path].as_object_mut().and_then(|methods| methods.remove(method)).is_some(), "{method} {path}");
    }
}

impl Contract {
    /// Every call.
    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.document["paths"].as_object().expect("paths");
        paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods");
                methods.iter().map(move |(method, document)| Operation { path, method, document })
            })
            .collect()
    }

    /// The call that a method and a path (without query) mean; a literal part counts more than a name.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let fits = |template: &str| {
            let (ours, theirs): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
            ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(our, their)| their.starts_with('{') || our == their)
        };
        let mut found = self.operations();
        found.retain(|operation| operation.method.eq_ignore_ascii_case(method) && fits(operation.path));
        found.into_iter().min_by_key(|operation| operation.path.matches('{').count())
    }

    /// The schema behind references.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let found = self.document.pointer(reference.trim_start_matches('#'));
                self.resolve(found.unwrap_or_else(|| panic!("no {reference}")))
            }
            None => match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([only]) => self.resolve(only),
                _ => schema,
            },
        }
    }

    /// Everything that is wrong with a value.
    pub(super) fn judge(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check(schema, value, "$", &mut wrong);
        wrong
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        if schema.get("$ref").is_some() {
            return self.check(self.resolve(schema), value, at, wrong);
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.check(part, value, at, wrong);
        }
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array)
            && !choices.iter().any(|choice| self.judge(choice, value).is_empty())
        {
            wrong.push(format!("{at}: fits none of anyOf"));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array)
            && !words.contains(value)
        {
            wrong.push(format!("{at}: {value} is not in the enum"));
        }
        let Some(kind) = schema.get("type").and_then(Value::as_str) else { return };
        let right = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("a type that the judge does not know: {other}"),
        };
        if !right {
            return wrong.push(format!("{at}: {value} is not a {kind}"));
        }
        check_text(schema, value, at, wrong);
        check_number(schema, value, at, wrong);
        self.check_list(schema, value, at, wrong);
        self.check_object(schema, value, at, wrong);
    }

    fn check_list(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let Some(items) = value.as_array() else { return };
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64).map(|limit| limit as usize);
        if limit("minItems").is_some_and(|least| items.len() < least)
            || limit("maxItems").is_some_and(|most| items.len() > most)
        {
            wrong.push(format!("{at}: {} items", items.len()));
        }
        for (index, item) in items.iter().enumerate() {
            self.check(schema.get("items").unwrap_or(&Value::Null), item, &format!("{at}[{index}]"), wrong);
        }
    }

    fn check_object(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let Some(fields) = value.as_object() else { return };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                wrong.push(format!("{at}.{name}: is missing"));
            }
        }
        for (name, field) in fields {
            let place = format!("{at}.{name}");
            match (schema.get("properties").and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(known), _) | (None, Some(known @ Value::Object(_))) => self.check(known, field, &place, wrong),
                (None, Some(Value::Bool(true))) => {}
                (None, _) => wrong.push(format!("{place}: is not in the contract")),
            }
        }
    }
}

fn check_text(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(text) = value.as_str() else { return };
    let length = text.chars().count() as u64;
    let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
    if limit("minLength").is_some_and(|least| length < least) || limit("maxLength").is_some_and(|most| length > most) {
        wrong.push(format!("{at}: has {length} characters"));
    }
    let fits = match schema.get("format").and_then(Value::as_str) {
        None => true,
        Some("date-time") => text.parse::<Timestamp>().is_ok(),
        Some("uuid") => uuid::Uuid::try_parse(text).is_ok(),
        Some("semver") => text
            .split(['-', '+'])
            .next()
            .is_some_and(|core| core.split('.').filter_map(|n| n.parse::<u64>().ok()).count() == 3),
        Some(other) => panic!("a format that the judge does not know: {other}"),
    };
    if !fits {
        wrong.push(format!("{at}: {text} is not in its format"));
    }
}

fn check_number(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(number) = value.as_f64() else { return };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    // OpenAPI 3.0 says true or false beside `minimum`; the contract says a number, as JSON Schema later did.
    let exclusive = match schema.get("exclusiveMinimum") {
        Some(Value::Bool(true)) => limit("minimum"),
        _ => limit("exclusiveMinimum"),
    };
    if limit("minimum").is_some_and(|least| number < least)
        || limit("maximum").is_some_and(|most| number > most)
        || exclusive.is_some_and(|bound| number <= bound)
    {
        wrong.push(format!("{at}: {number} is out of range"));
    }
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let contract = Contract {
        document: json!({"components": {"schemas": {"Id": {"type": "string", "minLength": 1, "maxLength": 2}}}}),
    };
    let schema = json!({
        "type": "object", "required": ["id"],
        "properties": {
            "id": {"allOf": [{"$ref": "#/components/schemas/Id"}]},
            "word": {"type": "string", "enum": ["a"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 3},
            "share": {"type": "number", "exclusiveMinimum": 0},
            "other": {"type": "number", "exclusiveMinimum": true, "minimum": 0},
            "when": {"type": "string", "format": "date-time"},
            "who": {"type": "string", "format": "uuid"},
            "list": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "data": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
        }
    });
    let good = json!({
        "id": "üü", "word": "a", "count": 3, "share": 0.1, "other": 0.1, "when": "2023-11-01T00:00:00Z",
        "who": "00000000-0000-0000-0000-000000000000", "list": ["a", 1], "data": {"k": "v"}
    });
    assert_eq!(contract.judge(&schema, &good), Vec::<String>::new());
    for (name, bad) in [
        ("id", json!("")),
        ("id", json!("abc")),
        ("id", Value::Null),
        ("word", json!("b")),
        ("count", json!(0)),
        ("count", json!(4)),
        ("count", json!(1.5)),
        ("share", json!(0)),
        ("other", json!(0)),
        ("when", json!("today")),
        ("who", json!("me")),
        ("list", json!([])),
        ("list", json!([true])),
        ("data", json!({"k": ""})),
        ("more", json!(1)),
    ] {
        let mut document = good.clone();
        document[name] = bad.clone();
        assert_eq!(contract.judge(&schema, &document).len(), 1, "{name}: {bad}");
    }
    assert_eq!(contract.judge(&schema, &json!({})).len(), 1);
}
