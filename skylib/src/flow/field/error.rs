//! Error returned by the `FromStr` implementations of flow names.

/// Error returned for an unknown name of a field, a mode, or a set of layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}; {expected}")]
pub struct UnknownNameError {
    kind: &'static str,
    name: String,
    expected: &'static str,
}

impl UnknownNameError {
    /// Returns the error for a name; `kind` and `expected` are parts of its message.
    pub(in crate::flow) fn new(kind: &'static str, name: &str, expected: &'static str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            expected,
        }
    }

    /// Returns the unknown name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
