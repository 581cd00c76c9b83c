//! Descriptions of operations in words, for explanations.

use std::fmt::{self, Display as _};

use crate::filter::{Filter, Predicate};
use crate::flow::{FlowField, SortOrder};
use crate::gremlin::ast::{FlowNodes, Walk};
use crate::gremlin::plan::{FlowPlan, Operation, Page};
use crate::value::Text;

/// Describes an operation.
pub(super) fn operation(operation: &Operation) -> String {
    match operation {
        Operation::Graph => "graph".to_owned(),
        Operation::Time(_) => "graph at another time".to_owned(),
        Operation::Nodes(id, filter) => source("node", id.as_ref(), filter),
        Operation::Edges(id, filter) => source("edge", id.as_ref(), filter),
        Operation::Walk(walk, filter) => format!("{}{}", reached(*walk), Where(filter)),
        Operation::Filter(filter) => format!("filter{}", Where(filter)),
        Operation::Dedup(keys) if keys.is_empty() => "distinct".to_owned(),
        Operation::Dedup(keys) => format!("distinct by {}", names(keys)),
        Operation::Page(page) => positions(*page),
        Operation::Sort(order, key) => format!("sort by {key}{}", direction(*order)),
        Operation::Count => "count".to_owned(),
        Operation::Values(key) => format!("values of {key}"),
        Operation::ValueMap(keys) => format!("values of {}", names(keys)),
        Operation::Qualified(keys, _) => format!("values of {} with owners", names(keys)),
        Operation::Keys => "names of keys".to_owned(),
        Operation::Sum(Some(key)) => format!("sum of {key}"),
        Operation::Sum(None) => "sum of every field".to_owned(),
        Operation::As(name) => format!("mark as {name}"),
        Operation::Select(marks) => format!("nodes marked as {}", names(marks)),
        Operation::SubGraph(filter) => format!("subgraph{}", over(filter)),
        Operation::Workflow(name, _) => format!("graph that the workflow {name} returns"),
        Operation::ShortestPath(target, edges) => format!(
            "shortest paths to the nearest node{}{}",
            Where(target),
            over(edges)
        ),
        Operation::Hierarchy(hierarchy, filter, depth) => {
            let name = hierarchy.name().to_lowercase();
            match depth {
                Some(depth) => format!("{name} within {depth} edges{}", Where(filter)),
                None => format!("{name} at any distance{}", over(filter)),
            }
        }
        Operation::Fail(error) => format!("fails: {}", error.message()),
        _ => on_flows(operation),
    }
}

/// Describes an operation on flows or on data derived from flows and metadata.
fn on_flows(operation: &Operation) -> String {
    match operation {
        Operation::Flows(plan) => flows(plan),
        Operation::Changes => "changes in the time slice".to_owned(),
        Operation::FlowNodes(FlowNodes::Nodes, filter) => {
            format!("capture nodes and end nodes of the flows{}", Where(filter))
        }
        Operation::FlowNodes(_, filter) => format!("capture nodes of the flows{}", Where(filter)),
        Operation::FlowEnds(walk, filter) => {
            let end = match walk {
                Walk::In => "end A",
                Walk::Out => "end B",
                _ => "both ends",
            };
            format!("nodes at {end} of the flows{}", Where(filter))
        }
        Operation::Group => "groups by TrackingID".to_owned(),
        Operation::GroupBy(plan) => plan.describe(),
        Operation::MoreThan => "groups of more than one flow".to_owned(),
        Operation::Metrics(key) => format!("metrics (of nodes: {key})"),
        Operation::Aggregates(slot) => format!("sums per slot of {} s", slot.as_secs()),
        Operation::RawPackets => "raw packets".to_owned(),
        Operation::Bpf(text) => format!("packets that match {text:?}"),
        Operation::Sockets => "sockets".to_owned(),
        Operation::NextHop(address) => format!("next hops to {address}"),
        Operation::PathTo(target) => target.describe(),
        _ => String::new(),
    }
}

/// Describes a search by id or filter.
fn source(what: &str, id: Option<&Text>, filter: &Filter) -> String {
    match id {
        Some(id) => format!("{what} {id}"),
        None if filter.is_everything() => format!("all {what}s"),
        None => format!("{what}s{}", Where(filter)),
    }
}

const fn reached(walk: Walk) -> &'static str {
    match walk {
        Walk::Out => "children",
        Walk::In => "parents",
        Walk::Both => "neighbors",
        Walk::OutE => "edges to children",
        Walk::InE => "edges to parents",
        Walk::BothE => "edges",
        Walk::OutV => "child ends",
        Walk::InV => "parent ends",
        Walk::BothV => "both ends",
    }
}

fn flows(plan: &FlowPlan) -> String {
    let mut words = format!("flows{}", Where(&plan.filter));
    if let Some((field, order)) = plan.sort {
        words += &format!(", sorted by {field}{}", direction(order));
    }
    if let Some(field) = plan.dedup {
        let field = field.unwrap_or(FlowField::TRACKING_ID);
        words += &format!(", distinct by {field}");
    }
    if let Some(page) = plan.page {
        words += &format!(", {}", positions(page));
    }
    words
}

const fn direction(order: SortOrder) -> &'static str {
    match order {
        SortOrder::Ascending => "",
        SortOrder::Descending => " descending",
    }
}

fn positions(page: Page) -> String {
    format!("positions {}..{}", page.from, page.to)
}

fn names(names: &[Text]) -> String {
    let names: Vec<&str> = names.iter().map(Text::as_str).collect();
    names.join(", ")
}

/// Formats ` over edges where …`; nothing for the filter that matches everything.
fn over(edges: &Filter) -> String {
    match edges.is_everything() {
        true => String::new(),
        false => format!(" over edges{}", Where(edges)),
    }
}

/// Formats ` where …`; nothing for the filter that matches everything.
struct Where<'a>(&'a Filter);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_everything() {
            true => Ok(()),
            false => write!(f, " where {}", Words(self.0)),
        }
    }
}

/// Formats a filter.
struct Words<'a>(&'a Filter);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            filter if filter.is_everything() => f.write_str("true"),
            Filter::All(filters) => joined(f, filters, " and "),
            Filter::Any(filters) => joined(f, filters, " or "),
            Filter::Not(filter) if filter.is_everything() => f.write_str("false"),
            Filter::Not(filter) => write!(f, "not {}", Inner(filter)),
            Filter::Test(key, predicate) => match predicate {
                Predicate::Present => write!(f, "{key} exists"),
                Predicate::Text(text) => write!(f, "{key} = '{text}'"),
                Predicate::Int(number) => write!(f, "{key} = {number}"),
                Predicate::Bool(bool) => write!(f, "{key} = {bool}"),
                Predicate::OneOf(set) => write!(f, "{key} in {} values", set.len()),
                Predicate::Lt(number) => write!(f, "{key} < {number}"),
                Predicate::Lte(number) => write!(f, "{key} <= {number}"),
                Predicate::Gt(number) => write!(f, "{key} > {number}"),
                Predicate::Gte(number) => write!(f, "{key} >= {number}"),
                Predicate::Regex(pattern) => {
                    let anchored = pattern.as_str();
                    let inner = anchored
                        .strip_prefix("^(?:")
                        .and_then(|p| p.strip_suffix(")$"));
                    write!(f, "{key} matches '{}'", inner.unwrap_or(anchored))
                }
                Predicate::Ipv4Range(network) => write!(f, "{key} in {network}"),
                Predicate::Ipv6Range(network) => write!(f, "{key} in {network}"),
                Predicate::Address(address) => write!(f, "{key} is the address {address}"),
            },
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, filters: &[Filter], word: &str) -> fmt::Result {
    for (i, filter) in filters.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        if filters.len() == 1 {
            Words(filter).fmt(f)?;
        } else {
            Inner(filter).fmt(f)?;
        }
    }
    Ok(())
}

/// Formats a filter inside another one, in parentheses if it has several parts.
struct Inner<'a>(&'a Filter);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Filter::All(filters) | Filter::Any(filters) if filters.len() > 1 => {
                write!(f, "({})", Words(self.0))
            }
            filter => Words(filter).fmt(f),
        }
    }
}
