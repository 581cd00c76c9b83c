//! Raw packets stored with a flow.

use prost::bytes::Bytes;

use super::FlowTable;
use super::entry::{HAS_LINK, HAS_NETWORK};
use crate::flow::record::RawPacket;
use crate::packet::PacketRef;

impl FlowTable {
    /// Stores a raw packet with its flow, up to `raw_packet_limit` packets per flow.
    pub(super) fn store_raw_packet(&mut self, record: u32, packet: PacketRef<'_>, offset: u32) {
        let entry = self.arena.get(record);
        // LINKTYPE_ numbers of libpcap: Ethernet, none, IPV4, IPV6.
        let link_type = match entry.cold.layers {
            layers if layers & HAS_LINK != 0 => 1,
            layers if layers & HAS_NETWORK == 0 => 0,
            _ if entry.key.is_v4() => 228,
            _ => 229,
        };
        let limit = self.options.raw_packet_limit;
        let Some(rare) = self.make_rare(record) else {
            return;
        };
        if rare.captured >= limit {
            return;
        }
        rare.captured += 1;
        let data = packet.data.get(offset as usize..).unwrap_or_default();
        let wire_len = packet.wire_len.saturating_sub(offset);
        let nanos = packet.timestamp.as_ns().rem_euclid(1_000_000);
        rare.raw.push(RawPacket {
            timestamp: packet.timestamp.as_ms(),
            index: rare.captured.into(),
            data: Bytes::copy_from_slice(data),
            link_type,
            nanos: u32::try_from(nanos).unwrap_or(0),
            wire_len: match usize::try_from(wire_len) {
                Ok(len) if len == data.len() => 0,
                _ => wire_len,
            },
        });
    }
}
