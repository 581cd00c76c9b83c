//! Counters of a flow table, and the messages that agents send.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::protobuf::wire_message;
use super::record::Flow;
use super::setters::setters;
use crate::decode::{DecodeError, Layer};
use crate::packet::LinkType;
use crate::value::Text;

/// Counters of a flow table since its creation; `flows` and `bytes` are its current size.
///
/// Every dropped packet, flow, and fragment is counted. The counters of several tables are added up
/// (`+=`), except `furthest_back_ms` (the maximum) and `clock_step_ms` (the latest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowTableStats {
    /// Number of flows in the table.
    pub flows: usize,
    /// Approximate memory used by the table, in bytes.
    pub bytes: usize,
    /// Packets passed to the table.
    pub packets: u64,
    /// Packets that the filter rejected.
    pub filtered: u64,
    /// Packets without any header that identifies a flow.
    pub without_flow: u64,
    /// Encapsulations in tunnels that have no header that identifies a flow.
    pub encapsulations_without_flow: u64,
    /// Packets that could only be decoded in part, by reason; they are counted in the flows of the
    /// decoded headers.
    pub stopped: StopCounts,
    /// Flows created.
    pub created: u64,
    /// Flows sent and removed early because the table was full.
    pub evicted: u64,
    /// Evicted flows dropped because the queue of evicted flows was full.
    pub evicted_unsent: u64,
    /// Messages of extra layers dropped because their memory budget was exhausted.
    pub extra_messages_dropped: u64,
    /// Number of times a TCP stream skipped missing data because the memory budget of queued
    /// segments was exhausted.
    pub streams_cut: u64,
    /// Details of flows (ICMP errors, joined segments, DNS counters) dropped because their memory
    /// budget was exhausted.
    pub details_dropped: u64,
    /// Requests whose round-trip time was not measured because the memory budget of outstanding
    /// requests was exhausted.
    pub requests_unmeasured: u64,
    /// Packets of a replayed file with an earlier timestamp than a packet before them. In live
    /// captures, the number of negative round-trip times.
    pub time_back: u64,
    /// Maximum amount by which a packet of a replayed file is older than the newest packet before
    /// it, in milliseconds.
    pub furthest_back_ms: u64,
    /// Packets of a replayed file with a timestamp far ahead of neighboring packets.
    pub time_ahead: u64,
    /// Packets of a replayed file so late that their flow may have been removed from the table;
    /// they began another flow.
    pub late_packets: u64,
    /// Steps of the system clock during a live capture. Flows continue across a step.
    pub clock_steps: u64,
    /// Size of the latest step, in milliseconds; negative if the clock was set back.
    pub clock_step_ms: i64,
    /// IP fragments, by outcome; zero unless reassembly is enabled.
    pub fragments: FragmentCounts,
}

/// IP fragments by outcome; fragments not counted here are still waiting for other fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentCounts {
    /// Fragments joined to a packet.
    pub joined: u64,
    /// Fragments rejected: damaged, or inconsistent with other fragments.
    pub refused: u64,
    /// Fragments dropped because other fragments did not arrive before the timeout, or because the
    /// memory budget was exhausted.
    pub lost: u64,
}

/// Number of packets whose decoding stopped early, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopCounts {
    /// Unsupported link type.
    pub link_type: u64,
    /// Packets with an unsupported link type, by link type.
    pub link_types: LinkTypeCounts,
    /// Truncated header.
    pub truncated: u64,
    /// Malformed header.
    pub malformed: u64,
    /// Packets with a malformed header, by its layer.
    pub malformed_layers: LayerCounts,
    /// Content that does not belong to the protocol of the UDP port, such as data on port 5060 that
    /// is not SIP.
    pub other_application: u64,
    /// Unsupported protocol.
    pub unknown_protocol: u64,
    /// More nested headers than the maximum of the decoder.
    pub too_deep: u64,
}

/// Number of packets by layer, for the first eight layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerCounts([Option<(Layer, u64)>; 8]);

impl LayerCounts {
    /// Returns the layers and the numbers of their packets.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, u64)> + use<> {
        self.0.into_iter().flatten()
    }

    /// Adds to the number of packets of a layer.
    fn add(&mut self, layer: Layer, count: u64) {
        let is_slot =
            |slot: &&mut Option<(Layer, u64)>| slot.is_none_or(|(known, _)| known == layer);
        if let Some(slot) = self.0.iter_mut().find(is_slot) {
            let before = slot.map_or(0, |(_, before)| before);
            *slot = Some((layer, before + count));
        }
    }
}

/// Number of packets by link type, for the first four unsupported link types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkTypeCounts([(u16, u64); 4]);

impl LinkTypeCounts {
    /// Returns the link types and the numbers of their packets.
    pub fn iter(&self) -> impl Iterator<Item = (LinkType, u64)> + use<> {
        let counts = self.0.into_iter().filter(|(_, count)| *count > 0);
        counts.map(|(number, count)| (LinkType(number), count))
    }

    /// Adds to the number of packets of a link type.
    const fn add(&mut self, link_type: LinkType, count: u64) {
        let mut at = 0;
        while at < self.0.len() {
            if self.0[at].1 == 0 || self.0[at].0 == link_type.0 {
                self.0[at].0 = link_type.0;
                self.0[at].1 += count;
                return;
            }
            at += 1;
        }
    }
}

impl AddAssign for FlowTableStats {
    /// Adds the counters of another table.
    fn add_assign(&mut self, other: Self) {
        self.flows += other.flows;
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.filtered += other.filtered;
        self.without_flow += other.without_flow;
        self.encapsulations_without_flow += other.encapsulations_without_flow;
        self.stopped += other.stopped;
        self.created += other.created;
        self.evicted += other.evicted;
        self.evicted_unsent += other.evicted_unsent;
        self.extra_messages_dropped += other.extra_messages_dropped;
        self.streams_cut += other.streams_cut;
        self.details_dropped += other.details_dropped;
        self.requests_unmeasured += other.requests_unmeasured;
        self.time_back += other.time_back;
        self.furthest_back_ms = self.furthest_back_ms.max(other.furthest_back_ms);
        self.time_ahead += other.time_ahead;
        self.late_packets += other.late_packets;
        self.clock_steps += other.clock_steps;
        if other.clock_steps > 0 {
            self.clock_step_ms = other.clock_step_ms;
        }
        self.fragments.joined += other.fragments.joined;
        self.fragments.refused += other.fragments.refused;
        self.fragments.lost += other.fragments.lost;
    }
}

impl AddAssign for StopCounts {
    fn add_assign(&mut self, other: Self) {
        self.link_type += other.link_type;
        for (link_type, count) in other.link_types.iter() {
            self.link_types.add(link_type, count);
        }
        self.truncated += other.truncated;
        self.malformed += other.malformed;
        for (layer, count) in other.malformed_layers.iter() {
            self.malformed_layers.add(layer, count);
        }
        self.other_application += other.other_application;
        self.unknown_protocol += other.unknown_protocol;
        self.too_deep += other.too_deep;
    }
}

impl StopCounts {
    /// Counts a packet whose decoding stopped with this error.
    pub(super) fn count(&mut self, error: DecodeError) {
        let counter = match error {
            DecodeError::Truncated { layer, .. } | DecodeError::Malformed { layer, .. }
                if layer.is_guessed_from_port() =>
            {
                &mut self.other_application
            }
            DecodeError::LinkType(number) => {
                self.link_types.add(LinkType(number), 1);
                &mut self.link_type
            }
            DecodeError::Truncated { .. } => &mut self.truncated,
            DecodeError::UnknownProtocol { .. } => &mut self.unknown_protocol,
            DecodeError::TooDeep { .. } => &mut self.too_deep,
            DecodeError::Malformed { layer, .. } => {
                self.malformed_layers.add(layer, 1);
                &mut self.malformed
            }
        };
        *counter += 1;
    }

    /// Returns the sum over all reasons.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.link_type
            + self.truncated
            + self.malformed
            + self.other_application
            + self.unknown_protocol
            + self.too_deep
    }
}

/// Statistics of a capture, which an agent sends periodically. The counters of packets and flows
/// cover the time since the previous message.
///
/// ```
/// use skylib::flow::FlowStats;
/// let stats = FlowStats::default().with_capture_id("cap-1").with_packets_received(9);
/// assert_eq!(stats.packets_dropped, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FlowStats {
    /// Identifier of the capture.
    #[serde(rename = "CaptureID", skip_serializing_if = "no_text")]
    pub capture_id: Text,
    /// Number of flows in the table.
    #[serde(rename = "FlowCount")]
    pub flow_count: i64,
    /// Number of evicted flows.
    #[serde(rename = "FlowDropped")]
    pub flow_dropped: i64,
    /// Number of flows that did not fit into a kernel table.
    #[serde(rename = "KernelFlowDropped")]
    pub kernel_flow_dropped: i64,
    /// Packets that the capture lost.
    #[serde(rename = "PacketsDropped")]
    pub packets_dropped: i64,
    /// Packets that the capture received.
    #[serde(rename = "PacketsReceived")]
    pub packets_received: i64,
}

wire_message!(FlowStats {
    1 => capture_id, 2 => flow_count, 3 => flow_dropped, 4 => kernel_flow_dropped,
    5 => packets_dropped, 6 => packets_received,
});

setters! {
    FlowStats {
        with_capture_id capture_id impl Into<Text>;
        with_flow_count flow_count i64;
        with_flow_dropped flow_dropped i64;
        with_kernel_flow_dropped kernel_flow_dropped i64;
        with_packets_dropped packets_dropped i64;
        with_packets_received packets_received i64;
    }
}

/// Message from an agent to an analyzer: flows, statistics, or both. The schema is Skydive's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowMessage {
    /// Complete flow records.
    #[serde(rename = "Flows", skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// Statistics of a capture.
    #[serde(rename = "Stats", skip_serializing_if = "Option::is_none")]
    pub stats: Option<FlowStats>,
}

wire_message!(FlowMessage { 1 => flows, 2 => stats });

/// Returns whether a string is empty.
fn no_text(text: &Text) -> bool {
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn statistics_have_their_zeros_in_json() {
        let stats = FlowStats {
            flow_count: 3,
            ..FlowStats::default()
        };
        let wanted = concat!(
            r#"{"FlowCount":3,"FlowDropped":0,"KernelFlowDropped":0,"#,
            r#""PacketsDropped":0,"PacketsReceived":0}"#
        );
        assert_eq!(serde_json::to_string(&stats).unwrap(), wanted);
    }

    #[test]
    fn link_types_are_counted_by_number() {
        let mut counts = StopCounts::default();
        for number in [189, 195, 189, 1, 2, 3] {
            counts.count(DecodeError::LinkType(number));
        }
        let mut sum = counts;
        sum += counts;
        assert_eq!(sum.link_type, 12);
        let counted: Vec<_> = sum.link_types.iter().collect();
        let wanted = [(189, 4), (195, 2), (1, 2), (2, 2)];
        assert_eq!(
            counted,
            wanted.map(|(number, count)| (LinkType(number), count))
        );
    }

    #[test]
    fn malformed_headers_are_counted_by_layer_and_without_guessed_protocols() {
        let mut counts = StopCounts::default();
        for layer in [Layer::IPV4, Layer::SIP, Layer::TCP, Layer::IPV4] {
            counts.count(DecodeError::Malformed { layer, offset: 0 });
        }
        counts.count(DecodeError::Truncated {
            layer: Layer::NTP,
            offset: 42,
            needed: 48,
            available: 8,
        });
        let mut sum = counts;
        sum += counts;
        assert_eq!(
            (sum.malformed, sum.truncated, sum.other_application),
            (6, 0, 4)
        );
        let layers: Vec<_> = sum.malformed_layers.iter().collect();
        assert_eq!(layers, [(Layer::IPV4, 4), (Layer::TCP, 2)]);
        assert_eq!(sum.total(), 10);
    }

    #[test]
    fn a_message_survives_protobuf() {
        let message = FlowMessage {
            flows: vec![Flow {
                uuid: "a".into(),
                ..Flow::default()
            }],
            stats: Some(FlowStats {
                capture_id: "c".into(),
                ..FlowStats::default()
            }),
        };
        let bytes = message.encode_to_vec();
        assert_eq!(FlowMessage::decode(&bytes[..]).unwrap(), message);
    }
}
