//! Who may call. On the socket its file mode decides: 0660, so the agent's user, its group, and root. On TCP there is no such
//! thing, so pages in a browser on the same machine are kept out (Host, Origin, Sec-Fetch-Site), and everybody without the
//! token where one is set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};

use super::refusal::Refusal;
use crate::config::secret::Secret;

/// The rule of one door.
#[derive(Debug)]
pub(crate) enum Access {
    /// The file mode has decided already.
    Socket,
    /// Over TCP.
    Tcp {
        /// Where it listens: a Host that names this address is good.
        bound: SocketAddr,
        /// Whether any Host is good, because the operator has opened the door to other machines.
        any_host: bool,
        /// Whether there is a page of our own behind it, which may call us from a browser.
        own_page: bool,
        /// What `Authorization: Bearer` must carry.
        token: Option<Secret>,
    },
}

impl Access {
    /// Refuses what must not come in.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        match self {
            Self::Socket => Ok(()),
            Self::Tcp { bound, any_host, own_page, token } => {
                check_browser(request.headers(), *own_page)?;
                if !any_host && !names_us(request, bound.ip()) {
                    return Err(forbidden(
                        "the Host header must be localhost, 127.0.0.1, [::1] or the address that the agent listens on",
                    ));
                }
                match token {
                    Some(token) => check_token(request.headers(), token),
                    None => Ok(()),
                }
            }
        }
    }
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// A browser says where a request comes from; nothing else that calls us does. Pages of others are kept out everywhere, our own
/// is let in where there is one.
fn check_browser(headers: &HeaderMap, own_page: bool) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) && !(own_page && is_own_origin(headers)) {
        return Err(forbidden("a request with an Origin header is not served: web pages may not call the agent"));
    }
    let good = |site: &HeaderValue| site == "none" || (own_page && site == "same-origin");
    if !headers.get_all("sec-fetch-site").iter().all(good) {
        return Err(forbidden("a request of a web page (Sec-Fetch-Site) is not served"));
    }
    Ok(())
}

/// Whether the one Origin is `http://` and the one Host. Whether that Host is us is another question.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    let (Some(origin), Some(host)) = (one(header::ORIGIN), one(header::HOST)) else { return false };
    !host.is_empty() && origin.strip_prefix(b"http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// Whether the request means us: a name that an attacker's DNS points at loopback does not.
fn names_us<B>(request: &Request<B>, bound: IpAddr) -> bool {
    if request.version() == Version::HTTP_2 {
        // There `:authority` stands for Host, which may be there too (RFC 9113, 8.3.1).
        let mut hosts = request.headers().get_all(header::HOST).iter();
        return request.uri().authority().is_some_and(|target| is_us(target, bound))
            && hosts.all(|host| Authority::try_from(host.as_bytes()).is_ok_and(|host| is_us(&host, bound)));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    is_us(&host, bound) && request.uri().authority().is_none_or(|target| is_us(target, bound))
}

fn is_us(authority: &Authority, bound: IpAddr) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip == bound || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST)
}

fn check_token(headers: &HeaderMap, token: &Secret) -> Result<(), Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let good = match (given.next(), given.next()) {
        (Some(value), None) => bearer(value).is_some_and(|given| is_same(given, token.expose().as_bytes())),
        _ => false,
    };
    if good {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this address needs `Authorization: Bearer` with the token of local_api.token_file",
        )
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, given) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(given.trim_ascii_start())
}

/// Compares without telling by its duration where two tokens of one length differ.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len()
        && std::hint::black_box(given.iter().zip(wanted).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::SecretOrigin;

    fn tcp(any_host: bool, token: Option<&str>) -> Access {
        Access::Tcp {
            bound: "127.0.0.2:9358".parse().unwrap(),
            any_host,
            own_page: false,
            token: token.map(|token| Secret::new(token.to_owned(), SecretOrigin::Value)),
        }
    }

    fn status(access: &Access, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.check(&request.body(()).unwrap()).map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_a_host_that_means_us_comes_in() {
        let access = tcp(false, None);
        for good in [
            "localhost",
            "LocalHost:80",
            "127.0.0.1",
            "127.0.0.1:9358",
            "[::1]",
            "[::1]:1",
            "127.0.0.2:9358",
            "[0:0:0:0:0:0:0:1]",
        ] {
            assert_eq!(status(&access, "/v1/status", &[("host", good)]), 200, "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.3", "10.0.0.1:9358", "me@localhost", "", "::1"] {
            assert_eq!(status(&access, "/v1/status", &[("host", bad)]), 403, "{bad}");
        }
        assert_eq!(status(&access, "/v1/status", &[]), 403);
        assert_eq!(status(&access, "/v1/status", &[("host", "localhost"), ("host", "evil.example")]), 403);
        assert_eq!(status(&access, "http://evil.example/v1/status", &[("host", "localhost")]), 403);
        assert_eq!(status(&tcp(true, None), "/v1/status", &[("host", "game-7.example")]), 200);
    }

    #[test]
    fn a_browser_stays_out_even_where_any_host_is_good() {
        let access = tcp(true, None);
        for header in [("origin", "http://localhost"), ("origin", "null"), ("sec-fetch-site", "same-origin")] {
            assert_eq!(status(&access, "/", &[("host", "localhost"), header]), 403, "{header:?}");
        }
        assert_eq!(status(&access, "/", &[("host", "localhost"), ("sec-fetch-site", "none")]), 200);
    }

    #[test]
    fn our_own_page_comes_in_where_there_is_one_and_no_other_does() {
        let page =
            |any_host| Access::Tcp { bound: "127.0.0.2:9358".parse().unwrap(), any_host, own_page: true, token: None };
        let loopback = page(false);
        for (headers, wanted) in [
            (vec![("host", "localhost:9359"), ("sec-fetch-site", "none")], 200),
            (vec![("host", "localhost:9359"), ("sec-fetch-site", "same-origin")], 200),
            (vec![("host", "localhost:9359"), ("origin", "http://localhost:9359")], 200),
            (vec![("host", "[::1]:1"), ("origin", "http://[::1]:1"), ("sec-fetch-site", "same-origin")], 200),
            (vec![("host", "localhost:9359"), ("sec-fetch-site", "same-site")], 403),
            (vec![("host", "localhost:9359"), ("sec-fetch-site", "cross-site")], 403),
            (vec![("host", "localhost"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], 403),
            (
                vec![("host", "localhost:9359"), ("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
                403,
            ),
            (vec![("host", "localhost:9359"), ("origin", "http://localhost:9358")], 403),
            (vec![("host", "localhost:9359"), ("origin", "https://localhost:9359")], 403),
            (vec![("host", "localhost:9359"), ("origin", "null")], 403),
            (vec![("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")], 403),
            (vec![("host", "localhost"), ("host", "evil.example"), ("origin", "http://evil.example")], 403),
            // A name of somebody else's that leads to us: to its browser, its page is of our origin.
            (vec![("host", "evil.example"), ("sec-fetch-site", "same-origin")], 403),
            (vec![("host", "evil.example"), ("origin", "http://evil.example")], 403),
            (vec![("origin", "http://")], 403),
            (vec![("host", ""), ("origin", "http://")], 403),
        ] {
            assert_eq!(status(&loopback, "/events", &headers), wanted, "{headers:?}");
        }
        let open = page(true);
        for (headers, wanted) in [
            (vec![("host", "game-7:9359"), ("sec-fetch-site", "same-origin")], 200),
            (vec![("host", "game-7:9359"), ("origin", "http://game-7:9359")], 200),
            (vec![("host", "game-7:9359"), ("origin", "http://evil.example")], 403),
            (vec![("host", "game-7:9359"), ("sec-fetch-site", "cross-site")], 403),
        ] {
            assert_eq!(status(&open, "/events", &headers), wanted, "{headers:?}");
        }
    }

    #[test]
    fn the_token_must_be_the_whole_token() {
        let access = tcp(false, Some("s3cret"));
        let with = |value| status(&access, "/", &[("host", "localhost"), ("authorization", value)]);
        assert_eq!(with("Bearer s3cret"), 200);
        assert_eq!(with("bearer  s3cret"), 200);
        for bad in ["Bearer s3cre", "Bearer s3crets", "Bearer", "Bearer ", "Basic s3cret", "s3cret", "Bearer S3cret"] {
            assert_eq!(with(bad), 401, "{bad}");
        }
        assert_eq!(status(&access, "/", &[("host", "localhost")]), 401);
    }
}
