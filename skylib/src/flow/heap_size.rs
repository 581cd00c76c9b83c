//! What a flow takes in memory, for bounds in bytes.

use prost::Message as _;

use super::extra_layers::records::{
    Dhcpv4Layer, DnsLayer, DnsOpt, DnsQuestion, DnsRecord, Vrrpv2Layer,
};
use super::record::{Flow, RawPacket};
use crate::value::Text;

impl Flow {
    /// Roughly how many bytes it takes in memory; texts shared with others count in full.
    ///
    /// A record from elsewhere may be small on the wire and large here: an empty message in a list
    /// is two bytes there.
    #[must_use]
    pub fn weight(&self) -> usize {
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
            + self.dns.as_deref().map_or(0, weight_of_dns)
    }
}

fn weight_of_dns(dns: &DnsLayer) -> usize {
    let sections = [&dns.answers, &dns.authorities, &dns.additionals];
    let records: usize = sections.into_iter().flatten().map(weight_of_record).sum();
    size_of::<DnsLayer>()
        + dns.questions.len() * size_of::<DnsQuestion>()
        + records
        + dns.encoded_len()
}

fn weight_of_record(record: &DnsRecord) -> usize {
    size_of::<DnsRecord>()
        + record.txts.len() * size_of::<Text>()
        + record.opt.len() * size_of::<DnsOpt>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_on_the_wire_counts_as_what_it_is() {
        let plain = Flow::default().weight();
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
        assert!(flow.weight() >= plain + 1_000 * size_of::<DnsRecord>());
        let packet = RawPacket {
            data: vec![0; 5_000].into(),
            ..RawPacket::default()
        };
        let flow = Flow {
            last_raw_packets: vec![packet; 2],
            ..Flow::default()
        };
        assert!(flow.weight() >= plain + 10_000);
    }
}
