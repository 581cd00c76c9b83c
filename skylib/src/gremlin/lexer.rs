//! Lexer: splits a query into tokens with their byte ranges.

use std::ops::Range;

/// A token and its position in the query.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    /// The token as error messages show it: a string without quotes; for a malformed number, only
    /// the letter that follows it.
    pub(super) text: &'a str,
    /// Byte range in the query.
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    Text,
    Number,
    Open,
    Close,
    Comma,
    Dot,
    Illegal,
    End,
}

/// Lexer of a query. At the end it returns [`TokenKind::End`] repeatedly.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    query: &'a str,
    /// Byte offset of the next token; `at <= query.len()`, always at a character boundary.
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Creates a lexer.
    ///
    /// COMPAT: the query ends at the first NUL.
    pub(super) fn new(query: &'a str) -> Self {
        let end = query.find('\0').unwrap_or(query.len());
        Self {
            query: &query[..end],
            at: 0,
        }
    }

    /// Returns the next token.
    pub(super) fn next(&mut self) -> Token<'a> {
        let rest = &self.query[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let mut chars = self.query[self.at..].chars();
        let Some(first) = chars.next() else {
            return self.take(TokenKind::End, 0);
        };
        match first {
            '(' => self.take(TokenKind::Open, 1),
            ')' => self.take(TokenKind::Close, 1),
            ',' => self.take(TokenKind::Comma, 1),
            '.' => self.take(TokenKind::Dot, 1),
            '\'' | '"' => self.text(),
            '0'..='9' => self.number(1),
            // An extension: Skydive had no negative numbers.
            '-' if chars.next().is_some_and(|c| c.is_ascii_digit()) => self.number(2),
            'a'..='z' | 'A'..='Z' => {
                let len = self.run_length(|c| c.is_ascii_alphanumeric() || c == '_');
                self.take(TokenKind::Word, len)
            }
            other => self.take(TokenKind::Illegal, other.len_utf8()),
        }
    }

    /// Reads a string.
    ///
    /// COMPAT: either kind of quote, or the end of the query, closes a string; there are no escapes.
    fn text(&mut self) -> Token<'a> {
        let start = self.at;
        let inner = &self.query[start + 1..];
        let len = inner.find(['\'', '"']).unwrap_or(inner.len());
        self.at = (start + len + 2).min(self.query.len());
        Token {
            kind: TokenKind::Text,
            text: &inner[..len],
            span: start..self.at,
        }
    }

    /// Reads digits and dots; the first `head` bytes are known to belong to the number.
    ///
    /// COMPAT: a letter directly after a number is an illegal token that replaces the number.
    fn number(&mut self, head: usize) -> Token<'a> {
        let start = self.at;
        self.at += head;
        let len = head + self.run_length(|c| c.is_ascii_digit() || c == '.');
        self.at = start;
        let letter = self.query[start + len..].chars().next();
        if letter.is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += len;
            return self.take(TokenKind::Illegal, 1);
        }
        self.take(TokenKind::Number, len)
    }

    fn run_length(&self, belongs: impl Fn(char) -> bool) -> usize {
        let rest = &self.query[self.at..];
        rest.find(|c| !belongs(c)).unwrap_or(rest.len())
    }

    fn take(&mut self, kind: TokenKind, len: usize) -> Token<'a> {
        let span = self.at..self.at + len;
        self.at = span.end;
        Token {
            kind,
            text: &self.query[span.clone()],
            span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(query: &str) -> Vec<(TokenKind, &str)> {
        let mut lexer = Lexer::new(query);
        std::iter::from_fn(|| Some(lexer.next()))
            .take_while(|token| token.kind != TokenKind::End)
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn blanks_separate_and_nothing_else() {
        use TokenKind::{Close, Dot, Number, Open, Text, Word};
        assert_eq!(
            kinds("G\r\n.\tHas( 'a b'12 -3.5)"),
            [
                (Word, "G"),
                (Dot, "."),
                (Word, "Has"),
                (Open, "("),
                (Text, "a b"),
                (Number, "12"),
                (Number, "-3.5"),
                (Close, ")")
            ]
        );
    }

    #[test]
    fn either_quote_or_the_end_closes_a_string() {
        use TokenKind::{Comma, Text, Word};
        assert_eq!(
            kinds("'a\",\"b'x'open \\"),
            [
                (Text, "a"),
                (Comma, ","),
                (Text, "b"),
                (Word, "x"),
                (Text, "open \\")
            ]
        );
        assert_eq!(Lexer::new("'").next().span, 0..1);
    }

    #[test]
    fn a_letter_spoils_the_number_before_it() {
        use TokenKind::{Illegal, Number, Word};
        assert_eq!(kinds("12a"), [(Illegal, "a")]);
        assert_eq!(kinds("0x1"), [(Illegal, "x"), (Number, "1")]);
        assert_eq!(kinds("1_0"), [(Number, "1"), (Illegal, "_"), (Number, "0")]);
        assert_eq!(kinds("a1_b"), [(Word, "a1_b")]);
        assert_eq!(kinds("- é"), [(Illegal, "-"), (Illegal, "é")]);
    }

    #[test]
    fn nul_ends_the_query_even_inside_a_string() {
        assert_eq!(kinds("G\0.V()"), [(TokenKind::Word, "G")]);
        assert_eq!(kinds("'ab\0'"), [(TokenKind::Text, "ab")]);
    }

    #[test]
    fn spans_cover_the_source() {
        let mut lexer = Lexer::new(" 'é' (");
        assert_eq!(lexer.next().span, 1..5);
        assert_eq!(lexer.next().span, 6..7);
        assert_eq!(lexer.next().span, 7..7);
        assert_eq!(lexer.next().kind, TokenKind::End);
    }
}
