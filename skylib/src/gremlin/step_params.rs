//! Converts names and parameters to typed steps, and checks conditions that must hold before a
//! query runs.
//!
//! COMPAT: the error messages are exactly those of Skydive, including their grammar; clients match
//! them.

use std::net::IpAddr;

use super::ast::{FlowNodes, Hierarchy, Param, Step, Walk};
use super::go_format::{list, string};
use super::predicate;
use crate::value::Text;

/// Returns the step with a name and parameters; `None` if no step has this name.
pub(super) fn step(word: &str, params: Vec<Param>) -> Option<Result<Step, String>> {
    let step = match word.to_ascii_uppercase().as_str() {
        "V" => element("V", &params).map(Step::V),
        "E" => element("E", &params).map(Step::E),
        "AT" | "CONTEXT" => Ok(Step::At(params)),
        "HAS" => Ok(Step::Has(params)),
        "HASEITHER" => Ok(Step::HasEither(params)),
        "HASKEY" => only_key("HasKey", params).map(Step::HasKey),
        "HASNOT" => only_key("HasNot", params).map(Step::HasNot),
        "OUT" => Ok(Step::Walk(Walk::Out, params)),
        "IN" => Ok(Step::Walk(Walk::In, params)),
        "BOTH" => Ok(Step::Walk(Walk::Both, params)),
        "OUTE" => Ok(Step::Walk(Walk::OutE, params)),
        "INE" => Ok(Step::Walk(Walk::InE, params)),
        "BOTHE" => Ok(Step::Walk(Walk::BothE, params)),
        "OUTV" => Ok(Step::Walk(Walk::OutV, params)),
        "INV" => Ok(Step::Walk(Walk::InV, params)),
        "BOTHV" => Ok(Step::Walk(Walk::BothV, params)),
        "DEDUP" => texts(&params).map(Step::Dedup).ok_or_else(|| {
            format!(
                "Dedup parameters have to be string keys : {}",
                list(&params)
            )
        }),
        "LIMIT" => match <[Param; 1]>::try_from(params) {
            Ok([count]) => Ok(Step::Limit(count)),
            Err(params) => Err(format!("Limit requires 1 parameter : {}", list(&params))),
        },
        "RANGE" => match <[Param; 2]>::try_from(params) {
            Ok([from, to]) => Ok(Step::Range(from, to)),
            Err(params) => Err(format!("Range requires 2 parameters : {}", list(&params))),
        },
        "SORT" => sort(&params),
        "QUALIFIED" if params.is_empty() => Ok(Step::Qualified),
        "QUALIFIED" => Err(format!(
            "Qualified accepts no parameter : {}",
            list(&params)
        )),
        "COUNT" if params.is_empty() => Ok(Step::Count),
        "COUNT" => Err(format!("Count accepts no parameter : {}", list(&params))),
        "VALUES" => one_key("Values", &params).map(Step::Values),
        "AS" => one_key("As", &params).map(Step::As),
        "VALUEMAP" if params.is_empty() => Err(format!(
            "ValueMap requires at least on parameter : {}",
            list(&params)
        )),
        "VALUEMAP" => texts(&params).map(Step::ValueMap).ok_or_else(|| {
            format!(
                "ValueMap parameters have to be string keys : {}",
                list(&params)
            )
        }),
        "KEYS" => Ok(Step::Keys(params)),
        "SUM" => Ok(Step::Sum(params)),
        "SELECT" if params.is_empty() => Err(format!(
            "Select requires at least one key : {}",
            list(&params)
        )),
        "SELECT" => Ok(Step::Select(params)),
        "SUBGRAPH" => Ok(Step::SubGraph(params)),
        "SHORTESTPATHTO" => shortest_path(&params),
        "DESCENDANTS" => hierarchy(Hierarchy::Descendants, params),
        "ASCENDANTS" => hierarchy(Hierarchy::Ascendants, params),
        "NEIGHBORS" => hierarchy(Hierarchy::Neighbors, params),
        name => return derived_step(name, params),
    };
    Some(step)
}

/// Returns the step on flows, or on data derived from nodes and flows, with an uppercase name.
fn derived_step(name: &str, params: Vec<Param>) -> Option<Result<Step, String>> {
    let step = match name {
        "CHANGES" if !params.is_empty() => Err("Changes requires no parameter".to_owned()),
        "CHANGES" => Ok(Step::Changes(params)),
        "FLOWS" => flows(&params).map(|()| Step::Flows(params)),
        "HOPS" => Ok(Step::FlowNodes(FlowNodes::Hops, params)),
        "NODES" => Ok(Step::FlowNodes(FlowNodes::Nodes, params)),
        "CAPTURENODE" | "NODE" => Ok(Step::FlowNodes(FlowNodes::CaptureNode, params)),
        "GROUP" => Ok(Step::Group(params)),
        "GROUPBY" => match texts(&params).filter(|keys| !keys.is_empty()) {
            Some(keys) => Ok(Step::GroupBy(keys)),
            None => Err(format!(
                "GroupBy requires at least one string key : {}",
                list(&params)
            )),
        },
        "RATE" => texts(&params)
            .map(Step::Rate)
            .ok_or_else(|| format!("Rate parameters have to be string keys : {}", list(&params))),
        "MORETHAN" => Ok(Step::MoreThan(params)),
        "METRICS" => metrics(&params),
        "AGGREGATES" => Ok(Step::Aggregates(params)),
        "RAWPACKETS" => Ok(Step::RawPackets(params)),
        "BPF" => Ok(Step::Bpf(params)),
        "SOCKETS" => Ok(Step::Sockets(params)),
        "NEXTHOP" => next_hop(&params),
        "PATHTO" => match <[Param; 1]>::try_from(params) {
            Ok([target @ (Param::Text(_) | Param::Metadata(_))]) => Ok(Step::PathTo(target)),
            Ok(params) => Err(path_to_error(&params)),
            Err(params) => Err(path_to_error(&params)),
        },
        "WORKFLOW" => workflow(params),
        _ => return None,
    };
    Some(step)
}

/// Checks a step that a [`Traversal`](super::Traversal) built: rejects the filters that [`step`]
/// rejects.
pub(super) fn check(step: &Step) -> Result<(), String> {
    match step {
        Step::Flows(params) => flows(params),
        Step::Hierarchy(kind, pairs, _) => edges(*kind, pairs),
        _ => Ok(()),
    }
}

/// Returns the usage of a step, for help messages.
pub(super) fn usage(word: &str) -> Option<&'static str> {
    USAGES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map(|(_, parameters)| *parameters)
}

/// Returns the names of all steps.
pub(super) fn step_names() -> impl Iterator<Item = &'static str> {
    USAGES.iter().map(|(name, _)| *name)
}

fn element(name: &str, params: &[Param]) -> Result<Option<Text>, String> {
    match params {
        [] => Ok(None),
        [Param::Text(id)] => Ok(Some(id.clone())),
        [_] => Err(format!(
            "{name} parameter must be a string : {}",
            list(params)
        )),
        _ => Err(format!(
            "{name} accepts at most one parameter : {}",
            list(params)
        )),
    }
}

fn only_key(name: &str, params: Vec<Param>) -> Result<Text, String> {
    match <[Param; 1]>::try_from(params) {
        Ok([Param::Text(key)]) => Ok(key),
        Ok(params) => Err(only_key_error(name, &params)),
        Err(params) => Err(only_key_error(name, &params)),
    }
}

fn only_key_error(name: &str, params: &[Param]) -> String {
    format!(
        "{name} accepts only one parameter of type string : {}",
        list(params)
    )
}

fn one_key(name: &str, params: &[Param]) -> Result<Text, String> {
    match params {
        [Param::Text(key)] => Ok(key.clone()),
        [_] => Err(format!(
            "{name} parameter has to be a string key : {}",
            list(params)
        )),
        _ => Err(format!("{name} requires 1 parameter : {}", list(params))),
    }
}

fn texts(params: &[Param]) -> Option<Vec<Text>> {
    let text = |param: &Param| match param {
        Param::Text(text) => Some(text.clone()),
        _ => None,
    };
    params.iter().map(text).collect()
}

fn sort(params: &[Param]) -> Result<Step, String> {
    match params {
        [] => Ok(Step::Sort(None, None)),
        [Param::Text(key)] => Ok(Step::Sort(None, Some(key.clone()))),
        [Param::Order(order), Param::Text(key)] => Ok(Step::Sort(Some(*order), Some(key.clone()))),
        [other] => Err(format!(
            "Sort parameter has to be a string key : {}",
            string(other)
        )),
        [Param::Order(_), other] => Err(format!(
            "Second sort parameter has to be a string key : {}",
            string(other)
        )),
        [other, _] => Err(format!("Use ASC or DESC predicate : {}", string(other))),
        _ => Err(format!(
            "Sort accepts 1 predicate and 1 string parameter : {}",
            list(params)
        )),
    }
}

fn shortest_path(params: &[Param]) -> Result<Step, String> {
    let mut iter = params.iter();
    match (iter.next(), iter.next(), iter.next()) {
        (Some(target), edges, None) => Ok(Step::ShortestPathTo(target.clone(), edges.cloned())),
        _ => Err(format!(
            "ShortestPathTo predicate accepts only 1 or 2 parameters : {}",
            list(params)
        )),
    }
}

fn hierarchy(kind: Hierarchy, mut params: Vec<Param>) -> Result<Step, String> {
    let name = kind.name();
    let mut depth = None;
    if params.len() % 2 == 1 {
        match params.pop() {
            Some(Param::Int(wanted)) => depth = Some(wanted),
            _ => {
                return Err(format!(
                    "{name} last argument must be the maximum depth specified as an integer"
                ));
            }
        }
    }
    edges(kind, &params)?;
    Ok(Step::Hierarchy(kind, params, depth))
}

fn edges(kind: Hierarchy, pairs: &[Param]) -> Result<(), String> {
    if !pairs.is_empty() {
        predicate::either_pair(pairs).map_err(|error| {
            format!(
                "{} accepts an optional number of key/value tuples and an optional depth: {error}",
                kind.name()
            )
        })?;
    }
    Ok(())
}

fn flows(params: &[Param]) -> Result<(), String> {
    if !params.is_empty() {
        predicate::flow_pairs(params)?;
    }
    Ok(())
}

fn metrics(params: &[Param]) -> Result<Step, String> {
    match params {
        [] => Ok(Step::Metrics(None)),
        [Param::Text(field)] if METRIC_FIELDS.contains(&field.as_str()) => {
            Ok(Step::Metrics(Some(field.clone())))
        }
        [Param::Text(_)] => Err(format!("Metric field unknown : {}", list(params))),
        [_] => Err("Metrics parameter have to be a string".to_owned()),
        _ => Err(format!("Metrics accepts one parameter : {}", list(params))),
    }
}

fn next_hop(params: &[Param]) -> Result<Step, String> {
    match params {
        [Param::Text(address)] if address.parse::<IpAddr>().is_ok() => {
            Ok(Step::NextHop(address.clone()))
        }
        [Param::Text(_)] => Err("NextHop parameter have to be a valid IP address".to_owned()),
        [_] => Err("NextHop parameter have to be a string".to_owned()),
        _ => Err(format!("NextHop accepts one parameter : {}", list(params))),
    }
}

fn path_to_error(params: &[Param]) -> String {
    let params = list(params);
    format!("PathTo requires an address, the id of a node, or Metadata(…) : {params}")
}

fn workflow(mut params: Vec<Param>) -> Result<Step, String> {
    if params.is_empty() {
        return Err("Workflow requires at least 1 parameter".to_owned());
    }
    match params.remove(0) {
        Param::Text(name) => Ok(Step::Workflow(name, params)),
        _ => Err("Workflow accepts a workflow id or name as first parameter".to_owned()),
    }
}

const METRIC_FIELDS: [&str; 5] = [
    "LastUpdateMetric",
    "SFlow",
    "SFlow.LastUpdateMetric",
    "Ovs",
    "Ovs.LastUpdateMetric",
];

const USAGES: &[(&str, &str)] = &[
    ("G", "G"),
    ("V", "V([id])"),
    ("E", "E([id])"),
    ("At", "At(instant[, duration])"),
    ("Context", "Context(instant[, duration])"),
    ("Has", "Has(key[, value, …])"),
    ("HasKey", "HasKey(key)"),
    ("HasNot", "HasNot(key)"),
    ("Changes", "Changes()"),
    ("HasEither", "HasEither(key[, value, …])"),
    ("In", "In([key, value, …])"),
    ("Out", "Out([key, value, …])"),
    ("Both", "Both([key, value, …])"),
    ("InE", "InE([key, value, …])"),
    ("OutE", "OutE([key, value, …])"),
    ("BothE", "BothE([key, value, …])"),
    ("InV", "InV([key, value, …])"),
    ("OutV", "OutV([key, value, …])"),
    ("BothV", "BothV([key, value, …])"),
    ("Dedup", "Dedup([key, …])"),
    ("Limit", "Limit(count)"),
    ("Range", "Range(from, to)"),
    ("Sort", "Sort([[ASC|DESC,] key])"),
    ("Count", "Count()"),
    ("Values", "Values(key)"),
    ("ValueMap", "ValueMap(key, …)"),
    ("Qualified", "Qualified()"),
    ("Keys", "Keys()"),
    ("Sum", "Sum(key)"),
    ("As", "As(name)"),
    ("Select", "Select(name, …)"),
    ("SubGraph", "SubGraph([key, value, …])"),
    (
        "ShortestPathTo",
        "ShortestPathTo(Metadata(key, value, …)[, Metadata(key, value, …)])",
    ),
    ("Descendants", "Descendants([key, value, …][, depth])"),
    ("Ascendants", "Ascendants([key, value, …][, depth])"),
    ("Neighbors", "Neighbors([key, value, …][, depth])"),
    ("Flows", "Flows([key, value, …])"),
    ("Hops", "Hops([key, value, …])"),
    ("Nodes", "Nodes([key, value, …])"),
    ("CaptureNode", "CaptureNode([key, value, …])"),
    ("Node", "Node([key, value, …])"),
    ("Group", "Group()"),
    ("GroupBy", "GroupBy(key, …)"),
    ("Rate", "Rate([counter, …])"),
    ("MoreThan", "MoreThan()"),
    ("Metrics", "Metrics(['LastUpdateMetric'|'SFlow'|'Ovs'])"),
    ("Aggregates", "Aggregates([seconds])"),
    ("RawPackets", "RawPackets()"),
    ("BPF", "BPF(filter)"),
    ("Sockets", "Sockets()"),
    ("NextHop", "NextHop(address)"),
    ("PathTo", "PathTo('address'|'id'|Metadata(key, value, …))"),
    ("Workflow", "Workflow(name[, argument, …])"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_with_a_usage_is_known_and_vice_versa() {
        for name in step_names().filter(|name| *name != "G") {
            assert!(step(name, Vec::new()).is_some(), "{name}");
        }
        assert!(step("Lt", Vec::new()).is_none());
        assert_eq!(usage("hAs"), Some("Has(key[, value, …])"));
    }

    #[test]
    fn hierarchies_take_pairs_and_a_depth() {
        let text = |t: &str| Param::Text(t.into());
        let made = |params: Vec<Param>| step("Neighbors", params).unwrap();
        assert_eq!(
            made(vec![]),
            Ok(Step::Hierarchy(Hierarchy::Neighbors, vec![], None))
        );
        let pair = vec![text("k"), Param::Int(3)];
        assert_eq!(
            made(pair.clone()),
            Ok(Step::Hierarchy(Hierarchy::Neighbors, pair, None))
        );
        let error = made(vec![text("k"), Param::Int(1), text("x")]).unwrap_err();
        assert_eq!(
            error,
            "Neighbors last argument must be the maximum depth specified as an integer"
        );
    }
}
