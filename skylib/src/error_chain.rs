//! `Chain`: displays an error together with its causes on one line.

use std::error::Error;
use std::fmt;

/// Error whose `Display` appends the messages of its sources, separated by `": "`.
///
/// The messages are written directly to the formatter, without an intermediate `String`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the store")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the file")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn every_cause_is_shown_once_in_order() {
        let error = Outer(Inner(std::io::Error::other("disk failure")));
        assert_eq!(
            Chain(&error).to_string(),
            "cannot read the store: cannot open the file: disk failure"
        );
    }
}
