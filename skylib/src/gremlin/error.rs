//! `QueryError`: the reason why a query was not parsed or not run.

use std::fmt;

use crate::memory::MemoryExhausted;

/// Error returned if a query cannot be parsed or run.
///
/// The first line of its message is exactly that of Skydive, which clients match. A second line,
/// for people, states the position in the query and what was expected.
///
/// ```
/// use skylib::gremlin::Query;
/// let error = Query::parse("G.V().Hass('Type')").unwrap_err();
/// assert_eq!(error.message(), "Expected step function, got: Hass");
/// assert_eq!(error.offset(), Some(6));
/// assert!(error.to_string().ends_with("did you mean `Has`?"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct QueryError {
    kind: QueryErrorKind,
    message: String,
    position: Option<Position>,
    help: Option<String>,
}

/// Stage at which a query failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryErrorKind {
    /// The string is not a query.
    Parse,
    /// The query refers to something that does not exist, or a step cannot be applied.
    Execute,
    /// The query exceeded its [`Limits`](super::Limits).
    Limit,
    /// The memory for clients is exhausted ([`MemoryBudget`](crate::memory::MemoryBudget)); the same
    /// query may succeed later.
    Memory,
    /// The caller interrupted the query.
    Interrupted,
    /// Stored data cannot be read, or a source of flows fails; the same query may succeed later.
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    /// Byte offset, from 0.
    offset: usize,
    /// Line, from 1.
    line: usize,
    /// Column in characters, from 1.
    column: usize,
}

impl QueryError {
    /// Creates an error of a query that cannot be parsed.
    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Parse,
            message: message.into(),
            position: None,
            help: None,
        }
    }

    /// Creates an error of a query that cannot be run.
    pub(crate) fn execute(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Execute,
            ..Self::parse(message)
        }
    }

    /// Creates an error of a query whose data cannot be read now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Unavailable,
            ..Self::parse(message)
        }
    }

    /// Creates an error of a query that exceeds a limit.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Limit,
            ..Self::parse(message)
        }
    }

    /// Creates the error of a query for which there is no memory now.
    #[must_use]
    pub fn memory(exhausted: MemoryExhausted) -> Self {
        Self {
            kind: QueryErrorKind::Memory,
            ..Self::parse(exhausted.to_string())
        }
    }

    /// Creates the error of an interrupted query.
    pub(crate) fn interrupted() -> Self {
        Self {
            kind: QueryErrorKind::Interrupted,
            ..Self::parse("query interrupted")
        }
    }

    /// Sets the position to a byte offset of the query, unless a position is already set.
    pub(super) fn at(mut self, query: &str, offset: usize) -> Self {
        if self.position.is_none() {
            let before = query.get(..offset).unwrap_or(query);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            self.position = Some(Position {
                offset,
                line: 1 + before.bytes().filter(|b| *b == b'\n').count(),
                column: 1 + before[line_start..].chars().count(),
            });
        }
        self
    }

    /// Sets the help text for people, unless one is already set.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Returns the stage at which the query failed.
    #[must_use]
    pub const fn kind(&self) -> QueryErrorKind {
        self.kind
    }

    /// Returns the message that clients match, without position and help.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the byte offset of the error in the query, if known.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.position.map(|position| position.offset)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(Position {
            offset,
            line,
            column,
        }) = self.position
        {
            write!(f, "\nat byte {offset} (line {line}, column {column})")?;
        }
        match (&self.help, self.position) {
            (Some(help), Some(_)) => write!(f, ": {help}"),
            (Some(help), None) => write!(f, "\n{help}"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_counted_in_bytes_lines_and_characters() {
        let query = "G.V()\n .Has('é', x)";
        let offset = query.find('x').unwrap();
        let error = QueryError::parse("bad x")
            .at(query, offset)
            .help("expected y");
        assert_eq!(
            error.to_string(),
            "bad x\nat byte 18 (line 2, column 12): expected y"
        );
        assert_eq!(
            error.clone().at(query, 0),
            error,
            "the first position remains"
        );
    }
}
