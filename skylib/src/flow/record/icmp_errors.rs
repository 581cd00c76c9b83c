//! `About` and `IcmpErrors`: the flow that an ICMP error refers to, and the ICMP errors that refer
//! to a flow.

use serde::{Deserialize, Serialize};

use super::{FlowLayer, TransportLayer};
use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Flow to which the packet inside an ICMP error belongs.
    ///
    /// `uuid` and `tracking_id` are empty if the flow is not in the table. The other fields are the
    /// addresses, ports, and IP protocol number of the packet; its source is A.
    About {
        1 uuid "UUID" Text;
        2 tracking_id "TrackingID" Text;
        3 network "Network" Option<FlowLayer>;
        4 transport "Transport" Option<TransportLayer>;
        5 ip_protocol "IPProtocol" u32;
    }
}

message! {
    /// ICMP errors that refer to a flow: their number, and the type, code, time (in Unix
    /// milliseconds), and next-hop MTU of the last one.
    IcmpErrors {
        1 count "Count" i64;
        2 last_type "LastType" Text;
        3 last_code "LastCode" u32;
        4 last "Last" i64;
        5 mtu "MTU" u32;
    }
}
