//! Query planner: translates steps to operations, in one pass (O(number of steps)).
//!
//! The kind of result that a step receives (nodes, edges, flows, …) depends only on the preceding
//! steps. The planner therefore decides once which steps fit together and which are absorbed by an
//! earlier one (`V` absorbs a filter and a page, `Flows` nearly everything), and compiles every
//! filter.
//!
//! A step that does not fit becomes [`Operation::Fail`] instead of an error of the planner, because
//! an operation before it may fail first when the query runs, and clients expect that error.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value as Json;

use super::params::{flow_field, metadata, page, path_target, sum_key, text};
use super::{FlowPlan, Operation, Page, Plan, totals};
use crate::filter::{self, Filter};
use crate::flow::FlowField;
use crate::gremlin::ast::{Hierarchy, Param, Step, Walk};
use crate::gremlin::error::QueryError;
use crate::gremlin::result_kind::ResultKind;
use crate::gremlin::steps::time::TimeContext;
use crate::gremlin::{predicate, step_params};
use crate::value::Text;

impl Plan {
    /// Plans the steps of a query.
    pub(in crate::gremlin) fn new(query: &str, steps: &[(Step, usize)]) -> Self {
        let mut planner = Planner {
            steps,
            next: 0,
            step: 0,
            kind: ResultKind::Graph,
            operations: Vec::new(),
        };
        let outcome = planner.run();
        let followers = match outcome {
            Ok(()) => planner.kind.followers(),
            Err(_) => &[],
        };
        if let Err(message) = outcome {
            // The step that failed is the last one taken, which `planner.step` may have absorbed.
            let at = planner.next.saturating_sub(1);
            if let Some((step, offset)) = steps.get(at) {
                let help = network_help(&message).unwrap_or_else(|| planner.help(step, at));
                let error = QueryError::execute(message).at(query, *offset).help(help);
                planner.push(Operation::Fail(error));
            }
        }
        Self {
            operations: planner.operations,
            planned: planner.next,
            followers,
        }
    }
}

struct Planner<'a> {
    steps: &'a [(Step, usize)],
    /// Index of the next step; `step < next <= steps.len()` while planning a step.
    next: usize,
    /// Index of the step being planned; it absorbs the steps `step + 1..next`.
    step: usize,
    /// Kind of result that the step being planned receives.
    kind: ResultKind,
    operations: Vec<(Operation, usize)>,
}

impl<'a> Planner<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(step) = self.peek() {
            self.step = self.next;
            self.next += 1;
            self.kind = match self.kind {
                ResultKind::Graph => self.on_graph(step),
                ResultKind::Nodes => self.on_nodes(step),
                ResultKind::Edges => self.on_edges(step),
                ResultKind::Paths => self.on_paths(step),
                ResultKind::List | ResultKind::Scalar | ResultKind::Rows => self.on_values(step),
                ResultKind::Flows => self.on_flows(step),
                ResultKind::Metrics => self.on_metrics(step),
                ResultKind::Sockets => self.on_sockets(step),
                ResultKind::Groups | ResultKind::RawPackets | ResultKind::NextHops => {
                    self.on_last(step)
                }
            }?;
        }
        Ok(())
    }

    /// Returns the help for a failed step at a position.
    fn help(&self, step: &Step, at: usize) -> String {
        match self.steps.get(self.step) {
            Some((by, _)) if at != self.step => {
                let usage = step_params::usage(step.name()).unwrap_or_default();
                let (name, by) = (step.name(), by.name());
                format!("in `{name}`, part of `{by}`; expected `{usage}`")
            }
            _ => self.kind.help(step),
        }
    }

    fn on_graph(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match step {
            Step::V(id) => {
                let (filter, page) = self.absorb_by_source(id.as_ref())?;
                self.push(Operation::Nodes(id.clone(), filter));
                self.push_page(page);
                Ok(ResultKind::Nodes)
            }
            Step::E(id) => {
                let (filter, page) = self.absorb_by_source(id.as_ref())?;
                self.push(Operation::Edges(id.clone(), filter));
                self.push_page(page);
                Ok(ResultKind::Edges)
            }
            Step::At(params) => {
                let context = TimeContext::new(params)?;
                Ok(self.push_to(ResultKind::Graph, Operation::Time(context)))
            }
            Step::Flows(params) => self.flows(params),
            Step::Changes(_) => Ok(self.push_to(ResultKind::List, Operation::Changes)),
            Step::Workflow(name, arguments) => {
                let arguments: Option<Vec<Json>> = arguments.iter().map(json).collect();
                let arguments =
                    arguments.ok_or("Workflow accepts only strings, numbers, and booleans")?;
                let operation = Operation::Workflow(name.clone(), arguments);
                Ok(self.push_to(ResultKind::Graph, operation))
            }
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_nodes(&mut self, step: &'a Step) -> Result<ResultKind, String> {
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
                let operation = match self.absorb_qualified() {
                    true => Operation::Qualified(vec![key.clone()], false),
                    false => Operation::Values(key.clone()),
                };
                return Ok(self.push_to(ResultKind::List, operation));
            }
            Step::ValueMap(keys) => {
                let operation = match self.absorb_qualified() {
                    true => Operation::Qualified(keys.clone(), true),
                    false => Operation::ValueMap(keys.clone()),
                };
                return Ok(self.push_to(ResultKind::List, operation));
            }
            Step::Keys(_) => return Ok(self.push_to(ResultKind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Sum parameter has to be a string key")?;
                let key = key.ok_or("Sum requires 1 parameter")?;
                return Ok(self.push_to(ResultKind::Scalar, Operation::Sum(Some(key))));
            }
            Step::SubGraph(params) => {
                let filter = predicate::optional(params).map_err(|error| {
                    format!("Error creating the edge filter for the nodes subgraph: {error}")
                })?;
                return Ok(self.push_to(ResultKind::Graph, Operation::SubGraph(filter)));
            }
            Step::ShortestPathTo(target, edges) => {
                let target = metadata(Some(target))?;
                let edges = metadata(edges.as_ref())?;
                return Ok(self.push_to(ResultKind::Paths, Operation::ShortestPath(target, edges)));
            }
            Step::Hierarchy(hierarchy, pairs, depth) => {
                self.hierarchy(*hierarchy, pairs, *depth)?
            }
            Step::Flows(params) => return self.flows(params),
            Step::Metrics(field) => return Ok(self.metrics(field.as_ref())),
            Step::Sockets(params) => return self.sockets(params),
            Step::NextHop(address) => {
                return Ok(self.push_to(ResultKind::NextHops, Operation::NextHop(address.clone())));
            }
            Step::PathTo(target) => {
                let operation = Operation::PathTo(path_target(target));
                return Ok(self.push_to(ResultKind::Rows, operation));
            }
            Step::Walk(walk, params) if !walk.takes_edges() => return self.walk(*walk, params),
            _ => return self.on_elements(step),
        };
        Ok(self.push_to(ResultKind::Nodes, operation))
    }

    fn on_edges(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match step {
            Step::Walk(walk, params) if walk.takes_edges() => self.walk(*walk, params),
            Step::SubGraph(_) => {
                let operation = Operation::SubGraph(Filter::everything());
                Ok(self.push_to(ResultKind::Graph, operation))
            }
            _ => self.on_elements(step),
        }
    }

    /// Plans a step that nodes and edges have in common.
    fn on_elements(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        let kind = self.kind;
        let filter = match step {
            Step::G => return Ok(self.push_to(ResultKind::Graph, Operation::Graph)),
            Step::Count => return Ok(self.push_to(ResultKind::Scalar, Operation::Count)),
            Step::Limit(_) | Step::Range(..) => {
                let page = page(step)?;
                self.push_page(page);
                return Ok(kind);
            }
            Step::Dedup(keys) => {
                // COMPAT: the page applies before the deduplication.
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

    fn on_paths(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match step {
            Step::SubGraph(_) => {
                let operation = Operation::SubGraph(Filter::everything());
                Ok(self.push_to(ResultKind::Graph, operation))
            }
            Step::Dedup(keys) => {
                let page = self.absorb_page()?;
                self.push_page(page);
                Ok(self.push_to(ResultKind::Nodes, Operation::Dedup(keys.clone())))
            }
            Step::Flows(params) => self.flows(params),
            _ => Err(self.kind.refuses(step)),
        }
    }

    /// Plans a step on values. Counts and pages of lists are extensions to Skydive.
    fn on_values(&mut self, step: &'a Step) -> Result<ResultKind, String> {
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
            Step::Limit(_) | Step::Range(..) if self.kind != ResultKind::Scalar => {
                let page = page(step)?;
                self.push_page(page);
            }
            Step::Count if self.kind != ResultKind::Scalar => {
                return Ok(self.push_to(ResultKind::Scalar, Operation::Count));
            }
            Step::Values(key) if self.kind == ResultKind::Rows => {
                return Ok(self.push_to(ResultKind::List, Operation::Values(key.clone())));
            }
            _ => return Err(self.kind.refuses(step)),
        }
        Ok(match self.kind {
            ResultKind::Rows => ResultKind::Rows,
            _ => ResultKind::List,
        })
    }

    fn on_flows(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match step {
            Step::Count => Ok(self.push_to(ResultKind::Scalar, Operation::Count)),
            Step::Values(key) => Ok(self.push_to(ResultKind::List, Operation::Values(key.clone()))),
            Step::Keys(_) => Ok(self.push_to(ResultKind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Sum parameter has to be a string key")?;
                let key = key.ok_or("Sum requires 1 parameter")?;
                if !(key.starts_with("Metric.") || key.starts_with("LastUpdateMetric.")) {
                    let message = "Sum accepts only sub fields of Metric and LastUpadteMetric";
                    return Err(message.to_owned());
                }
                Ok(self.push_to(ResultKind::Scalar, Operation::Sum(Some(key))))
            }
            Step::Walk(walk @ (Walk::In | Walk::Out | Walk::Both), params) => {
                let (filter, page) = self.absorb_by_walk(params)?;
                self.push(Operation::FlowEnds(*walk, filter));
                self.push_page(page);
                Ok(ResultKind::Nodes)
            }
            Step::FlowNodes(nodes, params) => {
                let mut filter = predicate::optional(params)?;
                while let Some(Step::Has(params)) = self.peek() {
                    self.next += 1;
                    filter = filter.and(predicate::all_of(params)?);
                }
                Ok(self.push_to(ResultKind::Nodes, Operation::FlowNodes(*nodes, filter)))
            }
            Step::Group(_) => Ok(self.push_to(ResultKind::Groups, Operation::Group)),
            Step::GroupBy(keys) => self.group_by(keys),
            Step::Metrics(field) => Ok(self.metrics(field.as_ref())),
            Step::RawPackets(_) => Ok(self.push_to(ResultKind::RawPackets, Operation::RawPackets)),
            Step::Sockets(params) => self.sockets(params),
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_metrics(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match step {
            Step::Count => Ok(self.push_to(ResultKind::Scalar, Operation::Count)),
            Step::Keys(_) => Ok(self.push_to(ResultKind::List, Operation::Keys)),
            Step::Sum(params) => {
                let key = sum_key(params, "Argument of Sum must be a string")?;
                Ok(self.push_to(ResultKind::Scalar, Operation::Sum(key)))
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
                Ok(self.push_to(ResultKind::Metrics, Operation::Aggregates(slot)))
            }
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn on_sockets(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        let filter = match step {
            Step::Has(params) => predicate::all_pairs(params)?,
            Step::HasEither(params) => predicate::either_pair(params)?,
            Step::Values(key) => {
                return Ok(self.push_to(ResultKind::List, Operation::Values(key.clone())));
            }
            _ => return Err(self.kind.refuses(step)),
        };
        Ok(self.push_to(ResultKind::Sockets, Operation::Filter(filter)))
    }

    /// Plans a step on a result that at most one kind of step can follow.
    fn on_last(&mut self, step: &'a Step) -> Result<ResultKind, String> {
        match (self.kind, step) {
            // COMPAT: Skydive ignores the parameter.
            (ResultKind::Groups, Step::MoreThan(_)) => {
                Ok(self.push_to(ResultKind::Groups, Operation::MoreThan))
            }
            (ResultKind::RawPackets, Step::Bpf(params)) => match params.as_slice() {
                [Param::Text(text)] => {
                    Ok(self.push_to(ResultKind::RawPackets, Operation::Bpf(text.clone())))
                }
                [_] => Err("BPF parameter has to be a string".to_owned()),
                _ => Err("BPF requires 1 parameter".to_owned()),
            },
            _ => Err(self.kind.refuses(step)),
        }
    }

    fn walk(&mut self, walk: Walk, params: &'a [Param]) -> Result<ResultKind, String> {
        let (filter, page) = self.absorb_by_walk(params)?;
        self.push(Operation::Walk(walk, filter));
        self.push_page(page);
        Ok(if walk.gives_edges() {
            ResultKind::Edges
        } else {
            ResultKind::Nodes
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

    fn metrics(&mut self, field: Option<&Text>) -> ResultKind {
        let key = match field.map(Text::as_str) {
            None => "LastUpdateMetric".into(),
            Some("SFlow") => "SFlow.LastUpdateMetric".into(),
            Some("Ovs") => "Ovs.LastUpdateMetric".into(),
            Some(other) => Text::from(other),
        };
        self.push_to(ResultKind::Metrics, Operation::Metrics(key))
    }

    fn sockets(&mut self, params: &[Param]) -> Result<ResultKind, String> {
        if !params.is_empty() {
            return Err("Sockets requires no parameter".to_owned());
        }
        Ok(self.push_to(ResultKind::Sockets, Operation::Sockets))
    }

    /// Plans `Flows` and absorbs the steps that the flow tables execute.
    ///
    /// COMPAT: filters, sorting, deduplication, and one page apply in this order, whichever order
    /// they are written in.
    fn flows(&mut self, params: &[Param]) -> Result<ResultKind, String> {
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
        Ok(self.push_to(ResultKind::Flows, Operation::Flows(plan)))
    }

    /// Plans `GroupBy` and absorbs the steps that describe its rows.
    fn group_by(&mut self, keys: &[Text]) -> Result<ResultKind, String> {
        let plan = totals::absorb(keys, self.steps, &mut self.next)?;
        Ok(self.push_to(ResultKind::Rows, Operation::GroupBy(plan)))
    }

    /// Absorbs one filter and one page that follow `V` or `E`, in either order.
    ///
    /// COMPAT: the filter applies first, so `V().Limit(1).Has(k, v)` finds one matching node.
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

    /// Absorbs one filter and one page that follow a walk, in either order.
    ///
    /// COMPAT: a walk without a filter absorbs `Has` even if it has no parameters.
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

    /// Absorbs `Qualified` if it directly follows. Returns whether it does.
    fn absorb_qualified(&mut self) -> bool {
        let follows = matches!(self.peek(), Some(Step::Qualified));
        self.next += usize::from(follows);
        follows
    }

    /// Absorbs a page that directly follows.
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

    /// Adds an operation that produces `kind`. Returns `kind`.
    fn push_to(&mut self, kind: ResultKind, operation: Operation) -> ResultKind {
        self.push(operation);
        kind
    }

    fn push_page(&mut self, page: Option<Page>) {
        if let Some(page) = page {
            self.push(Operation::Page(page));
        }
    }
}

/// Returns the help for an argument of `Ipv4Range` or `Ipv6Range` that is not a network of its
/// address family; `None` for other errors.
fn network_help(message: &str) -> Option<String> {
    let network = message.strip_prefix("invalid CIDR address: ")?;
    let (address, length) = match network.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (network, None),
    };
    let (key, range, max) = match address.parse().ok()? {
        IpAddr::V4(_) => ("IPV4", "Ipv4Range", 32),
        IpAddr::V6(_) => ("IPV6", "Ipv6Range", 128),
    };
    Some(match length.map(str::parse::<u8>) {
        None => format!(
            "a network has a length, as in `{address}/{max}`; `Has('{key}', '{address}')` finds an \
             address with any length"
        ),
        Some(Ok(length)) if length <= max => {
            format!("this network has another address family; expected `{range}('{network}')`")
        }
        Some(_) => format!("the length of the network is a number from 0 to {max}"),
    })
}

/// Returns a parameter as an argument of a workflow; `None` if it is not a simple value.
fn json(param: &Param) -> Option<Json> {
    match param {
        Param::Text(text) => Some(Json::from(&**text)),
        Param::Int(number) => Some(Json::from(*number)),
        Param::Float(number) => Some(Json::from(*number)),
        Param::Bool(flag) => Some(Json::from(*flag)),
        _ => None,
    }
}
