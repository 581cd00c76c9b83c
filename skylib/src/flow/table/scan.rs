//! Questions to a table.

use super::FlowTable;
use super::entry::Entry;
use crate::filter::Filter;
use crate::flow::field::FlowField;
use crate::flow::query::{FlowQuery, FlowQueryError};
use crate::flow::record::Flow;
use crate::flow::set::FlowSet;

/// A question that looks at a table in stretches, so that packets can be counted in between.
///
/// Flows that come and go meanwhile are found or not.
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
    /// Whether only the number of flows is wanted.
    counts: bool,
    /// Entry to look at next.
    next: u32,
    /// Flows after which no other can matter.
    enough: u64,
    count: u64,
    flows: Vec<Flow>,
}

impl FlowScan {
    /// For the flows that a query asks for.
    #[must_use]
    pub fn new(query: FlowQuery) -> Self {
        let filter = query.filter.map_keys(&mut |name| FlowField::parse(name));
        let enough = match query.range {
            Some((_, to)) if query.sort.is_none() && query.dedup.is_none() => to,
            _ => u64::MAX,
        };
        Self {
            query,
            filter,
            counts: false,
            next: 0,
            enough,
            count: 0,
            flows: Vec::new(),
        }
    }

    /// For how many there are; makes no record unless order or duplicates matter.
    #[must_use]
    pub fn count(query: FlowQuery) -> Self {
        let counts = query.sort.is_none() && query.dedup.is_none();
        Self {
            counts,
            ..Self::new(query)
        }
    }

    /// What was found, in the query's order and bounds.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    pub fn into_flows(self) -> Result<FlowSet, FlowQueryError> {
        let mut set = FlowSet::from_flows(self.flows);
        self.query.arrange(&mut set)?;
        Ok(set)
    }

    /// How many were found, in the query's bounds.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    pub fn into_count(self) -> Result<u64, FlowQueryError> {
        if !self.counts {
            return Ok(self.into_flows()?.flows.len() as u64);
        }
        let (from, to) = self.query.range.unwrap_or((0, u64::MAX));
        Ok(self.count.min(to).saturating_sub(from))
    }

    fn take(&mut self, table: &FlowTable, entry: &Entry) {
        if self.filter.matches(&table.live(entry)) {
            self.count += 1;
            if !self.counts {
                self.flows.push(table.flow(entry));
            }
        }
    }
}

impl FlowTable {
    /// Looks at so many more entries; tells whether that was all.
    pub fn scan(&self, scan: &mut FlowScan, entries: u32) -> bool {
        if !scan.query.wants_node(&self.options.node_tid) {
            return true;
        }
        if scan.counts && scan.next == 0 && scan.filter.is_everything() {
            scan.count = self.len() as u64;
            return true;
        }
        let stop = scan.next.saturating_add(entries);
        for entry in self.arena.stretch(scan.next, stop) {
            if scan.count >= scan.enough {
                return true;
            }
            scan.take(self, entry);
        }
        scan.next = stop;
        stop >= self.arena.end()
    }

    /// The flows asked for, as they are now.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    pub fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let mut scan = FlowScan::new(query.clone());
        self.scan(&mut scan, u32::MAX);
        scan.into_flows()
    }

    /// How many flows [`FlowTable::query`] would give.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
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
    use crate::flow::{FlowTableOptions, SortOrder};
    use crate::packet::{LinkType, PacketBatch, PacketHeader};
    use crate::time::Timestamp;

    /// A table with ARP flows of this many senders.
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

    fn stretches(table: &FlowTable, scan: &mut FlowScan, entries: u32) -> usize {
        (1..).find(|_| table.scan(scan, entries)).unwrap_or(0)
    }

    #[test]
    fn stretches_find_what_one_look_finds() {
        let table = table(100);
        let filter = Filter::test("Start", Predicate::Gte(30));
        let query = FlowQuery {
            filter,
            ..FlowQuery::default()
        };
        let mut scan = FlowScan::new(query.clone());
        assert_eq!(stretches(&table, &mut scan, 7), 15);
        assert_eq!(scan.into_flows().unwrap(), table.query(&query).unwrap());
        let mut scan = FlowScan::count(query);
        stretches(&table, &mut scan, 7);
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
        assert_eq!(stretches(&table, &mut scan, 1), 6);
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
        let dedup = Some(FlowField::parse("Link.B"));
        let query = FlowQuery {
            dedup,
            ..FlowQuery::default()
        };
        assert_eq!(table.count_flows(&query), Ok(1));
        let sort = FlowField::parse("ICMP.ID").map(|field| (field, SortOrder::Ascending));
        let query = FlowQuery {
            sort,
            ..FlowQuery::default()
        };
        assert!(table.count_flows(&query).is_err());
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
