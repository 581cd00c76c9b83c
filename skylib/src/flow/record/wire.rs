//! `Wire`: data that distinguishes a flow in addition to its addresses and ports.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Tags, identifiers, and capture point of a flow. A field is empty or 0 if its value is
    /// unknown.
    ///
    /// - `interface`, `if_index`: capture point, if the source has several, and interface index of
    ///   a Linux cooked capture.
    /// - `vlan`: VLAN identifiers, outermost first.
    /// - `mpls`, `teid`, `session`: MPLS labels (outermost first), GTP-U tunnel endpoint
    ///   identifier, and L2TP session. For a flow inside such a tunnel, these are the identifiers
    ///   of packets from A to B, and `ba_mpls`, `ba_teid`, `ba_session`, and `ba_parent_uuid` (the
    ///   UUID of the enclosing flow) are the identifiers of packets from B to A.
    /// - `pppoe`: PPPoE session identifier.
    /// - `ether_type`: EtherType, or [number of the LLC or SNAP
    ///   protocol](crate::decode::Marks::link_tag), of a flow without IP.
    /// - `ip_protocol`: IP protocol number of a flow without ports and ICMP.
    /// - `spi`: security parameter index of ESP or AH.
    /// - `gre_key`: key of the GRE header (RFC 2890).
    /// - `service_path`: service path identifier of a network service header (RFC 8300).
    /// - `service_instance`: service instance identifier of a provider backbone bridge (IEEE
    ///   802.1ah).
    Wire {
        1 interface "Interface" Text;
        2 if_index "IfIndex" u32;
        3 vlan "VLAN" Vec<u32>;
        4 mpls "MPLS" Vec<u32>;
        5 ba_mpls "BAMPLS" Vec<u32>;
        6 pppoe "PPPoE" u32;
        7 ether_type "EtherType" i64;
        8 ip_protocol "IPProtocol" u32;
        9 spi "SPI" u32;
        10 teid "TEID" u32;
        11 ba_teid "BATEID" u32;
        12 gre_key "GREKey" Option<u32>;
        13 session "Session" u32;
        14 ba_session "BASession" u32;
        15 service_path "ServicePath" u32;
        16 service_instance "ServiceInstance" u32;
        17 ba_parent_uuid "BAParentUUID" Text;
    }
}
