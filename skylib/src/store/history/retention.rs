//! Retention: selects the part of the history whose oldest file must be removed. Performs no I/O.

/// Sizes of the parts of the history, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Flows and their metrics, and their log.
    pub(super) flow: u64,
    /// Raw packets.
    pub(super) packet: u64,
    /// Events, counters, snapshots, and their log.
    pub(super) graph: u64,
    /// Replaced and damaged files, which belong to no table.
    pub(super) other: u64,
}

/// Part of the history that has a share of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Flow,
    Packet,
    Graph,
}

impl Usage {
    /// Returns the sum of all parts.
    pub(super) const fn total(&self) -> u64 {
        self.flow
            .saturating_add(self.packet)
            .saturating_add(self.graph)
            .saturating_add(self.other)
    }

    /// Returns the part whose oldest file must be removed so that all files fit into `max_bytes`;
    /// `None` if they fit or no part has a file left.
    ///
    /// Flows have half of the space, raw packets and the graph a quarter each. A part may use the
    /// space that others leave free; files are first removed from the part that exceeds its share
    /// the most.
    pub(super) fn over(&self, max_bytes: u64) -> Option<Part> {
        if self.total() <= max_bytes {
            return None;
        }
        let parts = [
            (Part::Flow, self.flow, max_bytes / 2),
            (Part::Packet, self.packet, max_bytes / 4),
            (Part::Graph, self.graph, max_bytes / 4),
        ];
        let used = parts.into_iter().filter(|(_, used, _)| *used > 0);
        let excess = used.map(|(part, used, share)| (part, i128::from(used) - i128::from(share)));
        let most = excess.max_by_key(|(_, excess)| *excess);
        most.map(|(part, _)| part)
    }
}

/// Returns the space for all files, in bytes, such that `min_free` bytes of the file system stay
/// free. `used` is the size of all files of the history.
pub(super) fn space_limit(
    max_bytes: u64,
    used: u64,
    free: u64,
    total: u64,
    min_free: Option<u64>,
) -> u64 {
    let min_free = min_free.unwrap_or_else(|| (total / 20).min(1 << 30));
    let by_free = used.saturating_add(free).saturating_sub(min_free);
    let by_total = if total == 0 { u64::MAX } else { total / 10 };
    max_bytes.min(by_free).min(by_total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(flow: u64, packet: u64, graph: u64) -> Usage {
        Usage {
            flow,
            packet,
            graph,
            other: 0,
        }
    }

    #[test]
    fn a_part_may_use_what_others_leave() {
        assert_eq!(usage(100, 0, 0).over(100), None);
        assert_eq!(usage(101, 0, 0).over(100), Some(Part::Flow));
        assert_eq!(usage(60, 40, 1).over(100), Some(Part::Packet));
        assert_eq!(usage(30, 25, 46).over(100), Some(Part::Graph));
        let damaged = Usage {
            other: 200,
            ..Usage::default()
        };
        assert_eq!(damaged.over(100), None, "nothing can be given up");
    }

    #[test]
    fn space_is_left_for_others() {
        const GIB: u64 = 1 << 30;
        assert_eq!(
            space_limit(4 * GIB, GIB, 50 * GIB, 100 * GIB, None),
            4 * GIB
        );
        assert_eq!(
            space_limit(40 * GIB, GIB, 50 * GIB, 100 * GIB, None),
            10 * GIB
        );
        assert_eq!(space_limit(4 * GIB, GIB, GIB / 2, 100 * GIB, None), GIB / 2);
        assert_eq!(space_limit(4 * GIB, GIB, 0, 100 * GIB, Some(2 * GIB)), 0);
        assert_eq!(space_limit(100, 10, 50, 1000, Some(20)), 40);
    }
}
