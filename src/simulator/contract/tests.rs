use super::*;

#[test]
fn a_path_leads_to_its_call_with_its_parts_decoded() {
    let Route::Call(operation, parts) = route(Generation::V2023_11, "GET", "/session/v1/session/a%2Fb%20c") else {
        panic!("no route")
    };
    assert_eq!((operation.kind, parts[0].1.as_str()), (Kind::ReadSession, "a/b c"));
    let Route::Call(operation, _) = route(Generation::V2023_11, "GET", "/session/v1/session/allocation/a1") else {
        panic!("no route")
    };
    assert_eq!(operation.kind, Kind::FindSession);
    let Route::Call(operation, parts) = route(Generation::V2023_11, "POST", "/session/v1/session/s/instance") else {
        panic!("no route")
    };
    assert_eq!((operation.kind, parts[0].1.as_str()), (Kind::Register, "s"));
}

#[test]
fn an_unknown_path_and_a_wrong_method_are_told_apart() {
    for path in
        ["/", "/session/v1/sessions", "/session/v1/session/", "/session/v1/session/s/", "/v2", "/session/v1/regions/x"]
    {
        assert!(matches!(route(Generation::V2023_11, "GET", path), Route::Unknown), "{path}");
    }
    let Route::WrongMethod(allowed) = route(Generation::V2023_11, "PUT", "/session/v1/session/s/instance") else {
        panic!("a route")
    };
    assert_eq!(allowed, ["POST", "DELETE", "PATCH"]);
}

#[test]
fn every_name_in_a_path_has_a_rule() {
    for operation in OPERATIONS.iter().chain(newer::OPERATIONS) {
        for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            assert!(operation.path_fields.iter().any(|field| field.name == name), "{} {name}", operation.path);
        }
    }
}

#[test]
fn each_generation_has_its_calls_and_no_others() {
    let fubar = "/session/v1/session/s/instance/fubar";
    let poll = "/notification/v1/instance/i/stream/notification/lp";
    let there = |generation, method, path| matches!(route(generation, method, path), Route::Call(..));
    let calls =
        [("POST", fubar), ("GET", poll), ("POST", "/session/v1/session/s/match"), ("POST", "/session/v1/audit")];
    let seen = |generation| calls.map(|(method, path)| there(generation, method, path));
    assert_eq!(seen(Generation::V2023_11), [true, true, true, false]);
    assert_eq!(seen(Generation::Between), [false, true, true, false]);
    assert_eq!(seen(Generation::V2026_08), [false, false, false, true]);
    assert!(matches!(route(Generation::V2026_08, "GET", "/match/v1/match/m"), Route::NotPlayed));
    assert_eq!(name(Generation::V2026_08, "POST", fubar), Some("fubar"), "the ledger knows it all the same");
}
