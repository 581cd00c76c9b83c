//! Names and values as query strings and HTML forms write them.

use crate::router::percent_decoded;

/// Names and values of `a=b&c=d`, decoded, in their order.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The first value of a name; the name is compared with its case.
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
}
