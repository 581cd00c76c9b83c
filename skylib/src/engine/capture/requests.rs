//! The part of the reconciler that serves the requests of analyzers, in the role of an agent.

use std::sync::Arc;

use super::node_capture::{NodeCapture, NodeCaptureKey};
use super::reconciler::{MAX_NODE_CAPTURES, Reconciler};
use super::stop_reason::StopReason;
use super::target::is_capturable;
use crate::api::CaptureSpec;
use crate::graph::{GraphAccess, Node, NodeId};

/// Request of an analyzer to start or stop a capture on a node.
pub(crate) struct CaptureRequest {
    pub(crate) action: CaptureAction,
    pub(crate) node: NodeId,
    pub(crate) spec: Arc<CaptureSpec>,
    /// Receives the status of the reply.
    pub(crate) done: Box<dyn FnOnce(i64) + Send>,
}

/// Action that an analyzer requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureAction {
    Start,
    Stop,
}

/// Statuses of replies.
const OK: i64 = 200;
const NOT_FOUND: i64 = 404;
const FAILED: i64 = 500;

impl Reconciler {
    /// Serves requests of analyzers. A start that waits for its filter or for the address of its
    /// target is served again in the next round.
    pub(super) fn serve(&mut self, requests: Vec<CaptureRequest>) {
        for request in requests {
            let status = match request.action {
                CaptureAction::Start => self.serve_start(&request.node, &request.spec),
                CaptureAction::Stop => Some(self.serve_stop(&request.node, &request.spec)),
            };
            match status {
                Some(status) => (request.done)(status),
                None if self.waiting.len() >= MAX_WAITING => (request.done)(FAILED),
                None => self.waiting.push(request),
            }
        }
    }

    /// Starts a capture; returns the status of the reply, or `None` if the filter of the capture or the
    /// address of its target is not ready.
    fn serve_start(&mut self, node: &NodeId, spec: &Arc<CaptureSpec>) -> Option<i64> {
        let Some(node) = self.own_node(node) else {
            return Some(NOT_FOUND);
        };
        let key = key_of(&node.id, spec);
        // A second request, which may arrive while the first is being confirmed, changes nothing.
        if self
            .node_captures
            .get(&key)
            .is_some_and(NodeCapture::is_active)
        {
            return Some(OK);
        }
        if !is_capturable(&node) {
            return Some(FAILED);
        }
        if !self.has_slot(&key) {
            let (capture, node) = (&key.capture, &key.node);
            tracing::warn!(%capture, %node, limit = MAX_NODE_CAPTURES, "rejected a capture: the limit of captures on nodes is reached");
            return Some(FAILED);
        }
        self.start(key.clone(), spec, &node);
        let capture = self.node_captures.get(&key)?;
        Some(if capture.is_active() { OK } else { FAILED })
    }

    fn serve_stop(&mut self, node: &NodeId, spec: &CaptureSpec) -> i64 {
        let key = key_of(node, spec);
        self.opener.targets.remove([&key.capture]);
        let waiting = self.waiting.extract_if(.., |request| {
            request.node == key.node && request.spec.uuid == key.capture
        });
        let waiting: Vec<CaptureRequest> = waiting.collect();
        let was_waiting = !waiting.is_empty();
        for request in waiting {
            (request.done)(FAILED);
        }
        if !was_waiting && !self.node_captures.contains_key(&key) {
            return NOT_FOUND;
        }
        self.stop_where(|known| (*known == key).then_some(StopReason::Requested));
        OK
    }

    /// Returns a node of this host's probes.
    fn own_node(&self, id: &NodeId) -> Option<Arc<Node>> {
        let mut found = None;
        self.graph.read(&mut |graph| {
            let own = &*self.opener.origin;
            found = graph.node(id).filter(|node| &*node.origin == own).cloned();
        });
        found
    }

    /// Retries the starts that waited for a filter or for the address of a target.
    pub(super) fn serve_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.serve(waiting);
    }
}

fn key_of(node: &NodeId, spec: &CaptureSpec) -> NodeCaptureKey {
    NodeCaptureKey {
        capture: spec.uuid.clone(),
        node: node.clone(),
    }
}

/// Maximum number of starts that wait for a filter or for the address of a target.
const MAX_WAITING: usize = 10_000;
