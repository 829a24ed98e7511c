//! Tests: what is passed on and what is not.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn everything() -> Vec<Pattern> {
    patterns(&["GET /**", "HEAD /**", "POST /**", "PUT /**", "PATCH /**", "DELETE /**"])
}

#[test]
fn only_a_path_that_everybody_reads_alike_is_taken() {
    for good in [
        "/a",
        "/a/b",
        "/a/",
        "/a/b?c=/../d&e=%2e",
        "/a?",
        "/a%20b",
        "/%C3%A4",
        "/a:b@c",
        "/...",
        "/a.b",
        "/a*",
        "/a%3Fb",
    ] {
        let target = Target::parse(good).unwrap_or_else(|unfit| panic!("{good}: {unfit}"));
        assert_eq!(target.path_and_query(), good);
    }
    for bad in [
        "",
        "/",
        "//",
        "a",
        "?a",
        "//a",
        "/a//",
        "/a//b",
        "/.",
        "/..",
        "/./a",
        "/../a",
        "/a/..",
        "/a/../b",
        "/a/..?x",
        "/%2e%2e/a",
        "/%2E",
        "/.%2e/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a%0a",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%25",
        "/%252e%252e/a",
        "/a;b",
        "/..;/a",
        "/a%3b",
        "/a#b",
        "/a b",
        "/a\tb",
        "/ä",
        "/%69nstance",
        "/%61",
        "/%7e",
        "/%7f",
        "http://x.example/a",
        "*",
        "/a|b",
        "/a\"",
    ] {
        assert_eq!(Target::parse(bad), Err(Unfit::Path), "{bad}");
    }
}

#[test]
fn what_the_agent_does_itself_is_refused_whatever_a_pattern_says() {
    use Verb::{Delete, Get, Head, Patch, Post, Put};
    for (verbs, path) in [
        (&Verb::ALL[..], "/users/v1/login"),
        (&Verb::ALL, "/users/v2/oauth/token"),
        (&Verb::ALL, "/USERS/v9/Login"),
        (&Verb::ALL, "/notification/v1/instance/i-1/stream/notification/lp"),
        (&Verb::ALL, "/notification/v1/instance/i-1/notification"),
        (&Verb::ALL, "/instances/sic_registration/v1/state"),
        (&[Patch, Put, Post, Delete], "/session/v1/session/s-1"),
        (&[Patch, Put, Post, Delete], "/session/v1/session/s-1/"),
        (&[Patch, Put, Post, Delete], "/session/v1/session/s-1/instance"),
        (&[Patch, Put, Post, Delete], "/Session/v2/session/s-1/Instance/"),
        (&[Post], "/session/v1/session/s-1/instance/health"),
        (&[Post], "/session/v1/session/s-1/instance/fubar"),
        (&[Post, Patch, Delete], "/session/v1/session/s-1/match"),
        (&[Post, Patch, Delete], "/session/v1/session/s-1/browser"),
    ] {
        for verb in verbs {
            let refused = Target::parse(path).unwrap().permit(*verb, &everything());
            assert!(matches!(refused, Err(Unfit::Reserved(_))), "{verb:?} {path}: {refused:?}");
        }
    }
    for (verb, path) in [
        (Get, "/session/v1/session/s-1"),
        (Head, "/session/v1/session/s-1"),
        (Get, "/session/v1/instance/health/config"),
        (Post, "/session/v1/session"),
        (Post, "/session/v1/session/s-1/event"),
        (Post, "/session/v1/session/s-1/player/p-1"),
        (Post, "/session/v1/backfill/session/s-1/"),
        (Get, "/users/v1/player"),
        (Post, "/rank/v2/r-1/update"),
    ] {
        assert_eq!(Target::parse(path).unwrap().permit(verb, &everything()), Ok(()), "{verb:?} {path}");
    }
}

#[test]
fn without_a_pattern_nothing_is_allowed() {
    let target = Target::parse("/inventory/v1/x?secret=1").unwrap();
    assert_eq!(target.permit(Verb::Get, &[]), Err(Unfit::NotAllowed));
    assert_eq!(target.permit(Verb::Get, &patterns(&["GET /inventory/v1/**"])), Ok(()));
    assert_eq!(target.permit(Verb::Post, &patterns(&["GET /inventory/v1/**"])), Err(Unfit::NotAllowed));
    assert_eq!(target.path(), "/inventory/v1/x");
    assert!(!format!("{target:?} {}", target.path()).contains("secret"), "a query may hold anything");
}

#[test]
fn headers_that_speak_for_somebody_else_or_for_one_connection_stay() {
    let hops = Hops::of([b"close, X-Mine".as_slice(), b"upgrade"]);
    assert!(hops.upgrades() && !Hops::default().upgrades() && !Hops::of([b"close".as_slice()]).upgrades());
    for name in [
        "authorization",
        "cookie",
        "host",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "via",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x_forwarded_for",
        "x-mine",
        "accept-encoding",
        "sec-fetch-site",
        "origin",
        "referer",
    ] {
        assert!(!hops.forwards(name), "{name}");
    }
    for name in [
        "accept",
        "content-type",
        "if-match",
        "if-none-match",
        "idempotency-key",
        "x-game",
        "range",
        "content-encoding",
    ] {
        assert!(hops.forwards(name), "{name}");
    }
    for name in [
        "set-cookie",
        "www-authenticate",
        "proxy-authenticate",
        "authorization",
        "connection",
        "transfer-encoding",
        "x-mine",
        "alt-svc",
    ] {
        assert!(!hops.returns(name), "{name}");
    }
    for name in
        ["content-type", "content-encoding", "etag", "location", "retry-after", "cache-control", "x-request-id", "date"]
    {
        assert!(hops.returns(name), "{name}");
    }
}

#[test]
fn a_refused_token_is_told_from_a_refused_call() {
    assert!(refuses_token(401, b""));
    assert!(refuses_token(403, br#"{"auth_success": false}"#));
    assert!(refuses_token(403, br#"{"auth_success": true, "error_code": "auth_token_expired"}"#));
    assert!(!refuses_token(403, br#"{"auth_success": true, "error_code": "insufficient_role"}"#));
    assert!(!refuses_token(403, b""));
    assert!(!refuses_token(404, br#"{"auth_success": false}"#));
    assert!(!refuses_token(200, br#"{"error_code": "auth_token_expired"}"#));
}

#[test]
fn a_secret_is_found_wherever_it_stands() {
    assert!(holds(b"x.secret.y", "secret") && holds(b"secret", "secret"));
    assert!(!holds(b"secre", "secret") && !holds(b"", "secret") && !holds(b"abc", ""));
}

/// Bits of paths that have fooled proxies.
fn tricky() -> impl Strategy<Value = String> {
    const BITS: &[&str] = &[
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "%25",
        "%00",
        ";",
        "?",
        "#",
        "\\",
        "a",
        "*",
        "%69nstance",
        "instance",
        "session",
        "v1",
        "s-1",
        "%20",
        "@",
        ":",
        "%",
        "é",
        "\u{202e}",
        "health",
        "Instance",
        "login",
        "users",
    ];
    proptest::collection::vec(proptest::sample::select(BITS), 0..12).prop_map(|bits| format!("/{}", bits.concat()))
}

proptest! {
    #[test]
    fn what_is_taken_cannot_be_read_another_way(path in tricky()) {
        if let Ok(target) = Target::parse(&path) {
            prop_assert_eq!(target.path_and_query(), path.clone());
            // However often it is decoded, it has the same segments, and none that climbs.
            let mut seen = target.path().to_owned();
            let count = seen.split('/').count();
            for _ in 0..3 {
                seen = percent_decode_str(&seen).decode_utf8_lossy().into_owned();
                prop_assert_eq!(seen.split('/').count(), count, "{}", path);
                prop_assert!(seen.split(['/', '\\']).all(|segment| !matches!(segment, "." | "..")), "{}", path);
            }
        }
    }

    #[test]
    fn no_spelling_leads_to_a_write_of_the_agents_own(path in tricky()) {
        if let Ok(target) = Target::parse(&path) {
            let decoded = percent_decode_str(target.path()).decode_utf8_lossy().to_ascii_lowercase();
            let segments: Vec<_> = decoded.trim_matches('/').split('/').collect();
            let own = matches!(segments.as_slice(), ["session", _, "session", _, "instance", ..] | ["users", _, "login", ..]);
            if own {
                prop_assert!(target.permit(Verb::Post, &everything()).is_err(), "{}", path);
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(path in any::<String>(), value in any::<Vec<u8>>()) {
        let _either = Target::parse(&path);
        let _hops = Hops::of([value.as_slice()]);
    }
}
