//! Columns of each table. Their names are the keys of the JSON, joined by dots; enumerations are
//! text.

use std::sync::Arc;

use skylib::flow::{FinishType, Flow, FlowLayer, FlowMetric, RttMetric, TcpMetric, TransportLayer};
use skylib::graph::{Edge, Metadata, Node};

use super::{Column, Value};

/// Columns of flows.
pub(crate) const FLOWS: &[Column<Flow>] = &[
    text("UUID", |flow| &flow.uuid),
    text("ParentUUID", |flow| &flow.parent_uuid),
    name("LayersPath", |flow| &flow.layers_path),
    name("Application", |flow| &flow.application),
    name("Link.Protocol", |flow| protocol(flow.link.as_ref())),
    text("Link.A", |flow| end(flow.link.as_ref(), |link| &link.a)),
    text("Link.B", |flow| end(flow.link.as_ref(), |link| &link.b)),
    int("Link.ID", |flow| flow.link.as_ref().map(|link| link.id)),
    name("Network.Protocol", |flow| protocol(flow.network.as_ref())),
    text("Network.A", |flow| {
        end(flow.network.as_ref(), |network| &network.a)
    }),
    text("Network.B", |flow| {
        end(flow.network.as_ref(), |network| &network.b)
    }),
    int("Network.ID", |flow| {
        flow.network.as_ref().map(|network| network.id)
    }),
    name("Transport.Protocol", |flow| {
        flow.transport
            .as_ref()
            .map_or("", |transport| transport.protocol.name())
    }),
    int("Transport.A", |flow| port(flow, |transport| transport.a)),
    int("Transport.B", |flow| port(flow, |transport| transport.b)),
    name("ICMP.Type", |flow| {
        flow.icmp.as_ref().map_or("", |icmp| icmp.kind.name())
    }),
    int("ICMP.Code", |flow| {
        flow.icmp.as_ref().map(|icmp| icmp.code.into())
    }),
    int("ICMP.ID", |flow| {
        flow.icmp.as_ref().map(|icmp| icmp.id.into())
    }),
    time("Start", |flow| Some(flow.start)),
    time("Last", |flow| Some(flow.last)),
    int("Metric.ABPackets", |flow| {
        metric(flow, |metric| metric.ab_packets)
    }),
    int("Metric.ABBytes", |flow| {
        metric(flow, |metric| metric.ab_bytes)
    }),
    int("Metric.BAPackets", |flow| {
        metric(flow, |metric| metric.ba_packets)
    }),
    int("Metric.BABytes", |flow| {
        metric(flow, |metric| metric.ba_bytes)
    }),
    // 0 means that no round-trip time was measured.
    int("Metric.RTT", |flow| {
        metric(flow, |metric| metric.rtt).filter(|rtt| *rtt != 0)
    }),
    name("FinishType", |flow| finish_type(flow.finish_type)),
    name("Initiator.Side", |flow| {
        flow.initiator
            .as_ref()
            .map_or("", |initiator| &initiator.side)
    }),
    name("Initiator.By", |flow| {
        flow.initiator
            .as_ref()
            .map_or("", |initiator| &initiator.by)
    }),
    name("Wire.Interface", |flow| {
        flow.wire.as_ref().map_or("", |wire| &wire.interface)
    }),
    int("RawPacketsCaptured", |flow| Some(flow.raw_packets_captured)),
    text("TrackingID", |flow| &flow.tracking_id),
    text("L3TrackingID", |flow| &flow.l3_tracking_id),
    name("NodeTID", |flow| &flow.node_tid),
    name("CaptureID", |flow| &flow.capture_id),
    time("TCPMetric.ABSynStart", |flow| {
        tcp(flow, |tcp| tcp.ab_syn_start)
    }),
    time("TCPMetric.BASynStart", |flow| {
        tcp(flow, |tcp| tcp.ba_syn_start)
    }),
    int("TCPMetric.ABSynTTL", |flow| {
        tcp(flow, |tcp| tcp.ab_syn_ttl.into())
    }),
    int("TCPMetric.BASynTTL", |flow| {
        tcp(flow, |tcp| tcp.ba_syn_ttl.into())
    }),
    time("TCPMetric.ABFinStart", |flow| {
        tcp(flow, |tcp| tcp.ab_fin_start)
    }),
    time("TCPMetric.BAFinStart", |flow| {
        tcp(flow, |tcp| tcp.ba_fin_start)
    }),
    time("TCPMetric.ABRstStart", |flow| {
        tcp(flow, |tcp| tcp.ab_rst_start)
    }),
    time("TCPMetric.BARstStart", |flow| {
        tcp(flow, |tcp| tcp.ba_rst_start)
    }),
    int("TCPMetric.ABSegmentOutOfOrder", |flow| {
        tcp(flow, |tcp| tcp.ab_segment_out_of_order)
    }),
    int("TCPMetric.ABSegmentSkipped", |flow| {
        tcp(flow, |tcp| tcp.ab_segment_skipped)
    }),
    int("TCPMetric.ABSegmentSkippedBytes", |flow| {
        tcp(flow, |tcp| tcp.ab_segment_skipped_bytes)
    }),
    int("TCPMetric.ABPackets", |flow| {
        tcp(flow, |tcp| tcp.ab_packets)
    }),
    int("TCPMetric.ABBytes", |flow| tcp(flow, |tcp| tcp.ab_bytes)),
    int("TCPMetric.ABSawStart", |flow| {
        tcp(flow, |tcp| tcp.ab_saw_start)
    }),
    int("TCPMetric.ABSawEnd", |flow| tcp(flow, |tcp| tcp.ab_saw_end)),
    int("TCPMetric.BASegmentOutOfOrder", |flow| {
        tcp(flow, |tcp| tcp.ba_segment_out_of_order)
    }),
    int("TCPMetric.BASegmentSkipped", |flow| {
        tcp(flow, |tcp| tcp.ba_segment_skipped)
    }),
    int("TCPMetric.BASegmentSkippedBytes", |flow| {
        tcp(flow, |tcp| tcp.ba_segment_skipped_bytes)
    }),
    int("TCPMetric.BAPackets", |flow| {
        tcp(flow, |tcp| tcp.ba_packets)
    }),
    int("TCPMetric.BABytes", |flow| tcp(flow, |tcp| tcp.ba_bytes)),
    int("TCPMetric.BASawStart", |flow| {
        tcp(flow, |tcp| tcp.ba_saw_start)
    }),
    int("TCPMetric.BASawEnd", |flow| tcp(flow, |tcp| tcp.ba_saw_end)),
    int("TCPMetric.ABRetransmittedSegments", |flow| {
        tcp(flow, |tcp| tcp.ab_retransmitted_segments)
    }),
    int("TCPMetric.BARetransmittedSegments", |flow| {
        tcp(flow, |tcp| tcp.ba_retransmitted_segments)
    }),
    int("TCPMetric.ABRetransmittedBytes", |flow| {
        tcp(flow, |tcp| tcp.ab_retransmitted_bytes)
    }),
    int("TCPMetric.BARetransmittedBytes", |flow| {
        tcp(flow, |tcp| tcp.ba_retransmitted_bytes)
    }),
    int("RTTMetric.Samples", |flow| rtt(flow, |rtt| rtt.samples)),
    int("RTTMetric.Min", |flow| rtt(flow, |rtt| rtt.min)),
    int("RTTMetric.Max", |flow| rtt(flow, |rtt| rtt.max)),
    int("RTTMetric.Last", |flow| rtt(flow, |rtt| rtt.last)),
    int("RTTMetric.Sum", |flow| rtt(flow, |rtt| rtt.sum)),
    int("RTTMetric.Jitter", |flow| rtt(flow, |rtt| rtt.jitter)),
    int("RTTMetric.Requests", |flow| rtt(flow, |rtt| rtt.requests)),
    int("RTTMetric.Unanswered", |flow| {
        rtt(flow, |rtt| rtt.unanswered)
    }),
    int("RTTMetric.ABRTT", |flow| rtt(flow, |rtt| rtt.ab_rtt)),
    int("RTTMetric.BARTT", |flow| rtt(flow, |rtt| rtt.ba_rtt)),
];

/// Columns of nodes. `Name`, `Type`, and `TID` are part of `Metadata`, which is JSON.
pub(crate) const NODES: &[Column<Arc<Node>>] = &[
    owned("ID", |node| node.id.to_string()),
    text("Name", |node| value(&node.metadata, "Name")),
    name("Type", |node| value(&node.metadata, "Type")),
    text("TID", |node| value(&node.metadata, "TID")),
    name("Host", |node| &node.host),
    name("Origin", |node| &node.origin),
    time("CreatedAt", |node| Some(node.created_at.as_ms())),
    time("UpdatedAt", |node| Some(node.updated_at.as_ms())),
    int("Revision", |node| Some(node.revision)),
    owned("Metadata", |node| to_json(&node.metadata)),
];

/// Columns of edges. `RelationType` is part of `Metadata`, which is JSON.
pub(crate) const EDGES: &[Column<Arc<Edge>>] = &[
    owned("ID", |edge| edge.id.to_string()),
    owned("Parent", |edge| edge.parent.to_string()),
    owned("Child", |edge| edge.child.to_string()),
    name("RelationType", |edge| value(&edge.metadata, "RelationType")),
    name("Host", |edge| &edge.host),
    name("Origin", |edge| &edge.origin),
    time("CreatedAt", |edge| Some(edge.created_at.as_ms())),
    time("UpdatedAt", |edge| Some(edge.updated_at.as_ms())),
    int("Revision", |edge| Some(edge.revision)),
    owned("Metadata", |edge| to_json(&edge.metadata)),
];

const fn text<T>(name: &'static str, get: fn(&T) -> &str) -> Column<T> {
    Column {
        name,
        value: Value::Text(get),
    }
}

const fn name<T>(name: &'static str, get: fn(&T) -> &str) -> Column<T> {
    Column {
        name,
        value: Value::Name(get),
    }
}

const fn owned<T>(name: &'static str, get: fn(&T) -> String) -> Column<T> {
    Column {
        name,
        value: Value::Owned(get),
    }
}

const fn int<T>(name: &'static str, get: fn(&T) -> Option<i64>) -> Column<T> {
    Column {
        name,
        value: Value::Int(get),
    }
}

const fn time<T>(name: &'static str, get: fn(&T) -> Option<i64>) -> Column<T> {
    Column {
        name,
        value: Value::Time(get),
    }
}

fn end(layer: Option<&FlowLayer>, get: fn(&FlowLayer) -> &str) -> &str {
    layer.map_or("", get)
}

fn protocol(layer: Option<&FlowLayer>) -> &str {
    layer.map_or("", |layer| layer.protocol.name())
}

fn port(flow: &Flow, get: fn(&TransportLayer) -> i64) -> Option<i64> {
    flow.transport.as_ref().map(get)
}

fn metric(flow: &Flow, get: fn(&FlowMetric) -> i64) -> Option<i64> {
    flow.metric.as_ref().map(get)
}

fn tcp(flow: &Flow, get: fn(&TcpMetric) -> i64) -> Option<i64> {
    flow.tcp_metric.as_ref().map(get)
}

fn rtt(flow: &Flow, get: fn(&RttMetric) -> i64) -> Option<i64> {
    flow.rtt_metric.as_deref().map(get)
}

/// Returns the name of a value in the protobuf schema.
const fn finish_type(finish: FinishType) -> &'static str {
    match finish {
        FinishType::NotFinished => "NOT_FINISHED",
        FinishType::Timeout => "TIMEOUT",
        FinishType::TcpFin => "TCP_FIN",
        FinishType::TcpRst => "TCP_RST",
        FinishType::Replaced => "REPLACED",
        _ => "UNKNOWN",
    }
}

/// Returns a string of the metadata; empty if it is absent.
fn value<'a>(metadata: &'a Metadata, key: &str) -> &'a str {
    metadata
        .get(key)
        .and_then(|value| value.as_text())
        .unwrap_or_default()
}

fn to_json(metadata: &Metadata) -> String {
    // Metadata contains only values that JSON supports.
    serde_json::to_string(metadata).unwrap_or_default()
}
