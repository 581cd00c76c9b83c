//! `RttMetric`: statistics of the round-trip times of a flow.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;

message! {
    /// Statistics of the round-trip times of a flow, and counters of the requests used to measure
    /// them. Times are in nanoseconds.
    ///
    /// - `samples`: number of measured round-trip times.
    /// - `min`, `max`, `last`, `sum`: minimum, maximum, latest, and sum of the samples.
    /// - `jitter`: interarrival jitter of the samples (RFC 3550, section 6.4.1).
    /// - `requests`, `unanswered`: number of different SYNs and echo requests, and number of
    ///   unanswered ones.
    /// - `ab_rtt`, `ba_rtt`: latest time from the capture point to B and back, and to A and back.
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
