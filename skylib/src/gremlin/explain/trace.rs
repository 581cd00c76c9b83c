//! `Trace`: measurements of the operations of a running query.

use std::time::Duration;

use super::Access;
use crate::file_use::FileUse;
use crate::time::{Clock, Timestamp};

/// Measurements of the operations of a plan.
pub(in crate::gremlin) struct Trace<'c> {
    /// One row per operation.
    rows: Vec<Measured>,
    /// Index of the running operation; `current < rows.len()`. The operations that run inside it
    /// follow.
    current: usize,
    clock: Option<&'c dyn Clock>,
    /// Start time of the running operation.
    began: Timestamp,
}

/// Measurements of one operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) elements_in: Option<u64>,
    pub(super) elements_out: Option<u64>,
    pub(super) access: Option<Access>,
    pub(super) files: Vec<FileUse>,
    pub(super) is_pushed_down: bool,
    pub(super) took: Option<Duration>,
}

impl<'c> Trace<'c> {
    /// Creates a trace for this number of operations.
    pub(super) fn new(operations: usize, clock: Option<&'c dyn Clock>) -> Self {
        Self {
            rows: vec![Measured::default(); operations],
            current: 0,
            clock,
            began: Timestamp::ZERO,
        }
    }

    /// Returns the measurements of an operation.
    pub(super) fn of(&self, operation: usize) -> &Measured {
        &self.rows[operation]
    }

    /// Records the start of an operation and the number of its input elements.
    pub(in crate::gremlin) fn begin(&mut self, operation: usize, elements: Option<u64>) {
        self.current = operation;
        self.rows[operation].elements_in = elements;
        if let Some(clock) = self.clock {
            self.began = clock.now();
        }
    }

    /// Records how the running operation finds elements.
    pub(in crate::gremlin) fn found_by(&mut self, access: Access) {
        self.rows[self.current].access = Some(access);
    }

    /// Records the reads of history files by the running operation.
    pub(in crate::gremlin) fn read(&mut self, files: Vec<FileUse>) {
        self.rows[self.current].files.extend(files);
    }

    /// Records the element counts of operations that ran pipelined inside the running one.
    ///
    /// `passed` yields the number of elements that entered the operation `first`, then the number
    /// that left it and each operation after it. If `has_count` is set, the last operation is a
    /// count, with one output element.
    pub(in crate::gremlin) fn piped(
        &mut self,
        first: usize,
        mut passed: impl Iterator<Item = u64>,
        has_count: bool,
    ) {
        let mut elements = passed.next().unwrap_or(0);
        for row in &mut self.rows[self.current..first] {
            row.elements_out = Some(elements);
        }
        let counts = has_count.then_some(1);
        for (row, after) in self.rows[first..].iter_mut().zip(passed.chain(counts)) {
            // An operation on a materialized list received all of it, even if a page reads less.
            row.elements_in = row.elements_in.or(Some(elements));
            row.elements_out = Some(after);
            elements = after;
        }
    }

    /// Records the end of the running operation and of the operations inside it, up to `next`.
    pub(in crate::gremlin) fn end(&mut self, next: usize, elements: Option<u64>) {
        if let Some(clock) = self.clock {
            // If the clock was set back meanwhile, the duration is unknown.
            let ns = clock.now().as_ns().saturating_sub(self.began.as_ns());
            self.rows[self.current].took = u64::try_from(ns).ok().map(Duration::from_nanos);
        }
        for row in &mut self.rows[self.current + 1..next] {
            row.is_pushed_down = true;
        }
        if let Some(row) = self.rows[self.current..next].last_mut() {
            row.elements_out = elements;
        }
    }
}
