//! Protocol layers, and the path that they form in a packet.

use std::fmt;
use std::str::FromStr;

/// Protocol layer of a packet.
///
/// ```
/// use skylib::decode::Layer;
///
/// assert_eq!(Layer::DOT1Q.name(), "Dot1Q");
/// assert_eq!("Dot1Q".parse(), Ok(Layer::DOT1Q));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layer(u8);

/// Layers of one encapsulation level, outermost first; at most [`LayersPath::CAPACITY`].
///
/// Displayed as Skydive's `LayersPath`: the names separated by slashes. This form can be parsed
/// again.
///
/// ```
/// use skylib::decode::{Layer, LayersPath};
/// let path: LayersPath = [Layer::ETHERNET, Layer::IPV4, Layer::TCP].into_iter().collect();
/// assert_eq!(path.to_string(), "Ethernet/IPv4/TCP");
/// assert_eq!(path.application(), Some(Layer::TCP));
/// assert_eq!("Ethernet/IPv4/TCP".parse(), Ok(path));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LayersPath {
    /// One byte for each layer, the innermost in the lowest byte, so that a push is a shift that
    /// does not need the length. Codes are not 0, so that the length is the number of bytes in use.
    codes: u128,
}

macro_rules! layers {
    ($($(#[$doc:meta])* $constant:ident $code:literal $name:literal;)*) => {
        impl Layer {
            $($(#[$doc])* pub const $constant: Self = Self($code);)*

            /// All layers.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// Returns the name of the layer, as in a layers path.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => $name,)*
                    _ => "",
                }
            }
        }
    };
}

layers! {
    /// Ethernet II or IEEE 802.3.
    ETHERNET 1 "Ethernet";
    /// IEEE 802.1Q or 802.1ad tag.
    DOT1Q 2 "Dot1Q";
    /// Linux "cooked" capture header, either version.
    LINUX_SLL 3 "Linux SLL";
    /// BSD loopback header.
    LOOPBACK 4 "Loopback";
    /// Point-to-point protocol.
    PPP 5 "PPP";
    /// PPP over Ethernet.
    PPPOE 6 "PPPoE";
    /// One MPLS label.
    MPLS 7 "MPLS";
    /// Address resolution protocol.
    ARP 8 "ARP";
    /// IEEE 802.2 logical link control.
    LLC 9 "LLC";
    /// Subnetwork access protocol.
    SNAP 10 "SNAP";
    /// Spanning tree protocol.
    STP 11 "STP";
    /// Link layer discovery protocol (LLDP).
    LINK_LAYER_DISCOVERY 12 "LinkLayerDiscovery";
    /// Optional fields of LLDP.
    LINK_LAYER_DISCOVERY_INFO 13 "LinkLayerDiscoveryInfo";
    /// Extensible authentication protocol over LAN (IEEE 802.1X).
    EAPOL 14 "EAPOL";
    /// Extensible authentication protocol.
    EAP 15 "EAP";
    /// Cisco discovery protocol.
    CISCO_DISCOVERY 16 "CiscoDiscovery";
    /// Fields of a Cisco discovery packet.
    CISCO_DISCOVERY_INFO 17 "CiscoDiscoveryInfo";
    /// Ethernet configuration testing protocol.
    ETHERNET_CTP 18 "EthernetCTP";
    /// Ethernet configuration testing, forward data.
    ETHERNET_CTP_FORWARD_DATA 19 "EthernetCTPForwardData";
    /// Ethernet configuration testing, reply.
    ETHERNET_CTP_REPLY 20 "EthernetCTPReply";
    /// IP version 4.
    IPV4 21 "IPv4";
    /// Fragment of an IP datagram, or mark of a reassembled one.
    FRAGMENT 22 "Fragment";
    /// IP version 6.
    IPV6 23 "IPv6";
    /// IPv6 hop-by-hop options.
    IPV6_HOP_BY_HOP 24 "IPv6HopByHop";
    /// IPv6 routing header.
    IPV6_ROUTING 25 "IPv6Routing";
    /// IPv6 fragment header.
    IPV6_FRAGMENT 26 "IPv6Fragment";
    /// IPv6 destination options.
    IPV6_DESTINATION 27 "IPv6Destination";
    /// ICMP for IPv4.
    ICMPV4 28 "ICMPv4";
    /// ICMP for IPv6.
    ICMPV6 29 "ICMPv6";
    /// ICMPv6 echo request or reply.
    ICMPV6_ECHO 30 "ICMPv6Echo";
    /// ICMPv6 router solicitation.
    ICMPV6_ROUTER_SOLICITATION 31 "ICMPv6RouterSolicitation";
    /// ICMPv6 router advertisement.
    ICMPV6_ROUTER_ADVERTISEMENT 32 "ICMPv6RouterAdvertisement";
    /// ICMPv6 neighbor solicitation.
    ICMPV6_NEIGHBOR_SOLICITATION 33 "ICMPv6NeighborSolicitation";
    /// ICMPv6 neighbor advertisement.
    ICMPV6_NEIGHBOR_ADVERTISEMENT 34 "ICMPv6NeighborAdvertisement";
    /// ICMPv6 redirect.
    ICMPV6_REDIRECT 35 "ICMPv6Redirect";
    /// Multicast listener query, version 1.
    MLDV1_QUERY 36 "MLDv1MulticastListenerQuery";
    /// Multicast listener report, version 1.
    MLDV1_REPORT 37 "MLDv1MulticastListenerReport";
    /// Multicast listener done, version 1.
    MLDV1_DONE 38 "MLDv1MulticastListenerDone";
    /// Multicast listener query, version 2.
    MLDV2_QUERY 39 "MLDv2MulticastListenerQuery";
    /// Multicast listener report, version 2.
    MLDV2_REPORT 40 "MLDv2MulticastListenerReport";
    /// Internet group management protocol.
    IGMP 41 "IGMP";
    /// Transmission control protocol.
    TCP 42 "TCP";
    /// User datagram protocol.
    UDP 43 "UDP";
    /// Reliable data protocol.
    RUDP 44 "RUDP";
    /// UDP-Lite, with partial checksums.
    UDP_LITE 45 "UDPLite";
    /// Stream control transmission protocol.
    SCTP 46 "SCTP";
    /// SCTP DATA chunk.
    SCTP_DATA 47 "SCTPData";
    /// SCTP INIT chunk.
    SCTP_INIT 48 "SCTPInit";
    /// SCTP INIT ACK chunk.
    SCTP_INIT_ACK 49 "SCTPInitAck";
    /// SCTP SACK chunk.
    SCTP_SACK 50 "SCTPSack";
    /// SCTP HEARTBEAT chunk.
    SCTP_HEARTBEAT 51 "SCTPHeartbeat";
    /// SCTP HEARTBEAT ACK chunk.
    SCTP_HEARTBEAT_ACK 52 "SCTPHeartbeatAck";
    /// SCTP ABORT chunk.
    SCTP_ABORT 53 "SCTPAbort";
    /// SCTP SHUTDOWN chunk.
    SCTP_SHUTDOWN 54 "SCTPShutdown";
    /// SCTP SHUTDOWN ACK chunk.
    SCTP_SHUTDOWN_ACK 55 "SCTPShutdownAck";
    /// SCTP ERROR chunk.
    SCTP_ERROR 56 "SCTPError";
    /// SCTP COOKIE ECHO chunk.
    SCTP_COOKIE_ECHO 57 "SCTPCookieEcho";
    /// SCTP COOKIE ACK chunk.
    SCTP_COOKIE_ACK 58 "SCTPCookieAck";
    /// SCTP SHUTDOWN COMPLETE chunk.
    SCTP_SHUTDOWN_COMPLETE 59 "SCTPShutdownComplete";
    /// Any other SCTP chunk.
    SCTP_UNKNOWN 60 "SCTPUnknownChunkType";
    /// Generic routing encapsulation.
    GRE 61 "GRE";
    /// Ethernet in IP.
    ETHER_IP 62 "EtherIP";
    /// IPsec encapsulating security payload.
    IPSEC_ESP 63 "IPSecESP";
    /// IPsec authentication header.
    IPSEC_AH 64 "IPSecAH";
    /// Open shortest path first.
    OSPF 65 "OSPF";
    /// Virtual router redundancy protocol.
    VRRP 66 "VRRP";
    /// Virtual extensible LAN.
    VXLAN 67 "VXLAN";
    /// Generic network virtualization encapsulation.
    GENEVE 68 "Geneve";
    /// GPRS tunneling protocol, user plane, version 1.
    GTPV1U 69 "GTPv1U";
    /// Bidirectional forwarding detection.
    BFD 70 "BFD";
    /// Domain name system.
    DNS 71 "DNS";
    /// DHCP for IPv4.
    DHCPV4 72 "DHCPv4";
    /// DHCP for IPv6.
    DHCPV6 73 "DHCPv6";
    /// Network time protocol.
    NTP 74 "NTP";
    /// Session initiation protocol.
    SIP 75 "SIP";
    /// sFlow, sampled flows.
    SFLOW 76 "SFlow";
    /// Fiber distributed data interface.
    FDDI 77 "FDDI";
    /// Cisco's framing for serial lines.
    CISCO_HDLC 78 "CiscoHDLC";
    /// IEEE 802.11 frame.
    DOT11 79 "Dot11";
    /// Data frame of IEEE 802.11.
    DOT11_DATA 80 "Dot11Data";
    /// Radiotap header before an IEEE 802.11 frame.
    RADIO_TAP 81 "RadioTap";
    /// Prism header before an IEEE 802.11 frame.
    PRISM 82 "PrismHeader";
    /// Per-packet information header.
    PPI 83 "PPI";
    /// Header of a packet logged by Linux netfilter.
    NFLOG 84 "NFLOG";
    /// Header of a packet logged by the BSD packet filter.
    PFLOG 85 "PFLog";
    /// IP over InfiniBand.
    IPOIB 86 "IPoIB";
    /// VXLAN with a protocol number (generic protocol extension).
    VXLAN_GPE 87 "VXLANGPE";
    /// Layer 2 tunneling protocol, versions 2 and 3.
    L2TP 88 "L2TP";
    /// Generic UDP encapsulation.
    GUE 89 "GUE";
    /// IPv6 over UDP through network address translators.
    TEREDO 90 "Teredo";
    /// Network service header.
    NSH 91 "NSH";
    /// Provider backbone bridge (IEEE 802.1ah).
    PBB 92 "PBB";
}

impl Layer {
    /// Returns whether the layer is recognized only by its UDP port, so that the payload may belong
    /// to another protocol.
    #[must_use]
    pub(crate) const fn is_guessed_from_port(self) -> bool {
        matches!(
            self,
            Self::VXLAN
                | Self::GENEVE
                | Self::GTPV1U
                | Self::BFD
                | Self::DNS
                | Self::DHCPV4
                | Self::DHCPV6
                | Self::NTP
                | Self::SIP
                | Self::SFLOW
        )
    }
}

impl LayersPath {
    /// Maximum number of layers; deeper layers of a packet are not decoded.
    pub const CAPACITY: usize = 16;

    /// Returns the number of layers.
    #[must_use]
    pub const fn len(&self) -> usize {
        Self::CAPACITY - self.codes.leading_zeros() as usize / 8
    }

    /// Returns whether there are no layers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.codes == 0
    }

    /// Returns whether the path is full.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.codes >> 120 != 0
    }

    /// Returns the layers, outermost first.
    pub fn iter(&self) -> impl Iterator<Item = Layer> + use<> {
        self.codes
            .to_be_bytes()
            .into_iter()
            .filter(|code| *code != 0)
            .map(Layer)
    }

    /// Returns whether the path contains a layer.
    #[must_use]
    pub fn contains(&self, layer: Layer) -> bool {
        self.iter().any(|other| other == layer)
    }

    /// Returns the innermost layer; `None` if the path is empty.
    #[must_use]
    pub const fn last(&self) -> Option<Layer> {
        match self.codes as u8 {
            0 => None,
            code => Some(Layer(code)),
        }
    }

    /// Returns the layer that names the application: the innermost one that the displayed path
    /// contains.
    #[must_use]
    pub fn application(&self) -> Option<Layer> {
        self.last().filter(|layer| *layer != Layer::LINUX_SLL)
    }

    /// Adds a layer at the inner end; returns `false` and changes nothing if the path is full.
    pub const fn push(&mut self, layer: Layer) -> bool {
        if self.is_full() {
            return false;
        }
        self.codes = self.codes << 8 | layer.0 as u128;
        true
    }

    /// Returns the path with another layer at the inner end; a full path loses its outermost layer.
    #[inline(always)]
    pub(super) const fn with(self, layer: Layer) -> Self {
        Self {
            codes: self.codes << 8 | layer.0 as u128,
        }
    }
}

impl FromIterator<Layer> for LayersPath {
    /// Collects the first [`LayersPath::CAPACITY`] layers and ignores the others.
    fn from_iter<I: IntoIterator<Item = Layer>>(layers: I) -> Self {
        let mut path = Self::default();
        for layer in layers.into_iter().take(Self::CAPACITY) {
            path.push(layer);
        }
        path
    }
}

/// Error from parsing a [`Layer`] or a [`LayersPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerParseError {
    /// No layer has this name.
    #[error("no protocol layer has the name {0:?}")]
    UnknownLayer(String),
    /// The path has too many layers.
    #[error("a layers path has at most {} layers", LayersPath::CAPACITY)]
    TooLong,
}

impl FromStr for Layer {
    type Err = LayerParseError;

    /// Parses the name of a layer.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let layer = Self::ALL.iter().find(|layer| layer.name() == name);
        layer
            .copied()
            .ok_or_else(|| LayerParseError::UnknownLayer(name.to_owned()))
    }
}

impl FromStr for LayersPath {
    type Err = LayerParseError;

    /// Parses names separated by slashes. An empty string is an empty path; an empty first name
    /// means the header of a "cooked" capture.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut path = Self::default();
        if text.is_empty() {
            return Ok(path);
        }
        for (index, name) in text.split('/').enumerate() {
            let layer = match name {
                "" if index == 0 => Layer::LINUX_SLL,
                name => name.parse()?,
            };
            if !path.push(layer) {
                return Err(LayerParseError::TooLong);
            }
        }
        Ok(path)
    }
}

impl fmt::Display for LayersPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, layer) in self.iter().enumerate() {
            // COMPAT: Skydive clients expect paths such as "/IPv4/TCP" for "cooked" captures: the
            // name of the layer is omitted, its slash is not.
            if layer == Layer::LINUX_SLL {
                continue;
            }
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(layer.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for LayersPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooked_captures_leave_only_their_slash() {
        let path: LayersPath = [Layer::LINUX_SLL, Layer::IPV4, Layer::TCP]
            .into_iter()
            .collect();
        assert_eq!(path.to_string(), "/IPv4/TCP");
        let bare: LayersPath = [Layer::LINUX_SLL].into_iter().collect();
        assert_eq!((bare.to_string().as_str(), bare.application()), ("", None));
    }

    #[test]
    fn paths_are_parsed_from_their_text() {
        for text in ["", "/IPv4/TCP", "Ethernet/Dot1Q/IPv6/UDP/DNS", "Linux SLL"] {
            let path: LayersPath = text.parse().unwrap();
            assert_eq!(path.to_string(), text.replace("Linux SLL", ""));
        }
        let unknown = "Ethernet/IPv5".parse::<LayersPath>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "no protocol layer has the name \"IPv5\""
        );
        let long = vec!["Dot1Q"; LayersPath::CAPACITY + 1].join("/");
        assert_eq!(long.parse::<LayersPath>(), Err(LayerParseError::TooLong));
    }

    #[test]
    fn a_full_path_takes_no_more() {
        let mut path = LayersPath::default();
        assert!(path.is_empty());
        for count in 0..LayersPath::CAPACITY {
            assert_eq!(path.len(), count);
            assert!(path.push(Layer::DOT1Q));
        }
        let full = path;
        assert!(!path.push(Layer::IPV4));
        assert_eq!((path, path.last()), (full, Some(Layer::DOT1Q)));
    }

    #[test]
    fn names_and_codes_are_unique() {
        for (index, layer) in Layer::ALL.iter().enumerate() {
            assert!(!layer.name().is_empty());
            for other in &Layer::ALL[..index] {
                assert_ne!(layer, other);
                assert_ne!(layer.name(), other.name());
            }
        }
    }
}
