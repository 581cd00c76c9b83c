//! Percent-encoding and `application/x-www-form-urlencoded`, as URLs and HTML forms use them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Returns `text` with `%41` replaced by `A`. A `%` that does not begin a valid escape is
/// preserved, and bytes that are not UTF-8 become U+FFFD.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns `text` encoded as a single path segment. Dots are also encoded, so that the result is
/// never `.` or `..`.
pub(crate) fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, PATH_SEGMENT).to_string()
}

const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// Returns the decoded names and values of `a=b&c=d` in their order; a name without `=` has an
/// empty value.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Returns the first value of a name; names are case-sensitive.
pub(crate) fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let pairs = pairs("a=1+2&&b=%26%3d&a=3&c");
        assert_eq!(value(&pairs, "a").as_deref(), Some("1 2"), "the first one");
        assert_eq!(value(&pairs, "b").as_deref(), Some("&="));
        assert_eq!(value(&pairs, "c").as_deref(), Some(""));
        assert_eq!(value(&pairs, "A"), None);
    }

    #[test]
    fn text_that_is_no_escape_is_preserved() {
        for (text, wanted) in [
            ("%zz", "%zz"),
            ("%4", "%4"),
            ("%", "%"),
            ("a%2Fb%ff", "a/b\u{fffd}"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(percent_decoded(text), wanted);
        }
        assert_eq!(pairs("a=%zz"), [("a".to_owned(), "%zz".to_owned())]);
        assert_eq!(path_segment("a.b/c-_~é"), "a%2Eb%2Fc-_~%C3%A9");
    }
}
