//! A simulated agent: one connection for its graph, one for its flows.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::net::RecvFlags;
use skylib::flow::Flow;
use skylib::proto::{Encoding, Message, Object, table_result};

use crate::server::Server;
use crate::{Load, Sent};

pub(crate) struct Agent {
    name: String,
    topology: TcpStream,
    flows: TcpStream,
    /// Bytes received on `topology` but not parsed yet.
    received: Vec<u8>,
    nodes: usize,
    /// Number of flow updates, and number of graph changes, sent so far.
    flows_sent: usize,
    changes_sent: usize,
}

impl Agent {
    /// Connects and sends the whole graph: a host with interfaces.
    pub(crate) fn connect(server: &Server, number: usize, nodes: usize) -> Self {
        let name = format!("host-{number}");
        let mut agent = Self {
            topology: server.open("/ws/agent/topology", &name, "protobuf"),
            flows: server.open("/ws/agent/flow", &name, ""),
            received: Vec::new(),
            name,
            nodes,
            flows_sent: 0,
            changes_sent: 0,
        };
        agent.send_graph("Sync", &agent.graph());
        agent
    }

    fn graph(&self) -> String {
        let name = &self.name;
        let origin = format!(r#""Host":"{name}","Origin":"agent.{name}","Revision":1"#);
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for number in 0..self.nodes {
            let id = format!("{name}-{number}");
            let (kind, shown) = match number {
                0 => ("host", name.clone()),
                _ => ("device", format!("eth{number}")),
            };
            nodes.push(format!(
                r#"{{"ID":"{id}","Metadata":{{"Name":"{shown}","Type":"{kind}","TID":"{id}","MTU":1500,"State":"UP","MAC":"02:00:00:00:00:{:02x}"}},{origin}}}"#,
                number % 256
            ));
            if number > 0 {
                edges.push(format!(
                    r#"{{"ID":"{id}-e","Parent":"{name}-0","Child":"{id}","Metadata":{{"RelationType":"ownership"}},{origin}}}"#
                ));
            }
        }
        format!(
            r#"{{"Nodes":[{}],"Edges":[{}]}}"#,
            nodes.join(","),
            edges.join(",")
        )
    }

    /// Sends the updates that are due `elapsed` seconds after the start, and answers requests.
    pub(crate) fn advance(&mut self, elapsed: f64, load: Load, sent: &Sent) {
        self.answer();
        let due = (elapsed * load.changes_per_second as f64) as usize;
        while self.changes_sent < due {
            self.changes_sent += 1;
            let (name, node) = (&self.name, self.changes_sent % self.nodes);
            let revision = 1 + self.changes_sent;
            let object = format!(
                r#"{{"ID":"{name}-{node}","UpdatedAt":0,"Revision":{revision},"Ops":[{{"Type":1,"Key":"Metric.RxBytes","Value":{revision}}}]}}"#
            );
            self.send_graph("NodePartiallyUpdated", &object);
            sent.changes.fetch_add(1, Ordering::Relaxed);
        }
        let due = (elapsed * load.flows_per_second as f64) as usize;
        while self.flows_sent + FLOWS_PER_MESSAGE <= due {
            self.send_flows();
            sent.flows
                .fetch_add(FLOWS_PER_MESSAGE as u64, Ordering::Relaxed);
        }
    }

    fn send_flows(&mut self) {
        let mut message = Vec::new();
        for _ in 0..FLOWS_PER_MESSAGE {
            let number = self.flows_sent % FLOWS_OF_AGENT;
            let tid = format!("{}-{}", self.name, 1 + number % (self.nodes - 1).max(1));
            let flow = Flow::default()
                .with_uuid(format!("{}-{number:06}", self.name))
                .with_layers_path("Ethernet/IPv4/TCP")
                .with_tracking_id(format!("t-{number:06}"))
                .with_node_tid(tid)
                .with_times(
                    1_700_000_000_000,
                    1_700_000_000_000 + self.flows_sent as i64,
                );
            prost::encoding::message::encode(1, &flow, &mut message);
            self.flows_sent += 1;
        }
        write_frame(&mut self.flows, &message);
        discard(&self.flows);
    }

    fn send_graph(&mut self, kind: &str, object: &str) {
        let message = Message::new("Graph", kind, Object::Json(Bytes::from(object.to_owned())));
        write_frame(&mut self.topology, &message.encode(Encoding::Protobuf));
    }

    /// Answers flow queries with empty results, and pings with pongs.
    fn answer(&mut self) {
        let mut buffer = [0; 16 << 10];
        while let Ok((count, _)) =
            rustix::net::recv(&self.topology, &mut buffer[..], RecvFlags::DONTWAIT)
        {
            if count == 0 {
                return;
            }
            self.received.extend(&buffer[..count]);
        }
        while let Some((opcode, payload, length)) = parse(&self.received) {
            match opcode {
                PING => pong(&mut self.topology),
                _ => {
                    let message = Message::decode(&Bytes::from(payload), Encoding::Protobuf);
                    if let Ok(message) = message
                        && message.kind == "TableQuery"
                    {
                        let uuid = message.uuid.unwrap_or_default();
                        let result = table_result(Encoding::Protobuf, &uuid, &[]);
                        write_frame(&mut self.topology, &result.encode(Encoding::Protobuf));
                    }
                }
            }
            self.received.drain(..length);
        }
    }
}

/// Returns opcode, payload, and length of the first complete frame.
fn parse(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, head) = match second {
        126 => (
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
            10,
        ),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?;
    Some((first & 0x0f, payload.to_vec(), head + length))
}

/// Writes a binary client frame; the mask is zero.
fn write_frame(stream: &mut TcpStream, payload: &[u8]) {
    let mut frame = vec![0x82];
    match u16::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short as u8),
        Ok(medium) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    stream.write_all(&frame).expect("the analyzer reads");
}

fn pong(stream: &mut TcpStream) {
    stream
        .write_all(&[0x8a, 0x80, 0, 0, 0, 0])
        .expect("the analyzer reads");
}

/// Answers pings on the connection of flows, on which the analyzer sends nothing else.
fn discard(stream: &TcpStream) {
    let mut buffer = [0; 256];
    while let Ok((1.., _)) = rustix::net::recv(stream, &mut buffer[..], RecvFlags::DONTWAIT) {
        pong(&mut stream.try_clone().expect("a handle"));
    }
}

const PING: u8 = 9;
const FLOWS_PER_MESSAGE: usize = 10;
/// Number of different flows of an agent, which are updated in turn.
const FLOWS_OF_AGENT: usize = 1_000;
