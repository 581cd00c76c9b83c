//! `RttMetric`: statistics of the round-trip times of a flow.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;

message! {
    /// Statistics of the round-trip times of a flow, in nanoseconds, and counters of the requests
    /// used to measure them.
    RttMetric {
        1 samples "Samples" i64;
        2 min "Min" i64;
        3 max "Max" i64;
        4 last "Last" i64;
        5 sum "Sum" i64;
        6 jitter "Jitter" i64;
        7 requests "Requests" i64;
        8 unanswered "Unanswered" i64;
        9 ab_rtt "ABRTT" i64;
        10 ba_rtt "BARTT" i64;
    }
}
