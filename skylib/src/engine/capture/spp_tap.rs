//! `SppTap`: turns the packets of SPP recordings into flows of the engine, if requested.

use std::path::Path;
use std::sync::Arc;

use super::target::CaptureTarget;
use crate::capture::{Capture, PacketSource};
use crate::engine::flow::{FlowHub, HubSink};
use crate::engine::graph::SharedGraph;
use crate::flow::{FlowTable, FlowTableOptions};
use crate::graph::GraphAccess;
use crate::spp::FlowTap;
use crate::sys::netns::Netns;
use crate::time::Clock;
use crate::value::Value;

/// Runs a flow table on the packets of each recording.
pub(crate) struct SppTap {
    pub(crate) graph: Arc<SharedGraph>,
    pub(crate) flows: Arc<FlowHub>,
    pub(crate) table: FlowTableOptions,
    pub(crate) clock: Arc<dyn Clock>,
    /// Origin of the elements that this engine's probes create.
    pub(crate) origin: String,
}

impl SppTap {
    /// Returns the TID of an interface of this host, or an empty string if the graph has no such
    /// node. Several paths can refer to the same namespace.
    fn tid_of(&self, interface: &str, netns: Option<&Path>) -> String {
        let mut targets = Vec::new();
        self.graph.read(&mut |graph| {
            let name = Value::from(interface);
            let own = self.origin.as_str();
            let nodes = graph
                .find_nodes("Name", &name)
                .filter(|node| &*node.origin == own);
            targets = nodes
                .filter_map(|node| CaptureTarget::of(graph, node, own).ok())
                .collect();
        });
        let id = |path: Option<&Path>| Netns::open(path?).ok().map(|netns| netns.id());
        let wanted = id(netns);
        let is_same = |target: &CaptureTarget| {
            let path = target.netns.as_deref();
            path == netns || (wanted.is_some() && id(path) == wanted)
        };
        let found = targets.into_iter().find(is_same);
        found.map(|target| target.tid).unwrap_or_default()
    }
}

impl FlowTap for SppTap {
    fn drive(&self, interface: &str, netns: Option<&Path>, source: Box<dyn PacketSource>) {
        let options = FlowTableOptions {
            node_tid: self.tid_of(interface, netns).as_str().into(),
            ..self.table.clone()
        };
        let started = Capture::start(
            interface,
            source,
            FlowTable::new(options),
            HubSink::new(&self.flows),
            Arc::clone(&self.clock),
        );
        match started {
            Ok(capture) => {
                let table = self.flows.add_table(capture.handle().clone());
                if let Err(error) = capture.wait() {
                    tracing::warn!(interface, %error, "the recording ended with an error");
                }
                self.flows.remove_table(table);
            }
            Err(error) => {
                tracing::error!(interface, %error, "cannot record: cannot start a thread");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::tests::frames::{frame, udp};
    use crate::capture::{Batch, CaptureError, CaptureStats};
    use crate::engine::{Engine, EngineOptions};
    use crate::flow::{FlowQuery, FlowSource};
    use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
    use crate::time::{Clock, SystemClock};

    /// A source of one packet, which ends when the sender of `end` is dropped.
    struct OnePacket {
        buffer: Vec<u8>,
        headers: Vec<PacketHeader>,
        is_sent: bool,
        end: crossbeam_channel::Receiver<()>,
    }

    impl PacketSource for OnePacket {
        fn link_type(&self) -> LinkType {
            LinkType::ETHERNET
        }

        fn next_batch(&mut self, _: Duration) -> Result<Batch<'_>, CaptureError> {
            if std::mem::replace(&mut self.is_sent, true) {
                let step = Duration::from_millis(1);
                let ended = self.end.recv_timeout(step)
                    == Err(crossbeam_channel::RecvTimeoutError::Disconnected);
                return Ok(if ended { Batch::End } else { Batch::Timeout });
            }
            Ok(Batch::Packets(PacketBatch {
                link_type: LinkType::ETHERNET,
                buffer: &self.buffer,
                headers: &self.headers,
            }))
        }

        fn stats(&mut self) -> CaptureStats {
            CaptureStats::default()
        }
    }

    #[test]
    fn recorded_packets_become_flows_that_queries_see() {
        let engine = Engine::start(EngineOptions::new("h")).unwrap();
        let buffer = frame(0x0800, &udp(1, 2, 20));
        let length = buffer.len() as u32;
        let headers = vec![PacketHeader {
            timestamp: SystemClock.now(),
            offset: 0,
            captured_len: length,
            wire_len: length,
            point: CapturePoint::ONLY,
        }];
        let (stop, end) = crossbeam_channel::bounded(0);
        let source = OnePacket {
            buffer,
            headers,
            is_sent: false,
            end,
        };
        let tap = engine.flow_tap();
        let driven = std::thread::spawn(move || tap.drive("eth0", None, Box::new(source)));
        let all = FlowQuery::default();
        while engine.flows().query(&all).unwrap().flows.is_empty() {
            std::thread::yield_now();
        }
        drop(stop);
        driven.join().unwrap();
        assert!(
            engine.flows().query(&all).unwrap().flows.is_empty(),
            "the table was removed"
        );
        engine.stop();
    }
}
