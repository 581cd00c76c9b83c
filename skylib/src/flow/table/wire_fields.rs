//! Record fields `Wire` and `ARP`, and the identifiers of a flow, derived from the stored
//! [`Marks`].

use std::borrow::Cow;

use super::FlowTable;
use super::entry::{Entry, HOT_SWAPPED};
use super::opener::Evidence;
use crate::decode::Marks;
use crate::flow::flow_ids::{FlowIds, IdentityMarks};
use crate::flow::key_extras::vlan_ids;
use crate::flow::key_ignore::KeyIgnore;
use crate::flow::record::{Arp, Flow, Wire};
use crate::packet::CapturePointName;
use crate::time::Timestamp;

use super::export::{Mac, hex_text, short_text};

impl FlowTable {
    /// Returns the identifiers of a flow.
    pub(super) fn identifiers(&self, record: u32) -> FlowIds {
        let entry = self.arena.get(record);
        let ignore = self.options.key_ignore;
        let marks = self.marks(record);
        let marks = marks.as_deref();
        let vlan_id = if ignore.contains(KeyIgnore::VLAN) {
            0
        } else {
            entry.cold.vlan_id
        };
        let arp = marks.and_then(|marks| {
            let arp = marks.arp()?;
            let (low, high) = entry.key.macs();
            let ends = if entry.hot.flags & HOT_SWAPPED == 0 {
                [arp.sender, arp.target]
            } else {
                [arp.target, arp.sender]
            };
            let [a, b] = ends;
            Some(if low == high {
                [a.min(b), a.max(b)]
            } else {
                ends
            })
        });
        let rare = self.rare.get(entry.cold.rare);
        let subject = rare
            .and_then(|rare| rare.details.as_ref()?.subject.as_ref())
            .map(|subject| subject.identity())
            .unwrap_or_default();
        let point = marks.and_then(|marks| self.point_name(marks));
        let numbers = self.side_numbers(record);
        let identity = (!self.options.recorded).then_some(IdentityMarks {
            marks,
            point: point.as_ref(),
            arp,
            vlan_id,
            ignore,
            subject: &subject,
            capture_id: &self.options.capture_id,
            new_syn: (entry.hot.opener == Evidence::NewSyn).then_some(numbers.new_syn),
            evictions: numbers.evictions,
            is_reverse: entry.hot.flags & HOT_SWAPPED != 0
                && marks.is_some_and(|marks| is_one_way(marks, ignore)),
            occurrence: numbers.occurrence,
        });
        let start = self.uuid_start(entry);
        FlowIds::new(
            &entry.key,
            entry.cold.parent_uuid,
            Timestamp::from_ms(self.clock_steps.shown(start)),
            &self.options.node_tid,
            identity.as_ref(),
        )
    }

    /// Returns the start from which the UUID of a flow is computed, in Unix milliseconds.
    pub(super) fn uuid_start(&self, entry: &Entry) -> i64 {
        let rare = self.rare.get(entry.cold.rare);
        rare.and_then(|rare| rare.uuid_start)
            .unwrap_or(entry.cold.start)
    }

    /// Returns the capture point of a flow; `None` if its source has only one.
    fn point_name(&self, marks: &Marks) -> Option<CapturePointName> {
        let point = marks.point()?;
        self.capture_points.name(point.index())
    }

    /// Returns the marks of the first packet of a flow, if it had any.
    fn marks(&self, record: u32) -> Option<Cow<'_, Marks>> {
        if let Some(origin) = self.side_numbers(record).origin {
            return Some(Cow::Owned(Marks::of_capture_origin(origin)));
        }
        let rare = self.rare.get(self.arena.get(record).cold.rare)?;
        rare.marks.as_deref().map(Cow::Borrowed)
    }

    /// Sets `Wire` and `ARP` of a record.
    pub(super) fn fill_wire(&self, record: u32, flow: &mut Flow) {
        if self.options.recorded {
            return;
        }
        let entry = self.arena.get(record);
        let marks = self.marks(record);
        let mut wire = Wire {
            vlan: vlan_ids(entry.cold.vlan_id).map(u32::from).collect(),
            ..Wire::default()
        };
        if let Some(marks) = marks.as_deref() {
            fill_own(&mut wire, marks);
            if let Some(point) = self.point_name(marks) {
                wire.interface = short_text(point);
            }
            flow.arp = marks.arp().map(|arp| Box::new(arp_record(&arp)));
        }
        let rare = self.rare.get(entry.cold.rare);
        if let Some(pairing) = rare.and_then(|rare| rare.pairing.as_deref()) {
            let [ab, ba] = &pairing.marks;
            wire.mpls = ab.labels().to_vec();
            wire.ba_mpls = ba.labels().to_vec();
            wire.teid = ab.teid().unwrap_or(0);
            wire.ba_teid = ba.teid().unwrap_or(0);
            wire.session = ab.session().unwrap_or(0);
            wire.ba_session = ba.session().unwrap_or(0);
            if pairing.parents[1] != 0 {
                wire.ba_parent_uuid = hex_text(pairing.parents[1]);
            }
        }
        flow.wire = (wire != Wire::default()).then(|| Box::new(wire));
    }

    /// Returns the UUID of the enclosing flow; 0 for an outermost flow. Inside a one-way path, it
    /// is the enclosing flow of the direction from A to B, once a packet of that direction was
    /// seen.
    pub(super) fn shown_parent(&self, entry: &Entry) -> u64 {
        let rare = self.rare.get(entry.cold.rare);
        let pairing = rare.and_then(|rare| rare.pairing.as_deref());
        match pairing.map_or(0, |pairing| pairing.parents[0]) {
            0 => entry.cold.parent_uuid,
            parent => parent,
        }
    }
}

/// Returns whether the key of a flow with these marks contains the direction of its packets.
fn is_one_way(marks: &Marks, ignore: KeyIgnore) -> bool {
    let has_labels = !marks.labels().is_empty() && !ignore.contains(KeyIgnore::MPLS);
    let ids = [marks.spi(), marks.teid(), marks.session()];
    has_labels || ids.iter().any(Option::is_some)
}

/// Sets the fields from the marks of the flow itself.
fn fill_own(wire: &mut Wire, marks: &Marks) {
    wire.mpls = marks.labels().to_vec();
    wire.pppoe = marks.pppoe().unwrap_or(0).into();
    wire.if_index = marks.if_index().unwrap_or(0);
    wire.ip_protocol = marks.ip_protocol().unwrap_or(0).into();
    wire.spi = marks.spi().unwrap_or(0);
    wire.gre_key = marks.gre_key();
    wire.teid = marks.teid().unwrap_or(0);
    wire.session = marks.session().unwrap_or(0);
    wire.service_instance = marks.service_instance().unwrap_or(0);
    wire.service_path = marks.service_path().unwrap_or(0);
    let tag = marks.link_tag().unwrap_or(0);
    let ether_type = tag.checked_sub(0x10000).filter(|number| *number < 0x10000);
    wire.ether_type = i64::try_from(ether_type.unwrap_or(tag)).unwrap_or(0);
}

/// Returns the record of an ARP packet.
fn arp_record(arp: &crate::decode::ArpHeader) -> Arp {
    let address = |octets: [u8; 4]| short_text(std::net::Ipv4Addr::from(octets));
    Arp {
        operation: match arp.operation {
            1 => "REQUEST".into(),
            2 => "REPLY".into(),
            other => short_text(other),
        },
        sender_mac: short_text(Mac(arp.sender_mac)),
        sender_ip: address(arp.sender),
        target_mac: short_text(Mac(arp.target_mac)),
        target_ip: address(arp.target),
    }
}
