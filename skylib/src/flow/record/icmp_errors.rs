//! `About` and `IcmpErrors`: the flow that an ICMP error is about, and the errors about a flow.

use serde::{Deserialize, Serialize};

use super::{FlowLayer, TransportLayer};
use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Flow that the packet within an ICMP error belongs to.
    About {
        1 uuid "UUID" Text;
        2 tracking_id "TrackingID" Text;
        3 network "Network" Option<FlowLayer>;
        4 transport "Transport" Option<TransportLayer>;
        5 ip_protocol "IPProtocol" u32;
    }
}

message! {
    /// ICMP errors about a flow: their number, and type, code, time (in Unix milliseconds) and next-hop
    /// MTU of the last.
    IcmpErrors {
        1 count "Count" i64;
        2 last_type "LastType" Text;
        3 last_code "LastCode" u32;
        4 last "Last" i64;
        5 mtu "MTU" u32;
    }
}
