//! `Change`: the next revision of an element, and its difference from the previous one.

use std::sync::Arc;

use super::element::Element;
use super::metadata::{self, Metadata, MetadataOp};
use crate::time::Timestamp;

/// New revision of an element, with its difference from the previous revision.
pub(super) struct Change<E> {
    pub(super) element: E,
    /// Difference from the previous revision; `None` if a changed key contains a dot.
    pub(super) ops: Option<Arc<[MetadataOp]>>,
}

impl<E> Change<E> {
    /// Returns whether the new revision equals the previous one.
    pub(super) fn is_idle(&self) -> bool {
        self.ops.as_ref().is_some_and(|ops| ops.is_empty())
    }
}

/// Returns a revision with other metadata.
pub(super) fn revised<E: Element>(
    old: &E,
    metadata: Metadata,
    revision: i64,
    at: Timestamp,
) -> Change<E> {
    let ops = metadata::difference(old.metadata(), &metadata).map(Arc::from);
    Change {
        element: old.revised(metadata, revision, at),
        ops,
    }
}

/// Returns a revision with other metadata; `None` if the metadata is equal.
pub(super) fn replaced<E: Element>(
    old: &E,
    metadata: Metadata,
    revision: i64,
    at: Timestamp,
) -> Option<Change<E>> {
    (*old.metadata() != metadata).then(|| revised(old, metadata, revision, at))
}

/// Returns a revision to whose metadata operations have been applied.
pub(super) fn patched<E: Element>(
    old: &E,
    ops: &[MetadataOp],
    revision: i64,
    at: Timestamp,
) -> Option<Change<E>> {
    let mut metadata = old.metadata().clone();
    let done = metadata::apply_all(ops, &mut metadata);
    Some(Change {
        element: old.revised(metadata, revision, at),
        ops: Some(done.into()),
    })
}
