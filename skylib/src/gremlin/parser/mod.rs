//! Recursive-descent parser: converts a query to steps.
//!
//! ```text
//! query  = "G" { "." step }
//! step   = "G" | word "(" params ")"
//! params = { "," } { param { "," } }              commas are optional
//! param  = 'text' | "text" | number | TRUE | FALSE | ASC | DESC | NOW | FOREVER
//!        | METADATA "(" key value … ")"
//!        | ( WITHIN | WITHOUT ) "(" params ")"
//!        | ( LT | GT | LTE | GTE | NE | NEE | IPV4RANGE | REGEX ) "(" param ")"
//!        | ( INSIDE | OUTSIDE | BETWEEN ) "(" param param ")"
//! ```
//! Words are case-insensitive. [`step_params`](super::step_params) checks the parameters of steps.

use super::ast::{Param, Predicate, Step};
use super::error::QueryError;
use super::go_format::{list, quoted};
use super::lexer::{Lexer, Token, TokenKind};
use super::step_params;
use crate::flow::SortOrder;
use crate::nearest::nearest;
use crate::value::Text;

/// Maximum length of a query, in bytes.
pub(super) const MAX_QUERY_BYTES: usize = 64 << 10;
/// Maximum number of steps in a query.
pub(super) const MAX_STEPS: usize = 512;
/// Maximum nesting of parentheses; bounds the recursion.
const MAX_DEPTH: usize = 16;
/// Maximum number of regular expressions in a query; each may compile to a megabyte.
const MAX_PATTERNS: usize = 32;

/// Parses a query. Returns its steps after `G`, each with the byte offset at which it begins.
pub(super) fn parse(query: &str) -> Result<Vec<(Step, usize)>, QueryError> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("query is longer than {MAX_QUERY_BYTES} bytes");
        return Err(QueryError::parse(message));
    }
    Parser {
        query,
        lexer: Lexer::new(query),
        patterns: 0,
    }
    .query()
}

struct Parser<'a> {
    query: &'a str,
    lexer: Lexer<'a>,
    /// Number of regular expressions parsed so far.
    patterns: usize,
}

impl<'a> Parser<'a> {
    fn query(mut self) -> Result<Vec<(Step, usize)>, QueryError> {
        let token = self.lexer.next();
        if !is_word(&token, "G") {
            let message = format!("found {}, expected `G`", quoted(token.text));
            let help = "a query begins with `G`, as in `G.V()`";
            return Err(self.error(message, &token).help(help));
        }
        let mut steps = Vec::new();
        loop {
            let token = self.lexer.next();
            match token.kind {
                TokenKind::End => return Ok(steps),
                TokenKind::Dot if steps.len() < MAX_STEPS => {
                    let step = self.step()?;
                    steps.push(step);
                }
                TokenKind::Dot => {
                    let message = format!("query has more than {MAX_STEPS} steps");
                    return Err(self.error(message, &token));
                }
                _ => {
                    let message = format!("found {}, expected `.`", quoted(token.text));
                    let help = "expected `.` and the next step, or the end of the query";
                    return Err(self.error(message, &token).help(help));
                }
            }
        }
    }

    fn step(&mut self) -> Result<(Step, usize), QueryError> {
        let name = self.lexer.next();
        if is_word(&name, "G") {
            return Ok((Step::G, name.span.start));
        }
        // COMPAT: an unknown word is rejected immediately. After any other token (a string, a
        // predicate), errors inside the parentheses take precedence.
        let known = step_params::usage(name.text).is_some() || is_reserved(name.text);
        if name.kind == TokenKind::Word && !known {
            return Err(self.no_step(&name));
        }
        let params = self.params(0)?;
        let made = match name.kind {
            TokenKind::Word => step_params::step(name.text, params),
            _ => None,
        };
        match made {
            Some(Ok(step)) => Ok((step, name.span.start)),
            Some(Err(message)) => {
                let error = self.error(message, &name);
                Err(match step_params::usage(name.text) {
                    Some(usage) => error.help(format!("expected `{usage}`")),
                    None => error,
                })
            }
            None => Err(self.no_step(&name)),
        }
    }

    fn no_step(&self, name: &Token<'_>) -> QueryError {
        let error = self.error(format!("Expected step function, got: {}", name.text), name);
        match nearest(name.text, step_params::step_names()) {
            Some(step) => error.help(format!("did you mean `{step}`?")),
            None => error.help("expected the name of a step, such as `Has` or `Out`"),
        }
    }

    /// Parses a parenthesized parameter list, starting at the opening parenthesis.
    fn params(&mut self, depth: usize) -> Result<Vec<Param>, QueryError> {
        let open = self.lexer.next();
        if open.kind != TokenKind::Open {
            let message = format!("Expected left parenthesis, got: {}", open.text);
            return Err(self.error(message, &open).help("expected `(`"));
        }
        if depth >= MAX_DEPTH {
            let message = format!("query nests deeper than {MAX_DEPTH} parentheses");
            return Err(self.error(message, &open));
        }
        let mut params = Vec::new();
        loop {
            let token = self.lexer.next();
            match token.kind {
                TokenKind::Close => return Ok(params),
                TokenKind::Comma => {}
                TokenKind::End => {
                    let start = self.position(open.span.start);
                    let help = format!("expected `)` for the `(` at {start}");
                    return Err(self.error("Expected right parenthesis", &token).help(help));
                }
                TokenKind::Text => params.push(Param::Text(token.text.into())),
                TokenKind::Number => params.push(self.number(&token)?),
                TokenKind::Word => params.push(self.keyword(&token, depth)?),
                TokenKind::Open | TokenKind::Dot | TokenKind::Illegal => {
                    return Err(self.unexpected(&token));
                }
            }
        }
    }

    /// Parses a number.
    ///
    /// COMPAT: an integer that does not fit 64 bits becomes a float.
    fn number(&self, token: &Token<'_>) -> Result<Param, QueryError> {
        if let Ok(number) = token.text.parse::<i64>() {
            return Ok(Param::Int(number));
        }
        match token.text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Param::Float(number)),
            _ => {
                let message = format!("Expected number token, got: {}", token.text);
                Err(self
                    .error(message, token)
                    .help("a number has at most one dot"))
            }
        }
    }

    fn keyword(&mut self, word: &Token<'a>, depth: usize) -> Result<Param, QueryError> {
        Ok(match word.text.to_ascii_uppercase().as_str() {
            "TRUE" => Param::Bool(true),
            "FALSE" => Param::Bool(false),
            "ASC" => Param::Order(SortOrder::Ascending),
            "DESC" => Param::Order(SortOrder::Descending),
            "NOW" => Param::Now,
            "FOREVER" => Param::Forever,
            "METADATA" => {
                let params = self.params(depth + 1)?;
                let usage = "expected `Metadata(key, value, …)`";
                Param::Metadata(metadata(params).map_err(|m| self.error(m, word).help(usage))?)
            }
            name => {
                let known = PREDICATES
                    .iter()
                    .find(|p| p.name().eq_ignore_ascii_case(name));
                let Some(&predicate) = known else {
                    return Err(self.unexpected(word));
                };
                let params = self.params(depth + 1)?;
                self.check_predicate(predicate, &params, word)?;
                Param::Predicate(predicate, params)
            }
        })
    }

    fn check_predicate(
        &mut self,
        predicate: Predicate,
        params: &[Param],
        word: &Token<'_>,
    ) -> Result<(), QueryError> {
        let (wanted, number) = match predicate {
            Predicate::Within | Predicate::Without => return Ok(()),
            Predicate::Inside | Predicate::Outside | Predicate::Between => (2, "Two parameters"),
            _ => (1, "One parameter"),
        };
        if params.len() != wanted {
            let name = predicate.name().to_ascii_uppercase();
            let message = format!("{number} expected with {name}: {}", list(params));
            return Err(self.error(message, word).help(usage(predicate)));
        }
        if predicate == Predicate::Regex {
            if !matches!(params, [Param::Text(_)]) {
                let message = format!(
                    "REGEX predicate expects a string as parameter, got: {}",
                    word.text
                );
                return Err(self.error(message, word).help(usage(predicate)));
            }
            self.patterns += 1;
            if self.patterns > MAX_PATTERNS {
                let message = format!("query has more than {MAX_PATTERNS} regular expressions");
                return Err(self.error(message, word));
            }
        }
        Ok(())
    }

    fn unexpected(&self, token: &Token<'_>) -> QueryError {
        let message = format!(
            "Unexpected token while parsing parameters, got: {}",
            token.text
        );
        let error = self.error(message, token);
        if token.kind != TokenKind::Word {
            return error.help("expected a value, a predicate, or `)`");
        }
        match nearest(
            token.text,
            PREDICATES.iter().map(|p| p.name()).chain(KEYWORDS),
        ) {
            Some(word) => error.help(format!("did you mean `{word}`?")),
            None => error.help("expected a value, a predicate, or `)`; strings must be quoted"),
        }
    }

    fn error(&self, message: impl Into<String>, token: &Token<'_>) -> QueryError {
        QueryError::parse(message).at(self.query, token.span.start)
    }

    fn position(&self, offset: usize) -> String {
        let before = self.query.get(..offset).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("byte {offset}, column {column}")
    }
}

fn is_word(token: &Token<'_>, word: &str) -> bool {
    token.kind == TokenKind::Word && token.text.eq_ignore_ascii_case(word)
}

/// Returns whether a word has a meaning only inside parentheses.
fn is_reserved(word: &str) -> bool {
    KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word))
        || PREDICATES
            .iter()
            .any(|p| p.name().eq_ignore_ascii_case(word))
}

/// Returns the help text that shows how a predicate is written.
fn usage(predicate: Predicate) -> String {
    let params = match predicate {
        Predicate::Ne | Predicate::Nee => "value",
        Predicate::Lt | Predicate::Lte | Predicate::Gt | Predicate::Gte => "number",
        Predicate::Inside | Predicate::Outside | Predicate::Between => "from, to",
        Predicate::Within | Predicate::Without => "value, …",
        Predicate::Regex => "'pattern'",
        Predicate::Ipv4Range | Predicate::Ipv6Range => "'address/length'",
    };
    format!("expected `{}({params})`", predicate.name())
}

fn metadata(params: Vec<Param>) -> Result<Vec<(Text, Param)>, String> {
    if params.len() % 2 == 1 {
        return Err(format!(
            "slice must be defined by pair k,v: {}",
            list(&params)
        ));
    }
    let mut pairs = Vec::with_capacity(params.len() / 2);
    let mut params = params.into_iter();
    while let (Some(key), Some(value)) = (params.next(), params.next()) {
        let Param::Text(key) = key else {
            return Err("keys should be of string type".to_owned());
        };
        pairs.push((key, value));
    }
    Ok(pairs)
}

const KEYWORDS: [&str; 7] = ["TRUE", "FALSE", "ASC", "DESC", "NOW", "FOREVER", "METADATA"];

const PREDICATES: [Predicate; 14] = [
    Predicate::Ne,
    Predicate::Nee,
    Predicate::Lt,
    Predicate::Lte,
    Predicate::Gt,
    Predicate::Gte,
    Predicate::Inside,
    Predicate::Outside,
    Predicate::Between,
    Predicate::Within,
    Predicate::Without,
    Predicate::Regex,
    Predicate::Ipv4Range,
    Predicate::Ipv6Range,
];

#[cfg(test)]
mod tests;
