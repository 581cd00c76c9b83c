//! What can be wrong with a query.

use std::fmt;

/// Why a query was not parsed or not answered.
///
/// The first line of its text is, to the letter, what clients of the language have always got; a
/// second line, for people, says where and what was expected.
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
    place: Option<Place>,
    help: Option<String>,
}

/// The stage a query failed at, for those who react differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryErrorKind {
    /// The text is no query.
    Parse,
    /// The query asks for something that is not there or cannot be done.
    Execute,
    /// The query took more than its [`Limits`](super::Limits) allow.
    Limit,
    /// The caller gave up waiting.
    Interrupted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: usize,
    line: usize,
    column: usize,
}

impl QueryError {
    /// A query that cannot be read.
    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Parse,
            message: message.into(),
            place: None,
            help: None,
        }
    }

    /// A query that cannot be run.
    pub(crate) fn execute(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Execute,
            ..Self::parse(message)
        }
    }

    /// A query that asks too much.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self {
            kind: QueryErrorKind::Limit,
            ..Self::parse(message)
        }
    }

    /// A query nobody waits for any more.
    pub(crate) fn interrupted() -> Self {
        Self {
            kind: QueryErrorKind::Interrupted,
            ..Self::parse("query interrupted")
        }
    }

    /// The same error, at a byte of the query, unless it already has its place.
    pub(super) fn at(mut self, query: &str, offset: usize) -> Self {
        if self.place.is_none() {
            let before = query.get(..offset).unwrap_or(query);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            self.place = Some(Place {
                offset,
                line: 1 + before.bytes().filter(|b| *b == b'\n').count(),
                column: 1 + before[line_start..].chars().count(),
            });
        }
        self
    }

    /// The same error with a word of help for people, unless it already has one.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// The stage.
    #[must_use]
    pub const fn kind(&self) -> QueryErrorKind {
        self.kind
    }

    /// What clients match on, without place and help.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The byte of the query at fault, where it is known.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.place.map(|place| place.offset)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(Place {
            offset,
            line,
            column,
        }) = self.place
        {
            write!(f, "\nat byte {offset} (line {line}, column {column})")?;
        }
        match (&self.help, self.place) {
            (Some(help), Some(_)) => write!(f, ": {help}"),
            (Some(help), None) => write!(f, "\n{help}"),
            (None, _) => Ok(()),
        }
    }
}

/// The known name nearest to a mistyped word, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let len = word.chars().count();
    // A word of which no letter stays is another word.
    let allowed = (1 + len / 5).min(len.saturating_sub(1));
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    names
        .into_iter()
        .map(|name| (distance(word, name), first(name) != first(word), name))
        .filter(|(distance, ..)| *distance <= allowed)
        .min_by_key(|(distance, is_other_start, _)| (*distance, *is_other_start))
        .map(|(.., name)| name)
}

/// Letters to insert, drop or change to get from one word to the other, case aside.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<u8> = a.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<u8> = b.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_counted_in_bytes_lines_and_characters() {
        let query = "G.V()\n .Has('é', x)";
        let offset = query.find('x').unwrap();
        let error = QueryError::parse("bad x")
            .at(query, offset)
            .help("expected y");
        assert_eq!(
            error.to_string(),
            "bad x\nat byte 18 (line 2, column 12): expected y"
        );
        assert_eq!(error.clone().at(query, 0), error, "the first place stays");
    }

    #[test]
    fn mistyped_words_find_their_neighbour() {
        let names = ["Has", "HasKey", "Out", "ShortestPathTo"];
        assert_eq!(nearest("Hass", names), Some("Has"));
        assert_eq!(nearest("has_key", names), Some("HasKey"));
        assert_eq!(nearest("shortestpth", names), Some("ShortestPathTo"));
        assert_eq!(nearest("Ot", ["At", "Out", "Oct"]), Some("Out"));
        assert_eq!(nearest("V", ["E", "G"]), None);
        assert_eq!(nearest("Foo", names), None);
        assert_eq!(nearest("", names), None);
    }
}
