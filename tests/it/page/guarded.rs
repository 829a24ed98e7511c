//! What the page may load, and who may have it.

use super::{get, home, serving};
use crate::process::stage::Stage;

#[tokio::test]
async fn it_stands_alone_and_the_browser_is_told_so() {
    let stage = Stage::start().await;
    let (agent, address) = serving(&home(&stage)).await;
    let (head, page) = get(&address, "/", &[]).await;
    assert!(head.starts_with("http/1.0 200") || head.starts_with("http/1.1 200"), "{head}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    for part in ["default-src 'none'", "connect-src 'self'", "img-src data:", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|of| of == part), "{part}: {policy}");
    }
    assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");

    // Names of namespaces are not fetched.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in
        ["http:", "https:", "//cdn", "src=", "@import", "url(//", "<link rel=\"stylesheet", "import(", "fetch("]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1), "each has its hash");
    agent.stop().await;
}

#[tokio::test]
async fn only_the_page_itself_may_listen() {
    let stage = Stage::start().await;
    let (agent, address) = serving(&home(&stage)).await;
    let own = format!("http://{address}");
    for (path, headers, wanted) in [
        ("/", vec![("sec-fetch-site", "none")], "200"),
        ("/", vec![("sec-fetch-site", "same-origin")], "200"),
        ("/status", vec![("origin", own.as_str())], "200"),
        ("/", vec![("sec-fetch-site", "cross-site")], "403"),
        ("/events", vec![("sec-fetch-site", "cross-site")], "403"),
        ("/events", vec![("sec-fetch-site", "same-site")], "403"),
        ("/events", vec![("origin", "http://evil.example")], "403"),
        ("/events", vec![("origin", "null"), ("sec-fetch-site", "same-origin")], "403"),
    ] {
        let (head, body) = get(&address, path, &headers).await;
        assert_eq!(head.split(' ').nth(1), Some(wanted), "{path} {headers:?}: {head}\n{body}");
    }
    agent.stop().await;
}
