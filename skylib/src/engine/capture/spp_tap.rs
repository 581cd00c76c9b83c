//! Packets that are recorded also become flows, where that is asked for.

use std::path::Path;
use std::sync::Arc;

use super::opener::HubSink;
use super::target::CaptureTarget;
use crate::capture::{Capture, PacketSource};
use crate::engine::Engine;
use crate::flow::{FlowTable, FlowTableOptions};
use crate::graph::GraphAccess;
use crate::spp::FlowTap;
use crate::value::Value;

impl Engine {
    /// Where recordings send packets that are to become flows of this engine.
    #[must_use]
    pub fn flow_tap(&self) -> Arc<dyn FlowTap> {
        Arc::new(self.clone())
    }

    /// The TID of an interface of this host; empty where the graph has no such node.
    fn tid_of(&self, interface: &str, netns: Option<&Path>) -> String {
        let mut tid = String::new();
        self.0.graph.read(&mut |graph| {
            let name = Value::from(interface);
            let own = &*self.0.origin;
            let nodes = graph
                .find_nodes("Name", &name)
                .filter(|node| &*node.origin == own);
            let targets = nodes.filter_map(|node| CaptureTarget::of(graph, node, own).ok());
            let found = targets
                .into_iter()
                .find(|target| target.netns.as_deref() == netns);
            tid = found.map(|target| target.tid).unwrap_or_default();
        });
        tid
    }
}

impl FlowTap for Engine {
    fn drive(&self, interface: &str, netns: Option<&Path>, source: Box<dyn PacketSource>) {
        let options = FlowTableOptions {
            node_tid: self.tid_of(interface, netns).as_str().into(),
            ..self.0.table.clone()
        };
        let (hub, clock) = (&self.0.flows, &self.0.queries.clock);
        let sink = HubSink(Arc::downgrade(hub));
        let started = Capture::start(
            interface,
            source,
            FlowTable::new(options),
            sink,
            Arc::clone(clock),
        );
        match started {
            Ok(capture) => {
                let table = hub.add_table(capture.handle().clone());
                if let Err(error) = capture.wait() {
                    tracing::warn!(interface, %error, "a recording has ended");
                }
                hub.remove_table(table);
            }
            Err(error) => tracing::error!(interface, %error, "nothing is recorded: no thread"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::tests::frames::{frame, udp};
    use crate::capture::{Batch, CaptureError, CaptureStats};
    use crate::engine::EngineOptions;
    use crate::flow::{FlowQuery, FlowSource};
    use crate::packet::{LinkType, PacketBatch, PacketHeader};
    use crate::time::{Clock, SystemClock};

    /// One packet, then nothing until told to end.
    struct One {
        buffer: Vec<u8>,
        headers: Vec<PacketHeader>,
        is_sent: bool,
        end: crossbeam_channel::Receiver<()>,
    }

    impl PacketSource for One {
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
        }];
        let (tell, end) = crossbeam_channel::bounded(0);
        let source = One {
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
        drop(tell);
        driven.join().unwrap();
        assert!(
            engine.flows().query(&all).unwrap().flows.is_empty(),
            "the table is gone"
        );
        engine.stop();
    }
}
