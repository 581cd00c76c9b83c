//! Conversion of an [`Injection`] and the nodes to which it refers into a [`PacketRequest`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Injection, NodeFinder, ValidationError};
use crate::capture::link_type_of_encap;
use crate::graph::Node;
use crate::inject::{MacAddress, PacketMode, PacketRequest, PacketType};
use crate::packet::LinkType;
use crate::value::Value;

impl Injection {
    /// Returns the packets that a source node sends. `number` is the position of the node among all
    /// source nodes, from 0; in the mode `unique`, it is added to the identifier of echo requests
    /// or to the source port.
    ///
    /// The destination MAC address is that of the next hop or, if unknown, that of the destination
    /// node.
    ///
    /// # Errors
    /// Returns an error for the first address that is missing or invalid, with the message of
    /// Skydive if Skydive has the rule.
    pub fn request_for(
        &self,
        source: &Node,
        number: u16,
        nodes: &dyn NodeFinder,
    ) -> Result<PacketRequest, ValidationError> {
        let packet_type: PacketType = self.packet_type.parse().map_err(invalid)?;
        let mode: PacketMode = self.mode.parse().map_err(invalid)?;
        let mut request = PacketRequest::new(packet_type);
        request.uuid.clone_from(&self.uuid);
        // COMPAT: Skydive: an unset identifier or source port is 1.
        (request.icmp_id, request.src_port) = (self.icmp_id.max(1), self.src_port.max(1));
        if mode == PacketMode::Unique {
            let varied = if packet_type.is_icmp() {
                &mut request.icmp_id
            } else {
                &mut request.src_port
            };
            *varied = varied.wrapping_add(number).max(1);
        }
        request.mode = mode;
        request.dst_port = self.dst_port;
        request.count = self.count;
        request.interval = self.interval;
        request.increment_payload = self.increment_payload;
        request.payload.clone_from(&self.payload);
        request.pcap = self.pcap.clone().filter(|pcap| !pcap.is_empty());
        request.ttl = if self.ttl == 0 { DEFAULT_TTL } else { self.ttl };
        if request.pcap.is_none() {
            self.resolve_addresses(&mut request, source, nodes)?;
        }
        Ok(request)
    }

    /// Fills in the addresses of both ends.
    fn resolve_addresses(
        &self,
        request: &mut PacketRequest,
        source: &Node,
        nodes: &dyn NodeFinder,
    ) -> Result<(), ValidationError> {
        let is_ipv6 = request.packet_type.is_ipv6();
        let source_ip = given_or(&self.src_ip, || address_of(source, is_ipv6))
            .ok_or_else(|| refusal("No source IP in node"))?;
        let destination = if self.dst.is_empty() {
            None
        } else {
            nodes.first_node(&self.dst).map_err(|reason| {
                refusal(&format!(
                    "No destination node: query {:?}: {reason}",
                    self.dst
                ))
            })?
        };
        if self.dst_ip.is_empty() && destination.is_none() {
            return Err(refusal("No destination node and IP"));
        }
        let destination = destination.as_deref();
        let destination_ip = given_or(&self.dst_ip, || address_of(destination?, is_ipv6))
            .ok_or_else(|| refusal("No destination IP in node"))?;
        request.src_ip = Some(ip_of("SrcIP", &source_ip, is_ipv6)?);
        let ip = ip_of("DstIP", &destination_ip, is_ipv6)?;
        request.dst_ip = Some(ip);
        if !has_link_header(source) {
            return Ok(());
        }
        let source_mac = given_or(&self.src_mac, || mac_of(source))
            .ok_or_else(|| refusal("No source MAC in node"))?;
        request.src_mac = Some(parse_mac("SrcMAC", &source_mac)?);
        let destination_mac = given_or(&self.dst_mac, || {
            let group = group_mac(source, ip).map(|mac| mac.to_string());
            let hop = group.or_else(|| nodes.next_hop_mac(source, ip));
            hop.or_else(|| mac_of(destination?))
        })
        .ok_or_else(|| refusal("Failed to resolve destination MAC address"))?;
        request.dst_mac = Some(parse_mac("DstMAC", &destination_mac)?);
        Ok(())
    }
}

/// Returns whether packets on the node's interface begin with an Ethernet header.
fn has_link_header(node: &Node) -> bool {
    let encap_type = node.metadata.get("EncapType").and_then(Value::as_text);
    let link_type = encap_type.and_then(link_type_of_encap);
    link_type.is_none_or(|link_type| link_type == LinkType::ETHERNET)
}

/// Returns the text given by a client or, if it is empty, the text found in the graph; `None` if
/// both are missing.
fn given_or(given: &str, find: impl FnOnce() -> Option<String>) -> Option<String> {
    if given.is_empty() {
        find()
    } else {
        Some(given.to_owned())
    }
}

/// Returns the first IP address of a node. A link-local address is returned only if there is no
/// other address, because it reaches only neighbors.
fn address_of(node: &Node, is_ipv6: bool) -> Option<String> {
    if !is_ipv6 {
        return first_text(node, "Neutron.IPV4").or_else(|| first_text(node, "IPV4"));
    }
    let is_global = |text: &&str| {
        let (address, _) = text.split_once('/').unwrap_or((text, ""));
        let parsed = address.parse::<Ipv6Addr>();
        parsed.is_ok_and(|address| !address.is_unicast_link_local())
    };
    let global = || {
        let all = node.metadata.get("IPV6")?.as_list()?;
        let mut texts = all.iter().filter_map(Value::as_text);
        texts.find(is_global).map(str::to_owned)
    };
    first_text(node, "Neutron.IPV6")
        .or_else(global)
        .or_else(|| first_text(node, "IPV6"))
}

/// Returns the hardware address of a node, or that of the interface attached to a port.
fn mac_of(node: &Node) -> Option<String> {
    let keys = ["ExtID.attached-mac", "MAC"];
    keys.iter().find_map(|key| first_text(node, key))
}

/// Returns the hardware address that a multicast or broadcast address defines (RFC 1112, section
/// 6.4; RFC 2464, section 7); `None` for other addresses.
fn group_mac(source: &Node, ip: IpAddr) -> Option<MacAddress> {
    match ip {
        IpAddr::V4(ip) if ip.is_multicast() => {
            let [_, a, b, c] = ip.octets();
            Some(MacAddress([0x01, 0x00, 0x5e, a & 0x7f, b, c]))
        }
        IpAddr::V6(ip) if ip.is_multicast() => {
            let [.., a, b, c, d] = ip.octets();
            Some(MacAddress([0x33, 0x33, a, b, c, d]))
        }
        IpAddr::V4(ip) if ip.is_broadcast() || is_broadcast_of(source, ip) => {
            Some(MacAddress([0xff; 6]))
        }
        _ => None,
    }
}

/// Returns whether an address is the broadcast address of a network of the node.
fn is_broadcast_of(node: &Node, ip: Ipv4Addr) -> bool {
    let own = node.metadata.get("IPV4").and_then(Value::as_list);
    let own = own.unwrap_or_default().iter().filter_map(Value::as_text);
    let is_last = |text: &str| {
        let (address, length) = text.split_once('/')?;
        let address = address.parse::<Ipv4Addr>().ok()?;
        let length = length.parse::<u32>().ok()?;
        // Networks of two addresses or one have no broadcast address (RFC 3021).
        let hosts = (length < 31).then(|| u32::MAX >> length)?;
        Some(u32::from(address) | hosts == u32::from(ip))
    };
    let mut last = own.filter_map(is_last);
    last.any(|is_last| is_last)
}

/// Returns a metadata value that is a string, or the first string of an array; `None` if it is
/// empty.
fn first_text(node: &Node, key: &str) -> Option<String> {
    let text = match node.metadata.get_path(key)? {
        Value::List(items) => items.first()?.as_text()?,
        value => value.as_text()?,
    };
    (!text.is_empty()).then(|| text.to_owned())
}

/// Parses an IP address, ignoring its prefix length.
fn ip_of(field: &'static str, text: &str, is_ipv6: bool) -> Result<IpAddr, ValidationError> {
    let (address, _) = text.split_once('/').unwrap_or((text, ""));
    let version = if is_ipv6 { 6 } else { 4 };
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == is_ipv6 => Ok(ip),
        _ => {
            let text = format!("{address} is not an IPv{version} address");
            Err(ValidationError::of_field(field, text))
        }
    }
}

fn parse_mac(field: &'static str, text: &str) -> Result<MacAddress, ValidationError> {
    let parsed = text.parse::<MacAddress>();
    parsed.map_err(|error| ValidationError::of_field(field, error.to_string()))
}

fn refusal(text: &str) -> ValidationError {
    ValidationError::of_resource(text)
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn invalid(error: crate::inject::InjectError) -> ValidationError {
    ValidationError::of_resource(error.to_string())
}

/// Time to live of packets for which the client does not set it, in hops.
const DEFAULT_TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::Metadata;
    use crate::time::Timestamp;

    /// A graph of one node, with a known next hop.
    struct Hop(Option<&'static str>);

    impl NodeFinder for Hop {
        fn first_node(&self, query: &str) -> Result<Option<Arc<Node>>, String> {
            if query == "slow" {
                return Err("the query takes longer than 5s".to_owned());
            }
            let destination = r#"{"IPV4":["10.0.0.2/24"],"MAC":"02:00:00:00:00:02"}"#;
            Ok(Some(Arc::new(node(destination))))
        }

        fn next_hop_mac(&self, _: &Node, _: IpAddr) -> Option<String> {
            self.0.map(str::to_owned)
        }
    }

    fn node(metadata: &str) -> Node {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Node::new("n", metadata, Timestamp::ZERO)
    }

    fn source() -> Node {
        node(
            r#"{"IPV4":["10.0.0.1/24"],"IPV6":["fd00::1/64"],"MAC":"02:00:00:00:00:01",
                "EncapType":"ether"}"#,
        )
    }

    fn ping() -> Injection {
        Injection::new("src", "icmp4").with_dst("dst")
    }

    #[test]
    fn a_destination_query_that_fails_is_the_reason() {
        let injection = Injection::new("src", "icmp4").with_dst("slow");
        let error = injection.request_for(&source(), 0, &Hop(None)).unwrap_err();
        let text = r#"No destination node: query "slow": the query takes longer than 5s"#;
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn addresses_are_those_of_the_nodes_and_the_next_hop() {
        let request = ping()
            .request_for(&source(), 0, &Hop(Some("02:00:00:00:00:09")))
            .unwrap();
        assert_eq!(request.src_ip, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(request.dst_ip, Some("10.0.0.2".parse().unwrap()));
        assert_eq!(request.src_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
        assert_eq!(request.dst_mac, Some(MacAddress([2, 0, 0, 0, 0, 9])));
        assert_eq!((request.icmp_id, request.src_port, request.ttl), (1, 1, 64));
        let near = ping().request_for(&source(), 0, &Hop(None)).unwrap();
        assert_eq!(near.dst_mac, Some(MacAddress([2, 0, 0, 0, 0, 2])));
        let neutron = node(
            r#"{"Neutron":{"IPV4":["10.1.0.1/24"]},"IPV4":["10.0.0.1/24"],
                "ExtID":{"attached-mac":"02:00:00:00:00:07"},"MAC":"02:00:00:00:00:01"}"#,
        );
        let request = ping().request_for(&neutron, 0, &Hop(None)).unwrap();
        assert_eq!(request.src_ip, Some("10.1.0.1".parse().unwrap()));
        assert_eq!(request.src_mac, Some(MacAddress([2, 0, 0, 0, 0, 7])));
    }

    #[test]
    fn group_addresses_define_the_hardware_address() {
        let source = node(
            r#"{"IPV4":["10.0.0.1/24","10.9.0.1/31"],"IPV6":["fd00::1/64"],
                "MAC":"02:00:00:00:00:01"}"#,
        );
        let sent = |kind: &str, ip: &str, mac: &str| {
            let injection = Injection::new("src", kind)
                .with_dst_ip(ip)
                .with_dst_mac(mac);
            let request = injection.request_for(&source, 0, &Hop(Some("02:00:00:00:00:09")));
            request.unwrap().dst_mac.unwrap().to_string()
        };
        for (kind, ip, wanted) in [
            ("udp4", "224.0.0.251", "01:00:5e:00:00:fb"),
            ("udp4", "239.255.1.2", "01:00:5e:7f:01:02"),
            ("udp6", "ff02::1:ff00:7", "33:33:ff:00:00:07"),
            ("udp4", "255.255.255.255", "ff:ff:ff:ff:ff:ff"),
            ("udp4", "10.0.0.255", "ff:ff:ff:ff:ff:ff"),
            ("udp4", "10.0.1.255", "02:00:00:00:00:09"),
            ("udp4", "10.9.0.1", "02:00:00:00:00:09"),
            ("udp6", "fd00::9", "02:00:00:00:00:09"),
        ] {
            assert_eq!(sent(kind, ip, ""), wanted, "{ip}");
        }
        let given = "02:00:00:00:00:05";
        assert_eq!(sent("udp4", "224.0.0.1", given), given);
    }

    #[test]
    fn link_local_addresses_are_the_last_choice() {
        let source = |addresses: &str| {
            let injection = Injection::new("src", "udp6").with_dst_ip("fd00::9");
            let mac = r#""MAC":"02:00:00:00:00:01""#;
            let source = node(&format!(r#"{{"IPV6":{addresses},{mac}}}"#));
            let request = injection.request_for(&source, 0, &Hop(Some("02:00:00:00:00:09")));
            request.unwrap().src_ip.unwrap().to_string()
        };
        assert_eq!(source(r#"["fe80::1/64","fd00::1/64"]"#), "fd00::1");
        assert_eq!(source(r#"["fe80::1/64"]"#), "fe80::1");
    }

    #[test]
    fn further_nodes_have_further_identifiers_or_ports() {
        let send = |injection: &Injection, number| {
            let request = injection
                .request_for(&source(), number, &Hop(None))
                .unwrap();
            (request.icmp_id, request.src_port)
        };
        let udp = Injection::new("src", "udp4")
            .with_dst("dst")
            .with_src_port(4_000_u16);
        assert_eq!(send(&ping().with_icmp_id(7_u16), 2), (9, 1));
        assert_eq!(send(&udp, 2), (1, 4_002));
        assert_eq!(send(&udp.clone().with_mode("random"), 2), (1, 4_000));
        assert_eq!(
            send(&udp.with_src_port(u16::MAX), 1),
            (1, 1),
            "port 0 is not used"
        );
    }

    #[test]
    fn interfaces_without_link_header_need_no_hardware_addresses() {
        let tunnel = node(r#"{"IPV4":["10.0.0.1/24"],"EncapType":"none"}"#);
        let request = ping().request_for(&tunnel, 0, &Hop(None)).unwrap();
        assert_eq!((request.src_mac, request.dst_mac), (None, None));
    }

    #[test]
    fn wrong_addresses_are_named() {
        let refused = |injection: Injection| {
            let refused = injection.request_for(&source(), 0, &Hop(None));
            refused.unwrap_err().to_string()
        };
        let six = Injection::new("src", "udp6").with_dst_ip("10.0.0.9/8");
        assert_eq!(refused(six), "DstIP: 10.0.0.9 is not an IPv6 address");
        let long = ping().with_dst_mac("02:00:00:00:00:01:00:01");
        let text = r#"DstMAC: "02:00:00:00:00:01:00:01" is not a MAC address of 6 bytes"#;
        assert_eq!(refused(long), text);
    }

    #[test]
    fn a_capture_file_needs_no_addresses() {
        let injection = ping().with_pcap(Some("AAEC".to_owned()));
        let request = injection.request_for(&node("{}"), 0, &Hop(None)).unwrap();
        assert_eq!(
            (request.src_ip, request.pcap.as_deref()),
            (None, Some("AAEC"))
        );
    }
}
