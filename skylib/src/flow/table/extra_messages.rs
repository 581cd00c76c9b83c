//! Contents of extra layers: kept with the flow, within a bound for the whole table.

use super::FlowTable;
use super::entry::{Entry, NONE, Rare};
use super::process::Pending;
use crate::decode::{Encapsulations, Layer};
use crate::flow::extra_layers::ExtraContents;
use crate::flow::options::FlowTableOptions;
use crate::flow::record::Flow;
use crate::packet::PacketRef;

/// Where a packet has contents of an extra layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    layer: Layer,
    start: u32,
    end: u32,
}

impl Contents {
    /// Nowhere; what [`Pending`] has that are not marked otherwise.
    pub(super) const NONE: Self = Self {
        layer: Layer::DNS,
        start: 0,
        end: 0,
    };
}

impl FlowTable {
    /// The contents of a packet that its innermost flow wants.
    pub(super) fn contents_of(&self, parts: &Encapsulations) -> Option<Contents> {
        let (layer, ends) = parts.innermost()?;
        let is_wanted = self.options.extra_layers.contains(layer);
        is_wanted.then_some(Contents {
            layer,
            start: ends.start,
            end: ends.end,
        })
    }

    /// Keeps the contents of a packet with its flow.
    pub(super) fn keep_contents(
        &mut self,
        record: u32,
        pending: &Pending,
        packet: PacketRef<'_>,
        is_first: bool,
    ) {
        let Contents { layer, start, end } = pending.contents;
        let Some(message) = packet.data.get(start as usize..end as usize) else {
            return;
        };
        // COMPAT: DNS shows the latest message, the others the one in a flow's first packet.
        if !is_first && layer != Layer::DNS {
            return;
        }
        let entry = self.arena.get_mut(record);
        if entry.cold.rare == NONE {
            entry.cold.rare = self.rare.insert(Rare::default());
        }
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        let held = rare.contents.as_ref().map_or(0, |contents| contents.held());
        let needed = ExtraContents::needs(layer, message).max(held);
        if self.contents_bytes + needed - held > contents_limit(&self.options) {
            self.stats.contents_left_out += 1;
            return;
        }
        let contents = match &mut rare.contents {
            Some(contents) if contents.is_replaced_by(layer) => {
                contents.replace(packet.timestamp, message);
                contents
            }
            Some(_) => return,
            none => none.insert(Box::new(ExtraContents::new(
                layer,
                packet.timestamp,
                message,
            ))),
        };
        self.contents_bytes = self.contents_bytes + contents.held() - held;
    }

    /// The contents and fragments of a flow, in a record of nothing else.
    pub(super) fn contents(&self, entry: &Entry) -> Flow {
        let mut flow = Flow::default();
        let Some(rare) = self.rare.get(entry.cold.rare) else {
            return flow;
        };
        flow.ip_metric = rare.ip;
        if let Some(contents) = &rare.contents {
            contents.fill(&mut flow);
        }
        flow
    }
}

/// The most bytes of contents in a table: part of its bound, if it has one.
pub(super) fn contents_limit(options: &FlowTableOptions) -> usize {
    if options.extra_layers.is_none() {
        return 0;
    }
    options
        .max_bytes
        .map_or(MAX_CONTENTS, |bytes| (bytes / 4).min(MAX_CONTENTS))
}

const MAX_CONTENTS: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Filter, Predicate};
    use crate::flow::{ExtraLayers, FlowField, FlowQuery};
    use crate::packet::{LinkType, PacketBatch, PacketHeader};
    use crate::time::Timestamp;

    /// A DNS question of this id from this port for a name of so many letters, then padding.
    fn question(port: u16, id: u16, asked: u8, padding: usize) -> Vec<u8> {
        let mut message = Vec::from(id.to_be_bytes());
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, asked]);
        message.extend(vec![b'a'; asked.into()]);
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
    fn nothing_is_kept_unasked() {
        let mut table = FlowTable::new(options(ExtraLayers::VRRP.with(ExtraLayers::DHCPV4)));
        process(&mut table, &question(1000, 7, 9, 0));
        assert_eq!(
            table.query(&FlowQuery::default()).unwrap().flows[0].dns,
            None
        );
        assert_eq!(table.contents_bytes, 0);
    }

    #[test]
    fn contents_stay_within_their_bound_and_leave_with_the_flow() {
        let bound = 4_000_000;
        let mut table = FlowTable::new(options(ExtraLayers::ALL).with_max_bytes(bound));
        for port in 1000..9000 {
            process(&mut table, &question(port, 1, 3, 0));
            process(&mut table, &question(port, 2, 63, 900));
            assert!(table.contents_bytes <= bound / 4);
            assert!(table.stats().bytes <= bound);
        }
        assert!(table.stats().contents_left_out > 0);
        let mut sent: Vec<Flow> = Vec::new();
        table.flush(&mut sent);
        assert_eq!(table.contents_bytes, 0);
        assert!(sent.iter().any(|flow| flow.dns.is_some()));
    }
}
