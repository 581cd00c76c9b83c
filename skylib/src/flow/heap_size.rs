//! Memory size of a flow record, for limits in bytes.

use prost::Message as _;

use super::extra_layers::records::{
    Dhcpv4Layer, DnsLayer, DnsOpt, DnsQuestion, DnsRecord, Vrrpv2Layer,
};
use super::record::{Flow, RawPacket};
use crate::value::Text;

impl Flow {
    /// Returns the approximate size of the record in memory, in bytes, including its heap memory;
    /// shared strings are counted in full.
    ///
    /// A received record may be much larger in memory than on the wire, where an empty message in a
    /// list takes two bytes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let own = [
            &self.uuid,
            &self.layers_path,
            &self.application,
            &self.tracking_id,
            &self.l3_tracking_id,
            &self.parent_uuid,
            &self.node_tid,
            &self.capture_id,
        ];
        let ends = [&self.link, &self.network];
        let ends = ends.into_iter().flatten().flat_map(|end| [&end.a, &end.b]);
        let texts: usize = own.into_iter().chain(ends).map(Text::heap_bytes).sum();
        let packets: usize = self.last_raw_packets.iter().map(|p| p.data.len()).sum();
        let dhcp = self
            .dhcpv4
            .as_deref()
            .map_or(0, |dhcp| size_of::<Dhcpv4Layer>() + dhcp.encoded_len());
        let vrrp = self
            .vrrpv2
            .as_deref()
            .map_or(0, |vrrp| size_of::<Vrrpv2Layer>() + vrrp.encoded_len());
        size_of::<Self>()
            + texts
            + self.last_raw_packets.len() * size_of::<RawPacket>()
            + packets
            + dhcp
            + vrrp
            + self.dns.as_deref().map_or(0, dns_size)
            + self.details_size()
    }

    /// Returns the approximate size of the sub-messages that few records have, in bytes. A list of
    /// numbers takes up to four times its encoded length.
    fn details_size(&self) -> usize {
        fn size<M: prost::Message>(message: Option<&M>) -> usize {
            message.map_or(0, |message| size_of::<M>() + 4 * message.encoded_len())
        }
        size(self.wire.as_deref())
            + size(self.initiator.as_ref())
            + size(self.rtt_metric.as_deref())
            + size(self.arp.as_deref())
            + size(self.about.as_deref())
            + size(self.icmp_errors.as_deref())
            + size(self.offload.as_deref())
            + size(self.dns_metric.as_deref())
            + size(self.export.as_deref())
    }
}

/// Returns the memory size of a DNS layer, in bytes.
fn dns_size(dns: &DnsLayer) -> usize {
    let sections = [&dns.answers, &dns.authorities, &dns.additionals];
    let records: usize = sections.into_iter().flatten().map(record_size).sum();
    size_of::<DnsLayer>()
        + dns.questions.len() * size_of::<DnsQuestion>()
        + records
        + dns.encoded_len()
}

/// Returns the memory size of a DNS record without its strings, in bytes.
fn record_size(record: &DnsRecord) -> usize {
    size_of::<DnsRecord>()
        + record.txts.len() * size_of::<Text>()
        + record.opt.len() * size_of::<DnsOpt>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_messages_are_counted_with_their_size_in_memory() {
        let plain = Flow::default().memory_size();
        assert!(plain >= size_of::<Flow>());
        let dns = DnsLayer {
            answers: vec![DnsRecord::default(); 1_000],
            ..DnsLayer::default()
        };
        let flow = Flow {
            dns: Some(Box::new(dns)),
            ..Flow::default()
        };
        assert!(flow.encoded_len() < 3_000);
        assert!(flow.memory_size() >= plain + 1_000 * size_of::<DnsRecord>());
        let packet = RawPacket {
            data: vec![0; 5_000].into(),
            ..RawPacket::default()
        };
        let flow = Flow {
            last_raw_packets: vec![packet; 2],
            ..Flow::default()
        };
        assert!(flow.memory_size() >= plain + 10_000);
    }
}
