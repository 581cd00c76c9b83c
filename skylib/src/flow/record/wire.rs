//! `Wire`: data that distinguishes a flow in addition to its addresses and ports.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Tags, identifiers, and capture point of a flow. A field is empty or 0 if its value is
    /// unknown.
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
