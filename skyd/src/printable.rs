//! Escaping of characters that a terminal would interpret instead of showing.
//!
//! Names of interfaces, processes, and nodes are untrusted. A terminal interprets control
//! characters in them (ECMA-48 escape sequences) and reorders text at bidirectional controls.

use std::borrow::Cow;

/// Returns a string in which characters that are not [safe](is_safe) are escaped, as in `\u{1b}`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_safe)
}

/// Returns a string as [`printable`] does, but preserves line breaks.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter == '\n' || is_safe(letter))
}

fn escaped(text: &str, is_allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&is_allowed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_allowed(letter) {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a terminal shows a character at its position: false for control characters, line
/// separators, and format characters that are invisible or change the direction of text.
pub(crate) const fn is_safe(letter: char) -> bool {
    !matches!(letter,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_execute_is_shown() {
        for (text, shown) in [
            ("eth0", "eth0"),
            ("caf\u{e9} \u{65e5}\u{672c}", "caf\u{e9} \u{65e5}\u{672c}"),
            ("a\u{1b}[2J", "a\\u{1b}[2J"),
            ("a\u{9b}2J\u{7f}", "a\\u{9b}2J\\u{7f}"),
            ("a\r\nb\t", "a\\u{d}\\u{a}b\\u{9}"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("a\u{e0041}\u{200b}", "a\\u{e0041}\\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\nb\u{7}"), "a\nb\\u{7}");
    }
}
