//! Cardinality estimation: the expected number of elements after each operation.
//!
//! Estimates use the size of the graph, the lengths of index entries, and the average degree of
//! nodes. Without statistics for a key, the selectivity of an equality is 1/10 and that of an
//! inequality is 1/3, as in System R.

use hashbrown::HashMap;

use super::{Access, Trace};
use crate::filter::{Filter, Predicate};
use crate::gremlin::ast::{Hierarchy, Walk};
use crate::gremlin::plan::{Operation, Plan};
use crate::value::Text;

/// Returns an estimate for each operation; `None` if nothing is known, as for flows.
pub(super) fn all(plan: &Plan, trace: &Trace<'_>, totals: (usize, usize)) -> Vec<Option<u64>> {
    let mut estimator = Estimator {
        nodes: totals.0 as f64,
        edges: totals.1 as f64,
        marks: HashMap::new(),
    };
    let mut expected = None;
    let operations = plan.operations.iter().enumerate();
    operations
        .map(|(position, (operation, _))| {
            let access = trace.of(position).access.as_ref();
            expected = estimator.after(operation, access, expected);
            expected.map(|elements| elements.ceil() as u64)
        })
        .collect()
}

struct Estimator<'p> {
    nodes: f64,
    edges: f64,
    /// Estimates of marked nodes by mark.
    marks: HashMap<&'p Text, f64>,
}

impl<'p> Estimator<'p> {
    /// Returns the estimate after an operation, given the estimate `before` it.
    fn after(
        &mut self,
        operation: &'p Operation,
        access: Option<&Access>,
        before: Option<f64>,
    ) -> Option<f64> {
        match operation {
            Operation::Nodes(Some(_), _) | Operation::Edges(Some(_), _) => Some(1.0),
            Operation::Nodes(None, filter) => Some(self.found_nodes(filter, access)),
            Operation::Edges(None, filter) => Some(self.edges * selectivity(filter)),
            Operation::Walk(walk, filter) => {
                Some(before? * self.around(*walk) * selectivity(filter))
            }
            Operation::Hierarchy(hierarchy, filter, depth) => {
                self.within(before?, *hierarchy, selectivity(filter), *depth)
            }
            Operation::Filter(filter) => Some(before? * selectivity(filter)),
            Operation::Page(page) => {
                let (from, to) = (page.from as f64, page.to as f64);
                Some((before?.min(to) - from).max(0.0))
            }
            Operation::Dedup(_) => Some(before?.min(self.nodes.max(self.edges))),
            Operation::As(name) => {
                self.marks.insert(name, before?);
                before
            }
            Operation::Select(names) => {
                names.iter().map(|name| self.marks.get(name).copied()).sum()
            }
            Operation::Count | Operation::Sum(_) | Operation::Aggregates(_) => Some(1.0),
            Operation::Sort(..)
            | Operation::Values(_)
            | Operation::ValueMap(_)
            | Operation::Qualified(..)
            | Operation::ShortestPath(..)
            | Operation::Metrics(_)
            | Operation::Sockets
            | Operation::NextHop(_)
            | Operation::PathTo(_) => before,
            Operation::Graph
            | Operation::Time(_)
            | Operation::Workflow(..)
            | Operation::Changes
            | Operation::Keys
            | Operation::SubGraph(_)
            | Operation::Flows(_)
            | Operation::FlowNodes(..)
            | Operation::FlowEnds(..)
            | Operation::Group
            | Operation::GroupBy(_)
            | Operation::MoreThan
            | Operation::RawPackets
            | Operation::Bpf(_)
            | Operation::Fail(_) => None,
        }
    }

    /// Returns the estimate of a node search.
    fn found_nodes(&self, filter: &Filter, access: Option<&Access>) -> f64 {
        let guess = self.nodes * selectivity(filter);
        match access {
            // The index entries, unless the rest of the filter selects fewer.
            Some(Access::Index { estimate, .. }) if tests(filter) > 1 => {
                (*estimate as f64).min(guess)
            }
            Some(Access::Index { estimate, .. }) => *estimate as f64,
            _ => guess,
        }
    }

    /// Returns the average number of results of a walk per input element.
    fn around(&self, walk: Walk) -> f64 {
        match walk {
            Walk::Out | Walk::In | Walk::OutE | Walk::InE => self.degree(),
            Walk::Both | Walk::BothE => 2.0 * self.degree(),
            Walk::OutV | Walk::InV => 1.0,
            Walk::BothV => 2.0,
        }
    }

    /// Returns the average number of edges that a node is the parent of.
    fn degree(&self) -> f64 {
        self.edges / self.nodes.max(1.0)
    }

    /// Returns the estimate of a breadth-first search: a geometric series, at most all nodes.
    fn within(
        &self,
        from: f64,
        hierarchy: Hierarchy,
        selectivity: f64,
        depth: Option<u64>,
    ) -> Option<f64> {
        let ways = if hierarchy == Hierarchy::Neighbors {
            2.0
        } else {
            1.0
        };
        let factor = ways * self.degree() * selectivity;
        let (mut level, mut all) = (from, from);
        for _ in 0..depth.unwrap_or(MAX_LEVELS).min(MAX_LEVELS) {
            level *= factor;
            all += level;
        }
        Some(all.min(self.nodes.max(from)))
    }
}

/// Maximum number of levels of a search that are estimated.
const MAX_LEVELS: u64 = 64;

/// Returns the selectivity of a filter: the fraction of elements that match, assuming that tests are
/// independent.
fn selectivity(filter: &Filter) -> f64 {
    match filter {
        filter if filter.is_everything() => 1.0,
        Filter::All(filters) => filters.iter().map(selectivity).product(),
        Filter::Any(filters) => {
            1.0 - filters
                .iter()
                .map(|f| 1.0 - selectivity(f))
                .product::<f64>()
        }
        Filter::Not(filter) => 1.0 - selectivity(filter),
        Filter::Test(_, predicate) => match predicate {
            Predicate::Present => 1.0,
            Predicate::Lt(_) | Predicate::Lte(_) | Predicate::Gt(_) | Predicate::Gte(_) => {
                1.0 / 3.0
            }
            _ => 0.1,
        },
    }
}

/// Returns the number of tests in a filter.
fn tests(filter: &Filter) -> usize {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters.iter().map(tests).sum(),
        Filter::Not(filter) => tests(filter),
        Filter::Test(..) => 1,
    }
}
