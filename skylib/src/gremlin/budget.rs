//! `Limits` of a query, and the `Budget` that enforces them while it runs.

use std::cell::Cell;

use super::error::QueryError;
use crate::graph::GraphError;
use crate::graph::history::ReadBudget;
use crate::memory::{MemoryCharge, MemoryExhausted};

/// Limits on the memory that one query holds at any moment.
///
/// ```
/// use skylib::gremlin::Limits;
/// let limits = Limits::default().with_max_elements(1000);
/// assert_eq!(limits.max_elements, 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of nodes, edges, flows, or values in a result, including intermediate results.
    pub max_elements: usize,
    /// Approximate maximum size of results and marked nodes, in bytes, excluding the graph itself.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// Returns limits that allow an answer that contains an entire graph of a million nodes.
    fn default() -> Self {
        Self {
            max_elements: 8_000_000,
            max_bytes: 512 << 20,
        }
    }
}

impl Limits {
    /// Sets the maximum number of elements in a result.
    #[must_use]
    pub const fn with_max_elements(self, max_elements: usize) -> Self {
        Self {
            max_elements,
            ..self
        }
    }

    /// Sets the approximate maximum size of results, in bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

/// Limits of a running query and its current usage.
pub(super) struct Budget<'a> {
    limits: Limits,
    interrupt: &'a (dyn Fn() -> bool + Sync),
    /// Charge for everything that the query holds; `None` charges nothing.
    memory: Option<&'a MemoryCharge>,
    /// Elements processed so far, modulo 2^32.
    ticks: Cell<u32>,
    /// Bytes held until the query ends: subgraphs and marks.
    retained: Cell<usize>,
    /// Bytes of the numbers that the view of the past has assigned.
    reading: Cell<usize>,
    /// Bytes of the past that the reader of the disk holds.
    restored: Cell<usize>,
    /// Bytes of the result of the previous operation, which the current one reads.
    input: Cell<usize>,
    /// Bytes of the results that the current operation has completed.
    output: Cell<usize>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(
        limits: Limits,
        interrupt: &'a (dyn Fn() -> bool + Sync),
        memory: Option<&'a MemoryCharge>,
    ) -> Self {
        Self {
            limits,
            interrupt,
            memory,
            ticks: Cell::new(0),
            retained: Cell::new(0),
            reading: Cell::new(0),
            restored: Cell::new(0),
            input: Cell::new(0),
            output: Cell::new(0),
        }
    }

    /// Counts one processed element. Polls the interrupt once per [`CHECK_INTERVAL`] elements.
    #[inline]
    pub(super) fn tick(&self) -> Result<(), QueryError> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(CHECK_INTERVAL) {
            return self.check();
        }
        Ok(())
    }

    /// Polls the interrupt.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if (self.interrupt)() {
            return Err(QueryError::interrupted());
        }
        Ok(())
    }

    /// Adds bytes that are held until the query ends.
    pub(super) fn retain(&self, bytes: usize) -> Result<(), QueryError> {
        self.retained.set(self.retained.get().saturating_add(bytes));
        self.check_bytes(0)
    }

    /// Releases the bytes counted for the past graph of the previous scope, before another time is
    /// selected.
    pub(super) fn end_reading(&self) {
        self.reading.set(0);
        self.restored.set(0);
    }

    /// Sets the memory that the view of the past uses, excluding results, in bytes.
    ///
    /// # Errors
    /// Returns an error if the query exceeds a memory limit.
    pub(super) fn set_reading(&self, bytes: usize) -> Result<(), QueryError> {
        self.reading.set(bytes);
        self.check_bytes(0)
    }

    /// Starts an operation: the result so far becomes its input.
    pub(super) fn begin_operation(&self) {
        self.input.set(self.output.replace(0));
    }

    /// Ends the query: its charge shrinks to the size of the answer.
    pub(super) fn end(&self) {
        if let Some(memory) = self.memory {
            memory.shrink_to(self.input.get().saturating_add(self.output.get()));
        }
    }

    /// Returns the memory that a result may have, in bytes.
    pub(super) fn left(&self) -> usize {
        self.limits.max_bytes.saturating_sub(self.held(0))
    }

    /// Starts the accounting of a new result.
    pub(super) const fn room(&self) -> Room<'_, 'a> {
        Room {
            budget: self,
            elements: 0,
            bytes: 0,
        }
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        let max = self.limits.max_bytes;
        if self.held(bytes) > max {
            return Err(QueryError::limit(format!(
                "the query needs more than {max} bytes; select fewer elements"
            )));
        }
        self.charge(bytes).map_err(QueryError::memory)
    }

    /// Returns the memory of the query, in bytes: everything that it holds besides its results,
    /// plus `bytes`.
    fn held(&self, bytes: usize) -> usize {
        bytes
            .saturating_add(self.retained.get())
            .saturating_add(self.reading.get())
            .saturating_add(self.restored.get())
    }

    /// Grows the charge to the memory that the query holds besides its results, plus `bytes`.
    fn charge(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        let Some(memory) = self.memory else {
            return Ok(());
        };
        let results = self.input.get().saturating_add(self.output.get());
        memory.grow_in_steps(self.held(bytes).saturating_add(results))
    }
}

impl ReadBudget for Budget<'_> {
    fn poll(&self) -> Result<(), GraphError> {
        match (self.interrupt)() {
            true => Err(GraphError::Interrupted),
            false => Ok(()),
        }
    }

    fn hold(&self, bytes: usize) -> Result<(), GraphError> {
        self.poll()?;
        self.restored.set(bytes);
        let limit = self.limits.max_bytes;
        if self.held(0) > limit {
            return Err(GraphError::PastTooLarge { limit });
        }
        self.charge(0).map_err(GraphError::Memory)
    }
}

/// Size of a result under construction, checked against the limits. When dropped, its bytes count as
/// a result of the current operation.
pub(super) struct Room<'b, 'a> {
    budget: &'b Budget<'a>,
    elements: usize,
    bytes: usize,
}

impl Room<'_, '_> {
    /// Adds one element of the given size.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.elements += 1;
        let max = self.budget.limits.max_elements;
        if self.elements > max {
            return Err(QueryError::limit(format!(
                "the query finds more than {max} elements; select fewer elements"
            )));
        }
        self.add_bytes(bytes)
    }

    /// Adds memory that the result uses besides its elements, in bytes. Returns an error if a limit
    /// is exceeded.
    pub(super) fn add_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.budget.check_bytes(self.bytes)
    }
}

impl Drop for Room<'_, '_> {
    fn drop(&mut self) {
        let output = &self.budget.output;
        output.set(output.get().saturating_add(self.bytes));
    }
}

/// Number of elements between two polls of the interrupt.
const CHECK_INTERVAL: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gremlin::QueryErrorKind;
    use crate::memory::{MemoryBudget, MemoryUse};

    #[test]
    fn elements_bytes_and_interrupts_end_a_query() {
        let limits = Limits::default().with_max_elements(2).with_max_bytes(100);
        let budget = Budget::new(limits, &|| true, None);
        let mut room = budget.room();
        assert_eq!(room.add(10), Ok(()));
        assert_eq!(room.add(10), Ok(()));
        assert_eq!(room.add(10).unwrap_err().kind(), QueryErrorKind::Limit);
        assert_eq!(
            budget.room().add(101).unwrap_err().message(),
            "the query needs more than 100 bytes; select fewer elements"
        );
        assert_eq!(budget.retain(60), Ok(()));
        assert!(budget.room().add(60).is_err(), "retained bytes count");
        let interrupted = (0..CHECK_INTERVAL).find_map(|_| budget.tick().err());
        assert_eq!(interrupted.unwrap().kind(), QueryErrorKind::Interrupted);
    }

    #[test]
    fn the_charge_covers_the_input_and_the_output_of_an_operation() {
        let shared = MemoryBudget::new(1 << 20);
        let charge = shared.charge(MemoryUse::Queries);
        let budget = Budget::new(Limits::default(), &|| false, Some(&charge));
        budget.room().add(300 << 10).unwrap();
        budget.begin_operation();
        budget.room().add(400 << 10).unwrap();
        assert!(charge.bytes() >= 700 << 10);
        assert_eq!(
            budget.room().add(400 << 10).unwrap_err().kind(),
            QueryErrorKind::Memory,
            "three results do not fit"
        );
    }

    #[test]
    fn at_the_end_only_the_answer_is_charged() {
        let shared = MemoryBudget::new(1 << 20);
        let charge = shared.charge(MemoryUse::Queries);
        let budget = Budget::new(Limits::default(), &|| false, Some(&charge));
        for kib in [300, 100] {
            budget.begin_operation();
            budget.room().add(kib << 10).unwrap();
        }
        budget.begin_operation();
        budget.end();
        assert_eq!(charge.bytes(), 100 << 10);
    }
}
