//! Counters of links: `struct rtnl_link_stats64`, and the metrics between two reads.

use super::wire::{attributes, u32_at};
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// Counters of a link, in the order of the kernel structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters([u64; NAMES.len()]);

impl Counters {
    /// Parses the kernel structure; counters that an older kernel lacks are zero.
    #[expect(clippy::host_endian_bytes, reason = "route netlink is in host order")]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut counters = Self::default();
        let words = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word));
        for (slot, value) in counters.0.iter_mut().zip(words) {
            *slot = value;
        }
        counters
    }

    /// Returns the counters with these metadata names; other names are ignored.
    pub(in crate::topology) fn from_names<'a>(
        pairs: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Self {
        let mut counters = Self::default();
        for (name, count) in pairs {
            if let Some(position) = NAMES.iter().position(|known| *known == name) {
                counters.0[position] = count;
            }
        }
        counters
    }

    /// Returns counters with only the numbers of received and sent packets.
    #[cfg(test)]
    pub(crate) fn packets(received: u64, sent: u64) -> Self {
        let mut counters = Self::default();
        counters.0[..2].copy_from_slice(&[received, sent]);
        counters
    }

    /// Returns whether all counters are zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Returns the difference from an earlier read. If a counter has decreased, the counters were
    /// reset, and the difference is their current value.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut delta = *self;
        for (slot, before) in delta.0.iter_mut().zip(&earlier.0) {
            match slot.checked_sub(*before) {
                Some(difference) => *slot = difference,
                None => return *self,
            }
        }
        delta
    }

    /// Returns the metadata value: the counters other than zero, and the start and the end of the
    /// interval.
    pub(crate) fn to_value(self, start: Option<Timestamp>, last: Option<Timestamp>) -> Value {
        let named = NAMES.iter().zip(self.0).filter(|(_, count)| *count != 0);
        let counts = named.map(|(name, count)| (*name, Value::from(count)));
        let times = [("Start", start), ("Last", last)];
        let times = times
            .into_iter()
            .filter_map(|(name, t)| Some((name, t?.as_ms().into())));
        counts.chain(times).collect::<Map>().into()
    }
}

/// Parses an `RTM_NEWSTATS` payload; returns the index of the link and its counters.
pub(crate) fn parse(payload: &[u8]) -> Option<(u32, Counters)> {
    let index = u32_at(payload, 4)?;
    let stats = attributes(payload, HEADER).find(|a| a.kind() == IFLA_STATS_LINK_64)?;
    Some((index, Counters::parse(stats.bytes())))
}

/// Metadata names of the fields of `struct rtnl_link_stats64` (`linux/if_link.h`).
const NAMES: [&str; 23] = [
    "RxPackets",
    "TxPackets",
    "RxBytes",
    "TxBytes",
    "RxErrors",
    "TxErrors",
    "RxDropped",
    "TxDropped",
    "Multicast",
    "Collisions",
    "RxLengthErrors",
    "RxOverErrors",
    "RxCrcErrors",
    "RxFrameErrors",
    "RxFifoErrors",
    "RxMissedErrors",
    "TxAbortedErrors",
    "TxCarrierErrors",
    "TxFifoErrors",
    "TxHeartbeatErrors",
    "TxWindowErrors",
    "RxCompressed",
    "TxCompressed",
];

/// Length of `struct if_stats_msg`, in bytes.
const HEADER: usize = 12;

const IFLA_STATS_LINK_64: u16 = 1;
