//! Who is let in.

use rallyhere_agent::io::local::Limits;

use super::fake::{Fake, Served};

#[tokio::test]
async fn tcp_keeps_out_other_hosts_and_browsers_and_the_socket_does_not_ask() {
    let served = Served::start();
    let bound = served.addr.to_string();
    for (headers, status) in [
        (vec![("host", "localhost:9358")], 200),
        (vec![("host", bound.as_str())], 200),
        (vec![("host", "[::1]:1")], 200),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "-")], 403),
        (vec![("host", "localhost"), ("host", "localhost")], 403),
        (vec![("origin", "http://localhost")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "none")], 200),
    ] {
        for path in ["/v1/status", "/v1/nothing"] {
            let answer = served.tcp().call_with("GET", path, &headers, b"").await;
            let wanted = if status == 200 && path == "/v1/nothing" { 404 } else { status };
            assert_eq!(answer.status, wanted, "{headers:?} {path}");
            if wanted == 403 {
                assert_eq!(answer.refusal().0, "forbidden");
            }
        }
        assert_eq!(served.uds().call_with("GET", "/v1/status", &headers, b"").await.status, 200, "{headers:?}");
    }
    assert_eq!(served.tcp().call_with("POST", "/v1/ready", &[("origin", "null")], b"{}").await.status, 403);
    assert_eq!(served.fake.take_asked(), []);
}

#[tokio::test]
async fn with_a_token_tcp_needs_it_and_the_socket_does_not() {
    let served = Served::start_with(Fake::start(), Limits::default(), Some("t0ken"));
    for (authorization, status) in
        [(None, 401), (Some("Bearer wrong"), 401), (Some("Basic t0ken"), 401), (Some("Bearer t0ken"), 200)]
    {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        for path in ["/v1/status", "/v1/nothing"] {
            let answer = served.tcp().call_with("GET", path, &headers, b"").await;
            let wanted = if status == 200 && path == "/v1/nothing" { 404 } else { status };
            assert_eq!(answer.status, wanted, "{authorization:?}");
            if wanted == 401 {
                assert_eq!(answer.refusal().0, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                assert!(!answer.body.contains("t0ken"));
            }
        }
    }
    assert_eq!(served.uds().get("/v1/status").await.status, 200);
}
