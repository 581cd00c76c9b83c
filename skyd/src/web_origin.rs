//! Protection against web pages of other servers: checks the origins and host names of requests.
//!
//! A browser sends the requests of any page to any address that it can reach, the loopback
//! interface included. If no password protects the API, two checks replace it: `Origin` and the
//! fetch metadata identify requests of foreign pages, and `Host` identifies DNS rebinding, by which
//! a foreign page makes its own host name resolve to the address of the daemon.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Request};

use crate::config::Config;

/// Origins of web pages and host names that requests may have (`http.cors.origins`, `http.hosts`).
#[derive(Clone, Debug)]
pub(crate) struct WebOrigins {
    /// Allowed origins in addition to that of the daemon itself; `None` for any.
    origins: Option<Vec<String>>,
    /// Allowed host names in lower case, in addition to those of this machine; `None` for any.
    hosts: Option<Vec<String>>,
}

/// Reason to reject a request that a foreign web page may have sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForeignPage {
    /// The request is from a page of another origin.
    #[error(
        "requests of web pages from {0:?} are rejected; add that origin to http.cors.origins to \
         accept them"
    )]
    Origin(String),
    /// The request names a host other than this machine.
    #[error(
        "requests to the host name {0:?} are rejected, because no password is required and another \
         site could have given this name to the address of the server; use the address of the \
         server, or add the name to http.hosts"
    )]
    Host(String),
}

impl WebOrigins {
    /// Reads the settings; `own_names` are the names of this machine.
    pub(crate) fn from_config(config: &Config, own_names: &[String]) -> Self {
        let listed = |key: &str| {
            let values = config.list(key);
            (!values.iter().any(|value| value == ANY)).then_some(values)
        };
        let names = |hosts: Vec<String>| {
            let all = hosts.iter().chain(own_names);
            all.map(|name| host_of(name).to_ascii_lowercase()).collect()
        };
        let origins = listed("http.cors.origins");
        Self {
            hosts: listed("http.hosts")
                .filter(|_| origins.is_some())
                .map(names),
            origins,
        }
    }

    /// Returns whether pages of every origin are accepted.
    pub(crate) const fn accept_any(&self) -> bool {
        self.origins.is_none()
    }

    /// Checks a request. Returns the origin that may read the response, `*` for any; `None` if the
    /// request is not from a page of another origin.
    ///
    /// # Errors
    /// Returns [`ForeignPage`] if the request is from a page that may not use the API.
    pub(crate) fn check<B>(
        &self,
        request: &Request<B>,
        has_password: bool,
    ) -> Result<Option<HeaderValue>, ForeignPage> {
        let headers = request.headers();
        let any = || headers.get(ORIGIN).map(|_| HeaderValue::from_static(ANY));
        let Some(listed) = &self.origins else {
            return Ok(any());
        };
        // COMPAT: with passwords, the web UI may be served by another server, as in Skydive.
        if has_password && listed.is_empty() {
            return Ok(any());
        }
        let hosts = hosts(request);
        if !has_password {
            let foreign = hosts.iter().find(|host| !self.is_own_host(host_of(host)));
            if let Some(host) = foreign {
                return Err(ForeignPage::Host(shortened(host)));
            }
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return match is_from_other_page(request.method(), headers) {
                true => Err(ForeignPage::Origin("another site".to_owned())),
                false => Ok(None),
            };
        };
        let text = String::from_utf8_lossy(origin.as_bytes());
        if origins.next().is_some() {
            return Err(ForeignPage::Origin(shortened(&text)));
        }
        if is_same_origin(&text, &hosts) {
            return Ok(None);
        }
        if listed.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
            return Ok(Some(origin.clone()));
        }
        Err(ForeignPage::Origin(shortened(&text)))
    }

    /// Checks a request to an endpoint of agents and analyzers, which web pages never use.
    ///
    /// # Errors
    /// Returns the name of a header that only browsers send or, unless `may_be_forwarded`, that a
    /// proxy has added.
    pub(crate) fn check_cluster<B>(
        &self,
        request: &Request<B>,
        may_be_forwarded: bool,
    ) -> Result<(), HeaderName> {
        if self.accept_any() {
            return Ok(());
        }
        let headers = request.headers();
        let hosts = hosts(request);
        // COMPAT: Go agents send the URL of the endpoint, which begins with `ws:`. Browsers never do.
        let is_of_agent = |origin: &HeaderValue| {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            origin.starts_with("ws") && is_same_origin(&origin, &hosts)
        };
        if !headers.get_all(ORIGIN).iter().all(is_of_agent) {
            return Err(ORIGIN);
        }
        let mut added = FORWARDED.iter().filter(|_| !may_be_forwarded);
        match added.find(|name| headers.contains_key(**name)) {
            Some(name) => Err(HeaderName::from_static(name)),
            None => Ok(()),
        }
    }

    /// Returns whether a host name, or an address, is one of this machine.
    fn is_own_host(&self, host: &str) -> bool {
        let Some(names) = &self.hosts else {
            return true;
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        // RFC 6761, 6.3: names below `localhost` resolve to the loopback interface.
        host == "localhost"
            || host.ends_with(".localhost")
            || address.parse::<IpAddr>().is_ok()
            || names.contains(&host)
    }
}

/// Returns the hosts that a request names: the host of its URI, if there is one, and those of its
/// `Host` headers.
fn hosts<B>(request: &Request<B>) -> Vec<String> {
    let of_uri = request
        .uri()
        .authority()
        .map(|host| host.as_str().to_owned());
    let of_header = request.headers().get_all(HOST).iter();
    let of_header = of_header.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    of_uri.into_iter().chain(of_header).collect()
}

/// Returns whether an origin, or the URL of a Go client, is on the server to which a request was sent.
fn is_same_origin(origin: &str, hosts: &[String]) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        _ => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let with_port = |authority: &str| {
        let host = host_of(authority);
        match authority
            .get(host.len()..)
            .and_then(|port| port.strip_prefix(':'))
        {
            Some(port) if !port.is_empty() => format!("{host}:{port}").to_ascii_lowercase(),
            _ => format!("{host}:{port}").to_ascii_lowercase(),
        }
    };
    !hosts.is_empty()
        && hosts
            .iter()
            .all(|host| with_port(host) == with_port(authority))
}

/// Returns whether a request without `Origin` was made by a page of another origin, according to
/// the fetch metadata that browsers add. A link to the API that the user opens is not such a
/// request.
fn is_from_other_page(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    let is_link = *method == Method::GET && is("sec-fetch-mode", "navigate");
    (is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site")) && !is_link
}

/// Returns the host of `host:port`.
fn host_of(authority: &str) -> &str {
    let after_address = authority.find(']').map_or(0, |end| end + 1);
    match authority
        .get(after_address..)
        .and_then(|rest| rest.find(':'))
    {
        // Several colons without brackets are an IPv6 address.
        Some(colon) if after_address > 0 || authority.matches(':').count() == 1 => {
            &authority[..after_address + colon]
        }
        _ => authority,
    }
}

/// Returns the start of a header value for an error message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Value of the settings that allows everything.
const ANY: &str = "*";
/// Headers with which proxies pass on the address of a client.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(yaml: &str) -> WebOrigins {
        let config = Config::parse("test", yaml).unwrap();
        WebOrigins::from_config(&config, &["box.lan".to_owned()])
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    /// Returns the origin that may read the response, `-` for none, or `refused`.
    fn outcome(of: &WebOrigins, has_password: bool, headers: &[(&str, &str)]) -> String {
        match of.check(&request("POST", "/api/node", headers), has_password) {
            Ok(None) => "-".to_owned(),
            Ok(Some(origin)) => origin.to_str().unwrap().to_owned(),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn without_a_password_only_the_own_origin_is_accepted() {
        let defaults = origins("{}");
        for (host, origin, expected) in [
            ("127.0.0.1:8082", "http://127.0.0.1:8082", "-"),
            ("127.0.0.1:8082", "https://127.0.0.1:8082", "-"),
            ("127.0.0.1:8082", "ws://127.0.0.1:8082/ws/publisher", "-"),
            ("LocalHost", "http://localhost", "-"),
            ("localhost:80", "http://localhost", "-"),
            ("[::1]:8082", "http://[::1]:8082", "-"),
            ("[::1]", "https://[::1]:443", "-"),
            ("127.0.0.1:8082", "http://127.0.0.1:8083", "refused"),
            ("127.0.0.1:8082", "http://localhost:8082", "refused"),
            ("127.0.0.1:8082", "http://evil.example", "refused"),
            (
                "127.0.0.1:8082",
                "http://127.0.0.1:8082.evil.example",
                "refused",
            ),
            ("127.0.0.1:8082", "http://evil@127.0.0.1:8082", "refused"),
            ("127.0.0.1:8082", "file://127.0.0.1:8082", "refused"),
            ("127.0.0.1:8082", "null", "refused"),
            ("127.0.0.1:8082", "", "refused"),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(
                outcome(&defaults, false, &headers),
                expected,
                "{host} {origin}"
            );
        }
        let two = [
            ("host", "::1"),
            ("origin", "http://[::1]"),
            ("origin", "http://[::1]"),
        ];
        assert_eq!(outcome(&defaults, false, &two), "refused");
        assert_eq!(outcome(&defaults, false, &[("host", "10.0.0.1")]), "-");
    }

    #[test]
    fn without_a_password_the_host_must_be_this_machine() {
        let defaults = origins("{}");
        for (host, expected) in [
            ("127.0.0.1:1", "-"),
            ("192.0.2.7", "-"),
            ("[2001:db8::1]:8082", "-"),
            ("localhost:8082", "-"),
            ("a.localhost", "-"),
            ("localhost.", "-"),
            ("BOX.lan:9", "-"),
            ("evil.example:8082", "refused"),
            ("box.lan.evil.example", "refused"),
            ("127.0.0.1.evil.example", "refused"),
            ("xlocalhost", "refused"),
            ("", "refused"),
        ] {
            assert_eq!(
                outcome(&defaults, false, &[("host", host)]),
                expected,
                "{host}"
            );
        }
        let page = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(outcome(&defaults, false, &page), "refused", "DNS rebinding");
        let absolute = request("GET", "http://evil.example/api", &[("host", "localhost")]);
        assert!(matches!(
            defaults.check(&absolute, false),
            Err(ForeignPage::Host(_))
        ));
        let more = origins("{http: {hosts: [Sky.example]}}");
        assert_eq!(outcome(&more, false, &[("host", "sky.example:8082")]), "-");
        let all = origins("{http: {hosts: ['*']}}");
        assert_eq!(outcome(&all, false, &[("host", "evil.example")]), "-");
        assert_eq!(outcome(&defaults, false, &[]), "-", "HTTP/1.0");
    }

    #[test]
    fn requests_of_pages_without_origin_are_recognized_by_their_metadata() {
        let defaults = origins("{}");
        let check = |method: &str, site: &str, mode: &str| {
            let headers = [
                ("host", "127.0.0.1"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            defaults
                .check(&request(method, "/api", &headers), false)
                .is_ok()
        };
        assert!(check("GET", "same-origin", "cors"));
        assert!(check("GET", "none", "navigate"));
        assert!(check("GET", "cross-site", "navigate"), "a link");
        assert!(!check("GET", "cross-site", "no-cors"), "an image");
        assert!(
            !check("GET", "same-site", "no-cors"),
            "another port of this machine"
        );
        assert!(!check("POST", "cross-site", "navigate"), "a form");
    }

    #[test]
    fn settings_accept_other_origins() {
        let page = [("host", "127.0.0.1"), ("origin", "http://ui.example:3000")];
        let listed = origins("{http: {cors: {origins: ['http://UI.example:3000']}}}");
        for has_password in [false, true] {
            assert_eq!(outcome(&listed, has_password, &page), page[1].1);
            let other = [page[0], ("origin", "http://ui.example")];
            assert_eq!(outcome(&listed, has_password, &other), "refused");
        }
        let any = origins("{http: {cors: {origins: ['*']}}}");
        let rebound = [("host", "evil.example"), page[1]];
        assert_eq!(outcome(&any, false, &rebound), "*");
        assert_eq!(outcome(&any, false, &rebound[..1]), "-");
        assert_eq!(
            outcome(&origins("{}"), true, &rebound),
            "*",
            "as in Skydive"
        );
    }

    #[test]
    fn agents_are_not_pages_and_not_behind_proxies() {
        let check = |of: &WebOrigins, headers: &[(&str, &str)], may_be_forwarded| {
            let mut all = vec![("host", "10.0.0.1:8082")];
            all.extend(headers);
            of.check_cluster(
                &request("GET", "/ws/agent/topology", &all),
                may_be_forwarded,
            )
        };
        let defaults = origins("{}");
        let go = ("origin", "ws://10.0.0.1:8082/ws/agent/topology");
        assert_eq!(check(&defaults, &[], false), Ok(()));
        assert_eq!(check(&defaults, &[go], false), Ok(()));
        for origin in ["http://10.0.0.1:8082", "ws://10.0.0.2:8082/", "null", "wss"] {
            assert_eq!(
                check(&defaults, &[("origin", origin)], true),
                Err(ORIGIN),
                "{origin}"
            );
        }
        for name in FORWARDED {
            let refused = check(&defaults, &[(name, "1.2.3.4")], false);
            assert_eq!(refused, Err(HeaderName::from_static(name)));
            assert_eq!(check(&defaults, &[(name, "1.2.3.4")], true), Ok(()));
        }
        let any = origins("{http: {cors: {origins: ['*']}}}");
        let page = [
            ("origin", "http://ui.example"),
            ("forwarded", "for=1.2.3.4"),
        ];
        assert_eq!(check(&any, &page, false), Ok(()));
    }
}
