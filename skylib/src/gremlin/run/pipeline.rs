//! Pipelined execution: passes elements one by one through the filters, pages, and counts that
//! follow the operation that finds them, so that no intermediate result is materialized.

use std::rc::Rc;

use super::{Run, compiled, count};
use crate::filter::Filter;
use crate::graph::ElementKey;
use crate::gremlin::error::QueryError;
use crate::gremlin::intermediate::{Data, ElementRow, Rows};
use crate::gremlin::plan::Operation;
use crate::gremlin::steps::filter::{Dedup, Pager, Pipe, Piped, Row, Stage};

impl Run<'_> {
    /// Passes the elements that `fill` finds through the operations that follow.
    pub(super) fn pipe<E: ElementRow>(
        &mut self,
        fill: impl FnOnce(&mut Pipe<'_, '_, E>) -> Result<(), QueryError>,
    ) -> Result<Data, QueryError> {
        Ok(match self.piped(fill)? {
            Piped::Rows(rows) => E::data(Rows::from(rows)),
            Piped::Count(total) => count(total),
        })
    }

    /// Passes the element numbers that `fill` finds through the operations that follow and need only
    /// numbers.
    pub(super) fn pipe_numbers<E: ElementRow>(
        &mut self,
        fill: impl FnOnce(&mut Pipe<'_, '_, u32>) -> Result<(), QueryError>,
    ) -> Result<Data, QueryError> {
        Ok(match self.piped(fill)? {
            Piped::Rows(numbers) => E::data(Rows::Numbers(Rc::new(numbers))),
            Piped::Count(total) => count(total),
        })
    }

    /// Passes found elements through the operations that follow.
    pub(super) fn pipe_all<E: ElementRow>(&mut self, found: Vec<E>) -> Result<Data, QueryError> {
        self.pipe(|pipe| {
            let _stopped = found.into_iter().try_for_each(|row| pipe.push(row));
            Ok(())
        })
    }

    /// Takes the stages that follow and runs `fill` with them.
    pub(super) fn piped<R: Row>(
        &mut self,
        fill: impl FnOnce(&mut Pipe<'_, '_, R>) -> Result<(), QueryError>,
    ) -> Result<Piped<R>, QueryError> {
        let first = self.next;
        let stages = self.take_stages(R::IS_BLIND);
        let only_count = self.take_count();
        let mut pipe = Pipe::new(stages, only_count, self.budget);
        if !pipe.is_closed() {
            fill(&mut pipe)?;
        }
        if let Some(trace) = &mut self.trace {
            trace.piped(first, pipe.passed(), only_count);
        }
        pipe.finish()
    }

    /// Combines a filter with the filters that directly follow it, and compiles them.
    pub(super) fn absorb_filters(&mut self, filter: &Filter) -> Filter<ElementKey> {
        let mut all = filter.clone();
        while let Some(Operation::Filter(more)) = self.peek() {
            all = all.and(more.clone());
            self.next += 1;
        }
        compiled(&all)
    }

    /// Takes the operations that follow and can run as stages of a pipeline; with `blind`, only those
    /// that need only element numbers.
    pub(super) fn take_stages(&mut self, blind: bool) -> Vec<Stage> {
        let mut stages = Vec::new();
        while !blind || self.is_blind_next() {
            match self.peek() {
                Some(Operation::Filter(filter)) => stages.push(Stage::Filter(compiled(filter))),
                Some(Operation::Dedup(keys)) => {
                    stages.push(Stage::Dedup(Dedup::new(keys, self.scope.identities())));
                }
                Some(Operation::Page(page)) => stages.push(Stage::Page(Pager::new(*page))),
                _ => break,
            }
            self.next += 1;
        }
        stages
    }

    /// Returns whether the next operation needs only element numbers.
    pub(super) fn is_blind_next(&self) -> bool {
        match self.peek() {
            Some(Operation::Dedup(keys)) => keys.is_empty(),
            Some(Operation::Page(_)) => true,
            _ => false,
        }
    }

    /// Returns whether the next operation is a count.
    pub(super) fn is_count_next(&self) -> bool {
        matches!(self.peek(), Some(Operation::Count))
    }

    /// Takes the next operation if it is a count. Returns whether it was.
    pub(super) fn take_count(&mut self) -> bool {
        let taken = self.is_count_next();
        self.next += usize::from(taken);
        taken
    }
}
