//! Queries on a table: a full scan of the arena, in chunks, O(entries).

use std::ops::ControlFlow;

use super::FlowTable;
use crate::filter::Filter;
use crate::flow::field::FlowField;
use crate::flow::query::{FlowQuery, FlowQueryError};
use crate::flow::record::Flow;
use crate::flow::set::FlowSet;

/// Resumable query on a table. It visits the table in chunks, so that the caller can count packets
/// between the chunks.
///
/// A scan is not a snapshot: a flow that begins or is removed during the scan may or may not be
/// found.
///
/// ```
/// use skylib::FlowTable;
/// use skylib::flow::{FlowQuery, FlowScan, FlowTableOptions};
/// let table = FlowTable::new(FlowTableOptions::default());
/// let mut scan = FlowScan::new(FlowQuery::default());
/// while !table.scan(&mut scan, 1000) {}
/// assert!(scan.into_flows()?.flows.is_empty());
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FlowScan {
    query: FlowQuery,
    filter: Filter<Option<FlowField>>,
    /// Whether only the number of flows is needed.
    count_only: bool,
    /// Record number to visit next.
    next: u32,
    /// Number of matches after which the scan can stop.
    limit: u64,
    /// Number of matches so far.
    count: u64,
    /// Matches so far; empty if `count_only`.
    flows: Vec<Flow>,
}

impl FlowScan {
    /// Returns a scan for the flows of a query.
    #[must_use]
    pub fn new(query: FlowQuery) -> Self {
        let filter = query.compiled_filter();
        let limit = match query.range {
            Some((_, to)) if query.sort.is_none() && query.dedup.is_none() => to,
            _ => u64::MAX,
        };
        Self {
            query,
            filter,
            count_only: false,
            next: 0,
            limit,
            count: 0,
            flows: Vec::new(),
        }
    }

    /// Returns a scan for the number of flows; builds no records unless the query sorts or
    /// deduplicates.
    #[must_use]
    pub fn count(query: FlowQuery) -> Self {
        let count_only = query.sort.is_none() && query.dedup.is_none();
        Self {
            count_only,
            ..Self::new(query)
        }
    }

    /// Returns the flows found, with the query's order, deduplication, and range applied.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn into_flows(self) -> Result<FlowSet, FlowQueryError> {
        let mut set = FlowSet::from_flows(self.flows);
        self.query.arrange(&mut set)?;
        Ok(set)
    }

    /// Returns the number of flows found, within the query's range.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn into_count(self) -> Result<u64, FlowQueryError> {
        if !self.count_only {
            return Ok(self.into_flows()?.flows.len() as u64);
        }
        let (from, to) = self.query.range.unwrap_or((0, u64::MAX));
        Ok(self.count.min(to).saturating_sub(from))
    }

    /// Counts an entry if it matches the query; also adds its flow to the result unless only the
    /// number of flows is needed.
    fn visit(&mut self, table: &FlowTable, record: u32) {
        if self.filter.matches(&table.entry_fields(record)) {
            self.count += 1;
            if !self.count_only {
                self.flows.push(table.flow(record));
            }
        }
    }
}

impl FlowTable {
    /// Visits the next `entries` entries; returns whether the scan is complete.
    pub fn scan(&self, scan: &mut FlowScan, entries: u32) -> bool {
        if !scan.query.matches_node(&self.options.node_tid) {
            return true;
        }
        if scan.count_only && scan.next == 0 && scan.filter.is_everything() {
            scan.count = self.len() as u64;
            return true;
        }
        let stop = scan.next.saturating_add(entries);
        for record in self.arena.range(scan.next, stop) {
            if scan.count >= scan.limit {
                return true;
            }
            scan.visit(self, record);
        }
        scan.next = stop;
        stop >= self.arena.end()
    }

    /// Returns the flows of a query in their current state.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let mut scan = FlowScan::new(query.clone());
        self.scan(&mut scan, u32::MAX);
        scan.into_flows()
    }

    /// Calls `visit` with each flow that passes the filter of a query, until it breaks.
    pub(crate) fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !query.matches_node(&self.options.node_tid) {
            return ControlFlow::Continue(());
        }
        let filter = query.compiled_filter();
        let mut records = self.arena.range(0, u32::MAX);
        records.try_for_each(|record| match filter.matches(&self.entry_fields(record)) {
            true => visit(&self.flow(record)),
            false => ControlFlow::Continue(()),
        })
    }

    /// Returns the number of flows that [`query`](Self::query) would return.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn count_flows(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        let mut scan = FlowScan::count(query.clone());
        self.scan(&mut scan, u32::MAX);
        scan.into_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Predicate;
    use crate::flow::FlowTableOptions;
    use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
    use crate::time::Timestamp;

    /// Returns a table with the ARP flows of `senders` senders.
    fn table(senders: u16) -> FlowTable {
        let mut table = FlowTable::new(FlowTableOptions::default().with_node_tid("t1"));
        for sender in 0..senders {
            let mut frame = vec![0xff; 6];
            frame.extend([2, 0, 0, 0]);
            frame.extend(sender.to_be_bytes());
            frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
            frame.resize(60, 0);
            let timestamp = Timestamp::from_ms(i64::from(sender));
            let headers = [PacketHeader {
                timestamp,
                offset: 0,
                captured_len: 60,
                wire_len: 60,
                point: CapturePoint::ONLY,
            }];
            let link_type = LinkType::ETHERNET;
            table.process(&PacketBatch {
                link_type,
                buffer: &frame,
                headers: &headers,
            });
        }
        table
    }

    fn scan_in_chunks(table: &FlowTable, scan: &mut FlowScan, entries: u32) -> usize {
        (1..).find(|_| table.scan(scan, entries)).unwrap_or(0)
    }

    #[test]
    fn a_scan_in_chunks_finds_what_one_pass_finds() {
        let table = table(100);
        let filter = Filter::test("Start", Predicate::Gte(30));
        let query = FlowQuery {
            filter,
            ..FlowQuery::default()
        };
        let mut scan = FlowScan::new(query.clone());
        assert_eq!(scan_in_chunks(&table, &mut scan, 7), 15);
        assert_eq!(scan.into_flows().unwrap(), table.query(&query).unwrap());
        let mut scan = FlowScan::count(query);
        scan_in_chunks(&table, &mut scan, 7);
        assert_eq!(scan.into_count(), Ok(70));
    }

    #[test]
    fn a_bound_without_order_ends_the_look_early() {
        let table = table(100);
        let query = FlowQuery {
            range: Some((2, 5)),
            ..FlowQuery::default()
        };
        let mut scan = FlowScan::new(query.clone());
        assert_eq!(scan_in_chunks(&table, &mut scan, 1), 6);
        assert_eq!(scan.into_flows().unwrap().flows.len(), 3);
        assert_eq!(table.count_flows(&query), Ok(3));
        let late = FlowQuery {
            range: Some((98, 105)),
            ..FlowQuery::default()
        };
        assert_eq!(table.count_flows(&late), Ok(2));
    }

    #[test]
    fn order_and_duplicates_matter_to_a_count() {
        let table = table(10);
        let dedup = FlowField::parse("Link.B");
        let query = FlowQuery {
            dedup,
            ..FlowQuery::default()
        };
        assert_eq!(table.count_flows(&query), Ok(1));
        let query = FlowQuery {
            dedup: FlowField::parse("ICMP.ID"),
            ..FlowQuery::default()
        };
        assert_eq!(table.count_flows(&query), Ok(10), "no flow has the field");
    }

    #[test]
    fn other_nodes_have_no_flows_here() {
        let table = table(10);
        let query = FlowQuery {
            node_tids: Some(vec!["t2".into()]),
            ..FlowQuery::default()
        };
        assert_eq!(table.count_flows(&query), Ok(0));
        assert!(table.query(&query).unwrap().flows.is_empty());
    }
}
