//! The one place where credentials go: scheme, host, port and path prefix of the environment (backend.md, trap 14).

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use super::HttpSetupError;

pub(super) struct Origin {
    base: Url,
    /// The path of the environment's URL, without a slash at the end.
    prefix: String,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str())
    }
}

impl Origin {
    pub(super) fn parse(url: &str) -> Result<Self, HttpSetupError> {
        let base = Url::parse(url).map_err(|_wrong| HttpSetupError::Url("is not a URL like https://example.com"))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(HttpSetupError::Url("must not hold a user or password; use the auth section"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(HttpSetupError::Url("must not have a query or a fragment"));
        }
        let Some(host) = base.host_str() else {
            return Err(HttpSetupError::Url("has no host"));
        };
        match base.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(HttpSetupError::Url("must be https: credentials go over it; http only to loopback")),
            _ => return Err(HttpSetupError::Url("must begin with https://")),
        }
        let prefix = base.path().trim_end_matches('/').to_owned();
        Ok(Self { base, prefix })
    }

    pub(super) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The host, without brackets, and the port.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        let host = self.base.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (host, self.base.port_or_known_default().unwrap_or(443))
    }

    /// The URL of a request; `None` if it would not come out byte for byte, as with a path step of "." or "..", which means
    /// another path in every encoding (WHATWG URL, double-dot path segment).
    pub(super) fn url(&self, path_and_query: &str) -> Option<Url> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path = format!("{}{path}", self.prefix);
        let mut url = self.base.clone();
        url.set_path(&path);
        url.set_query(query);
        (url.path() == path && url.query() == query).then_some(url)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_and_nothing_hidden_in_the_url() {
        for good in [
            "https://x.example",
            "https://x.example:8443/prefix/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://x.example",
            "http://127.0.0.1.x.example",
            "ftp://127.0.0.1",
            "https://user:hunter2@x.example",
            "https://x.example/?a=b",
            "https://x.example/#a",
            "x.example",
            "",
        ] {
            let refused = Origin::parse(bad).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn a_path_comes_out_as_it_went_in_or_not_at_all() {
        let plain = Origin::parse("https://x.example").unwrap();
        let prefixed = Origin::parse("https://x.example/a%20b/").unwrap();
        for path in ["/s/a%2Fb?x=1", "/s/a%20b", "/s/%C3%A9", "/s/...", "/s/~"] {
            assert_eq!(plain.url(path).unwrap().as_str(), format!("https://x.example{path}"));
            assert_eq!(prefixed.url(path).unwrap().as_str(), format!("https://x.example/a%20b{path}"));
        }
        for path in ["/s/.", "/s/..", "/s/../i", "/s/%2e%2E/i", "/s/a b", "/s/a\tb"] {
            assert!(plain.url(path).is_none(), "{path}");
        }
    }
}
