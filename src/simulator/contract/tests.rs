use super::*;

#[test]
fn a_path_leads_to_its_call_with_its_parts_decoded() {
    let Route::Call(operation, parts) = route("GET", "/session/v1/session/a%2Fb%20c") else { panic!("no route") };
    assert_eq!((operation.kind, parts[0].1.as_str()), (Kind::ReadSession, "a/b c"));
    let Route::Call(operation, _) = route("GET", "/session/v1/session/allocation/a1") else { panic!("no route") };
    assert_eq!(operation.kind, Kind::FindSession);
    let Route::Call(operation, parts) = route("POST", "/session/v1/session/s/instance") else { panic!("no route") };
    assert_eq!((operation.kind, parts[0].1.as_str()), (Kind::Register, "s"));
}

#[test]
fn an_unknown_path_and_a_wrong_method_are_told_apart() {
    for path in
        ["/", "/session/v1/sessions", "/session/v1/session/", "/session/v1/session/s/", "/v2", "/session/v1/regions/x"]
    {
        assert!(matches!(route("GET", path), Route::Unknown), "{path}");
    }
    let Route::WrongMethod(allowed) = route("PUT", "/session/v1/session/s/instance") else { panic!("a route") };
    assert_eq!(allowed, ["POST", "DELETE", "PATCH"]);
}

#[test]
fn every_name_in_a_path_has_a_rule() {
    for operation in OPERATIONS {
        for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            assert!(operation.path_fields.iter().any(|field| field.name == name), "{} {name}", operation.path);
        }
    }
}
