//! Finds the credentials in a request.

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};

use crate::urlencoded;

/// Returns the unparsed credentials of a request from the first source that has credentials: cookie
/// `authtoken`, header `Authorization`, header `X-Auth-Token`, parameter `x-auth-token`.
pub(crate) fn credentials(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let header = |name: &str| headers.get(name).map(text).filter(|text| !text.is_empty());
    cookie(headers)
        .or_else(|| header(AUTHORIZATION.as_str()))
        .or_else(|| header("x-auth-token"))
        .or_else(|| parameter(query?))
}

/// Returns the credentials in a query string or a form.
pub(crate) fn parameter(text: &str) -> Option<String> {
    urlencoded::value(&urlencoded::pairs(text), "x-auth-token").filter(|value| !value.is_empty())
}

/// Returns whether the body of a request is a form, whose parameters are treated like query
/// parameters.
pub(crate) fn has_form(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
        && kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Returns the secret part of credentials: everything after the scheme, whatever its name, or the
/// whole string if there is no scheme.
pub(crate) fn secret(credentials: &str) -> &str {
    let credentials = credentials.trim();
    match credentials.split_once(' ') {
        Some((_, secret)) => secret.trim_start(),
        None => credentials,
    }
}

/// Returns the value of the cookie `authtoken`.
fn cookie(headers: &HeaderMap) -> Option<String> {
    // Go clients end the list with a semicolon, Python clients omit the blanks.
    let lists = headers.get_all(COOKIE).iter().map(text);
    lists
        .flat_map(|list| {
            let pairs = list.split(';').filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()).to_owned()))
                .collect::<Vec<_>>()
        })
        .find(|(name, value)| name == "authtoken" && !value.is_empty())
        .map(|(_, value)| value)
}

/// Removes the quotes around a value.
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// Returns a header value as a string. Bytes that are not UTF-8 become U+FFFD, so that the
/// credentials are wrong.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_first_source_with_credentials_counts() {
        let all = [
            ("cookie", "a=b;authtoken=1"),
            ("authorization", "Basic 2"),
            ("x-auth-token", "3"),
        ];
        let query = Some("x=y&x-auth-token=4");
        let found = |from: usize| credentials(&headers(&all[from..]), query);
        assert_eq!(found(0).as_deref(), Some("1"));
        assert_eq!(found(1).as_deref(), Some("Basic 2"));
        assert_eq!(found(2).as_deref(), Some("3"));
        assert_eq!(found(3).as_deref(), Some("4"));
        assert_eq!(credentials(&HeaderMap::new(), None), None);
    }

    #[test]
    fn cookies_are_read_as_clients_write_them() {
        for (list, wanted) in [
            ("", None),
            ("authtoken=abc; ", Some("abc")),
            ("a=b;authtoken=\"Basic abc\";c=d", Some("Basic abc")),
            ("authtoken=", None),
            ("xauthtoken=abc; Authtoken=d", None),
            ("authtoken=YQ==", Some("YQ==")),
            (";;=;authtoken", None),
        ] {
            let found = credentials(&headers(&[("cookie", list)]), None);
            assert_eq!(found.as_deref(), wanted, "{list}");
        }
        let two = headers(&[("cookie", "a=b"), ("cookie", "authtoken=c")]);
        assert_eq!(credentials(&two, None).as_deref(), Some("c"));
        let empty = headers(&[("cookie", ""), ("authorization", "x")]);
        assert_eq!(credentials(&empty, None).as_deref(), Some("x"));
    }

    #[test]
    fn any_scheme_may_precede_the_secret() {
        for (written, wanted) in [
            ("Basic abc", "abc"),
            ("bearer  abc ", "abc"),
            ("abc", "abc"),
            ("Basic", "Basic"),
            ("Basic ", "Basic"),
            ("", ""),
        ] {
            assert_eq!(secret(written), wanted, "{written:?}");
        }
    }

    #[test]
    fn a_form_is_recognized_by_its_type() {
        let form = headers(&[(
            "content-type",
            "Application/x-www-form-urlencoded; charset=x",
        )]);
        assert!(has_form(&Method::POST, &form));
        assert!(!has_form(&Method::GET, &form));
        assert!(!has_form(
            &Method::POST,
            &headers(&[("content-type", "text/plain")])
        ));
        assert_eq!(parameter("a=b&x-auth-token=c%3D").as_deref(), Some("c="));
    }
}
