//! `Run`: executes a plan, one operation after another on the result of the previous one.
//!
//! Two techniques avoid materializing intermediate results. Late materialization: elements are
//! passed on as numbers until an operation reads their contents. Pipelining: filters, pages, and
//! counts that follow an operation that finds elements run element by element inside it (see
//! [`pipeline`]).

mod finish;
mod flows;
mod pipeline;
mod totals;

use std::rc::Rc;

use hashbrown::HashMap;

use super::answer::Answer;
use super::ast::Walk;
use super::budget::Budget;
use super::error::QueryError;
use super::explain::{Access, Trace};
use super::intermediate::{Data, ElementRow, Rows};
use super::plan::Operation;
use super::scope::{Scope, Subgraph};
use super::steps::filter;
use super::steps::metrics::Metrics;
use super::steps::{
    changes, hierarchy, next_hop, packet_path, path, qualified, raw_packets, sockets, subgraph,
    values, walk,
};
use super::{Context, Query};
use crate::filter::Filter;
use crate::graph::{EdgeRef, ElementKey, NodeRef};
use crate::time::{TimeSlice, When};
use crate::value::{Text, Value};

/// State of a running query.
pub(super) struct Run<'r> {
    context: &'r Context<'r>,
    budget: &'r Budget<'r>,
    scope: Scope<'r>,
    /// Time that the query reads; `None` means the present.
    when: Option<When>,
    /// Nodes by their `As` names. All belong to `scope`: changing the scope clears them.
    marks: HashMap<Text, Rows<NodeRef>>,
    query: &'r Query,
    /// Index of the next operation. Operations that run inside the current one advance it further;
    /// `next <= operations.len()`.
    next: usize,
    /// Measurements for an explanation, if requested.
    trace: Option<Trace<'r>>,
}

impl<'r> Run<'r> {
    /// Creates the state of a run that begins with the operation with the index `first`.
    pub(super) fn new(
        query: &'r Query,
        first: usize,
        context: &'r Context<'r>,
        budget: &'r Budget<'r>,
        trace: Option<Trace<'r>>,
    ) -> Self {
        Self {
            context,
            budget,
            scope: Scope::whole(context.view),
            when: None,
            marks: HashMap::new(),
            query,
            next: first,
            trace,
        }
    }

    /// Runs the query. Returns the answer and the trace.
    pub(super) fn answer(mut self) -> (Result<Answer, QueryError>, Option<Trace<'r>>) {
        (self.run(), self.trace)
    }

    fn run(&mut self) -> Result<Answer, QueryError> {
        let query = self.query;
        let mut data = Data::Graph;
        while let Some((operation, step)) = query.plan.operations.get(self.next) {
            self.budget.check()?;
            self.budget.begin_operation();
            self.note(|trace, next| trace.begin(next, data.len()));
            self.next += 1;
            data = self
                .apply(operation, data)
                .map_err(|error| query.located(error, *step))?;
            self.budget.set_reading(self.scope.bytes())?;
            if let Some(trace) = &mut self.trace {
                trace.read(self.scope.take_files());
                trace.end(self.next, data.len());
            }
        }
        self.budget.check()?;
        let answer = self.finish(data)?;
        self.budget.end();
        Ok(answer)
    }

    fn apply(&mut self, operation: &Operation, data: Data) -> Result<Data, QueryError> {
        match (operation, data) {
            (Operation::Fail(error), _) => Err(error.clone()),
            // The graph of a workflow is that of the context: see `Query::on_its_graph`.
            (Operation::Graph | Operation::Workflow(..), _) => Ok(Data::Graph),
            (Operation::Time(time), _) => {
                let (now, zone) = (self.context.now, self.context.time_zone());
                self.select_time(time.resolve(now, zone))
            }
            (Operation::Nodes(id, filter), _) => self.nodes(id.as_ref(), filter),
            (Operation::Edges(id, filter), _) => self.edges(id.as_ref(), filter),
            (Operation::Filter(_) | Operation::Dedup(_) | Operation::Page(_), data) => {
                self.sift(operation, data)
            }
            (operation, Data::Nodes(rows)) => self.on_nodes(operation, rows),
            (operation, Data::Edges(rows)) => self.on_edges(operation, &rows),
            (operation, Data::Paths(paths)) => self.on_paths(operation, &paths),
            (operation, Data::Flows(set)) => self.on_flows(operation, set),
            (Operation::Flows(plan), Data::Graph) => self.flows(plan, None),
            (Operation::Changes, Data::Graph) => self.changes(),
            (Operation::Aggregates(slot), Data::Metrics(metrics)) => {
                metrics.aggregate(self.window(), *slot).map(Data::Metrics)
            }
            (Operation::Bpf(text), Data::RawPackets(packets)) => {
                let filters = self.context.packet_filters;
                raw_packets::filter(packets, text, filters, self.budget).map(Data::RawPackets)
            }
            (operation, data) => derive(operation, data),
        }
    }

    /// Switches to the graph at another time.
    fn select_time(&mut self, when: When) -> Result<Data, QueryError> {
        let error = || QueryError::execute("Backend does not support history");
        if self.scope.is_subgraph() {
            // COMPAT: Skydive copied a subgraph to a new graph without history.
            return Err(error().help("a subgraph has no history; put `At` before the first step"));
        }
        let history = self.context.history.ok_or_else(|| {
            let slice = when.slice();
            let (start, last) = (slice.start.as_ms(), slice.last.as_ms());
            error().help(format!("requested time: {start} to {last} (Unix ms)"))
        })?;
        self.budget.end_reading();
        self.scope = Scope::past(history, when, self.budget);
        self.when = Some(when);
        self.marks.clear();
        Ok(Data::Graph)
    }

    /// Returns the time slice that the query reads; `None` at an instant and in the present.
    const fn window(&self) -> Option<TimeSlice> {
        match self.when {
            Some(When::During(slice)) => Some(slice),
            _ => None,
        }
    }

    /// Returns the changes in the selected time slice.
    fn changes(&mut self) -> Result<Data, QueryError> {
        let slice = self.window().filter(|_| !self.scope.is_subgraph());
        let (Some(slice), Some(history)) = (slice, self.context.history) else {
            return Err(QueryError::execute("Changes requires a time slice")
                .help("in `Changes`; expected a slice before it, as in `G.Context('-1h', 3600).Changes()`"));
        };
        let activities = self.context.activities;
        changes::during(history, activities, slice, self.budget).map(Data::List)
    }

    /// Finds a node by id, or nodes by filter.
    fn nodes(&mut self, id: Option<&Text>, filter: &Filter) -> Result<Data, QueryError> {
        if let Some(id) = id {
            let node = self.scope.node(id)?;
            let missing = || QueryError::execute(format!("Node '{id}' does not exist"));
            self.note(|trace, _| trace.found_by(Access::Id));
            return Ok(Data::Nodes(Rows::from(vec![node.ok_or_else(missing)?])));
        }
        let filter = self.absorb_filters(filter);
        let only_count = self.is_count_next();
        if let Some(trace) = &mut self.trace {
            trace.found_by(self.scope.node_access(&filter, only_count)?);
        }
        if self.take_count() {
            let total = self.scope.count_nodes(&filter, self.budget)?;
            return Ok(self.counted(total as u64));
        }
        let scope = self.scope.clone();
        self.pipe(|pipe| scope.visit_nodes(&filter, pipe.budget(), &mut |node| pipe.push(node)))
    }

    /// Finds an edge by id, or edges by filter.
    fn edges(&mut self, id: Option<&Text>, filter: &Filter) -> Result<Data, QueryError> {
        if let Some(id) = id {
            let edge = self.scope.edge(id)?;
            let missing = || QueryError::execute(format!("Edge '{id}' does not exist"));
            self.note(|trace, _| trace.found_by(Access::Id));
            return Ok(Data::Edges(Rows::from(vec![edge.ok_or_else(missing)?])));
        }
        let filter = self.absorb_filters(filter);
        let only_count = self.is_count_next();
        if let Some(trace) = &mut self.trace {
            trace.found_by(self.scope.edge_access(&filter, only_count));
        }
        if self.take_count() {
            let total = self.scope.count_edges(&filter, self.budget)?;
            return Ok(self.counted(total as u64));
        }
        let scope = self.scope.clone();
        self.pipe(|pipe| scope.visit_edges(&filter, pipe.budget(), &mut |edge| pipe.push(edge)))
    }

    /// Applies `Filter`, `Dedup`, or `Page` to a materialized result.
    fn sift(&mut self, operation: &Operation, data: Data) -> Result<Data, QueryError> {
        match (operation, data) {
            (_, Data::Nodes(rows)) => self.sift_rows(&rows),
            (_, Data::Edges(rows)) => self.sift_rows(&rows),
            (Operation::Dedup(_) | Operation::Page(_), Data::Paths(paths)) => {
                let numbers = paths.into_iter().flatten().collect();
                self.sift_rows::<NodeRef>(&Rows::Numbers(Rc::new(numbers)))
            }
            (Operation::Filter(filter), Data::Sockets(list)) => {
                sockets::filter(list, filter, self.budget).map(Data::Sockets)
            }
            (operation, data) => {
                let list = match data {
                    Data::List(list) => list,
                    Data::Scalar(value) => vec![value],
                    _ => return Err(misplaced()),
                };
                Ok(Data::List(match operation {
                    Operation::Filter(filter) => values::filter_list(list, filter, self.budget)?,
                    Operation::Dedup(_) => values::dedup_list(list, self.budget)?,
                    Operation::Page(page) => filter::cut(list, *page),
                    _ => return Err(misplaced()),
                }))
            }
        }
    }

    /// Applies filters, deduplication, and pages to materialized elements.
    fn sift_rows<E: ElementRow>(&mut self, rows: &Rows<E>) -> Result<Data, QueryError> {
        // The current operation becomes the first stage of the pipeline.
        self.next -= 1;
        match rows {
            Rows::Refs(refs) => self.pipe(|pipe| {
                let _stopped = refs.iter().cloned().try_for_each(|row| pipe.push(row));
                Ok(())
            }),
            Rows::Numbers(numbers) if self.is_blind_next() => self.pipe_numbers::<E>(|pipe| {
                let _stopped = numbers.iter().try_for_each(|number| pipe.push(*number));
                Ok(())
            }),
            Rows::Numbers(numbers) => {
                let scope = self.scope.clone();
                self.pipe(|pipe| E::fetch(&scope, numbers, &mut |row| pipe.push(row)))
            }
        }
    }

    /// Follows the edges of nodes.
    fn walk(
        &mut self,
        walk: Walk,
        filter: &Filter,
        rows: &Rows<NodeRef>,
    ) -> Result<Data, QueryError> {
        let filter = self.absorb_filters(filter);
        self.note(|trace, _| trace.found_by(Access::Adjacency));
        let scope = self.scope.clone();
        let direction = walk::direction(walk);
        // Without a filter, numbers suffice. In the past an edge has a number per revision, and only
        // its contents show which revisions the slice includes.
        match (filter.is_everything(), walk.gives_edges()) {
            (true, false) => {
                let from = numbers(rows);
                self.pipe_numbers::<NodeRef>(|pipe| {
                    scope.hop(&from, direction, &mut |hop| pipe.push(hop.node))
                })
            }
            (true, true) if !scope.is_past() => {
                let from = numbers(rows);
                self.pipe_numbers::<EdgeRef>(|pipe| {
                    scope.hop(&from, direction, &mut |hop| pipe.push(hop.edge))
                })
            }
            (false, false) => {
                let from = self.refs(rows)?;
                self.pipe(|pipe| {
                    let budget = pipe.budget();
                    scope.walk_nodes(&from, direction, &filter, budget, &mut |node| {
                        pipe.push(node)
                    })
                })
            }
            (_, true) => {
                let from = self.refs(rows)?;
                self.pipe(|pipe| {
                    let budget = pipe.budget();
                    scope.walk_edges(&from, direction, &filter, budget, &mut |edge| {
                        pipe.push(edge)
                    })
                })
            }
        }
    }

    fn on_nodes(&mut self, operation: &Operation, rows: Rows<NodeRef>) -> Result<Data, QueryError> {
        match operation {
            Operation::Walk(walk, filter) => self.walk(*walk, filter, &rows),
            Operation::Count => Ok(count(rows.len())),
            Operation::As(name) => {
                self.budget.retain(rows.bytes())?;
                self.marks.insert(name.clone(), rows.clone());
                Ok(Data::Nodes(rows))
            }
            Operation::Select(names) => self.select(names),
            Operation::ShortestPath(target, edges) => self.shortest_paths(target, edges, &rows),
            Operation::Hierarchy(kind, filter, depth) => {
                self.note(|trace, _| trace.found_by(Access::Adjacency));
                let (from, filter, budget) = (numbers(&rows), compiled(filter), self.budget);
                let found =
                    hierarchy::nodes_within(&self.scope, &from, *kind, &filter, *depth, budget)?;
                Ok(Data::Nodes(Rows::Numbers(Rc::new(found))))
            }
            _ => {
                let nodes = self.refs(&rows)?;
                // Releases the other reference, so that sorting need not copy the list.
                drop(rows);
                self.on_node_contents(operation, nodes)
            }
        }
    }

    fn shortest_paths(
        &mut self,
        target: &Filter,
        edges: &Filter,
        rows: &Rows<NodeRef>,
    ) -> Result<Data, QueryError> {
        let (target, edges) = (compiled(target), compiled(edges));
        if let Some(trace) = &mut self.trace {
            trace.found_by(self.scope.node_access(&target, false)?);
        }
        let from = numbers(rows);
        path::shortest_paths(&self.scope, &from, &target, &edges, self.budget).map(Data::Paths)
    }

    /// Runs an operation that reads the contents of nodes.
    fn on_node_contents(
        &mut self,
        operation: &Operation,
        nodes: Rc<Vec<NodeRef>>,
    ) -> Result<Data, QueryError> {
        let budget = self.budget;
        match operation {
            Operation::Sort(order, key) => {
                let mut nodes = Rc::unwrap_or_clone(nodes);
                // If a page follows, only its elements have to be in order (top-k selection).
                let wanted = match self.peek() {
                    Some(Operation::Page(page)) => usize::try_from(page.to).unwrap_or(usize::MAX),
                    _ => usize::MAX,
                };
                let key = ElementKey::parse(key);
                filter::sort(&mut nodes, *order, &key, wanted, budget)?;
                Ok(Data::Nodes(Rows::from(nodes)))
            }
            Operation::Values(key) => values::values(&nodes, key, budget).map(Data::List),
            Operation::Qualified(keys, true) => {
                qualified::value_map(&self.scope, &nodes, keys, budget).map(Data::List)
            }
            Operation::Qualified(keys, false) => {
                let key = keys.first().ok_or_else(misplaced)?;
                qualified::values(&self.scope, &nodes, key, budget).map(Data::List)
            }
            Operation::ValueMap(keys) => values::value_map(&nodes, keys, budget).map(Data::List),
            Operation::Keys => values::keys(&nodes, budget).map(Data::List),
            Operation::Sum(Some(key)) => {
                values::sum(&nodes, key, budget).map(|sum| Data::Scalar(Value::Int(sum)))
            }
            Operation::SubGraph(filter) => {
                let nodes = Rc::unwrap_or_clone(nodes);
                let found = subgraph::of_nodes(&self.scope, nodes, &compiled(filter), budget)?;
                Ok(self.narrow(found))
            }
            Operation::Flows(plan) => self.flows(plan, Some(&nodes)),
            Operation::Metrics(key) => {
                Metrics::of_nodes(&nodes, key, self.when, budget).map(Data::Metrics)
            }
            Operation::Sockets => sockets::of_nodes(&nodes, budget).map(Data::Sockets),
            Operation::NextHop(address) => {
                next_hop::of_nodes(&self.scope, &nodes, address, budget).map(Data::NextHops)
            }
            Operation::PathTo(target) => {
                packet_path::of_nodes(&self.scope, &nodes, target, budget).map(Data::List)
            }
            _ => Err(misplaced()),
        }
    }

    fn on_edges(
        &mut self,
        operation: &Operation,
        rows: &Rows<EdgeRef>,
    ) -> Result<Data, QueryError> {
        match operation {
            Operation::Count => Ok(count(rows.len())),
            Operation::Walk(walk, filter) => {
                let filter = self.absorb_filters(filter);
                self.note(|trace, _| trace.found_by(Access::Adjacency));
                let edges = self.refs(rows)?;
                let scope = self.scope.clone();
                self.pipe(|pipe| walk::ends(&scope, &edges, *walk, &filter, pipe))
            }
            Operation::SubGraph(_) => {
                let edges = self.refs(rows)?;
                let found = subgraph::of_edges(&self.scope, &edges, self.budget)?;
                Ok(self.narrow(found))
            }
            _ => Err(misplaced()),
        }
    }

    fn on_paths(&mut self, operation: &Operation, paths: &[Vec<u32>]) -> Result<Data, QueryError> {
        let mut numbers: Vec<u32> = paths.iter().flatten().copied().collect();
        let mut seen = super::bitmap::Bitmap::default();
        numbers.retain(|number| seen.insert(*number));
        let nodes = self.refs::<NodeRef>(&Rows::Numbers(Rc::new(numbers)))?;
        match operation {
            Operation::SubGraph(filter) => {
                let (nodes, filter) = (Rc::unwrap_or_clone(nodes), compiled(filter));
                let found = subgraph::of_nodes(&self.scope, nodes, &filter, self.budget)?;
                Ok(self.narrow(found))
            }
            Operation::Flows(plan) => self.flows(plan, Some(&nodes)),
            _ => Err(misplaced()),
        }
    }

    /// Returns the nodes marked with names, in the order of the names.
    fn select(&mut self, names: &[Text]) -> Result<Data, QueryError> {
        let mut room = self.budget.room();
        let mut selected = Vec::new();
        for name in names {
            let rows = self.marks.get(name).ok_or_else(|| {
                let message =
                    format!("Key {name} not registered. Need to be registered using 'As' step");
                QueryError::execute(message)
            })?;
            for node in self.refs(rows)?.iter() {
                room.add(size_of::<NodeRef>())?;
                selected.push(node.clone());
            }
        }
        Ok(Data::Nodes(Rows::from(selected)))
    }

    /// Narrows the scope to a subgraph.
    fn narrow(&mut self, subgraph: Subgraph) -> Data {
        self.scope.narrow(subgraph);
        self.marks.clear();
        Data::Graph
    }

    /// Returns the number of elements that the current operation found, as the result of the count
    /// that follows it.
    fn counted(&mut self, total: u64) -> Data {
        self.note(|trace, next| trace.piped(next - 1, std::iter::once(total), true));
        count(total)
    }

    /// Records a measurement if a trace was requested.
    fn note(&mut self, make: impl FnOnce(&mut Trace<'r>, usize)) {
        if let Some(trace) = &mut self.trace {
            make(trace, self.next);
        }
    }

    /// Returns the next operation.
    fn peek(&self) -> Option<&'r Operation> {
        self.query
            .plan
            .operations
            .get(self.next)
            .map(|(operation, _)| operation)
    }
}

/// Runs an operation that needs neither the graph nor the flow tables.
fn derive(operation: &Operation, data: Data) -> Result<Data, QueryError> {
    match (operation, data) {
        (Operation::Count, Data::List(list)) => Ok(count(list.len())),
        (Operation::Count, Data::Metrics(metrics)) => Ok(count(metrics.len())),
        (Operation::Keys, Data::Metrics(metrics)) => Ok(Data::List(metrics.keys())),
        (Operation::Sum(None), Data::Metrics(metrics)) => Ok(Data::Scalar(
            metrics
                .sum()
                .map_or(Value::Null, |metric| metric.to_value()),
        )),
        (Operation::Sum(Some(key)), Data::Metrics(metrics)) => {
            let sum = metrics
                .sum_of(key)
                .ok_or_else(|| QueryError::execute("Field not found"))?;
            Ok(Data::Scalar(Value::Int(sum)))
        }
        (Operation::MoreThan, Data::Groups(mut groups)) => {
            groups.retain(|(_, flows)| flows.len() > 1);
            Ok(Data::Groups(groups))
        }
        (Operation::Values(key), Data::List(list)) => Ok(Data::List(values::of_maps(&list, key))),
        (Operation::Values(key), Data::Sockets(list)) => {
            sockets::values(&list, key).map(Data::List)
        }
        _ => Err(misplaced()),
    }
}

fn numbers(rows: &Rows<NodeRef>) -> Rc<Vec<u32>> {
    match rows {
        Rows::Numbers(numbers) => Rc::clone(numbers),
        Rows::Refs(refs) => Rc::new(refs.iter().map(NodeRef::index).collect()),
    }
}

fn compiled(filter: &Filter) -> Filter<ElementKey> {
    filter.compile(&mut |key| ElementKey::parse(key))
}

fn count(total: impl TryInto<i64>) -> Data {
    Data::Scalar(Value::Int(total.try_into().unwrap_or(i64::MAX)))
}

/// Returns the error of an operation on a result that it cannot follow; the planner excludes this
/// case.
fn misplaced() -> QueryError {
    QueryError::execute("Error while executing the query")
}
