//! What is noted of each operation while a query runs.

use std::time::Duration;

use super::Access;
use crate::time::{Clock, Timestamp};

/// Notes on the operations of a plan.
pub(in crate::gremlin) struct Trace<'c> {
    rows: Vec<Measured>,
    /// The operation at work, with those that run with it.
    current: usize,
    clock: Option<&'c dyn Clock>,
    /// When it began.
    began: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) elements_in: Option<u64>,
    pub(super) elements_out: Option<u64>,
    pub(super) access: Option<Access>,
    pub(super) is_pushed_down: bool,
    pub(super) took: Option<Duration>,
}

impl<'c> Trace<'c> {
    pub(super) fn new(operations: usize, clock: Option<&'c dyn Clock>) -> Self {
        Self {
            rows: vec![Measured::default(); operations],
            current: 0,
            clock,
            began: Timestamp::ZERO,
        }
    }

    pub(super) fn of(&self, operation: usize) -> &Measured {
        &self.rows[operation]
    }

    /// An operation begins, with so many elements.
    pub(in crate::gremlin) fn begin(&mut self, operation: usize, elements: Option<u64>) {
        self.current = operation;
        self.rows[operation].elements_in = elements;
        if let Some(clock) = self.clock {
            self.began = clock.now();
        }
    }

    /// How the operation at work finds elements.
    pub(in crate::gremlin) fn found_by(&mut self, access: Access) {
        self.rows[self.current].access = Some(access);
    }

    /// What ran element by element with the operation at work: how many elements there were before
    /// the operation `first`, then behind it and each that follows; a count may come last.
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
            // What began with a finished list got all of it, though a page may look at less.
            row.elements_in = row.elements_in.or(Some(elements));
            row.elements_out = Some(after);
            elements = after;
        }
    }

    /// The operation at work is done, as are those up to another that ran with it.
    pub(in crate::gremlin) fn end(&mut self, next: usize, elements: Option<u64>) {
        if let Some(clock) = self.clock {
            // A clock that was set back meanwhile tells no time at all.
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
