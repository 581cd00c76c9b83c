//! `AgentTables`: the flow tables of connected agents, as part of every live flow query.
//!
//! A query is sent concurrently to all agents, or only to those that captured on the requested
//! nodes. An agent that does not answer before the common deadline is skipped, counted, and named
//! in the warnings of the query. Later queries wait at most [`SILENT_TIMEOUT`] for it, until it
//! answers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::fleet::{AgentLinks, PendingReply, Wait};
use crate::engine::graph::SharedGraph;
use crate::engine::monotonic;
use crate::flow::{Flow, FlowQuery, FlowQueryError, FlowSet};
use crate::graph::{Graph, GraphAccess};
use crate::proto::{decode_table_result, is_exact, table_query};
use crate::value::{Text, Value};

/// Flow tables of the connected agents.
#[derive(Debug)]
pub(crate) struct AgentTables {
    links: Arc<AgentLinks>,
    graph: Arc<SharedGraph>,
}

/// Pending replies of the agents to which a query has been sent.
#[derive(Debug, Default)]
pub(super) struct AskedAgents(Vec<PendingReply>);

impl AgentTables {
    /// Returns the tables of these agents; the graph assigns nodes to them.
    pub(crate) const fn new(links: Arc<AgentLinks>, graph: Arc<SharedGraph>) -> Self {
        Self { links, graph }
    }

    /// Sends a query to the agents whose tables may contain its flows.
    pub(super) fn ask(&self, query: &FlowQuery) -> AskedAgents {
        if self.links.is_empty() {
            return AskedAgents::default();
        }
        let hosts = match &query.node_tids {
            None => self
                .links
                .hosts()
                .into_iter()
                .map(|host| (host, None))
                .collect(),
            Some(tids) => self.hosts_of(tids),
        };
        let ask = |(host, tids): (String, Option<Vec<Text>>)| {
            let mut part = query.clone();
            if tids.is_some() {
                part.node_tids = tids;
            }
            self.links
                .request(&host, |encoding, uuid| table_query(encoding, uuid, &part))
        };
        AskedAgents(hosts.into_iter().filter_map(ask).collect())
    }

    /// Returns the connected agents that have the nodes with these `TID`s, each with its nodes.
    fn hosts_of(&self, tids: &[Text]) -> Vec<(String, Option<Vec<Text>>)> {
        let mut hosts = BTreeMap::<String, Vec<Text>>::new();
        for chunk in tids.chunks(CHUNK) {
            self.graph.read(&mut |graph| {
                for tid in chunk {
                    if let Some(host) = self.owner(graph, tid) {
                        hosts.entry(host).or_default().push(tid.clone());
                    }
                }
            });
        }
        hosts
            .into_iter()
            .map(|(host, tids)| (host, Some(tids)))
            .collect()
    }

    /// Returns the connected agent that has the node with a `TID`.
    fn owner(&self, graph: &Graph, tid: &Text) -> Option<String> {
        let mut nodes = graph.find_nodes("TID", &Value::from(tid.as_str()));
        nodes.find_map(|node| {
            let host = self.links.host_of_node(node);
            // A host that an agent left out of its nodes.
            let host = host.or_else(|| self.links.host_of_origin(&node.origin));
            host.map(str::to_owned)
        })
    }

    /// Splits flows into those that the tables of a connected agent can return, and all others. An
    /// agent that has not answered any query, or not the last one, may have no tables that can be
    /// queried.
    pub(super) fn partition(&self, flows: Vec<Flow>) -> (Vec<Flow>, Vec<Flow>) {
        if self.links.is_empty() {
            return (Vec::new(), flows);
        }
        let mut owned = BTreeMap::<Text, bool>::new();
        for flow in &flows {
            owned.entry(flow.node_tid.clone()).or_insert(false);
        }
        self.graph.read(&mut |graph| {
            for (tid, is_owned) in &mut owned {
                let owner = self.owner(graph, tid);
                *is_owned = owner.is_some_and(|host| self.links.is_answering(&host));
            }
        });
        let is_owned = |flow: &Flow| owned.get(&flow.node_tid).copied().unwrap_or(false);
        flows.into_iter().partition(is_owned)
    }

    /// Waits for the answers until a deadline and returns the flows that the query selects. Adds a
    /// warning about each agent whose flows are missing.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::Interrupted`] if the query is interrupted.
    pub(super) fn collect(
        &self,
        asked: AskedAgents,
        query: &FlowQuery,
        deadline: Instant,
        is_interrupted: &dyn Fn() -> bool,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<FlowSet>, FlowQueryError> {
        let began = monotonic::now();
        let mut sets = Vec::new();
        for pending in asked.0 {
            let until = match self.links.is_silent(pending.host()) {
                true => deadline.min(began + SILENT_TIMEOUT),
                false => deadline,
            };
            match wait(&pending, until, is_interrupted)? {
                Ok(answers) => {
                    for set in answers {
                        match selected(query, set) {
                            Ok(set) => sets.push(set),
                            Err(error) => warnings.push(missing(&pending, &error.to_string())),
                        }
                    }
                }
                Err(reason) => {
                    if reason == NO_ANSWER {
                        self.links.count_unanswered(&pending);
                    } else {
                        self.links.count_invalid(&pending, &reason);
                    }
                    warnings.push(missing(&pending, &reason));
                }
            }
        }
        Ok(sets)
    }
}

/// Returns the warning about an agent whose flows are missing.
fn missing(pending: &PendingReply, reason: &str) -> String {
    format!("flows of agent {} are missing: {reason}", pending.host())
}

/// Applies the query to an answer: the filter sent to the agent may have been weaker, and an answer
/// is untrusted.
fn selected(query: &FlowQuery, set: FlowSet) -> Result<FlowSet, FlowQueryError> {
    let (start, end) = (set.start, set.end);
    let mut set = query.answer(set.flows)?;
    if is_exact(query) && !set.flows.is_empty() {
        // The time span of an exact answer includes the flows outside the range.
        (set.start, set.end) = (set.start.min(start), set.end.max(end));
    }
    Ok(set)
}

/// Waits for one answer; the inner error is the reason why the agent sent none.
fn wait(
    pending: &PendingReply,
    deadline: Instant,
    is_interrupted: &dyn Fn() -> bool,
) -> Result<Result<Vec<FlowSet>, String>, FlowQueryError> {
    loop {
        let left = deadline.saturating_duration_since(monotonic::now());
        match pending.wait(left.min(POLL_INTERVAL)) {
            Wait::Reply(message) => {
                return Ok(decode_table_result(&message.object).map_err(|error| error.to_string()));
            }
            Wait::Lost => return Ok(Err("the connection of the agent ended".to_owned())),
            Wait::TimedOut => {}
        }
        if is_interrupted() {
            return Err(FlowQueryError::Interrupted);
        }
        if left.is_zero() {
            return Ok(Err(NO_ANSWER.to_owned()));
        }
    }
}

/// Reason why the flows of an agent that does not answer are missing.
const NO_ANSWER: &str = "no answer before the deadline";
/// Maximum time to wait for an agent that did not answer the last query.
const SILENT_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time between two polls of the interrupt.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Number of nodes that are looked up under one read lock.
const CHUNK: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Node, Origin};
    use crate::proto::{Encoding, Message, Object, table_failure, table_result};
    use crate::time::{ManualClock, Timestamp};

    fn tables() -> AgentTables {
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1)));
        let graph = SharedGraph::new(Graph::new(), clock, Vec::new());
        graph.update_as(None, |graph, now| {
            for (tid, host) in [("t1", "a"), ("t2", "b"), ("t3", "a")] {
                let metadata = Metadata::from_iter([("TID", tid)]);
                let node = Node::new(tid, metadata, now).with_origin(Origin::new("agent", host));
                graph.add_node(node).unwrap();
            }
        });
        AgentTables::new(Arc::default(), Arc::new(graph))
    }

    fn flow(uuid: &str, tid: &str) -> Flow {
        Flow::default().with_uuid(uuid).with_node_tid(tid)
    }

    /// Answers the request that waits for an agent.
    fn answer(asked: &AskedAgents, index: usize, object: impl Fn(&str) -> Message) -> Message {
        object(asked.0[index].uuid())
    }

    fn collected(
        tables: &AgentTables,
        asked: AskedAgents,
        query: &FlowQuery,
    ) -> (Vec<String>, Vec<String>) {
        let mut warnings = Vec::new();
        let deadline = monotonic::now() + Duration::from_millis(20);
        let sets = tables.collect(asked, query, deadline, &|| false, &mut warnings);
        let flows = sets.unwrap().into_iter().flat_map(|set| set.flows);
        (flows.map(|flow| flow.uuid.to_string()).collect(), warnings)
    }

    #[test]
    fn only_agents_with_the_nodes_are_asked() {
        let tables = tables();
        let query = FlowQuery::default().with_node_tids(vec!["t1".into(), "t3".into()]);
        assert!(tables.ask(&query).0.is_empty(), "no agent is connected");
        let _a = tables.links.connect("a", Encoding::Protobuf);
        let _b = tables.links.connect("b", Encoding::Json);
        let hosts = |query: &FlowQuery| {
            let asked = tables.ask(query);
            let hosts = asked.0.iter().map(|pending| pending.host().to_owned());
            hosts.collect::<Vec<_>>()
        };
        assert_eq!(hosts(&query), ["a"]);
        assert_eq!(hosts(&FlowQuery::default()), ["a", "b"]);
        assert!(hosts(&FlowQuery::default().with_node_tids(vec!["none".into()])).is_empty());
    }

    #[test]
    fn answers_are_filtered_and_missing_ones_are_named() {
        let tables = tables();
        let a = tables.links.connect("a", Encoding::Protobuf);
        let b = tables.links.connect("b", Encoding::Json);
        let query = FlowQuery::default().with_node_tids(vec!["t1".into(), "t2".into()]);
        let asked = tables.ask(&query);
        let set = FlowSet::from_flows(vec![flow("f1", "t1"), flow("foreign", "t9")]);
        let reply = answer(&asked, 0, |uuid| {
            table_result(Encoding::Protobuf, uuid, std::slice::from_ref(&set))
        });
        a.receive(&reply).unwrap();
        let (flows, warnings) = collected(&tables, asked, &query);
        assert_eq!(flows, ["f1"]);
        assert_eq!(
            warnings,
            ["flows of agent b are missing: no answer before the deadline"]
        );
        assert_eq!(tables.links.status().silent, ["b"]);
        assert_eq!(tables.links.status().queries_unanswered, 1);
        let asked = tables.ask(&query);
        let garbage = answer(&asked, 1, |uuid| {
            Message::new("Flow", "TableResult", Object::Json("[]".into())).with_uuid(uuid)
        });
        b.receive(&garbage).unwrap();
        let failure = answer(&asked, 0, |uuid| table_failure(Encoding::Protobuf, uuid));
        a.receive(&failure).unwrap();
        drop(a);
        let (flows, warnings) = collected(&tables, asked, &query);
        assert_eq!((flows.len(), warnings.len()), (0, 2), "{warnings:?}");
        let is_failure = |warning: &String| warning.contains("agent a") && warning.contains("500");
        assert!(warnings.iter().any(is_failure), "{warnings:?}");
        assert_eq!(tables.links.status().answers_invalid, 2);
    }

    #[test]
    fn flows_of_connected_agents_are_not_cached() {
        let tables = tables();
        let flows = vec![flow("f1", "t1"), flow("f2", "t2"), flow("f3", "none")];
        assert_eq!(tables.partition(flows.clone()).1.len(), 3);
        let a = tables.links.connect("a", Encoding::Protobuf);
        assert_eq!(
            tables.partition(flows.clone()).1.len(),
            3,
            "it may not answer"
        );
        let asked = tables.ask(&FlowQuery::default());
        let reply = answer(&asked, 0, |uuid| {
            table_result(Encoding::Protobuf, uuid, &[])
        });
        a.receive(&reply).unwrap();
        let (owned, others) = tables.partition(flows);
        assert_eq!((&*owned[0].uuid, owned.len(), others.len()), ("f1", 1, 2));
    }
}
