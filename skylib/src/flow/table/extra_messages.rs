//! Messages of extra layers (DNS, DHCPv4, VRRP): stored with the flow as bytes, within a byte
//! budget for the whole table, and parsed only when a record is exported.

use super::FlowTable;
use super::entry::{NONE, Rare};
use super::pending::Pending;
use crate::decode::{Encapsulations, Layer};
use crate::flow::extra_layers::ExtraMessage;
use crate::flow::options::FlowTableOptions;
use crate::flow::record::Flow;
use crate::packet::PacketRef;

/// Byte range of an extra layer's message in a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRange {
    layer: Layer,
    start: u32,
    end: u32,
}

impl MessageRange {
    /// Placeholder in a [`Pending`] without
    /// [`HAS_EXTRA_MESSAGE`](super::pending::HAS_EXTRA_MESSAGE).
    pub(super) const NONE: Self = Self {
        layer: Layer::DNS,
        start: 0,
        end: 0,
    };
}

impl FlowTable {
    /// Returns the message of the innermost layer of the current packet, if the options select
    /// that layer.
    pub(super) fn extra_message_of(&self, encapsulations: &Encapsulations) -> Option<MessageRange> {
        let (layer, ends) = encapsulations.innermost()?;
        let is_wanted = self.options.extra_layers.contains(layer);
        is_wanted.then_some(MessageRange {
            layer,
            start: ends.start,
            end: ends.end,
        })
    }

    /// Stores the message of a packet with its flow, or counts it as dropped if the byte budget is
    /// exhausted.
    pub(super) fn store_extra_message(
        &mut self,
        record: u32,
        pending: &Pending,
        packet: PacketRef<'_>,
        is_first: bool,
    ) {
        let MessageRange { layer, start, end } = pending.message;
        let Some(message) = packet.data.get(start as usize..end as usize) else {
            return;
        };
        if layer == Layer::DNS
            && !self.options.recorded
            && let Some(dns) = self.detail(record, |details| &mut details.dns)
        {
            dns.count(message);
        }
        // COMPAT: recorded values of Skydive, which shows the latest message only for DNS.
        let is_latest = layer == Layer::DNS || layer == Layer::DHCPV4 && !self.options.recorded;
        if !is_first && !is_latest {
            return;
        }
        let entry = self.arena.get_mut(record);
        if entry.cold.rare == NONE {
            entry.cold.rare = self.rare.insert(Rare::default());
        }
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        let before = rare
            .extra_message
            .as_ref()
            .map_or(0, |stored| stored.bytes());
        // A replacement reuses the buffer, so the stored size never shrinks.
        let after = ExtraMessage::stored_bytes(layer, message).max(before);
        if self.extra_message_bytes + after - before > extra_messages_limit(&self.options) {
            self.stats.extra_messages_dropped += 1;
            return;
        }
        let stored = match &mut rare.extra_message {
            Some(stored) if stored.is_replaced_by(layer) => {
                stored.replace(packet.timestamp, message);
                stored
            }
            Some(_) => return,
            none => none.insert(Box::new(ExtraMessage::new(
                layer,
                packet.timestamp,
                message,
            ))),
        };
        self.extra_message_bytes = self.extra_message_bytes + stored.bytes() - before;
    }

    /// Returns a record that contains only the fields from the extra message and from IP
    /// reassembly, and the sub-messages that few records have.
    pub(super) fn extra_fields(&self, record: u32) -> Flow {
        let entry = self.arena.get(record);
        let mut flow = Flow {
            initiator: self.initiator(entry),
            ..Flow::default()
        };
        self.fill_wire(record, &mut flow);
        let Some(rare) = self.rare.get(entry.cold.rare) else {
            return flow;
        };
        flow.ip_metric = rare.ip;
        flow.last_raw_packets.clone_from(&rare.raw);
        flow.rtt_metric = self.rtt_metric(entry, rare).map(Box::new);
        if let Some(message) = &rare.extra_message {
            message.fill(&mut flow, self.options.recorded);
        }
        if let Some(details) = &rare.details {
            details.fill(&mut flow, entry);
        }
        flow
    }
}

/// Returns the byte budget for extra messages: a quarter of
/// [`FlowTableOptions::max_bytes`], at most 64 MiB.
pub(super) fn extra_messages_limit(options: &FlowTableOptions) -> usize {
    if options.extra_layers.is_none() {
        return 0;
    }
    options.max_bytes.map_or(MAX_EXTRA_MESSAGE_BYTES, |bytes| {
        (bytes / 4).min(MAX_EXTRA_MESSAGE_BYTES)
    })
}

/// Maximum byte budget for extra messages.
const MAX_EXTRA_MESSAGE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Filter, Predicate};
    use crate::flow::{ExtraLayers, FlowField, FlowQuery};
    use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
    use crate::time::Timestamp;

    /// Returns a frame with a DNS query that has this identifier, source port, and name length,
    /// followed by padding.
    fn question(port: u16, id: u16, name_len: u8, padding: usize) -> Vec<u8> {
        let mut message = Vec::from(id.to_be_bytes());
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name_len]);
        message.extend(vec![b'a'; name_len.into()]);
        message.extend([0, 0, 1, 0, 1]);
        message.resize(message.len() + padding, 0);
        let len = message.len() as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend((28 + len).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 53]);
        frame.extend((8 + len).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        frame
    }

    fn process(table: &mut FlowTable, frame: &[u8]) {
        let headers = [PacketHeader {
            timestamp: Timestamp::from_ms(1),
            offset: 0,
            captured_len: frame.len() as u32,
            wire_len: frame.len() as u32,
            point: CapturePoint::ONLY,
        }];
        table.process(&PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: frame,
            headers: &headers,
        });
    }

    fn options(layers: ExtraLayers) -> FlowTableOptions {
        FlowTableOptions::default().with_extra_layers(layers)
    }

    #[test]
    fn the_latest_message_is_shown_and_found_by_queries() {
        let mut table = FlowTable::new(options(ExtraLayers::DNS));
        process(&mut table, &question(1000, 7, 9, 0));
        process(&mut table, &question(1000, 8, 3, 0));
        let set = table.query(&FlowQuery::default()).unwrap();
        let dns = set.flows[0].dns.as_ref().unwrap();
        assert_eq!((dns.id, dns.questions[0].name.as_str()), (8, "aaa"));
        let named = |name, value: &str| {
            let filter = Filter::test(name, Predicate::Text(value.into()));
            let query = FlowQuery {
                filter,
                ..FlowQuery::default()
            };
            table.count_flows(&query).unwrap()
        };
        assert_eq!(named("DNS.OpCode", "Query"), 1);
        assert_eq!(named("DNS.OpCode", "Status"), 0);
        assert!(FlowField::parse("DNS.ID").is_some());
    }

    #[test]
    fn nothing_is_stored_by_default() {
        let mut table = FlowTable::new(options(ExtraLayers::VRRP.with(ExtraLayers::DHCPV4)));
        process(&mut table, &question(1000, 7, 9, 0));
        assert_eq!(
            table.query(&FlowQuery::default()).unwrap().flows[0].dns,
            None
        );
        assert_eq!(table.extra_message_bytes, 0);
    }

    #[test]
    fn messages_stay_within_their_budget_and_are_freed_with_the_flow() {
        let bound = 4_000_000;
        let mut table = FlowTable::new(options(ExtraLayers::ALL).with_max_bytes(bound));
        for port in 1000..9000 {
            process(&mut table, &question(port, 1, 3, 0));
            process(&mut table, &question(port, 2, 63, 900));
            assert!(table.extra_message_bytes <= bound / 4);
            assert!(table.stats().bytes <= bound);
        }
        assert!(table.stats().extra_messages_dropped > 0);
        let mut sent: Vec<Flow> = Vec::new();
        table.flush(&mut sent);
        assert_eq!(table.extra_message_bytes, 0);
        assert!(sent.iter().any(|flow| flow.dns.is_some()));
    }
}
