//! `HubReader`: interruptible flow queries of a [`FlowHub`].
//!
//! A live query is sent concurrently to all flow tables, of this process and of connected agents,
//! and their answers are merged; a query about the past is answered by the flow store. Every wait
//! for another thread is divided into periods of [`POLL_INTERVAL`], between which the interrupt is
//! polled, so a query that times out returns within milliseconds.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::agent_tables::AskedAgents;
use super::hub::FlowHub;
use super::query_warnings::QueryWarnings;
use crate::capture::{CaptureHandle, PendingFlows};
use crate::engine::monotonic;
use crate::file_use::FileUse;
use crate::flow::{
    Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSource, MergeOptions, PacketsByFlow,
};
use crate::store::FlowStore;
use crate::time::TimeSlice;
use crate::value::Text;

/// Maximum time between two polls of the interrupt by a query that waits for a flow table.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Flows of a hub, as a source for one query.
pub(crate) struct HubReader<'a> {
    hub: &'a FlowHub,
    is_interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Receiver of a warning about each agent whose flows are missing in an answer.
    warnings: Option<&'a QueryWarnings>,
}

impl<'a> HubReader<'a> {
    /// Returns a reader whose queries end when `is_interrupted` returns `true`.
    pub(super) const fn new(
        hub: &'a FlowHub,
        is_interrupted: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            hub,
            is_interrupted,
            warnings: None,
        }
    }

    /// Sets the receiver of warnings about incomplete answers.
    pub(crate) const fn with_warnings(self, warnings: Option<&'a QueryWarnings>) -> Self {
        Self { warnings, ..self }
    }

    /// Returns the deadline for the answers of all tables.
    fn deadline(&self) -> Instant {
        monotonic::now() + self.hub.options().table_timeout
    }

    /// Sends a query to the connected agents.
    fn ask_agents(&self, query: &FlowQuery) -> AskedAgents {
        let agents = self.hub.agents();
        agents.map(|agents| agents.ask(query)).unwrap_or_default()
    }

    /// Waits for the answers of the agents until a deadline.
    fn of_agents(
        &self,
        asked: AskedAgents,
        query: &FlowQuery,
        deadline: Instant,
    ) -> Result<Vec<FlowSet>, FlowQueryError> {
        let Some(agents) = self.hub.agents() else {
            return Ok(Vec::new());
        };
        let mut warnings = Vec::new();
        let sets = agents.collect(asked, query, deadline, self.is_interrupted, &mut warnings);
        if let Some(all) = self.warnings {
            all.add(warnings);
        }
        sets
    }

    /// Returns the cached flows of agents, except those that a table of an agent has answered.
    fn cached(&self, query: &FlowQuery, answered: &[FlowSet]) -> Result<FlowSet, FlowQueryError> {
        let mut set = self.hub.remote().query(query)?;
        if answered.iter().any(|set| !set.flows.is_empty()) {
            let flows = answered.iter().flat_map(|set| &set.flows);
            let known: HashSet<&Text> = flows.map(|flow| &flow.uuid).collect();
            set.flows.retain(|flow| !known.contains(&flow.uuid));
        }
        Ok(set)
    }

    /// Returns the flow store.
    fn past(&self) -> Result<&dyn FlowStore, FlowQueryError> {
        self.hub.store().ok_or(FlowQueryError::NoStorage)
    }

    /// Sends a request to all tables and waits for the answers until a common deadline. A table
    /// that does not answer in time is counted and skipped.
    fn fan_out<T>(
        &self,
        deadline: Instant,
        start: impl Fn(&CaptureHandle) -> Result<PendingFlows, FlowQueryError>,
        mut finish: impl FnMut(PendingFlows) -> Result<T, FlowQueryError>,
    ) -> Result<Vec<T>, FlowQueryError> {
        let mut started = Vec::new();
        for table in self.hub.tables() {
            started.push(self.start(deadline, || start(&table))?);
        }
        let mut answers = Vec::with_capacity(started.len());
        for pending in started {
            match pending.and_then(|pending| finish(self.wait(pending, deadline)?)) {
                Ok(answer) => answers.push(answer),
                Err(FlowQueryError::Source { reason }) => {
                    self.hub.count_table_timeout();
                    tracing::warn!(reason, "skipped a flow table that did not answer a query");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// Waits for the answer of one table until a deadline.
    fn wait(
        &self,
        mut pending: PendingFlows,
        deadline: Instant,
    ) -> Result<PendingFlows, FlowQueryError> {
        loop {
            let left = deadline.saturating_duration_since(monotonic::now());
            if pending.receive(left.min(POLL_INTERVAL)) {
                return Ok(pending);
            }
            if (self.is_interrupted)() {
                return Err(FlowQueryError::Interrupted);
            }
            if left.is_zero() {
                return Err(PendingFlows::no_answer());
            }
        }
    }

    /// Starts the query of one table, and retries until a deadline if its queue is full.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::Interrupted`] if the query is interrupted; the inner result
    /// contains the error of the table.
    fn start<T>(
        &self,
        deadline: Instant,
        start: impl Fn() -> Result<T, FlowQueryError>,
    ) -> Result<Result<T, FlowQueryError>, FlowQueryError> {
        loop {
            let started = start();
            let is_full = matches!(started, Err(FlowQueryError::Source { .. }));
            if !is_full || monotonic::now() >= deadline {
                return Ok(started);
            }
            if (self.is_interrupted)() {
                return Err(FlowQueryError::Interrupted);
            }
        }
    }
}

impl FlowSource for HubReader<'_> {
    /// Queries all tables concurrently and merges their answers in the query's order. A table that
    /// does not answer before the timeout counts as empty.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let _slot = self.hub.fetches().begin(self.is_interrupted)?;
        if query.time.is_some() {
            return self
                .past()?
                .query_while(query, &|| !(self.is_interrupted)());
        }
        // A table may omit flows after the end of the range. The flows before its start are known
        // only after the merge.
        let part = FlowQuery {
            range: query.range.map(|(_, to)| (0, to)),
            ..query.clone()
        };
        let order = MergeOptions {
            sort: part.sort,
            dedup: part.dedup,
        };
        let deadline = self.deadline();
        let asked = self.ask_agents(&part);
        let mut merged = FlowSet::default();
        for set in self.fan_out(
            deadline,
            |table| table.start_query(&part, POLL_INTERVAL),
            PendingFlows::into_flows,
        )? {
            merged.merge(set, &order)?;
        }
        let of_agents = self.of_agents(asked, &part, deadline)?;
        if !self.hub.remote().is_empty() {
            merged.merge(self.cached(&part, &of_agents)?, &order)?;
        }
        for set in of_agents {
            merged.merge(set, &order)?;
        }
        if let Some((from, to)) = query.range {
            merged.slice(from, to);
        }
        Ok(merged)
    }

    /// Visits the flows of one table after the other, so that the flows of all tables are never in
    /// memory at the same time, unless they have to be sorted.
    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        if query.time.is_none() && !query.is_unordered() {
            let _stopped = self.query(query)?.flows.iter().try_for_each(visit);
            return Ok(());
        }
        let _slot = self.hub.fetches().begin(self.is_interrupted)?;
        if query.time.is_some() {
            return self
                .past()?
                .visit(query, &|| !(self.is_interrupted)(), visit);
        }
        let deadline = self.deadline();
        let asked = self.ask_agents(query);
        let mut is_over = false;
        self.fan_out(
            deadline,
            |table| table.start_query(query, POLL_INTERVAL),
            |pending| {
                let flows = pending.into_flows()?.flows;
                is_over = is_over || flows.iter().try_for_each(&mut *visit).is_break();
                Ok(())
            },
        )?;
        let of_agents = self.of_agents(asked, query, deadline)?;
        let cached = self.cached(query, &of_agents)?;
        for set in of_agents.iter().chain([&cached]) {
            is_over = is_over || set.flows.iter().try_for_each(&mut *visit).is_break();
        }
        Ok(())
    }

    /// Sums the counts of the tables, unless the query's order, deduplication, or range requires
    /// the flows themselves.
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.time.is_some() {
            return self
                .past()?
                .count_while(query, &|| !(self.is_interrupted)());
        }
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let deadline = self.deadline();
        let asked = self.ask_agents(query);
        let counts = self.fan_out(
            deadline,
            |table| table.start_count(query, POLL_INTERVAL),
            PendingFlows::into_count,
        )?;
        let of_agents = self.of_agents(asked, query, deadline)?;
        let remote = match of_agents.iter().map(|set| set.flows.len() as u64).sum() {
            0 => self.hub.remote().count(query)?,
            count => count + self.cached(query, &of_agents)?.flows.len() as u64,
        };
        Ok(counts.into_iter().sum::<u64>() + remote)
    }

    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        let keep_going = || !(self.is_interrupted)();
        self.past()?.metrics_while(uuids, time, &keep_going)
    }

    fn files(&self, query: &FlowQuery) -> Vec<FileUse> {
        match (self.hub.store(), query.time) {
            (Some(store), Some(_)) => store.files(query),
            _ => Vec::new(),
        }
    }

    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        self.hub
            .store()
            .map_or_else(Vec::new, |store| store.raw_packets(uuids))
    }
}

/// Limit on flow queries that copy flows. The size of the copies is known, and charged to the
/// client, only after the query, so only a few such queries run concurrently.
#[derive(Default)]
pub(super) struct Fetches {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Slot of a query that copies flows, released on drop.
struct Fetch<'a>(&'a Fetches);

impl Fetches {
    /// Waits until fewer than [`MAX_FETCHES`] queries are copying flows.
    fn begin(&self, is_interrupted: &dyn Fn() -> bool) -> Result<Fetch<'_>, FlowQueryError> {
        let mut running = self.running.lock();
        while *running >= MAX_FETCHES {
            if is_interrupted() {
                return Err(FlowQueryError::Interrupted);
            }
            self.ended.wait_for(&mut running, POLL_INTERVAL);
        }
        *running += 1;
        Ok(Fetch(self))
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_one();
    }
}

/// Maximum number of flow queries that copy flows concurrently.
const MAX_FETCHES: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;
    use crate::capture::{Batch, Capture, CaptureError, CaptureStats, PacketSource};
    use crate::engine::flow::FlowOptions;
    use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions};
    use crate::packet::LinkType;
    use crate::time::SystemClock;

    /// Packet source that reports that it hangs, and hangs until its other end is dropped.
    struct Hanging(Sender<()>, Receiver<()>);

    impl PacketSource for Hanging {
        fn link_type(&self) -> LinkType {
            LinkType::ETHERNET
        }

        fn next_batch(&mut self, _: Duration) -> Result<Batch<'_>, CaptureError> {
            self.0.send(()).ok();
            self.1.recv().ok();
            Ok(Batch::End)
        }

        fn stats(&mut self) -> CaptureStats {
            CaptureStats::default()
        }
    }

    struct Nowhere;

    impl FlowSink for Nowhere {
        fn flows(&mut self, _: Vec<Flow>) {}
    }

    /// Calls a function with a hub of ten tables that answer no query.
    fn with_hanging_tables(timeout: Duration, test: impl FnOnce(&FlowHub)) {
        let hub = FlowHub::new(FlowOptions::default().with_table_timeout(timeout));
        // Dropped last, because a capture ends when its source ends.
        let captures: Vec<Capture>;
        let (_hold, held) = bounded(0);
        let (hangs, hanging) = bounded(10);
        let start = |_| {
            let table = FlowTable::new(FlowTableOptions::default());
            let source = Hanging(hangs.clone(), held.clone());
            let capture =
                Capture::start("x", source, table, Nowhere, Arc::new(SystemClock)).unwrap();
            hub.add_table(capture.handle().clone());
            capture
        };
        captures = (0..10).map(start).collect();
        assert_eq!(hanging.iter().take(captures.len()).count(), 10);
        test(&hub);
    }

    #[test]
    fn tables_that_do_not_answer_share_one_timeout() {
        let timeout = Duration::from_millis(200);
        with_hanging_tables(timeout, |hub| {
            let began = monotonic::now();
            assert_eq!(hub.count(&FlowQuery::default()).unwrap(), 0);
            let took = began.elapsed();
            assert!(took >= timeout && took < 5 * timeout, "{took:?}");
            assert_eq!(hub.table_timeouts(), 10);
        });
    }

    #[test]
    fn a_query_that_waits_for_tables_is_interrupted() {
        with_hanging_tables(Duration::from_secs(3600), |hub| {
            let reader = hub.reader(&|| true);
            let query = FlowQuery::default();
            assert_eq!(reader.query(&query), Err(FlowQueryError::Interrupted));
            assert_eq!(reader.count(&query), Err(FlowQueryError::Interrupted));
            // Full queues do not prolong the wait.
            for _ in 0..100 {
                assert_eq!(reader.count(&query), Err(FlowQueryError::Interrupted));
            }
            assert_eq!(hub.table_timeouts(), 0);
        });
    }

    #[test]
    fn a_query_that_waits_for_others_is_interrupted() {
        let fetches = Fetches::default();
        let slots: Vec<_> = (0..MAX_FETCHES).map(|_| fetches.begin(&|| true)).collect();
        assert!(slots.iter().all(Result::is_ok));
        assert_eq!(
            fetches.begin(&|| true).err(),
            Some(FlowQueryError::Interrupted)
        );
        drop(slots);
        assert!(fetches.begin(&|| true).is_ok());
    }
}
