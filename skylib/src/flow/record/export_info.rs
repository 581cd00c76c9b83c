//! `ExportInfo`: data of a flow that an exporter reported.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Exporter of a flow, and data that only its records contain. A field is empty or 0 if its
    /// value is unknown.
    ///
    /// - `exporter`, `domain`, `format`: address of the exporter; its observation domain, source
    ///   ID, engine, or sub-agent; and format of its messages.
    /// - `input`, `output`: indices of the input and output interfaces of the exporter.
    /// - `direction`: 1 if the flow was observed at the input, 2 if at the output.
    /// - `rate`, `scaled`: the exporter observed one packet in `rate`; the counters of the flow are
    ///   multiplied by `rate` only if `scaled` is true.
    /// - `next_hop`: address of the next router.
    /// - `src_as`, `dst_as`, `src_mask`, `dst_mask`: autonomous system numbers, and prefix lengths
    ///   of the routes.
    /// - `nat_a`, `nat_b`, `nat_a_port`, `nat_b_port`: addresses and ports of A and B after
    ///   translation.
    /// - `user`, `vrf`: names of the user and of the routing instance.
    ExportInfo {
        1 exporter "Exporter" Text;
        2 domain "Domain" u32;
        3 format "Format" Text;
        4 input "Input" u32;
        5 output "Output" u32;
        6 direction "Direction" u32;
        7 rate "Rate" i64;
        8 scaled "Scaled" bool;
        9 next_hop "NextHop" Text;
        10 src_as "SrcAS" u32;
        11 dst_as "DstAS" u32;
        12 src_mask "SrcMask" u32;
        13 dst_mask "DstMask" u32;
        14 nat_a "NatA" Text;
        15 nat_b "NatB" Text;
        16 nat_a_port "NatAPort" u32;
        17 nat_b_port "NatBPort" u32;
        18 user "User" Text;
        19 vrf "VRF" Text;
    }
}
