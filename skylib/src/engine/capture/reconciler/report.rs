//! The part of the reconciler that shows captures and their counters: in the metadata of the nodes,
//! to the flow subscribers, and in the status of the capture resources.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Reconciler, SFLOW, STATS_MESSAGE_INTERVAL};
use crate::engine::capture::mailbox::{ShownCapture, ShownNode};
use crate::engine::capture::mirror_node;
use crate::engine::capture::node_capture::{NodeCapture, NodeCaptureState};
use crate::graph::MetadataOp;

impl Reconciler {
    /// Refreshes and sends the counters that are due.
    pub(super) fn report_stats(&mut self) {
        let now = self.clock.now();
        if self.next_stats <= now {
            self.next_stats = now.saturating_add(self.options.stats_interval);
            self.refresh_stats();
        }
        if self.next_stats_message <= now {
            self.next_stats_message = now.saturating_add(STATS_MESSAGE_INTERVAL);
            self.send_stats();
        }
    }

    /// Shows counters that have changed, and captures that have ended unexpectedly.
    fn refresh_stats(&mut self) {
        let (mut ended, mut requested) = (Vec::new(), Vec::new());
        for (key, capture) in &mut self.node_captures {
            let NodeCaptureState::Active(active) = &mut capture.state else {
                continue;
            };
            if active.threads.is_finished() {
                ended.push(key.clone());
            } else if let Some(report) = active.threads.start_report() {
                requested.push((key.clone(), report));
            }
        }
        let deadline = self.clock.now().saturating_add(REPORT_TIMEOUT);
        let mut changed = Vec::new();
        for (key, report) in requested {
            let timeout = deadline.duration_since(self.clock.now());
            if let Some(report) = report.wait(timeout)
                && let Some(NodeCapture {
                    state: NodeCaptureState::Active(active),
                    ..
                }) = self.node_captures.get_mut(&key)
            {
                if report.flows.clock_steps != active.report.flows.clock_steps {
                    let step_ms = report.flows.clock_step_ms;
                    let capture = &key.capture;
                    tracing::info!(%capture, step_ms, "the system clock was stepped; flows continue");
                }
                let target = active.target.stats();
                if (report.packets, target) != (active.report.packets, active.target_stats) {
                    changed.push(key);
                }
                (active.report, active.target_stats) = (report, target);
            }
        }
        self.graph.update_as(None, |graph, now| {
            for key in changed {
                if let Some(capture) = self.node_captures.get(&key) {
                    let identity = self.opener.identity_of(&capture.spec);
                    capture.status(identity).show(graph, &key.node, now);
                }
            }
            for (key, capture) in &self.node_captures {
                if let Some(mirror) = capture.mirror() {
                    let identity = self.opener.identity_of(&capture.spec);
                    let (origin, status) = (&self.opener.origin, capture.status(identity));
                    mirror_node::show(graph, origin, mirror, key, &status, now);
                }
                if let Some(sflow) = capture.take_sflow(now) {
                    let op = MetadataOp::set(SFLOW, sflow);
                    // The node may have been deleted.
                    graph.patch_node(&key.node, &[op], now).ok();
                }
            }
        });
        ended.into_iter().for_each(|key| self.fail_ended(key));
        self.publish_totals();
    }

    /// Sends the flow subscribers the counts of each capture since the last message.
    fn send_stats(&mut self) {
        for (key, capture) in &mut self.node_captures {
            if let NodeCaptureState::Active(active) = &mut capture.state {
                self.flows.send_stats(&active.take_stats(&key.capture));
            }
        }
    }

    /// Publishes the running captures and the nodes that have captures.
    pub(in crate::engine::capture) fn publish(&self) {
        let mut captures: HashMap<String, ShownCapture> = self
            .selectors
            .iter()
            .map(|(id, selector)| {
                let problem = selector.problem().map(str::to_owned);
                let shown = ShownCapture {
                    problem,
                    ..ShownCapture::default()
                };
                (id.clone(), shown)
            })
            .collect();
        let mut nodes = HashSet::new();
        for (key, capture) in &self.node_captures {
            nodes.insert(key.node.clone());
            let shown = captures.entry(key.capture.clone()).or_default();
            shown.active += i64::from(capture.is_active());
            if shown.nodes.len() < MAX_SHOWN_NODES {
                shown.nodes.push(ShownNode {
                    id: key.node.clone(),
                    name: capture.name.clone(),
                    error: capture.error().map(str::to_owned),
                });
            }
        }
        self.agents.captures.for_each(|key, node| {
            nodes.insert(key.node.clone());
            let shown = captures.entry(key.capture.clone()).or_default();
            if let Some(node) = node {
                shown.active += i64::from(node.error.is_none());
                if shown.nodes.len() < MAX_SHOWN_NODES {
                    shown.nodes.push(node);
                }
            }
        });
        for shown in captures.values_mut() {
            shown
                .nodes
                .sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        }
        self.mailbox.show(captures, nodes);
        self.publish_totals();
    }

    fn publish_totals(&self) {
        let mut totals = self.ended_totals;
        for capture in self.node_captures.values() {
            match &capture.state {
                NodeCaptureState::Active(active) => {
                    totals.add_active(&active.report, active.target_stats);
                }
                NodeCaptureState::Failed { .. } => totals.failed += 1,
            }
        }
        self.mailbox.show_totals(totals);
    }
}

/// Maximum time in which all captures together report their counters. A late capture is skipped
/// until the next interval.
const REPORT_TIMEOUT: Duration = Duration::from_millis(200);

/// Maximum number of nodes in the status of a capture.
pub(in crate::engine::capture) const MAX_SHOWN_NODES: usize = 100;
