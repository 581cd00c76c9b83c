//! Text of JSON documents that clients send, with invalid strings repaired.
//!
//! COMPAT: Go accepts such strings. Python writes file names that are not UTF-8 with escape sequences
//! of single surrogates.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Returns the text of a JSON document: bytes that are not UTF-8, and escape sequences of surrogates
/// that are not pairs, are replaced by U+FFFD. Does not copy a valid document.
///
/// ```
/// use skylib::api::json_text;
/// assert_eq!(json_text(br#"["\udc80", "\ud83d\ude00"]"#), r#"["\ufffd", "\ud83d\ude00"]"#);
/// assert_eq!(json_text(b"\"\xff\""), "\"\u{fffd}\"");
/// ```
#[must_use]
pub fn json_text(document: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(document);
    if !text.contains(r"\ud") && !text.contains(r"\uD") {
        return text;
    }
    let (mut repaired, mut done) = (String::new(), 0);
    for at in single_surrogates(text.as_bytes()) {
        repaired.push_str(&text[done..at]);
        repaired.push_str(REPLACEMENT);
        done = at + REPLACEMENT.len();
    }
    if done == 0 {
        return text;
    }
    repaired.push_str(&text[done..]);
    repaired.into()
}

/// Returns the positions of the escape sequences of surrogates that are not pairs. Valid JSON has
/// backslashes only in strings.
fn single_surrogates(json: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let begin = at + json.get(at..)?.iter().position(|byte| *byte == b'\\')?;
            let Some(unit) = code_unit(json, begin) else {
                at = begin + 2;
                continue;
            };
            at = begin + REPLACEMENT.len();
            let is_low = |unit: u16| LOW.contains(&unit);
            if HIGH.contains(&unit) && code_unit(json, at).is_some_and(is_low) {
                at += REPLACEMENT.len();
            } else if HIGH.contains(&unit) || is_low(unit) {
                return Some(begin);
            }
        }
    })
}

/// Returns the UTF-16 code unit of the escape sequence that begins at a position, if one does.
fn code_unit(json: &[u8], at: usize) -> Option<u16> {
    let escape = json.get(at..at + REPLACEMENT.len())?;
    let digits = escape.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

/// Escape sequence of U+FFFD, which is as long as any other.
const REPLACEMENT: &str = r"\ufffd";
/// First surrogates of pairs.
const HIGH: RangeInclusive<u16> = 0xd800..=0xdbff;
/// Second surrogates of pairs.
const LOW: RangeInclusive<u16> = 0xdc00..=0xdfff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_surrogates_are_replaced_and_pairs_are_not() {
        for (json, text) in [
            (r#""\udc80""#, r#""\ufffd""#),
            (r#""a\uD800z\udfff""#, r#""a\ufffdz\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\\udc80\\\udc80""#, r#""\\udc80\\\ufffd""#),
            (r#""\udead"#, r#""\ufffd"#),
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\ud+00""#, r#""\ud+00""#),
            (r"\", r"\"),
        ] {
            assert_eq!(json_text(json.as_bytes()), text);
        }
        assert!(matches!(json_text(br#""\ud83d\ude00""#), Cow::Borrowed(_)));
        assert_eq!(json_text(b"\"\xff\\udc80\""), "\"\u{fffd}\\ufffd\"");
    }

    proptest! {
        #[test]
        fn every_string_of_escape_sequences_is_read(units in prop::collection::vec(
            prop_oneof![any::<u16>(), 0xd700_u16..=0xe000], 0..20)) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escapes}\"");
            let read: String = serde_json::from_str(&json_text(json.as_bytes())).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u'), Just(b'd'), Just(b'8')], 0..60)) {
            drop(json_text(&bytes));
        }
    }
}
