//! `RemoteCaptures`: captures on the nodes of agents, from the `Start` to the state that the node
//! shows.
//!
//! ```text
//! selected ─ Start ─ Asked ─ StartReply 200 ─ Started ─ the node shows it as active ─ Active
//!                     │ other status, no reply within REPLY_TIMEOUT              │
//!                     └─ forgotten: the next round starts it again ◀── not shown any more
//! ```
//!
//! The agent owns the `Captures` metadata of its nodes, so the graph tells which captures run; the
//! states here prevent a second `Start` while the first is under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::node_capture::NodeCaptureKey;
use super::node_status;
use crate::api::CaptureSpec;
use crate::graph::{Graph, Node, NodeId};
use crate::time::Timestamp;

/// Captures that were started on agents.
#[derive(Default)]
pub(super) struct RemoteCaptures {
    captures: HashMap<NodeCaptureKey, RemoteCapture>,
}

/// A capture on a node of an agent.
struct RemoteCapture {
    host: String,
    spec: Arc<CaptureSpec>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `Start` was sent at this time, and no reply has arrived.
    Asked(Timestamp),
    /// The agent has confirmed the start at this time.
    Started(Timestamp),
    /// The node shows the capture as active.
    Active,
}

impl RemoteCaptures {
    /// Prepares a capture on a node of an agent. Returns whether a `Start` must be sent: not if one
    /// is under way or the node already shows the capture, which the analyzer may have started
    /// before it was restarted.
    pub(super) fn prepare(
        &mut self,
        key: &NodeCaptureKey,
        spec: &Arc<CaptureSpec>,
        node: &Node,
        host: &str,
        now: Timestamp,
    ) -> bool {
        if let Some(known) = self.captures.get(key)
            && !known.state.is_over(now)
        {
            return false;
        }
        let is_active = node_status::is_active(node, &key.capture);
        let capture = RemoteCapture {
            host: host.to_owned(),
            spec: Arc::clone(spec),
            state: match is_active {
                true => State::Active,
                false => State::Asked(now),
            },
        };
        self.captures.insert(key.clone(), capture);
        !is_active
    }

    /// Handles the reply to a `Start`. Returns the capture if it is known on this node of the agent.
    pub(super) fn started(
        &mut self,
        host: &str,
        key: &NodeCaptureKey,
        status: i64,
        now: Timestamp,
    ) -> Option<Arc<CaptureSpec>> {
        let capture = self
            .captures
            .get_mut(key)
            .filter(|known| known.host == host)?;
        let spec = Arc::clone(&capture.spec);
        match (status, capture.state) {
            (200, State::Asked(_)) => capture.state = State::Started(now),
            // COMPAT: Skydive agents answer 500 if the capture is already running.
            (_, State::Started(_) | State::Active) => {}
            (_, State::Asked(_)) => drop(self.captures.remove(key)),
        }
        Some(spec)
    }

    /// Compares the states with what the nodes show. Returns the captures that became active, one
    /// entry for each node.
    pub(super) fn confirm(&mut self, graph: &Graph, now: Timestamp) -> Vec<Arc<CaptureSpec>> {
        let mut confirmed = Vec::new();
        self.captures.retain(|key, capture| {
            let Some(node) = graph.node(&key.node) else {
                // The event of the deletion follows.
                return true;
            };
            let is_shown = node_status::is_active(node, &key.capture);
            match capture.state {
                State::Active => return is_shown,
                _ if is_shown => {
                    capture.state = State::Active;
                    confirmed.push(Arc::clone(&capture.spec));
                }
                state if state.is_over(now) => {
                let (agent, node) = (&capture.host, &key.node);
                tracing::warn!(agent, %node, capture = key.capture, "the agent does not start the capture");
                return false;
                }
                _ => {}
            }
            true
        });
        confirmed
    }

    /// Forgets the captures with selected keys; returns each with the agent that runs it.
    pub(super) fn take(
        &mut self,
        is_selected: impl Fn(&NodeCaptureKey) -> bool,
    ) -> Vec<(NodeCaptureKey, String, Arc<CaptureSpec>)> {
        let taken = self.captures.extract_if(|key, _| is_selected(key));
        taken
            .map(|(key, capture)| (key, capture.host, capture.spec))
            .collect()
    }

    /// Forgets the captures of agents whose connections have ended. Returns whether there were any.
    pub(super) fn forget_hosts(&mut self, hosts: &HashSet<String>) -> bool {
        let before = self.captures.len();
        self.captures
            .retain(|_, capture| !hosts.contains(&capture.host));
        self.captures.len() < before
    }

    /// Calls `visit` for each capture, with its state.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&NodeCaptureKey, bool)) {
        for (key, capture) in &self.captures {
            visit(key, capture.state == State::Active);
        }
    }

    /// Returns the number of captures.
    pub(super) fn len(&self) -> usize {
        self.captures.len()
    }
}

impl State {
    /// Returns whether the capture has to be started again, because the reply or the confirmation
    /// on the node is missing.
    fn is_over(self, now: Timestamp) -> bool {
        match self {
            Self::Asked(since) => now.duration_since(since) >= REPLY_TIMEOUT,
            Self::Started(since) => now.duration_since(since) >= SHOW_TIMEOUT,
            Self::Active => false,
        }
    }
}

/// Returns the captures that the nodes of some agents show and that no resource describes: they
/// were deleted while the agent was away.
pub(super) fn leftovers(
    graph: &Graph,
    host_of: impl Fn(&Node) -> Option<String>,
    is_known: impl Fn(&str) -> bool,
) -> Vec<(String, NodeId, String)> {
    let mut found = Vec::new();
    for node in graph.nodes() {
        let mut unknown = node_status::ids(node).filter(|id| !is_known(id)).peekable();
        if unknown.peek().is_none() {
            continue;
        }
        if let Some(host) = host_of(node) {
            found.extend(unknown.map(|id| (host.clone(), node.id.clone(), id.to_owned())));
        }
    }
    found
}

/// Time for the reply to a `Start`.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from the reply until the node shows the capture.
const SHOW_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, MetadataOp, Origin};
    use crate::value::Value;

    const START: Timestamp = Timestamp::from_ms(1_000_000);

    fn key() -> NodeCaptureKey {
        NodeCaptureKey {
            capture: "c".to_owned(),
            node: "n".into(),
        }
    }

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let node = Node::new("n", Metadata::new(), START).with_origin(Origin::new("agent", "a"));
        graph.add_node(node).unwrap();
        graph
    }

    fn show(graph: &mut Graph, json: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        let ops = [MetadataOp::set("Captures", value)];
        graph.patch_node(&"n".into(), &ops, START).unwrap();
    }

    fn prepare(captures: &mut RemoteCaptures, graph: &Graph, seconds: u64) -> bool {
        let spec = Arc::new(CaptureSpec::default());
        let node = graph.node(&"n".into()).unwrap();
        let now = START.saturating_add(Duration::from_secs(seconds));
        captures.prepare(&key(), &spec, node, "a", now)
    }

    fn count(captures: &RemoteCaptures) -> (usize, usize) {
        let (mut all, mut active) = (0, 0);
        captures.for_each(|_, is_active| {
            all += 1;
            active += usize::from(is_active);
        });
        (all, active)
    }

    #[test]
    fn a_capture_is_started_once_and_confirmed_by_its_node() {
        let (mut captures, mut graph) = (RemoteCaptures::default(), graph());
        assert!(prepare(&mut captures, &graph, 0));
        assert!(!prepare(&mut captures, &graph, 1), "the reply is missing");
        assert!(
            captures.started("other", &key(), 200, START).is_none(),
            "another agent"
        );
        assert!(captures.started("a", &key(), 200, START).is_some());
        assert!(
            captures.started("a", &key(), 500, START).is_some(),
            "it runs already"
        );
        assert!(captures.confirm(&graph, START).is_empty());
        show(
            &mut graph,
            r#"[{"ID":"other","State":"active"},{"ID":"c","State":"active"}]"#,
        );
        assert_eq!(captures.confirm(&graph, START).len(), 1);
        assert_eq!(count(&captures), (1, 1));
        assert!(captures.confirm(&graph, START).is_empty(), "once");
        show(&mut graph, r#"[{"ID":"other","State":"active"}]"#);
        captures.confirm(&graph, START);
        assert_eq!(count(&captures), (0, 0), "the agent has restarted");
        assert!(prepare(&mut captures, &graph, 2));
    }

    #[test]
    fn a_failed_or_unanswered_start_is_repeated() {
        let (mut captures, graph) = (RemoteCaptures::default(), graph());
        assert!(prepare(&mut captures, &graph, 0));
        assert!(captures.started("a", &key(), 500, START).is_some());
        assert!(prepare(&mut captures, &graph, 1));
        assert!(!prepare(&mut captures, &graph, 10));
        assert!(
            prepare(&mut captures, &graph, 11),
            "no reply for ten seconds"
        );
        assert!(captures.forget_hosts(&HashSet::from(["a".to_owned()])));
        assert_eq!(captures.len(), 0);
    }

    #[test]
    fn a_capture_that_the_node_already_shows_is_not_started() {
        let (mut captures, mut graph) = (RemoteCaptures::default(), graph());
        show(&mut graph, r#"[{"ID":"c","State":"active"}]"#);
        assert!(!prepare(&mut captures, &graph, 0));
        assert_eq!(count(&captures), (1, 1));
        let taken = captures.take(|key| key.capture == "c");
        assert_eq!((taken.len(), &*taken[0].1), (1, "a"));
    }

    #[test]
    fn captures_without_a_resource_are_found() {
        let mut graph = graph();
        show(
            &mut graph,
            r#"[{"ID":"c","State":"active"},{"ID":"old","State":"error"}]"#,
        );
        let host = |node: &Node| node.origin.strip_prefix("agent.").map(str::to_owned);
        let found = leftovers(&graph, host, |id| id == "c");
        assert_eq!(found, [("a".to_owned(), "n".into(), "old".to_owned())]);
        assert!(leftovers(&graph, |_| None, |_| false).is_empty());
    }
}
