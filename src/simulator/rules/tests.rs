use super::*;

const INNER: Rule = Rule::Object(&[required("name", Rule::Text { min: 1, max: 3 })]);
const FIELDS: &[Field] = &[
    required("id", Rule::Text { min: 1, max: 4 }),
    optional("word", Rule::OneOf(&["a", "b"])),
    optional("count", Rule::Integer { min: 0, max: 9 }),
    optional("flag", Rule::Boolean),
    optional("who", Rule::Uuid),
    optional("data", Rule::Data),
    optional("list", Rule::List { min: 1, max: 2, item: &INNER }),
];

fn kinds(body: &Value) -> Vec<String> {
    let mut checker = Checker::default();
    checker.value(&Rule::Object(FIELDS), body, &[json!("body")]);
    checker
        .finish()
        .iter()
        .map(Complaint::words)
        .map(|words| words.split(' ').next().unwrap().to_owned() + words.rsplit(' ').next().unwrap())
        .collect()
}

#[test]
fn a_full_and_a_sparse_body_are_good() {
    let full = json!({
        "id": "üüüü", "word": "a", "count": 9, "flag": false, "who": "00000000-0000-0000-0000-000000000000",
        "data": {"k": "v"}, "list": [{"name": "x"}]
    });
    assert_eq!(kinds(&full), Vec::<String>::new());
    assert_eq!(kinds(&json!({"id": "x"})), Vec::<String>::new());
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let cases = [
        (json!([]), "body:(type_error.dict)"),
        (json!({}), "body.id:(value_error.missing)"),
        (json!({"id": null}), "body.id:(type_error.none.not_allowed)"),
        (json!({"id": 1}), "body.id:(type_error.str)"),
        (json!({"id": ""}), "body.id:(value_error.any_str.min_length)"),
        (json!({"id": "12345"}), "body.id:(value_error.any_str.max_length)"),
        (json!({"id": "x", "more": 1}), "body.more:(value_error.extra)"),
        (json!({"id": "x", "word": "c"}), "body.word:(type_error.enum)"),
        (json!({"id": "x", "count": 1.5}), "body.count:(type_error.integer)"),
        (json!({"id": "x", "count": "1"}), "body.count:(type_error.integer)"),
        (json!({"id": "x", "count": -1}), "body.count:(value_error.number.not_ge)"),
        (json!({"id": "x", "count": 10}), "body.count:(value_error.number.not_le)"),
        (json!({"id": "x", "flag": "true"}), "body.flag:(type_error.bool)"),
        (json!({"id": "x", "who": "nobody"}), "body.who:(type_error.uuid)"),
        (json!({"id": "x", "data": []}), "body.data:(type_error.dict)"),
        (json!({"id": "x", "data": {"k": ""}}), "body.data.k:(value_error.any_str.min_length)"),
        (json!({"id": "x", "data": {"k": 1}}), "body.data.k:(type_error.str)"),
        (json!({"id": "x", "list": {}}), "body.list:(type_error.list)"),
        (json!({"id": "x", "list": []}), "body.list:(value_error.list.min_items)"),
        (
            json!({"id": "x", "list": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
            "body.list:(value_error.list.max_items)",
        ),
        (json!({"id": "x", "list": [{"name": "a"}, {}]}), "body.list.1.name:(value_error.missing)"),
    ];
    for (body, expected) in cases {
        assert_eq!(kinds(&body), [expected], "{body}");
    }
}

#[test]
fn a_parameter_is_read_as_its_rule_says() {
    let field = optional("deadline", Rule::Integer { min: 0, max: 900 });
    let mut checker = Checker::default();
    assert_eq!(checker.parameter("query", &field, "25"), Some(json!(25)));
    assert_eq!(checker.parameter("query", &optional("flag", Rule::Boolean), "True"), Some(json!(true)));
    assert!(checker.finish().is_empty());
    for bad in ["901", "-1", "x", "", "1.0"] {
        let mut checker = Checker::default();
        assert_eq!(checker.parameter("query", &field, bad), None, "{bad}");
        assert_eq!(checker.finish().len(), 1, "{bad}");
    }
}
