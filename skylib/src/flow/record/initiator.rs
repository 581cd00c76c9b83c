//! `Initiator`: the end that opened a flow.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// End that opened the flow, `A` or `B`, and the evidence: `SYN` or `REQUEST` (certain),
    /// `SYNACK` or `REPLY` (certain, but the opening packet was not seen), `KEPT` (taken from an
    /// earlier record), or `PORT` (assumed from the ports).
    Initiator {
        1 side "Side" Text;
        2 by "By" Text;
    }
}
