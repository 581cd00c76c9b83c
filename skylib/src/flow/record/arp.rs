//! `Arp`: contents of the first ARP packet of a flow.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Operation and addresses of the first ARP packet. The operation is `REQUEST`, `REPLY`, or a
    /// number.
    Arp {
        1 operation "Operation" Text;
        2 sender_mac "SenderMAC" Text;
        3 sender_ip "SenderIP" Text;
        4 target_mac "TargetMAC" Text;
        5 target_ip "TargetIP" Text;
    }
}
