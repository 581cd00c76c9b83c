//! From steps to operations: what each step means after the ones before it.
//!
//! The kind of result that a step gets (nodes, edges, flows…) follows from the steps alone, so the
//! plan settles once which steps fit together, which are absorbed by the one before (a filter and
//! a page by `V`, nearly everything by `Flows`), and compiles every filter. What cannot be done
//! becomes an operation that fails: a step before it may fail first, and then that is the answer.

use std::time::Duration;

use super::ast::{FlowNodes, Hierarchy, Param, Step, Walk};
use super::error::QueryError;
use super::go_format;
use super::predicate;
use super::result_kind::Kind;
use super::step_params;
use super::steps::time::TimeContext;
use crate::filter::{self, Filter};
use crate::flow::{FlowField, SortOrder};
use crate::value::Text;

/// Operations in order, each with the step it came from.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) operations: Vec<(Operation, usize)>,
    /// Steps that the operations stand for; fewer than there are when one of them must fail.
    pub(super) planned: usize,
}

/// One thing to do with the result so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    /// Back to the graph.
    Graph,
    /// Look at another time.
    Time(TimeContext),
    /// One node, or all that pass a filter.
    Nodes(Option<Text>, Filter),
    /// One edge, or all that pass a filter.
    Edges(Option<Text>, Filter),
    Walk(Walk, Filter),
    Filter(Filter),
    /// Unequal by id, or by the values of keys.
    Dedup(Vec<Text>),
    Page(Page),
    Sort(SortOrder, Text),
    Count,
    Values(Text),
    ValueMap(Vec<Text>),
    Keys,
    /// The sum of a key; of metrics, of every field.
    Sum(Option<Text>),
    /// Remember nodes by a name.
    As(Text),
    /// Nodes remembered.
    Select(Vec<Text>),
    /// The elements so far; of nodes, the edges among them that pass a filter.
    SubGraph(Filter),
    /// Path to the nearest node that passes the first filter, over edges that pass the second.
    ShortestPath(Filter, Filter),
    /// Nodes within so many edges (without bound: `None`) that pass a filter.
    Hierarchy(Hierarchy, Filter, Option<u64>),
    Flows(FlowPlan),
    FlowNodes(FlowNodes, Filter),
    /// The nodes that own one end or both of a flow's link layer.
    FlowEnds(Walk, Filter),
    Group,
    MoreThan,
    /// Metrics under a key of nodes, or of flows.
    Metrics(Text),
    /// Metrics added up in slots of this length.
    Aggregates(Duration),
    RawPackets,
    /// Those of the packets that a capture filter lets through.
    Bpf(Text),
    Sockets,
    NextHop(Text),
    /// The end of what can be done.
    Fail(QueryError),
}

/// What `Flows` and the steps it absorbs ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlowPlan {
    pub(super) filter: Filter,
    pub(super) sort: Option<(FlowField, SortOrder)>,
    pub(super) dedup: Option<Option<FlowField>>,
    pub(super) page: Option<Page>,
}

/// Elements from one position up to another, which is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Plan {
    pub(super) fn new(query: &str, steps: &[(Step, usize)]) -> Self {
        let mut planner = Planner {
            steps,
            next: 0,
            step: 0,
            kind: Kind::Graph,
            operations: Vec::new(),
        };
        if let Err(message) = planner.run() {
            let at = planner.next.saturating_sub(1);
            if let Some((step, offset)) = steps.get(at) {
                let help = match steps.get(planner.step) {
                    Some((by, _)) if at != planner.step => {
                        let usage = step_params::usage(step.name()).unwrap_or_default();
                        format!(
                            "in `{}`, part of `{}`; expected `{usage}`",
                            step.name(),
                            by.name()
                        )
                    }
                    _ => planner.kind.help(step),
                };
                let error = QueryError::execute(message).at(query, *offset).help(help);
                planner.push(Operation::Fail(error));
            }
        }
        Self {
            operations: planner.operations,
            planned: planner.next,
        }
    }
}

struct Planner<'a> {
    steps: &'a [(Step, usize)],
    /// The step to look at next.
    next: usize,
    /// The step that operations are made for; those it absorbs lie between.
    step: usize,
    kind: Kind,
    operations: Vec<(Operation, usize)>,
}

impl<'a> Planner<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(step) = self.peek() {
            self.step = self.next;
            self.next += 1;
            self.kind = match self.kind {
                Kind::Graph => self.on_graph(step),
                Kind::Nodes => self.on_nodes(step),
                Kind::Edges => self.on_edges(step),
                Kind::Paths => self.on_paths(step),
                Kind::List | Kind::Scalar => self.on_values(step),
                Kind::Flows => self.on_flows(step),
                Kind::Metrics => self.on_metrics(step),
                Kind::Sockets => self.on_sockets(step),
                Kind::Groups | Kind::RawPackets | Kind::NextHops => self.on_last(step),
            }?;
        }
        Ok(())
    }

    fn on_graph(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::V(id) => {
                let (filter, page) = self.absorb_by_source(id.as_ref())?;
                self.push(Operation::Nodes(id.clone(), filter));
                self.push_page(page);
                Ok(Kind::Nodes)
            }
            Step::E(id) => {
                let (filter, page) = self.absorb_by_source(id.as_ref())?;
                self.push(Operation::Edges(id.clone(), filter));
                self.push_page(page);
                Ok(Kind::Edges)
            }
            Step::At(params) => {
                let context = TimeContext::new(params)?;
                Ok(self.push_to(Kind::Graph, Operation::Time(context)))
            }
            Step::Flows(params) => self.flows(params),
            Step::Workflow(..) => unsupported(step),
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_nodes(&mut self, step: &'a Step) -> Result<Kind, String> {
        let operation = match step {
            Step::As(name) => Operation::As(name.clone()),
            Step::Select(names) => {
                let names = names.iter().map(text).collect::<Option<Vec<Text>>>();
                Operation::Select(names.ok_or("Select accepts only string parameters")?)
            }
            Step::Sort(order, key) => {
                let key = key.clone().unwrap_or_else(|| "@CreatedAt".into());
                Operation::Sort(order.unwrap_or_default(), key)
            }
            Step::Values(key) => {
                return Ok(self.push_to(Kind::List, Operation::Values(key.clone())));
            }
            Step::ValueMap(keys) => {
                return Ok(self.push_to(Kind::List, Operation::ValueMap(keys.clone())));
            }
            Step::Keys(_) => return Ok(self.push_to(Kind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Sum parameter has to be a string key")?;
                let key = key.ok_or("Sum requires 1 parameter")?;
                return Ok(self.push_to(Kind::Scalar, Operation::Sum(Some(key))));
            }
            Step::SubGraph(params) => {
                let filter = predicate::optional(params).map_err(|error| {
                    format!("Error creating the edge filter for the nodes subgraph: {error}")
                })?;
                return Ok(self.push_to(Kind::Graph, Operation::SubGraph(filter)));
            }
            Step::ShortestPathTo(target, edges) => {
                let target = metadata(Some(target))?;
                let edges = metadata(edges.as_ref())?;
                return Ok(self.push_to(Kind::Paths, Operation::ShortestPath(target, edges)));
            }
            Step::Hierarchy(hierarchy, pairs, depth) => {
                self.hierarchy(*hierarchy, pairs, *depth)?
            }
            Step::Flows(params) => return self.flows(params),
            Step::Metrics(field) => return Ok(self.metrics(field.as_ref())),
            Step::Sockets(params) => return self.sockets(params),
            Step::NextHop(address) => {
                return Ok(self.push_to(Kind::NextHops, Operation::NextHop(address.clone())));
            }
            Step::Walk(walk, params) if !walk.takes_edges() => return self.walk(*walk, params),
            _ => return self.on_elements(step),
        };
        Ok(self.push_to(Kind::Nodes, operation))
    }

    fn on_edges(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::Walk(walk, params) if walk.takes_edges() => self.walk(*walk, params),
            Step::SubGraph(_) => {
                let operation = Operation::SubGraph(Filter::everything());
                Ok(self.push_to(Kind::Graph, operation))
            }
            _ => self.on_elements(step),
        }
    }

    /// What nodes and edges have in common.
    fn on_elements(&mut self, step: &'a Step) -> Result<Kind, String> {
        let kind = self.kind;
        let filter = match step {
            Step::G => return Ok(self.push_to(Kind::Graph, Operation::Graph)),
            Step::Count => return Ok(self.push_to(Kind::Scalar, Operation::Count)),
            Step::Limit(_) | Step::Range(..) => {
                let page = page(step)?;
                self.push_page(page);
                return Ok(kind);
            }
            Step::Dedup(keys) => {
                // COMPAT: the page is a window on what is deduplicated.
                let page = self.absorb_page()?;
                self.push_page(page);
                return Ok(self.push_to(kind, Operation::Dedup(keys.clone())));
            }
            Step::Has(params) => predicate::all_of(params)?,
            Step::HasEither(params) => predicate::one_of(params)?,
            Step::HasKey(key) => predicate::present(key),
            Step::HasNot(key) => predicate::present(key).negate(),
            _ => return Err(kind.refuses(step)),
        };
        let page = self.absorb_page()?;
        self.push(Operation::Filter(filter));
        self.push_page(page);
        Ok(kind)
    }

    fn on_paths(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::SubGraph(_) => {
                let operation = Operation::SubGraph(Filter::everything());
                Ok(self.push_to(Kind::Graph, operation))
            }
            Step::Dedup(keys) => {
                let page = self.absorb_page()?;
                self.push_page(page);
                Ok(self.push_to(Kind::Nodes, Operation::Dedup(keys.clone())))
            }
            Step::Flows(params) => self.flows(params),
            _ => Err(self.kind.refuses(step)),
        }
    }

    /// The original counts and pages no lists; here they may.
    fn on_values(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::Has(params) => {
                let filter = predicate::all_of(params)?;
                let page = self.absorb_page()?;
                self.push(Operation::Filter(filter));
                self.push_page(page);
            }
            Step::Dedup(keys) => {
                let page = self.absorb_page()?;
                self.push_page(page);
                self.push(Operation::Dedup(keys.clone()));
            }
            Step::Limit(_) | Step::Range(..) if self.kind == Kind::List => {
                let page = page(step)?;
                self.push_page(page);
            }
            Step::Count if self.kind == Kind::List => {
                return Ok(self.push_to(Kind::Scalar, Operation::Count));
            }
            _ => return Err(self.kind.refuses(step)),
        }
        Ok(Kind::List)
    }

    fn on_flows(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::Count => Ok(self.push_to(Kind::Scalar, Operation::Count)),
            Step::Values(key) => Ok(self.push_to(Kind::List, Operation::Values(key.clone()))),
            Step::Keys(_) => Ok(self.push_to(Kind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Sum parameter has to be a string key")?;
                let key = key.ok_or("Sum requires 1 parameter")?;
                if !(key.starts_with("Metric.") || key.starts_with("LastUpdateMetric.")) {
                    let message = "Sum accepts only sub fields of Metric and LastUpadteMetric";
                    return Err(message.to_owned());
                }
                Ok(self.push_to(Kind::Scalar, Operation::Sum(Some(key))))
            }
            Step::Walk(walk @ (Walk::In | Walk::Out | Walk::Both), params) => {
                let (filter, page) = self.absorb_by_walk(params)?;
                self.push(Operation::FlowEnds(*walk, filter));
                self.push_page(page);
                Ok(Kind::Nodes)
            }
            Step::FlowNodes(nodes, params) => {
                let mut filter = predicate::optional(params)?;
                while let Some(Step::Has(params)) = self.peek() {
                    self.next += 1;
                    filter = filter.and(predicate::all_of(params)?);
                }
                Ok(self.push_to(Kind::Nodes, Operation::FlowNodes(*nodes, filter)))
            }
            Step::Group(_) => Ok(self.push_to(Kind::Groups, Operation::Group)),
            Step::Metrics(field) => Ok(self.metrics(field.as_ref())),
            Step::RawPackets(_) => Ok(self.push_to(Kind::RawPackets, Operation::RawPackets)),
            Step::Sockets(params) => self.sockets(params),
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_metrics(&mut self, step: &'a Step) -> Result<Kind, String> {
        match step {
            Step::Count => Ok(self.push_to(Kind::Scalar, Operation::Count)),
            Step::Keys(_) => Ok(self.push_to(Kind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Argument of Sum must be a string")?;
                Ok(self.push_to(Kind::Scalar, Operation::Sum(key)))
            }
            Step::Aggregates(params) => {
                let seconds = match params.as_slice() {
                    [] => 30,
                    [Param::Int(seconds)] => u64::try_from(*seconds).unwrap_or(0),
                    _ => 0,
                };
                if seconds == 0 {
                    return Err("Aggregates parameter has to be a positive number".to_owned());
                }
                let slot = Duration::from_secs(seconds);
                Ok(self.push_to(Kind::Metrics, Operation::Aggregates(slot)))
            }
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_sockets(&mut self, step: &'a Step) -> Result<Kind, String> {
        let filter = match step {
            Step::Has(params) => predicate::all_pairs(params)?,
            Step::HasEither(params) => predicate::either_pair(params)?,
            Step::Values(key) => {
                return Ok(self.push_to(Kind::List, Operation::Values(key.clone())));
            }
            _ => return Err(self.kind.refuses(step)),
        };
        Ok(self.push_to(Kind::Sockets, Operation::Filter(filter)))
    }

    /// Results that one step at most can follow.
    fn on_last(&mut self, step: &'a Step) -> Result<Kind, String> {
        match (self.kind, step) {
            // COMPAT: its parameter never counted.
            (Kind::Groups, Step::MoreThan(_)) => {
                Ok(self.push_to(Kind::Groups, Operation::MoreThan))
            }
            (Kind::RawPackets, Step::Bpf(params)) => match params.as_slice() {
                [Param::Text(text)] => {
                    Ok(self.push_to(Kind::RawPackets, Operation::Bpf(text.clone())))
                }
                [_] => Err("BPF parameter has to be a string".to_owned()),
                _ => Err("BPF requires 1 parameter".to_owned()),
            },
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn walk(&mut self, walk: Walk, params: &'a [Param]) -> Result<Kind, String> {
        let (filter, page) = self.absorb_by_walk(params)?;
        self.push(Operation::Walk(walk, filter));
        self.push_page(page);
        Ok(if walk.gives_edges() {
            Kind::Edges
        } else {
            Kind::Nodes
        })
    }

    fn hierarchy(
        &self,
        hierarchy: Hierarchy,
        pairs: &[Param],
        depth: Option<i64>,
    ) -> Result<Operation, String> {
        let filter = match pairs {
            [] => Filter::test("RelationType", filter::Predicate::Text("ownership".into())),
            pairs => predicate::either_pair(pairs)?,
        };
        let depth = match (hierarchy, depth.unwrap_or(1)) {
            (Hierarchy::Descendants | Hierarchy::Ascendants, ..=0) => None,
            (_, depth) => Some(u64::try_from(depth).unwrap_or(0)),
        };
        Ok(Operation::Hierarchy(hierarchy, filter, depth))
    }

    fn metrics(&mut self, field: Option<&Text>) -> Kind {
        let key = match field.map(Text::as_str) {
            None => "LastUpdateMetric".into(),
            Some("SFlow") => "SFlow.LastUpdateMetric".into(),
            Some("Ovs") => "Ovs.LastUpdateMetric".into(),
            Some(other) => Text::from(other),
        };
        self.push_to(Kind::Metrics, Operation::Metrics(key))
    }

    fn sockets(&mut self, params: &[Param]) -> Result<Kind, String> {
        if !params.is_empty() {
            return Err("Sockets requires no parameter".to_owned());
        }
        Ok(self.push_to(Kind::Sockets, Operation::Sockets))
    }

    /// COMPAT: filters, sort, deduplication and page act in this order, in whichever they came.
    fn flows(&mut self, params: &[Param]) -> Result<Kind, String> {
        let mut plan = FlowPlan {
            filter: Filter::everything(),
            sort: None,
            dedup: None,
            page: None,
        };
        if !params.is_empty() {
            plan.filter = predicate::flow_pairs(params)?;
        }
        while let Some(step) = self.peek() {
            self.next += 1;
            match step {
                Step::Has(params) => {
                    plan.filter = plan.filter.and(predicate::flow_pairs(params)?);
                }
                Step::HasEither(params) => {
                    plan.filter = plan.filter.and(predicate::either_flow_pair(params)?);
                }
                Step::Dedup(keys) => {
                    plan.dedup = Some(keys.first().map(flow_field).transpose()?);
                }
                Step::Sort(order, key) => {
                    let field = key.as_ref().map_or(Ok(FlowField::LAST), flow_field)?;
                    plan.sort = Some((field, order.unwrap_or_default()));
                }
                Step::Limit(_) | Step::Range(..) if plan.page.is_none() => plan.page = page(step)?,
                _ => {
                    self.next -= 1;
                    break;
                }
            }
        }
        Ok(self.push_to(Kind::Flows, Operation::Flows(plan)))
    }

    /// COMPAT: `V` and `E` take one page and one filter of pairs from the steps behind them, so
    /// that `V().Limit(1).Has(k, v)` filters first.
    fn absorb_by_source(&mut self, id: Option<&Text>) -> Result<(Filter, Option<Page>), String> {
        let (mut filter, mut page_taken) = (None, None);
        loop {
            match self.peek() {
                Some(Step::Has(params))
                    if id.is_none() && filter.is_none() && params.len() >= 2 =>
                {
                    self.next += 1;
                    filter = Some(predicate::all_of(params)?);
                }
                Some(Step::Limit(_) | Step::Range(..)) if page_taken.is_none() => {
                    page_taken = self.absorb_page()?;
                }
                _ => return Ok((filter.unwrap_or_else(Filter::everything), page_taken)),
            }
        }
    }

    /// COMPAT: a walk without a filter takes the `Has` behind it, even an empty one.
    fn absorb_by_walk(&mut self, params: &'a [Param]) -> Result<(Filter, Option<Page>), String> {
        let (mut params, mut page_taken) = (params, None);
        loop {
            match self.peek() {
                Some(Step::Has(more)) if params.is_empty() => {
                    self.next += 1;
                    params = more;
                }
                Some(Step::Limit(_) | Step::Range(..)) if page_taken.is_none() => {
                    page_taken = self.absorb_page()?;
                }
                _ => return Ok((predicate::optional(params)?, page_taken)),
            }
        }
    }

    fn absorb_page(&mut self) -> Result<Option<Page>, String> {
        match self.peek() {
            Some(step @ (Step::Limit(_) | Step::Range(..))) => {
                self.next += 1;
                page(step)
            }
            _ => Ok(None),
        }
    }

    fn peek(&self) -> Option<&'a Step> {
        self.steps.get(self.next).map(|(step, _)| step)
    }

    fn push(&mut self, operation: Operation) {
        self.operations.push((operation, self.step));
    }

    fn push_to(&mut self, kind: Kind, operation: Operation) -> Kind {
        self.push(operation);
        kind
    }

    fn push_page(&mut self, page: Option<Page>) {
        if let Some(page) = page {
            self.push(Operation::Page(page));
        }
    }
}

fn page(step: &Step) -> Result<Option<Page>, String> {
    let position = |param: &Param| match param {
        Param::Int(number) => Ok(u64::try_from(*number).unwrap_or(0)),
        other => Err(format!("{} is not an integer", go_format::string(other))),
    };
    match step {
        Step::Limit(count) => Ok(Some(Page {
            from: 0,
            to: position(count)?,
        })),
        Step::Range(from, to) => Ok(Some(Page {
            from: position(from)?,
            to: position(to)?,
        })),
        _ => Ok(None),
    }
}

fn text(param: &Param) -> Option<Text> {
    match param {
        Param::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn sum_key(params: &[Param], no_text: &str) -> Result<Option<Text>, String> {
    match params {
        [] => Ok(None),
        [Param::Text(key)] => Ok(Some(key.clone())),
        [_] => Err(no_text.to_owned()),
        _ => Err("Sum requires 1 parameter".to_owned()),
    }
}

fn metadata(param: Option<&Param>) -> Result<Filter, String> {
    match param {
        None => Ok(Filter::everything()),
        Some(Param::Metadata(pairs)) => Ok(predicate::exactly(pairs)),
        Some(_) => Err("Error while executing the query".to_owned()),
    }
}

fn flow_field(name: &Text) -> Result<FlowField, String> {
    FlowField::parse(name).ok_or_else(|| "Field not found".to_owned())
}

fn unsupported<T>(step: &Step) -> Result<T, String> {
    Err(format!("{} is not supported yet", step.name()))
}
