//! `Offload`: segments that were joined before the capture.

use serde::{Deserialize, Serialize};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;

message! {
    /// Estimate of the segments on the wire of a flow with joined segments (GRO, TSO, LRO).
    ///
    /// - `ab_segments`, `ba_segments`: number of segments in each direction.
    /// - `ab_wire_bytes`, `ba_wire_bytes`: bytes in each direction, including the headers of all
    ///   segments.
    /// - `segment_size`: payload of the segments of the latest joined frame, in bytes.
    /// - `exact`: whether the numbers are exact; always false in the flows of this library.
    Offload {
        1 ab_segments "ABSegments" i64;
        2 ba_segments "BASegments" i64;
        3 ab_wire_bytes "ABWireBytes" i64;
        4 ba_wire_bytes "BAWireBytes" i64;
        5 segment_size "SegmentSize" u32;
        6 exact "Exact" bool;
    }
}
