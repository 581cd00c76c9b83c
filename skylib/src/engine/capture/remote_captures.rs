//! `RemoteCaptures`: captures on the nodes of agents, from the `Start` to the state that the node
//! shows.
//!
//! ```text
//! selected ─ Start ─ Requested ─ StartReply 200 ─ Started ─ the node shows it as active ─ Active
//!              ▲        │ other status, no reply within REPLY_TIMEOUT                        │
//!              └─ next round ─ Failed ◀──────────── the node does not show it as active ─────┘
//! ```
//!
//! The agent owns the `Captures` metadata of its nodes, so the graph contains the captures that run;
//! the states here prevent a second `Start` while the first is under way. A failed capture remains
//! known until it is deleted, because its agent shows it until it receives a `Stop`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::ShownNode;
use super::node_capture::NodeCaptureKey;
use super::node_status;
use crate::api::CaptureSpec;
use crate::graph::{Graph, Node};
use crate::time::Timestamp;

/// Captures that were started on agents, and not stopped there.
#[derive(Default)]
pub(super) struct RemoteCaptures {
    captures: HashMap<NodeCaptureKey, RemoteCapture>,
}

/// A capture on a node of an agent.
pub(super) struct RemoteCapture {
    pub(super) host: String,
    pub(super) spec: Arc<CaptureSpec>,
    /// Name of the node when the capture was last started.
    name: String,
    state: State,
    /// Error of the last start; `None` before the first failure and while the capture is active.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `Start` was sent at this time, and no reply has arrived.
    Requested(Timestamp),
    /// The agent has confirmed the start at this time.
    Started(Timestamp),
    /// The node shows the capture as active.
    Active,
    /// The agent could not start the capture, or the capture has ended.
    Failed,
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
        let known = self.captures.get(key);
        if known.is_some_and(|known| !known.state.must_start(now)) {
            return false;
        }
        let is_active = node_status::is_active(node, &key.capture);
        let error = known.and_then(|known| known.error.clone());
        let capture = RemoteCapture {
            host: host.to_owned(),
            spec: Arc::clone(spec),
            name: node_status::name_of(node).to_owned(),
            state: match is_active {
                true => State::Active,
                false => State::Requested(now),
            },
            error: error.filter(|_| !is_active),
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
        match (status, capture.state) {
            (200, State::Requested(_) | State::Failed) => capture.state = State::Started(now),
            // COMPAT: Skydive agents answer 500 if the capture is already running.
            (_, State::Started(_) | State::Active) => {}
            (_, State::Requested(_) | State::Failed) => {
                capture.state = State::Failed;
                // The error that the node shows is more precise, and remains.
                let answer = || format!("the agent {host} rejected the capture: status {status}");
                capture.error.get_or_insert_with(answer);
            }
        }
        Some(Arc::clone(&capture.spec))
    }

    /// Records the reason why a `Start` could not be sent.
    pub(super) fn fail(&mut self, key: &NodeCaptureKey, error: String) {
        if let Some(capture) = self.captures.get_mut(key) {
            capture.fail(error);
        }
    }

    /// Compares the states with what the nodes show. Returns the captures that became active, one
    /// entry for each node, and whether any other state has changed.
    pub(super) fn confirm(
        &mut self,
        graph: &Graph,
        now: Timestamp,
    ) -> (Vec<Arc<CaptureSpec>>, bool) {
        let (mut confirmed, mut has_failed) = (Vec::new(), false);
        for (key, capture) in &mut self.captures {
            let Some(node) = graph.node(&key.node) else {
                // The event of the deletion follows.
                continue;
            };
            let is_shown = node_status::is_active(node, &key.capture);
            match capture.state {
                State::Active if is_shown => {}
                State::Active => {
                    let shown = node_status::error_of(node, &key.capture);
                    let error = shown.unwrap_or("the agent has ended the capture");
                    capture.fail(error.to_owned());
                    has_failed = true;
                }
                _ if is_shown => {
                    let (agent, node, capture_id) = (&capture.host, &key.node, &key.capture);
                    tracing::info!(agent, %node, capture = capture_id, "the agent started the capture");
                    (capture.state, capture.error) = (State::Active, None);
                    confirmed.push(Arc::clone(&capture.spec));
                }
                State::Failed => {
                    if let Some(shown) = node_status::error_of(node, &key.capture) {
                        has_failed |= capture.error.as_deref() != Some(shown);
                        capture.error = Some(shown.to_owned());
                    }
                }
                state if state.has_timed_out(now) => {
                    let (agent, node, capture_id) = (&capture.host, &key.node, &key.capture);
                    tracing::warn!(agent, %node, capture = capture_id, "timed out waiting for the agent to start the capture");
                    capture.fail(format!(
                        "the agent {agent} did not start the capture in time"
                    ));
                    has_failed = true;
                }
                _ => {}
            }
        }
        (confirmed, has_failed)
    }

    /// Removes the captures with selected keys; returns them.
    pub(super) fn take(
        &mut self,
        is_selected: impl Fn(&NodeCaptureKey) -> bool,
    ) -> Vec<(NodeCaptureKey, RemoteCapture)> {
        self.captures
            .extract_if(|key, _| is_selected(key))
            .collect()
    }

    /// Removes the captures of agents whose connections have ended. Returns whether there were any.
    pub(super) fn forget_hosts(&mut self, hosts: &HashSet<String>) -> bool {
        let before = self.captures.len();
        self.captures
            .retain(|_, capture| !hosts.contains(&capture.host));
        self.captures.len() < before
    }

    /// Calls `visit` for each capture, with its node if the capture is active or has failed.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&NodeCaptureKey, Option<ShownNode>)) {
        for (key, capture) in &self.captures {
            let is_shown = capture.state == State::Active || capture.error.is_some();
            let node = is_shown.then(|| ShownNode {
                id: key.node.clone(),
                name: capture.name.clone(),
                error: capture.error.clone(),
            });
            visit(key, node);
        }
    }

    /// Returns whether a capture was started on a node, successfully or not.
    pub(super) fn contains(&self, key: &NodeCaptureKey) -> bool {
        self.captures.contains_key(key)
    }

    /// Returns the number of captures.
    pub(super) fn len(&self) -> usize {
        self.captures.len()
    }
}

impl RemoteCapture {
    fn fail(&mut self, error: String) {
        (self.state, self.error) = (State::Failed, Some(error));
    }
}

impl State {
    /// Returns whether the capture has to be started again.
    fn must_start(self, now: Timestamp) -> bool {
        self == Self::Failed || self.has_timed_out(now)
    }

    /// Returns whether the reply, or the confirmation on the node, is overdue.
    fn has_timed_out(self, now: Timestamp) -> bool {
        match self {
            Self::Requested(since) => now.duration_since(since) >= REPLY_TIMEOUT,
            Self::Started(since) => now.duration_since(since) >= SHOW_TIMEOUT,
            Self::Active | Self::Failed => false,
        }
    }
}

/// Returns the selected captures that the nodes of some agents show, each with its agent.
pub(super) fn shown_captures(
    graph: &Graph,
    host_of: impl Fn(&Node) -> Option<String>,
    is_selected: impl Fn(&str) -> bool,
) -> Vec<(String, NodeCaptureKey)> {
    let mut found = Vec::new();
    for node in graph.nodes() {
        let mut selected = node_status::ids(node)
            .filter(|id| is_selected(id))
            .peekable();
        if selected.peek().is_none() {
            continue;
        }
        if let Some(host) = host_of(node) {
            let key = |capture: &str| NodeCaptureKey {
                capture: capture.to_owned(),
                node: node.id.clone(),
            };
            found.extend(selected.map(|id| (host.clone(), key(id))));
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
        captures.for_each(|_, node| {
            all += 1;
            active += usize::from(node.is_some_and(|node| node.error.is_none()));
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
        assert!(captures.confirm(&graph, START).0.is_empty());
        show(
            &mut graph,
            r#"[{"ID":"other","State":"active"},{"ID":"c","State":"active"}]"#,
        );
        assert_eq!(captures.confirm(&graph, START).0.len(), 1);
        assert_eq!(count(&captures), (1, 1));
        assert!(captures.confirm(&graph, START).0.is_empty(), "once");
        show(&mut graph, r#"[{"ID":"other","State":"active"}]"#);
        assert!(captures.confirm(&graph, START).1);
        assert_eq!(count(&captures), (1, 0), "the agent has restarted");
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
        assert_eq!((taken.len(), &*taken[0].1.host), (1, "a"));
    }

    #[test]
    fn a_failed_capture_shows_its_error_until_it_is_active() {
        let (mut captures, mut graph) = (RemoteCaptures::default(), graph());
        let error = |captures: &RemoteCaptures| {
            let mut error = None;
            captures.for_each(|_, node| error = node.and_then(|node| node.error));
            error.unwrap_or_default()
        };
        assert!(prepare(&mut captures, &graph, 0));
        captures.started("a", &key(), 500, START);
        assert_eq!(
            error(&captures),
            "the agent a rejected the capture: status 500"
        );
        show(
            &mut graph,
            r#"[{"ID":"c","State":"error","Error":"no such device"}]"#,
        );
        assert!(captures.confirm(&graph, START).1);
        assert!(!captures.confirm(&graph, START).1, "the same again");
        assert_eq!(error(&captures), "no such device");
        assert!(prepare(&mut captures, &graph, 1), "the next round");
        captures.started("a", &key(), 500, START);
        assert!(prepare(&mut captures, &graph, 2));
        assert_eq!(error(&captures), "no such device");
        show(&mut graph, r#"[{"ID":"c","State":"active"}]"#);
        captures.confirm(&graph, START);
        assert_eq!((error(&captures).as_str(), count(&captures)), ("", (1, 1)));
    }

    #[test]
    fn a_capture_without_a_reply_remains_known() {
        let (mut captures, graph) = (RemoteCaptures::default(), graph());
        assert!(prepare(&mut captures, &graph, 0));
        let late = START.saturating_add(REPLY_TIMEOUT);
        assert!(captures.confirm(&graph, late).1);
        assert!(captures.contains(&key()), "its agent may have started it");
        assert!(captures.started("a", &key(), 200, late).is_some());
        assert!(!prepare(&mut captures, &graph, 11), "the reply is late");
    }

    #[test]
    fn captures_without_a_resource_are_found() {
        let mut graph = graph();
        show(
            &mut graph,
            r#"[{"ID":"c","State":"active"},{"ID":"old","State":"error"}]"#,
        );
        let host = |node: &Node| node.origin.strip_prefix("agent.").map(str::to_owned);
        let found = shown_captures(&graph, host, |id| id != "c");
        let old = NodeCaptureKey {
            capture: "old".to_owned(),
            node: "n".into(),
        };
        assert_eq!(found, [("a".to_owned(), old)]);
        assert!(shown_captures(&graph, |_| None, |_| true).is_empty());
    }
}
