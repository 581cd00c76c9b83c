//! `ReadBudget`: limits of a reader of the past.

use crate::graph::GraphError;

/// Limits of a reader of the past, which polls them while it reads.
///
/// A past on the disk may take seconds and hundreds of megabytes to read. Its reader polls the
/// budget at least once for every page of a file.
pub trait ReadBudget {
    /// Returns an error once the reader has to end.
    ///
    /// # Errors
    /// Returns [`GraphError::Interrupted`] if the result is no longer needed.
    fn poll(&self) -> Result<(), GraphError>;

    /// Sets the memory that the reader itself holds, in bytes, and polls.
    ///
    /// # Errors
    /// Returns the errors of [`ReadBudget::poll`], [`GraphError::PastTooLarge`] if the limit of the
    /// query is exceeded, and [`GraphError::Memory`] if the memory for all clients is exhausted.
    fn hold(&self, bytes: usize) -> Result<(), GraphError>;
}

/// Budget without any limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl ReadBudget for Unlimited {
    fn poll(&self) -> Result<(), GraphError> {
        Ok(())
    }

    fn hold(&self, _: usize) -> Result<(), GraphError> {
        Ok(())
    }
}
