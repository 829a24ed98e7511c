//! What is sent, against the schema of the contract, where that is at hand: no unknown field, no required one missing.

use std::path::{Path, PathBuf};

use rallyhere_agent::core::call::Call;
use rallyhere_agent::wire;
use rallyhere_agent::wire::login::{self, Grant};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{calls_of_today, every_call};

fn contract(document: &str) -> Option<Value> {
    let dir = std::env::var_os("RALLYHERE_CONTRACT_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/contract"), PathBuf::from);
    let text = std::fs::read(dir.join(document)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// The operation of a request: its path may have any text where the template has a name in braces.
fn operation<'a>(contract: &'a Value, method: &str, path: &str) -> &'a Value {
    let steps: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let known: Vec<&str> = template.split('/').collect();
        known.len() == steps.len()
            && known.iter().zip(&steps).all(|(known, step)| known == step || known.starts_with('{'))
    };
    let templates = contract["paths"].as_object().unwrap();
    let found = templates
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.matches('{').count())
        .unwrap_or_else(|| panic!("{path} is not in the contract"));
    let operation = &found.1[method.to_ascii_lowercase()];
    assert!(operation.is_object(), "{method} {path} is not in the contract");
    operation
}

/// Checks the fields of objects, their types and the limits of texts.
fn check(contract: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = schema["allOf"].get(0).unwrap_or(schema);
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return check(contract, &contract["components"]["schemas"][name], value, place);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let object = value.as_object().unwrap_or_else(|| panic!("{place}"));
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
            }
            for (key, value) in object {
                let known = schema["properties"].get(key).unwrap_or_else(|| &schema["additionalProperties"]);
                assert!(known.is_object(), "{place} has an unknown field {key}");
                check(contract, known, value, &format!("{place}.{key}"));
            }
        }
        "string" => {
            let length = value.as_str().unwrap_or_else(|| panic!("{place}")).chars().count() as u64;
            assert!(schema["minLength"].as_u64().is_none_or(|least| length >= least), "{place}");
            assert!(schema["maxLength"].as_u64().is_none_or(|most| length <= most), "{place}");
        }
        "boolean" => assert!(value.is_boolean(), "{place}"),
        other => panic!("{place}: {other}"),
    }
}

#[test]
fn every_request_holds_to_the_contract() {
    let grants =
        [Grant::ClientCredentials, Grant::Basic { username: "u", password: "p" }, Grant::Refresh { token: "t" }];
    check_all("rallyhere-2023-11.openapi.json", every_call(), &grants);
}

#[test]
fn every_request_to_a_service_of_today_holds_to_its_contract() {
    let grants = [
        Grant::ClientCredentials,
        Grant::ClientCredentialsV1,
        Grant::Basic { username: "u", password: "p" },
        Grant::Refresh { token: "t" },
    ];
    check_all("rallyhere-2026-08.openapi.json", calls_of_today(), &grants);
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn check_all(document: &str, calls: Vec<Call>, grants: &[Grant<'_>]) {
    let Some(contract) = contract(document) else {
        println!("skipped: no {document}; set RALLYHERE_CONTRACT_DIR");
        return;
    };
    let requests = calls.into_iter().map(|call| {
        let request = wire::encode(&call);
        (request.method.as_str(), request.path_and_query, request.body)
    });
    let logins = grants.iter().map(|grant| {
        let request = login::encode("id", "secret", *grant);
        ("POST", request.path.to_owned(), Some(request.body.expose_secret().to_vec()))
    });
    for (method, path_and_query, body) in requests.chain(logins) {
        let (path, query) = path_and_query.split_once('?').unwrap_or((&path_and_query, ""));
        let operation = operation(&contract, method, path);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let parameters = operation["parameters"].as_array().unwrap();
            let known = parameters.iter().find(|known| known["in"] == "query" && known["name"] == name);
            let schema = &known.unwrap_or_else(|| panic!("{path} has no {name}"))["schema"];
            if let Some(most) = schema["maximum"].as_u64() {
                assert!(value.parse::<u64>().unwrap() <= most, "{name}={value}");
            }
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body.is_some(), schema.is_object(), "{method} {path}");
        if let Some(body) = body {
            check(&contract, schema, &serde_json::from_slice(&body).unwrap(), path);
        }
    }
}
