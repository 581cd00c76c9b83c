//! `Run`: sends the packets of one injection on one node, and shows the progress on the node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Problems;
use crate::engine::graph::{SharedGraph, StatusList};
use crate::engine::monotonic;
use crate::error_chain::Chain;
use crate::graph::NodeId;
use crate::inject::{InjectError, PacketRequest, PacketSender, Packets};
use crate::value::Value;

/// The list of injections in the metadata of a node.
pub(super) const PACKET_INJECTIONS: StatusList = StatusList("PacketInjections");

/// One injection on one node.
pub(super) struct Run {
    pub(super) graph: Arc<SharedGraph>,
    pub(super) problems: Arc<Problems>,
    pub(super) node: NodeId,
    pub(super) sender: PacketSender,
    pub(super) packets: Packets,
    pub(super) request: PacketRequest,
}

/// Progress of an injection.
#[derive(Default)]
struct Progress {
    sent: u64,
    failed: u64,
    /// First error.
    error: Option<String>,
}

impl Run {
    /// Sends all packets, until `stopped` is disconnected; the body of a thread. The node shows the
    /// injection until this function returns, and longer if packets could not be sent.
    pub(super) fn send_all(mut self, stopped: &Receiver<()>) {
        let mut progress = Progress::default();
        if self.request.count == 0 {
            self.request.count = self.packets.natural_count();
        }
        let interval = Duration::from_millis(self.request.interval);
        let mut due = monotonic::now();
        let mut shown = self.show(&progress).then_some(due);
        for number in 0..self.request.count {
            if number > 0 {
                due = due.checked_add(interval).unwrap_or(due);
            }
            // Without an interval, the thread checks sometimes whether it must stop.
            let must_wait = !interval.is_zero() || number % UNCHECKED == 0;
            if must_wait && !self.wait(due, stopped, &mut shown, &progress) {
                return self.hide();
            }
            if !self.send(&mut progress) {
                break;
            }
        }
        self.end(&progress);
    }

    /// Waits until `due`. Returns `false` if the injection was stopped or its node was deleted.
    fn wait(
        &self,
        due: Instant,
        stopped: &Receiver<()>,
        shown: &mut Option<Instant>,
        progress: &Progress,
    ) -> bool {
        loop {
            let now = monotonic::now();
            match shown {
                None => return false,
                Some(last) if now.duration_since(*last) >= SHOW_INTERVAL => {
                    *shown = self.show(progress).then_some(now);
                }
                Some(_) => {}
            }
            let pause = due.saturating_duration_since(now).min(SHOW_INTERVAL);
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) if monotonic::now() >= due => return true,
                Err(RecvTimeoutError::Timeout) => {}
                _ => return false,
            }
        }
    }

    /// Sends the next packet. Returns `false` if no further packet can be built.
    fn send(&mut self, progress: &mut Progress) -> bool {
        let sent = match self.packets.next_frame() {
            Ok(frame) => self.sender.send(frame),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => {
                progress.sent += 1;
                true
            }
            Err(error) => {
                progress.failed += 1;
                let is_last = matches!(error, InjectError::TooLong { .. });
                let text = || Chain(&error).to_string();
                progress.error.get_or_insert_with(text);
                !is_last
            }
        }
    }

    /// Removes the injection from the node, or shows the error if packets could not be sent.
    fn end(&self, progress: &Progress) {
        let Some(error) = &progress.error else {
            return self.hide();
        };
        let (failed, count) = (progress.failed, self.request.count);
        let not_sent = count - progress.sent;
        debug_assert!(failed <= not_sent);
        let problem = format!("{not_sent} of {count} packets were not sent: {error}");
        let problem = format!("node {}: {problem}", self.node);
        self.problems.add(&self.request.uuid, problem);
        self.show(progress);
    }

    fn hide(&self) {
        self.graph.update_as(None, |graph, now| {
            PACKET_INJECTIONS.remove(graph, &self.node, &self.request.uuid, now);
        });
    }

    /// Shows the injection on the node. Returns `false` if the node does not exist.
    fn show(&self, progress: &Progress) -> bool {
        let mut map = self.request.to_map();
        map.set("ID", self.request.uuid.as_str());
        map.set("PacketCount", Value::from(progress.sent));
        match &progress.error {
            None => map.set("State", "active"),
            Some(error) => {
                map.set("State", "error");
                map.set("Error", error.as_str());
            }
        }
        self.graph.update_as(None, |graph, now| {
            PACKET_INJECTIONS.show(graph, &self.node, map, now)
        })
    }
}

/// Interval at which the number of packets on the node is refreshed.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// Number of packets sent between two checks whether the injection was stopped.
const UNCHECKED: u64 = 64;
