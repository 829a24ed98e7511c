use serde_json::json;

use super::*;

#[test]
fn the_first_rule_that_fits_decides_until_it_is_spent() {
    let mut faults = Faults::default();
    faults.add(vec![Fault::Cut {}.on("health").times(2), Fault::status(503).always()]).unwrap();
    let mut strike = |call| faults.strike("POST", "/x/health", Some(call)).map(|hit| hit.fault.name());
    assert_eq!(strike("poll"), Some("status"));
    assert_eq!(strike("health"), Some("cut"));
    assert_eq!(strike("health"), Some("cut"));
    assert_eq!(strike("health"), Some("status"));
    faults.clear();
    assert!(faults.strike("POST", "/x/health", Some("health")).is_none());
}

#[test]
fn a_match_wants_everything_that_it_names() {
    let matching = Match { method: Some("GET".into()), path_contains: Some("/s1/".into()), call: Some("poll".into()) };
    let rule = FaultRule { matching, ..Fault::Hang {}.always() };
    assert!(rule.fits("GET", "/a/s1/b", Some("poll")));
    for (method, path, call) in
        [("POST", "/a/s1/b", Some("poll")), ("GET", "/a/s2/b", Some("poll")), ("GET", "/a/s1/b", None)]
    {
        assert!(!rule.fits(method, path, call), "{method} {path} {call:?}");
    }
}

#[test]
fn rules_are_read_from_json_and_bad_ones_are_named() {
    let rule: FaultRule = serde_json::from_value(json!({
        "match": {"call": "fubar"}, "times": 1, "processed": true,
        "fault": {"status": {"code": 503, "headers": [["retry-after", "3"]]}}
    }))
    .unwrap();
    assert!(rule.is_processed());
    let reply = rule.fault.reply().unwrap().unwrap();
    assert_eq!((reply.status.as_u16(), reply.headers[0].1.to_str().unwrap()), (503, "3"));

    let refusal = |rule: FaultRule| Faults::default().add(vec![rule]).unwrap_err().to_string();
    assert!(refusal(Fault::status(100).always()).contains("100 is not a final HTTP status"));
    assert!(refusal(Fault::Cut {}.on("healt")).contains("`healt`"));
    assert!(refusal(Fault::Cut {}.always().times(0)).contains("`times` is 0"));
    let smuggled = Fault::Status { code: 200, body: None, headers: vec![("content-length".into(), "3".into())] };
    assert!(refusal(smuggled.always()).contains("content-length"));
    assert!(serde_json::from_value::<FaultRule>(json!({"fault": {"cut": {}}, "tmies": 1})).is_err());
}
