//! What a table counted, and the message agents send about it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::protobuf::wire_message;
use super::record::Flow;
use crate::decode::DecodeError;
use crate::value::Text;

/// Counters of a table since it was made; nothing that was dropped is missing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowTableStats {
    /// Flows in the table now.
    pub flows: usize,
    /// Bytes held for them, in about.
    pub bytes: usize,
    /// Packets handed to the table.
    pub packets: u64,
    /// Packets the filter kept out.
    pub filtered: u64,
    /// Packets with nothing to make a flow from.
    pub without_flow: u64,
    /// Tunnelled parts with nothing to make a flow from.
    pub parts_without_flow: u64,
    /// Packets that could be decoded in part only (they count for the flows of that part), by why.
    pub stopped: StopCounts,
    /// Flows that began.
    pub begun: u64,
    /// Flows sent and removed before their time, as the table was full.
    pub evicted: u64,
    /// Of these, flows lost as nobody fetched them in time.
    pub evicted_unsent: u64,
    /// Messages of extra layers that found no room.
    pub contents_left_out: u64,
    /// Times a TCP stream went on without what it waited for, as there was no room to wait.
    pub streams_cut: u64,
    /// IPv4 fragments, where these are joined.
    pub fragments: FragmentCounts,
}

/// What became of IPv4 fragments. Those neither joined nor refused nor lost wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentCounts {
    /// Joined to a packet that was counted.
    pub joined: u64,
    /// Left out: damaged, or in contradiction to others.
    pub refused: u64,
    /// Left out: others did not come in time, or there was no room to wait for them.
    pub lost: u64,
}

/// Packets whose decoding stopped early, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopCounts {
    /// The link type is not decoded.
    pub link_type: u64,
    /// A header was cut short.
    pub truncated: u64,
    /// A header was damaged.
    pub malformed: u64,
    /// A protocol nobody here knows.
    pub unknown_protocol: u64,
    /// Nested too deeply.
    pub too_deep: u64,
}

impl AddAssign for FlowTableStats {
    /// Several tables as if they were one.
    fn add_assign(&mut self, other: Self) {
        self.flows += other.flows;
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.filtered += other.filtered;
        self.without_flow += other.without_flow;
        self.parts_without_flow += other.parts_without_flow;
        self.stopped += other.stopped;
        self.begun += other.begun;
        self.evicted += other.evicted;
        self.evicted_unsent += other.evicted_unsent;
        self.contents_left_out += other.contents_left_out;
        self.streams_cut += other.streams_cut;
        self.fragments.joined += other.fragments.joined;
        self.fragments.refused += other.fragments.refused;
        self.fragments.lost += other.fragments.lost;
    }
}

impl AddAssign for StopCounts {
    fn add_assign(&mut self, other: Self) {
        self.link_type += other.link_type;
        self.truncated += other.truncated;
        self.malformed += other.malformed;
        self.unknown_protocol += other.unknown_protocol;
        self.too_deep += other.too_deep;
    }
}

impl StopCounts {
    pub(super) const fn count(&mut self, error: DecodeError) {
        let counter = match error {
            DecodeError::LinkType(_) => &mut self.link_type,
            DecodeError::Truncated { .. } => &mut self.truncated,
            DecodeError::UnknownProtocol { .. } => &mut self.unknown_protocol,
            DecodeError::TooDeep { .. } => &mut self.too_deep,
            DecodeError::Malformed { .. } => &mut self.malformed,
        };
        *counter += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.link_type + self.truncated + self.malformed + self.unknown_protocol + self.too_deep
    }
}

/// What an agent tells about a capture now and then; counters are since the last message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowStats {
    /// The capture.
    #[serde(rename = "CaptureID", skip_serializing_if = "no_text")]
    pub capture_id: Text,
    /// Flows in the table.
    #[serde(rename = "FlowCount")]
    pub flow_count: i64,
    /// Flows evicted.
    #[serde(rename = "FlowDropped")]
    pub flow_dropped: i64,
    /// Flows for which a kernel table had no room.
    #[serde(rename = "KernelFlowDropped")]
    pub kernel_flow_dropped: i64,
    /// Packets the capture lost.
    #[serde(rename = "PacketsDropped")]
    pub packets_dropped: i64,
    /// Packets the capture got.
    #[serde(rename = "PacketsReceived")]
    pub packets_received: i64,
}

wire_message!(FlowStats {
    1 => capture_id, 2 => flow_count, 3 => flow_dropped, 4 => kernel_flow_dropped,
    5 => packets_dropped, 6 => packets_received,
});

/// What an agent sends to an analyzer: flows, or statistics, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowMessage {
    /// Flows, whole records.
    #[serde(rename = "Flows", skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// Statistics.
    #[serde(rename = "Stats", skip_serializing_if = "Option::is_none")]
    pub stats: Option<FlowStats>,
}

wire_message!(FlowMessage { 1 => flows, 2 => stats });

fn no_text(text: &Text) -> bool {
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn statistics_keep_their_zeros_in_json() {
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
    fn a_message_comes_back_whole() {
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
