//! Flows that agents send: a `flow.Message` without an envelope in a frame or a datagram.

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::ProtoError;
use crate::flow::{Flow, FlowMessage, FlowSet};

/// Decodes a `flow.Message`: flows, statistics of a capture, or both.
///
/// A record can be small on the wire and large in memory. Therefore flows are decoded one by one,
/// and decoding stops when their memory exceeds a limit.
///
/// ```
/// use prost::Message;
/// use skylib::flow::{Flow, FlowMessage};
/// use skylib::proto::decode_flow_message;
/// let flow = Flow::default().with_uuid("f1");
/// let sent = FlowMessage { flows: vec![flow], stats: None };
/// assert_eq!(decode_flow_message(&sent.encode_to_vec())?, sent);
/// # Ok::<(), skylib::proto::ProtoError>(())
/// ```
///
/// # Errors
/// Returns [`ProtoError`] if the bytes are not such a message, or a flow or the whole message
/// exceeds a limit; no flow is returned in that case.
pub fn decode_flow_message(bytes: &[u8]) -> Result<FlowMessage, ProtoError> {
    let mut flows = Vec::new();
    let mut budget = MAX_WEIGHT;
    let mut message: FlowMessage = decode_flows(bytes, &mut flows, &mut budget)?;
    message.flows = flows;
    Ok(message)
}

/// Decodes a `flow.FlowSet` like [`decode_flow_message`], and subtracts the memory of its flows
/// from `budget`, in bytes.
///
/// # Errors
/// Returns [`ProtoError`] if the bytes are not such a set, or the flows exceed the budget.
pub(super) fn decode_flow_set(bytes: &[u8], budget: &mut usize) -> Result<FlowSet, ProtoError> {
    let mut flows = Vec::new();
    let mut set: FlowSet = decode_flows(bytes, &mut flows, budget)?;
    set.flows = flows;
    Ok(set)
}

/// Decodes a message whose field [`FLOWS`] contains flows; appends the flows to `flows`.
fn decode_flows<M: prost::Message + Default>(
    bytes: &[u8],
    flows: &mut Vec<Flow>,
    budget: &mut usize,
) -> Result<M, ProtoError> {
    let mut message = M::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        if (tag, wire_type) != (FLOWS, WireType::LengthDelimited) {
            message.merge_field(tag, wire_type, &mut rest, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        let Some((record, after)) = rest.split_at_checked(length) else {
            return Err(ProtoError::Truncated);
        };
        rest = after;
        check_size(record)?;
        let flow = Flow::decode(record)?;
        let Some(left) = budget.checked_sub(flow.memory_size()) else {
            return Err(ProtoError::LimitExceeded(
                "bytes of the flows of one message",
                MAX_WEIGHT,
            ));
        };
        *budget = left;
        flows.push(flow);
    }
    Ok(message)
}

/// Checks the size of a flow record without decoding it.
fn check_size(mut record: &[u8]) -> Result<(), ProtoError> {
    let (mut packets, mut other_bytes) = (0, 0);
    while !record.is_empty() {
        let before = record.len();
        let (tag, wire_type) = decode_key(&mut record)?;
        skip_field(wire_type, tag, &mut record, DecodeContext::default())?;
        if tag == RAW_PACKETS {
            packets += 1;
        } else {
            other_bytes += before - record.len();
        }
    }
    if packets > MAX_PACKETS {
        return Err(ProtoError::LimitExceeded(
            "raw packets of one flow",
            MAX_PACKETS,
        ));
    }
    if other_bytes > MAX_RECORD_BYTES {
        return Err(ProtoError::LimitExceeded(
            "bytes of one flow",
            MAX_RECORD_BYTES,
        ));
    }
    Ok(())
}

/// Field numbers in `flow.proto`.
const FLOWS: u32 = 1;
const RAW_PACKETS: u32 = 36;

/// Maximum size of a record without its raw packets, in bytes; DNS content is the largest part.
const MAX_RECORD_BYTES: usize = 64 << 10;
/// Maximum number of raw packets of one flow.
const MAX_PACKETS: usize = 65_536;
/// Maximum memory of the flows of one message, in bytes.
pub(super) const MAX_WEIGHT: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::{DnsLayer, DnsRecord, FlowStats, RawPacket};

    fn wire(flows: Vec<Flow>) -> Vec<u8> {
        FlowMessage { flows, stats: None }.encode_to_vec()
    }

    fn with_answers(count: usize) -> Flow {
        let answers = vec![DnsRecord::default(); count];
        let dns = DnsLayer {
            answers,
            ..DnsLayer::default()
        };
        Flow {
            dns: Some(Box::new(dns)),
            ..Flow::default()
        }
    }

    fn with_packets(count: usize) -> Flow {
        Flow {
            last_raw_packets: vec![RawPacket::default(); count],
            ..Flow::default()
        }
    }

    fn refusal(flows: Vec<Flow>) -> String {
        decode_flow_message(&wire(flows)).unwrap_err().to_string()
    }

    #[test]
    fn flows_and_statistics_have_any_order_and_unknown_fields_are_skipped() {
        let stats = FlowStats {
            packets_received: -1,
            ..FlowStats::default()
        };
        let only = FlowMessage {
            flows: Vec::new(),
            stats: Some(stats.clone()),
        };
        let mut bytes = only.encode_to_vec();
        bytes.extend(b"\x78\x05\xf2\x01\x02xy");
        bytes.extend(wire(vec![with_answers(3), Flow::default()]));
        let message = decode_flow_message(&bytes).unwrap();
        assert_eq!(message.stats, Some(stats));
        assert_eq!(message.flows, [with_answers(3), Flow::default()]);
        assert_eq!(decode_flow_message(b"").unwrap(), FlowMessage::default());
    }

    #[test]
    fn records_too_large_in_memory_are_refused() {
        assert!(decode_flow_message(&wire(vec![with_answers(20_000)])).is_ok());
        let text = "more than 65536 bytes of one flow";
        assert_eq!(refusal(vec![with_answers(40_000)]), text);
        assert!(decode_flow_message(&wire(vec![with_packets(65_536)])).is_ok());
        let text = "more than 65536 raw packets of one flow";
        assert_eq!(refusal(vec![with_packets(65_537)]), text);
        let text = "more than 67108864 bytes of the flows of one message";
        assert_eq!(refusal(vec![with_answers(20_000); 20]), text);
    }

    #[test]
    fn broken_messages_are_refused_completely() {
        let good = wire(vec![with_answers(1)]);
        for end in 1..good.len() {
            assert!(decode_flow_message(&good[..end]).is_err(), "{end} bytes");
        }
        for bytes in [
            &b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
            b"\x08\x01",
            b"\x0a\x03\x0a\x01\xff",
            b"{\"Flows\":[]}",
            b"\x0b",
        ] {
            assert!(decode_flow_message(bytes).is_err(), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(decode_flow_message(&bytes));
        }
    }
}
