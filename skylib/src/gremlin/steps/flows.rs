//! `Flows` and the steps on flows: values, sums, keys, groups, metrics, and the nodes of flows.

use std::ops::ControlFlow;

use hashbrown::{HashMap, HashSet};

use super::filter::Row;
use super::metrics::{Metric, Metrics};
use crate::file_use::FileUse;
use crate::filter::{Filter, Predicate};
use crate::flow::{Flow, FlowField, FlowQuery, FlowQueryError, FlowSet, FlowSource};
use crate::graph::{ElementKey, NodeRef};
use crate::gremlin::ast::{FlowNodes, Walk};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::plan::FlowPlan;
use crate::gremlin::scope::Scope;
use crate::time::{Timestamp, When};
use crate::value::{Text, Value};

/// Requests flows from a source; with `nodes`, only flows captured on these nodes.
pub(in crate::gremlin) fn query(
    source: &dyn FlowSource,
    plan: &FlowPlan,
    nodes: Option<&[NodeRef]>,
    when: Option<When>,
    budget: &Budget<'_>,
) -> Result<FlowSet, QueryError> {
    let Some(query) = flow_query(plan, nodes, when) else {
        return Ok(FlowSet::default());
    };
    let query = query.with_max_bytes(budget.left());
    let set = source.query(&query).map_err(execution_error)?;
    let mut room = budget.room();
    for flow in &set.flows {
        budget.tick()?;
        room.add(flow.memory_size())?;
    }
    Ok(set)
}

/// Calls `visit` with each flow of a query, in no particular order.
///
/// A time slice that ends now includes the live flows: their records are newer than the stored ones
/// of the same UUID.
pub(in crate::gremlin) fn visit(
    source: &dyn FlowSource,
    plan: &FlowPlan,
    nodes: Option<&[NodeRef]>,
    (when, now): (Option<When>, Timestamp),
    budget: &Budget<'_>,
    visit: &mut dyn FnMut(&Flow) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let Some(query) = flow_query(plan, nodes, when) else {
        return Ok(());
    };
    let query = query.with_max_bytes(budget.left());
    let mut outcome = Ok(());
    let mut live = HashSet::new();
    if let Some(slice) = query.time
        && slice.last >= now
    {
        let present = FlowQuery {
            time: None,
            ..query.clone()
        };
        let is_active =
            |flow: &Flow| flow.start <= slice.last.as_ms() && flow.last >= slice.start.as_ms();
        each(
            source,
            &present,
            &mut outcome,
            &mut |flow| match is_active(flow) {
                true => {
                    live.insert(flow.uuid.clone());
                    visit(flow)
                }
                false => Ok(()),
            },
        )?;
        outcome.clone()?;
    }
    each(
        source,
        &query,
        &mut outcome,
        &mut |flow| match live.contains(&flow.uuid) {
            true => Ok(()),
            false => visit(flow),
        },
    )?;
    outcome
}

/// Calls `visit` with each flow of a query until a call of `visit` returns an error. Stores the
/// result of the last call in `outcome`.
///
/// # Errors
/// Returns an error if the source of the flows fails.
fn each(
    source: &dyn FlowSource,
    query: &FlowQuery,
    outcome: &mut Result<(), QueryError>,
    visit: &mut dyn FnMut(&Flow) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let visited = source.visit(query, &mut |flow| {
        *outcome = visit(flow);
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    visited.map_err(execution_error)
}

/// Returns the number of flows that [`query`] would return, without creating them.
pub(in crate::gremlin) fn count(
    source: &dyn FlowSource,
    plan: &FlowPlan,
    nodes: Option<&[NodeRef]>,
    when: Option<When>,
    budget: &Budget<'_>,
) -> Result<u64, QueryError> {
    let Some(query) = flow_query(plan, nodes, when) else {
        return Ok(0);
    };
    let query = query.with_max_bytes(budget.left());
    source.count(&query).map_err(execution_error)
}

/// Returns the parts of the flow store's files that [`query`] reads.
pub(in crate::gremlin) fn files(
    source: &dyn FlowSource,
    plan: &FlowPlan,
    nodes: Option<&[NodeRef]>,
    when: Option<When>,
) -> Vec<FileUse> {
    let query = flow_query(plan, nodes, when);
    query.map_or_else(Vec::new, |query| source.files(&query))
}

/// Returns the metrics of flows during a time slice, one per update.
pub(in crate::gremlin) fn past_metrics(
    source: &dyn FlowSource,
    flows: &[Flow],
    when: When,
    budget: &Budget<'_>,
) -> Result<Metrics, QueryError> {
    let uuids: Vec<Text> = flows.iter().map(|flow| flow.uuid.clone()).collect();
    let found = source.metrics(&uuids, when.slice());
    let found = found.map_err(execution_error)?;
    let mut room = budget.room();
    for (_, metrics) in &found {
        budget.tick()?;
        metrics
            .iter()
            .try_for_each(|_| room.add(size_of::<Metric>()))?;
    }
    let series = |(uuid, metrics): (Text, Vec<_>)| {
        let metrics = metrics.into_iter().map(Metric::Flow).collect();
        (uuid, metrics)
    };
    Ok(found.into_iter().map(series).collect())
}

/// Returns the query to the source; `None` if no node can have flows.
fn flow_query(plan: &FlowPlan, nodes: Option<&[NodeRef]>, when: Option<When>) -> Option<FlowQuery> {
    let node_tids = nodes.map(capturable_tids);
    if node_tids.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    Some(FlowQuery {
        filter: plan.filter.clone(),
        node_tids,
        sort: plan.sort,
        dedup: plan
            .dedup
            .map(|field| field.unwrap_or(FlowField::TRACKING_ID)),
        range: plan.page.map(|page| (page.from, page.to)),
        time: when.map(When::slice),
        ..FlowQuery::default()
    })
}

fn execution_error(error: FlowQueryError) -> QueryError {
    match error {
        FlowQueryError::FieldNotFound { .. } => {
            QueryError::execute("Field not found").help(error.to_string())
        }
        FlowQueryError::Interrupted => QueryError::interrupted(),
        FlowQueryError::TooLarge { .. } => QueryError::limit(error.to_string()),
        FlowQueryError::Source { .. } => QueryError::unavailable(error.to_string()),
        other => QueryError::execute(other.to_string()),
    }
}

/// Returns the distinct `TID`s of the nodes on which packets can be captured, in ascending order.
fn capturable_tids(nodes: &[NodeRef]) -> Vec<Text> {
    let text = |node: &NodeRef, key: &str| match node.metadata.get(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let mut seen = HashSet::new();
    let capturable = nodes
        .iter()
        .filter(|node| text(node, "Type").is_some_and(|t| CAPTURABLE.contains(&t.as_str())));
    let mut tids: Vec<Text> = capturable
        .filter_map(|node| text(node, TID))
        .filter(|tid| seen.insert(tid.clone()))
        .collect();
    tids.sort_unstable();
    tids
}

/// Returns the value of a field of each flow.
///
/// # Errors
/// Returns an error if a flow lacks the field.
pub(in crate::gremlin) fn values(
    flows: &[Flow],
    key: &str,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let field = FlowField::parse(key);
    // Few flows have a message of an extra layer; flows without one are omitted.
    let is_optional = matches!(field, Some(FlowField::Layer(_)));
    let mut room = budget.room();
    let mut values = Vec::new();
    for flow in flows {
        budget.tick()?;
        let found = field.as_ref().and_then(|field| flow.value(field));
        if let Some(value) = found {
            room.add(size_of::<Value>() + value.heap_bytes())?;
            values.push(value);
        } else if !is_optional {
            return Err(no_field(key));
        }
    }
    Ok(values)
}

/// Returns the sum of a field of flows, saturating.
///
/// # Errors
/// Returns an error if a flow lacks the field.
pub(in crate::gremlin) fn sum(
    flows: &[Flow],
    key: &str,
    budget: &Budget<'_>,
) -> Result<i64, QueryError> {
    let field = FlowField::parse(key);
    flows.iter().try_fold(0_i64, |sum, flow| {
        budget.tick()?;
        let found = field.as_ref().and_then(|field| flow.value(field)?.to_int());
        Ok(sum.saturating_add(found.ok_or_else(|| no_field(key))?))
    })
}

fn no_field(key: &str) -> QueryError {
    QueryError::execute("Field not found").help(format!("not every flow has `{key}`"))
}

/// Returns the names of the fields of flows; none without flows.
pub(in crate::gremlin) fn keys(flows: &[Flow]) -> Vec<Value> {
    match flows {
        [] => Vec::new(),
        _ => FlowField::names()
            .iter()
            .map(|name| Value::from(*name))
            .collect(),
    }
}

/// Groups flows by tracking ID, in order of first occurrence.
pub(in crate::gremlin) fn group(
    flows: Vec<Flow>,
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Vec<Flow>)>, QueryError> {
    let mut positions: HashMap<Text, usize> = HashMap::new();
    let mut groups: Vec<(Text, Vec<Flow>)> = Vec::new();
    let mut room = budget.room();
    for flow in flows {
        budget.tick()?;
        room.add(size_of::<Flow>())?;
        let position = *positions
            .entry(flow.tracking_id.clone())
            .or_insert(groups.len());
        match groups.get_mut(position) {
            Some((_, group)) => group.push(flow),
            None => groups.push((flow.tracking_id.clone(), vec![flow])),
        }
    }
    Ok(groups)
}

/// Returns the nodes to which flows belong, flow by flow, with duplicates.
pub(in crate::gremlin) fn nodes(
    scope: &Scope<'_>,
    flows: &[Flow],
    which: FlowNodes,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
) -> Result<Vec<NodeRef>, QueryError> {
    let tids = flows.iter().map(|flow| flow.node_tid.clone());
    let by_tid = find(scope, &[TID], tids.collect(), budget)?;
    let by_mac = match which {
        FlowNodes::Nodes => find(scope, &["MAC"], macs(flows), budget)?,
        FlowNodes::Hops | FlowNodes::CaptureNode => HashMap::new(),
    };
    let mut nodes = Vec::new();
    for flow in flows {
        budget.tick()?;
        let ends = flow
            .link
            .iter()
            .flat_map(|link| [by_mac.get(&link.a), by_mac.get(&link.b)]);
        let found = std::iter::once(by_tid.get(&flow.node_tid))
            .chain(ends)
            .flatten();
        nodes.extend(found.filter(|node| node.passes(filter)).cloned());
    }
    Ok(nodes)
}

/// Returns the nodes that own the link-layer addresses of one end or both ends of flows.
pub(in crate::gremlin) fn ends(
    scope: &Scope<'_>,
    flows: &[Flow],
    walk: Walk,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
) -> Result<Vec<NodeRef>, QueryError> {
    let by_mac = find(scope, &["MAC", "PeerIntfMAC"], macs(flows), budget)?;
    let mut nodes = Vec::new();
    for link in flows.iter().filter_map(|flow| flow.link.as_ref()) {
        let (a, b) = match walk {
            Walk::In => (Some(&link.a), None),
            Walk::Out => (None, Some(&link.b)),
            _ => (Some(&link.a), Some(&link.b)),
        };
        let found = a.into_iter().chain(b).filter_map(|mac| by_mac.get(mac));
        nodes.extend(found.filter(|node| node.passes(filter)).cloned());
    }
    Ok(nodes)
}

/// Returns the link-layer addresses of flows.
fn macs(flows: &[Flow]) -> HashSet<Text> {
    let links = flows.iter().filter_map(|flow| flow.link.as_ref());
    links
        .flat_map(|link| [link.a.clone(), link.b.clone()])
        .collect()
}

/// Returns the first node that has each wanted string as a value of one of several keys. Later keys
/// are searched only for strings that earlier keys did not find.
fn find(
    scope: &Scope<'_>,
    keys: &[&str],
    mut wanted: HashSet<Text>,
    budget: &Budget<'_>,
) -> Result<HashMap<Text, NodeRef>, QueryError> {
    wanted.retain(|text| !text.is_empty());
    let mut found = HashMap::new();
    for name in keys {
        wanted.retain(|text| !found.contains_key(text));
        if wanted.is_empty() {
            break;
        }
        let key = ElementKey::parse(name);
        let is = |test: Predicate| Filter::Test(key.clone(), test);
        // The index finds a few strings faster; for many strings, one scan of all nodes is cheaper.
        let candidates = if wanted.len() <= MAX_PROBES {
            Filter::Any(
                wanted
                    .iter()
                    .map(|text| is(Predicate::Text(text.clone())))
                    .collect(),
            )
        } else {
            is(Predicate::Present)
        };
        let mut failed = Ok(());
        scope.visit_nodes(&candidates, budget, &mut |node| {
            failed = budget.tick();
            let value = node.value(&key);
            let texts = match &value {
                Some(Value::List(list)) => list.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => &[],
            };
            for text in texts {
                if let Value::Text(text) = text
                    && wanted.contains(text)
                {
                    found.entry(text.clone()).or_insert_with(|| node.clone());
                }
            }
            if failed.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        failed?;
    }
    Ok(found)
}

/// Maximum number of strings that are looked up in the index.
const MAX_PROBES: usize = 256;
const TID: &str = "TID";

/// Types of nodes on which packets can be captured, and of exporters of flows.
const CAPTURABLE: [&str; 31] = [
    "ovsbridge",
    "ovsport",
    "dpdkport",
    "internal",
    "veth",
    "tun",
    "bridge",
    "dummy",
    "gre",
    "bond",
    "can",
    "hsr",
    "ifb",
    "macvlan",
    "macvtap",
    "vlan",
    "vxlan",
    "gretap",
    "ip6gretap",
    "geneve",
    "ipoib",
    "vcan",
    "ipip",
    "ipvlan",
    "lowpan",
    "ip6tnl",
    "ip6gre",
    "sit",
    "device",
    "exporter",
    "exporterport",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, GraphView};
    use crate::gremlin::{Answer, Context, Query};
    use crate::time::Timestamp;

    /// Source that can count flows but returns none.
    struct Counter;

    impl FlowSource for Counter {
        fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
            Ok(FlowSet::default())
        }

        fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
            Ok(if query.filter.is_everything() { 7 } else { 3 })
        }
    }

    #[test]
    fn a_count_is_queried_as_such() {
        let graph = Graph::new();
        let view = GraphView::open(&graph);
        let context = Context::new(&view, &Counter, Timestamp::ZERO);
        let answer = |text: &str| Query::parse(text).unwrap().run(&context).unwrap();
        assert_eq!(answer("G.Flows().Count()"), Answer::Number(7));
        assert_eq!(
            answer("G.Flows().Has('Application', 'DNS').Count()"),
            Answer::Number(3)
        );
        assert_eq!(answer("G.V().Flows().Count()"), Answer::Number(0));
        assert_eq!(answer("G.Flows()"), Answer::Flows(FlowSet::default()));
    }
}
