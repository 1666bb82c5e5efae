//! Host and Origin checks, against pages that reach the server through a browser (DNS rebinding, cross-site requests).
//!
//! In: a request's target and headers. Out: a refusal, or nothing. Invariant: a loopback server answers only requests
//! whose every host name is a loopback name or one given by `--allow-host`; a request with two `Host` headers is
//! malformed on every server; an `Origin` is the server itself, a loopback host, or an allowed host.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{header, HeaderMap, StatusCode, Uri, Version};

use crate::refusal::Refusal;

/// The host names that requests may have.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Host names are checked: the server listens on loopback, or allowed names were given.
    checked: bool,
    /// Allowed names beside loopback ones, in lower case, without a port.
    allowed: Vec<String>,
}

impl Hosts {
    /// The hosts of a server that listens on `address`; `allowed` are the values of `--allow-host`.
    pub fn new(address: IpAddr, allowed: &[String]) -> Hosts {
        let mut names: Vec<String> = allowed.iter().filter_map(|name| name_of(name)).collect();
        let checked = address.to_canonical().is_loopback() || !names.is_empty();
        if !address.is_unspecified() {
            names.push(address.to_string());
        }
        Hosts { checked, allowed: names }
    }

    /// Refuses a request for, or from a page of, a host that is not allowed.
    pub fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut said = headers.get_all(header::HOST).iter();
        let (host, second) = (said.next(), said.next());
        if second.is_some() {
            return Err(malformed("the request has more than one 'Host' header; send one"));
        }
        let host = match host {
            Some(value) => value.to_str().ok().and_then(name_of).map(Some).ok_or_else(|| {
                malformed("the 'Host' header is no host name with an optional port, such as 'localhost:8080'")
            })?,
            // HTTP/1.0 has no such header, and no browser speaks it.
            None if version < Version::HTTP_11 => None,
            None => return Err(malformed("the request has no 'Host' header, which HTTP/1.1 asks for")),
        };
        let target = match uri.authority() {
            Some(authority) => Some(
                name_of(authority.as_str())
                    .ok_or_else(|| malformed("the request's target has no readable host name"))?,
            ),
            None => None,
        };
        if self.checked {
            if let Some(name) = [&host, &target].into_iter().flatten().find(|name| !self.knows(name)) {
                return Err(foreign(format!(
                    "this server is not for the host {name:?}: ask for 'localhost' or '127.0.0.1', or start the \
                     server with --allow-host {name}"
                )));
            }
        }
        headers.get_all(header::ORIGIN).iter().try_for_each(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            if self.is_own(origin, host.as_deref()) {
                return Ok(());
            }
            Err(foreign(format!(
                "pages of the origin {origin:?} may not ask this server; start it with --allow-host NAME for the \
                 page's host"
            )))
        })
    }

    fn knows(&self, name: &str) -> bool {
        is_loopback(name) || self.allowed.iter().any(|allowed| allowed == name)
    }

    /// `origin` is `scheme://host` with an optional port, as browsers send it.
    fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        let page = origin.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
        let Some(name) = page.and_then(|(_, authority)| name_of(authority)) else { return false };
        self.knows(&name) || (!self.checked && Some(name.as_str()) == host)
    }
}

/// The name in `name`, `name:port`, `[address]` or `[address]:port`, in lower case and without a final dot.
pub fn name_of(authority: &str) -> Option<String> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
        }
        None => {
            if let Ok(address) = authority.parse::<Ipv6Addr>() {
                return Some(address.to_string());
            }
            let (name, port) = authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
            let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() || !name.chars().all(usable) {
                return None;
            }
            (name.to_ascii_lowercase(), port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port =
        digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok());
    let has_colon = port.is_empty() || port.starts_with(':');
    (is_port && has_colon).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    let address = name.parse::<IpAddr>().ok();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_some_and(|address| address.to_canonical().is_loopback())
}

fn malformed(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message).code("bad_host")
}

fn foreign(message: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, message).code("host_not_allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn status(hosts: &Hosts, version: Version, uri: &str, named: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        hosts.check(version, &uri, &headers).err().map_or(200, |refusal| refusal.status.as_u16())
    }

    fn of(hosts: &Hosts, host: &str, origin: Option<&str>) -> u16 {
        let named: Vec<_> = [("host", host)].into_iter().chain(origin.map(|o| ("origin", o))).collect();
        status(hosts, Version::HTTP_11, "/health", &named)
    }

    fn loopback(allowed: &[&str]) -> Hosts {
        let allowed: Vec<String> = allowed.iter().map(|name| name.to_string()).collect();
        Hosts::new("127.0.0.1".parse().unwrap(), &allowed)
    }

    #[test]
    fn loopback_servers_answer_loopback_hosts() {
        let hosts = loopback(&[]);
        for host in [
            "localhost",
            "localhost:8080",
            "LocalHost.:8080",
            "127.0.0.1",
            "127.0.0.1:65535",
            "127.8.9.1",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "app.localhost:80",
            "localhost:",
        ] {
            assert_eq!(of(&hosts, host, None), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "192.168.0.1:8080",
            "[2001:db8::1]",
            "2130706433",
            "127.1",
            "notlocalhost",
        ] {
            assert_eq!(of(&hosts, host, None), 403, "{host}");
        }
        for host in [
            "",
            ":8080",
            "localhost:http",
            "localhost:99999",
            "localhost, evil.example",
            "localhost:80:80",
            "[::1",
            "[::1]8080",
            "a@localhost",
            "localhost/..",
            "[localhost]",
        ] {
            assert_eq!(of(&hosts, host, None), 400, "{host}");
        }
    }

    #[test]
    fn one_host_header_is_asked_for() {
        let (hosts, all) = (loopback(&[]), Hosts::new("0.0.0.0".parse().unwrap(), &[]));
        for hosts in [&hosts, &all] {
            assert_eq!(
                status(hosts, Version::HTTP_11, "/", &[("host", "localhost"), ("host", "localhost")]),
                400
            );
            assert_eq!(status(hosts, Version::HTTP_11, "/", &[]), 400);
            assert_eq!(status(hosts, Version::HTTP_10, "/", &[]), 200);
        }
        assert_eq!(status(&hosts, Version::HTTP_10, "/", &[("host", "evil.example")]), 403);
        assert_eq!(status(&hosts, Version::HTTP_11, "http://evil.example/", &[("host", "localhost")]), 403);
        assert_eq!(status(&hosts, Version::HTTP_11, "http://localhost/", &[("host", "localhost")]), 200);
    }

    #[test]
    fn foreign_origins_are_refused() {
        let hosts = loopback(&["Box.example", "app.example:3000"]);
        for origin in ["http://localhost:8080", "http://127.0.0.1", "https://[::1]:3", "https://box.example"]
        {
            assert_eq!(of(&hosts, "localhost:8080", Some(origin)), 200, "{origin}");
        }
        for origin in
            ["http://evil.example", "null", "", "file://", "http://localhost.evil.example", "localhost"]
        {
            assert_eq!(of(&hosts, "localhost:8080", Some(origin)), 403, "{origin}");
        }
        assert_eq!(of(&hosts, "box.example:80", None), 200);
        assert_eq!(of(&hosts, "app.example", None), 200);
    }

    #[test]
    fn servers_of_a_network_check_names_that_were_given() {
        let open = Hosts::new("0.0.0.0".parse().unwrap(), &[]);
        assert_eq!(of(&open, "box.example:8080", Some("http://box.example:8080")), 200);
        assert_eq!(of(&open, "box.example:8080", Some("http://evil.example")), 403);
        let named = Hosts::new("0.0.0.0".parse().unwrap(), &["box.example".to_owned()]);
        assert_eq!(of(&named, "box.example", None), 200);
        assert_eq!(of(&named, "evil.example", None), 403);
        let lan = Hosts::new("192.168.0.7".parse().unwrap(), &["box.example".to_owned()]);
        assert_eq!(of(&lan, "192.168.0.7:8080", None), 200);
    }
}
