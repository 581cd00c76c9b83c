//! `TcpMetric`: connection times and stream counters from the TCP headers of a flow.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::field::UnknownNameError;
use super::message::is_default;
use super::protobuf::wire_message;

macro_rules! tcp_metric {
    ($($tag:literal $field:ident $key:literal $type:ty [$($skip:literal)?] $doc:literal;)*) => {
        /// Handshake, end, and stream tracking of a TCP flow, for each direction.
        ///
        /// Times are 0 if the segment was not seen.
        ///
        /// ```
        /// use skylib::flow::{TcpMetric, TcpMetricField};
        /// let mut metric = TcpMetric::default();
        /// metric.ab_syn_ttl = 64;
        /// let field: TcpMetricField = "ABSynTTL".parse()?;
        /// assert_eq!(metric.get(field), 64);
        /// # Ok::<(), skylib::flow::UnknownNameError>(())
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct TcpMetric {
            $(
                #[doc = $doc]
                #[serde(rename = $key $(, skip_serializing_if = $skip)?)]
                pub $field: $type,
            )*
        }

        wire_message!(TcpMetric { $($tag => $field,)* });

        impl TcpMetric {
            /// Returns the value of a field.
            #[must_use]
            pub fn get(&self, key: TcpMetricField) -> i64 {
                (TCP_FIELDS[key.0].1)(self)
            }
        }

        /// Name and accessor of each field, in wire order.
        const TCP_FIELDS: &[(&str, fn(&TcpMetric) -> i64)] =
            &[$(($key, |metric| i64::from(metric.$field)),)*];
    };
}

tcp_metric! {
    1 ab_syn_start "ABSynStart" i64 [] "Time of A's SYN, in Unix milliseconds.";
    2 ba_syn_start "BASynStart" i64 [] "Time of B's SYN, in Unix milliseconds.";
    3 ab_syn_ttl "ABSynTTL" u32 ["is_default"] "TTL or hop limit of A's SYN.";
    4 ba_syn_ttl "BASynTTL" u32 ["is_default"] "TTL or hop limit of B's SYN.";
    5 ab_fin_start "ABFinStart" i64 [] "Time of A's latest FIN, in Unix milliseconds.";
    6 ba_fin_start "BAFinStart" i64 [] "Time of B's latest FIN, in Unix milliseconds.";
    7 ab_rst_start "ABRstStart" i64 [] "Time of A's latest RST, in Unix milliseconds.";
    8 ba_rst_start "BARstStart" i64 [] "Time of B's latest RST, in Unix milliseconds.";
    9 ab_segment_out_of_order "ABSegmentOutOfOrder" i64 [] "Segments of A that arrived out of order.";
    10 ab_segment_skipped "ABSegmentSkipped" i64 [] "Gaps in A's stream.";
    11 ab_segment_skipped_bytes "ABSegmentSkippedBytes" i64 [] "Bytes missing in A's stream.";
    12 ab_packets "ABPackets" i64 [] "Segments of A that carried new data, SYN, or FIN.";
    13 ab_bytes "ABBytes" i64 [] "Payload bytes of A's stream.";
    14 ab_saw_start "ABSawStart" i64 [] "1 if the start of A's stream was seen, else 0.";
    15 ab_saw_end "ABSawEnd" i64 [] "1 if the end of A's stream was seen, else 0.";
    16 ba_segment_out_of_order "BASegmentOutOfOrder" i64 [] "Segments of B that arrived out of order.";
    17 ba_segment_skipped "BASegmentSkipped" i64 [] "Gaps in B's stream.";
    18 ba_segment_skipped_bytes "BASegmentSkippedBytes" i64 [] "Bytes missing in B's stream.";
    19 ba_packets "BAPackets" i64 [] "Segments of B that carried new data, SYN, or FIN.";
    20 ba_bytes "BABytes" i64 [] "Payload bytes of B's stream.";
    21 ba_saw_start "BASawStart" i64 [] "1 if the start of B's stream was seen, else 0.";
    22 ba_saw_end "BASawEnd" i64 [] "1 if the end of B's stream was seen, else 0.";
    100 ab_retransmitted_segments "ABRetransmittedSegments" i64 ["is_default"] "Segments of A that were sent again.";
    101 ba_retransmitted_segments "BARetransmittedSegments" i64 ["is_default"] "Segments of B that were sent again.";
    102 ab_retransmitted_bytes "ABRetransmittedBytes" i64 ["is_default"] "Payload bytes of A that were sent again.";
    103 ba_retransmitted_bytes "BARetransmittedBytes" i64 ["is_default"] "Payload bytes of B that were sent again.";
}

/// Field of a [`TcpMetric`], parsed from its wire name: an index into `TCP_FIELDS`, always in
/// range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpMetricField(usize);

impl TcpMetricField {
    /// Parses a wire name such as `ABSynTTL`; `None` if there is no such field.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        TCP_FIELDS
            .iter()
            .position(|(key, _)| *key == name)
            .map(Self)
    }

    /// Returns the wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        TCP_FIELDS[self.0].0
    }

    /// Returns all fields, in wire order.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..TCP_FIELDS.len()).map(Self)
    }
}

impl FromStr for TcpMetricField {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or_else(|| {
            UnknownNameError::new("TCP metric field", name, "expected a name such as ABSynTTL")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_and_new_counters_are_left_out_when_zero() {
        let json = serde_json::to_value(TcpMetric::default()).unwrap();
        let keys = json.as_object().unwrap();
        assert_eq!(keys.len(), 20);
        assert!(!keys.contains_key("ABSynTTL") && !keys.contains_key("BASynTTL"));
    }

    #[test]
    fn fields_are_found_by_their_wire_names() {
        let metric = TcpMetric {
            ba_saw_end: 1,
            ab_syn_ttl: 64,
            ..TcpMetric::default()
        };
        let get = |name| TcpMetricField::parse(name).map(|key| metric.get(key));
        assert_eq!(get("BASawEnd"), Some(1));
        assert_eq!(get("ABSynTTL"), Some(64));
        assert_eq!(get("Nope"), None);
    }
}
