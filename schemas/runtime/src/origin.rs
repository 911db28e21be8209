//! Who may ask what listens on loopback by HTTP: programs of this machine, not pages of a browser.
//!
//! A browser lets any page send requests to loopback. It says in `Origin` which page asks, and in `Host` by which name
//! the page found the address, also when that name was made to lead here (DNS rebinding). Where it sends no `Origin`, as
//! for scripts and pictures, `Sec-Fetch-Site` tells that another site's page asks (Fetch Metadata, W3C). Programs send
//! neither.

use std::net::{IpAddr, SocketAddr};

use hyper::Request;
use hyper::header::{HOST, HeaderName, ORIGIN};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// From where a listener can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine alone: its pages are refused.
    Machine,
    /// From elsewhere too, by any name: there a token is wanted, which no page has.
    Network,
}

impl Reach {
    /// The reach of a listener's own address; the wider one when it is not known.
    #[must_use]
    pub fn of(address: Option<SocketAddr>) -> Self {
        if address.is_some_and(|address| address.ip().is_loopback()) { Self::Machine } else { Self::Network }
    }

    /// [`check`]s a request where it may come from a page.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check<B>(self, request: &Request<B>) -> Result<(), String> {
        match self {
            Self::Machine => check(request),
            Self::Network => Ok(()),
        }
    }
}

/// Refuses a request of a page, or one that came by a name other than this machine's own.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn check<B>(request: &Request<B>) -> Result<(), String> {
    let values = |name: HeaderName| {
        let values = request.headers().get_all(name).into_iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let hosts: Vec<String> = values(HOST).chain(authority).collect();
    if let Some(host) = hosts.iter().find(|host| !is_loopback(host)) {
        return Err(format!(
            "host {host:?} is not this machine: what listens here is for programs on it, by 127.0.0.1 or localhost"
        ));
    }
    let is_own = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
    };
    if let Some(site) = values(FETCH_SITE).find(|site| !["none", "same-origin"].contains(&site.as_str())) {
        return Err(format!(
            "sec-fetch-site {site:?} is a page of a browser: what listens here is for programs on this machine"
        ));
    }
    match values(ORIGIN).find(|origin| !is_own(origin)) {
        Some(origin) => Err(format!(
            "origin {origin:?} is a page of a browser: what listens here is for programs on this machine"
        )),
        None => Ok(()),
    }
}

/// Whether `host[:port]` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
        Some(_) => return false,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_name = name == "localhost" || name.ends_with(".localhost");
    is_name || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn programs_of_this_machine_may_ask() {
        for host in [
            "127.0.0.1:8000",
            "127.9.9.9",
            "localhost:4567",
            "LOCALHOST.",
            "db.localhost:1",
            "[::1]:80",
            "[::1]",
        ] {
            assert_eq!(asks("/", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(asks("/", &[]), Ok(()), "HTTP/1.0");
        assert_eq!(asks("http://127.0.0.1:4567/", &[]), Ok(()), "HTTP/2");
        let own = [("host", "127.0.0.1:8000"), ("origin", "http://127.0.0.1:8000")];
        assert_eq!(asks("/", &own), Ok(()));
        for typed in ["none", "same-origin"] {
            assert_eq!(
                asks("/", &[("host", "127.0.0.1:8000"), ("sec-fetch-site", typed)]),
                Ok(()),
                "{typed}"
            );
        }
    }

    #[test]
    fn names_that_lead_here_and_pages_may_not() {
        for host in [
            "evil.example:8000",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "[::2]",
            "",
            "[::1]x",
        ] {
            assert!(asks("/", &[("host", host)]).is_err(), "{host}");
        }
        assert!(asks("http://evil.example/", &[]).is_err());
        assert!(asks("http://evil.example/", &[("host", "127.0.0.1")]).is_err());
        assert!(asks("/", &[("host", "127.0.0.1"), ("host", "evil.example")]).is_err());
        for site in ["cross-site", "same-site", ""] {
            assert!(asks("/", &[("host", "127.0.0.1:8000"), ("sec-fetch-site", site)]).is_err(), "{site}");
        }
        for origin in ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8001", ""] {
            assert!(asks("/", &[("host", "127.0.0.1:8000"), ("origin", origin)]).is_err(), "{origin}");
        }
    }
}
