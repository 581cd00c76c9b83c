//! Live queries: an answer, followed by incremental changes whenever the graph changes it.
//!
//! A [`LiveQuery`] is a query plus its baseline: the answer last delivered. The caller passes the
//! events of the graph, which needs a journal
//! ([`Graph::with_journal`](crate::Graph::with_journal)), to [`LiveQuery::advance`] and receives
//! the changes to the answer. Static analysis of the plan classifies each event in constant time:
//! most cannot affect the answer and are ignored; an event that only replaces or appends an item
//! updates the baseline without running the query. Any other event marks the answer stale; the
//! query then runs once, for any number of events, and the difference is returned.
//! [`LiveQuery::apply_event`], [`LiveQuery::refresh`], and [`LiveQuery::take_changes`] are the
//! parts of `advance`, for owners that decide when to run queries: in a running `Engine` (feature
//! `engine`), the owner is the thread `live`. If the query may run after every change, `refresh`
//! alone is sufficient, and the graph needs no journal.
//!
//! Guarantees: updates are ordered, and each leads to the answer as of one change to the graph,
//! whose sequence number it carries. After the last event and the resulting [`Update`], the
//! client's copy equals the answer of the query, including its order. Intermediate states may be
//! skipped. Flows and history change without events, so a query that reads them
//! ([`LiveQuery::is_timed`]) has to be refreshed periodically.
//!
//! ```
//! use skylib::flow::FlowSet;
//! use skylib::graph::{Graph, Metadata, MetadataOp, Node};
//! use skylib::gremlin::live::{Change, LiveQuery, Update};
//! use skylib::gremlin::{Answer, Query};
//! use skylib::time::Timestamp;
//!
//! let (now, flows) = (Timestamp::from_ms(1_700_000_000_000), FlowSet::default());
//! let mut graph = Graph::new().with_journal();
//! graph.add_node(Node::new("eth0", Metadata::from_iter([("State", "UP")]), now))?;
//!
//! let mut query = LiveQuery::new(Query::parse("G.V().Has('State', 'UP')")?);
//! let update = query.advance(&graph.take_events(), &graph, &flows, now)?;
//! let Some(Update::Answer { answer: Answer::Nodes(nodes), .. }) = update else {
//!     panic!("the first update is the answer")
//! };
//! assert_eq!(nodes.len(), 1);
//!
//! graph.patch_node(&"eth0".into(), &[MetadataOp::set("State", "DOWN")], now)?;
//! let update = query.advance(&graph.take_events(), &graph, &flows, now)?;
//! let Some(Update::Changes { changes, .. }) = update else {
//!     panic!("the node left the answer")
//! };
//! assert!(matches!(&changes[..], [Change::Left { at: 0, .. }]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod baseline;
mod dependencies;
mod diff;
#[cfg(feature = "engine")]
mod interest;
mod item;
mod keyed_rows;
mod replica;
#[cfg(test)]
mod tests;
mod update;

pub use item::{Item, ItemKey};
pub use replica::AnswerReplica;
pub use update::{Change, List, Update};

#[cfg(feature = "engine")]
pub(crate) use interest::{Interest, node_search};

use self::baseline::Baseline;
use self::dependencies::Dependencies;
use self::keyed_rows::KeyedRows;
use super::{Context, Query, QueryError, QueryErrorKind};
use crate::flow::FlowSource;
use crate::graph::{Graph, GraphEvent, GraphView};
use crate::time::Timestamp;

/// A query with incremental updates of its answer; see the [module](self) for an example.
#[derive(Debug)]
pub struct LiveQuery {
    query: Query,
    dependencies: Dependencies,
    delivered: Delivered,
    /// Sequence number of the graph that the last run saw; 0 before the first run.
    ran_at: u64,
    /// Maximum sequence number applied. Events at or below `ran_at` are ignored.
    applied: u64,
    /// Whether the current answer is unknown without running the query. While true, events are not
    /// applied to the baseline.
    is_stale: bool,
}

/// Answer or error that was last delivered to the client.
#[derive(Debug)]
enum Delivered {
    /// Nothing.
    Nothing,
    /// An answer, with the changes that events have made to it since.
    Answer(Baseline),
    /// An error.
    Error(QueryError),
}

impl LiveQuery {
    /// Creates a live query. It does not run yet and is stale.
    #[must_use]
    pub fn new(query: Query) -> Self {
        Self {
            dependencies: Dependencies::of(&query.plan),
            query,
            delivered: Delivered::Nothing,
            ran_at: 0,
            applied: 0,
            is_stale: true,
        }
    }

    /// Returns the query.
    #[must_use]
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// Returns whether the answer can change without a graph event, because the query reads flows
    /// or history.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.dependencies.is_timed
    }

    /// Returns the sequence number of the graph that the last run saw; 0 before the first run.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.ran_at
    }

    /// Returns the number of items in the stored answer.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.delivered {
            Delivered::Answer(baseline) => baseline.len(),
            Delivered::Nothing | Delivered::Error(_) => 0,
        }
    }

    /// Returns the approximate size of the stored answer in bytes, excluding the graph's elements.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.delivered {
            Delivered::Answer(baseline) => baseline.bytes(),
            Delivered::Nothing | Delivered::Error(_) => 0,
        }
    }

    /// Returns whether the stored answer has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies the latest events of a graph, and returns the resulting changes to the answer: the
    /// entire answer the first time and after an error; `None` if nothing changed.
    ///
    /// `events` are all events since the previous call, in order. The query runs only if the events
    /// cannot be applied to the stored answer, if it reads flows or history, or if the graph has
    /// changed without events (no journal). See the [module](self) for an example.
    ///
    /// # Errors
    /// Returns the errors of [`LiveQuery::refresh`].
    pub fn advance(
        &mut self,
        events: &[GraphEvent],
        graph: &Graph,
        flows: &dyn FlowSource,
        now: Timestamp,
    ) -> Result<Option<Update>, QueryError> {
        for event in events {
            self.apply_event(event, graph.sequence());
        }
        let is_current = graph.sequence() <= self.applied.max(self.ran_at);
        if is_current && !self.is_stale && !self.is_timed() {
            return Ok(self.take_changes());
        }
        self.refresh(&Context::new(&GraphView::open(graph), flows, now))
    }

    /// Applies a graph event. Events must be applied in the order in which they occurred.
    ///
    /// `sequence` is the sequence number of the graph after the event's transaction. Events that
    /// the last run already saw are ignored.
    pub fn apply_event(&mut self, event: &GraphEvent, sequence: u64) {
        if sequence <= self.ran_at {
            return;
        }
        self.applied = self.applied.max(sequence);
        if self.is_stale {
            return;
        }
        // After an error any event may make the query succeed.
        let Delivered::Answer(baseline) = &mut self.delivered else {
            self.is_stale = true;
            return;
        };
        self.is_stale = !baseline.apply(&self.dependencies, event);
    }

    /// Marks the answer stale, for example because events were lost.
    pub const fn mark_stale(&mut self) {
        self.is_stale = true;
    }

    /// Returns whether the answer may have changed in a way that only [`LiveQuery::refresh`] can
    /// determine.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Returns whether [`LiveQuery::take_changes`] has changes to deliver.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.is_stale
            && matches!(&self.delivered, Delivered::Answer(baseline) if baseline.has_changes())
    }

    /// Returns the changes that events made since the last update, without running the query;
    /// `None` if there are none or the answer [is stale](Self::is_stale).
    ///
    /// Apply all events of a transaction before calling this: the update carries the sequence
    /// number of the last event.
    pub fn take_changes(&mut self) -> Option<Update> {
        if !self.has_changes() {
            return None;
        }
        let Delivered::Answer(baseline) = &mut self.delivered else {
            return None;
        };
        Some(Update::Changes {
            changes: baseline.take_changes(),
            sequence: self.applied.max(self.ran_at),
        })
    }

    /// Runs the query. Returns the changes since the last update, or the entire answer the first
    /// time and after an error; `None` if nothing changed.
    ///
    /// A query that cannot be answered now, for example because a node does not exist, yields
    /// [`Update::Failed`] once and can be refreshed again.
    ///
    /// # Errors
    /// Returns an error if the query exceeded a limit or was interrupted. It can be refreshed
    /// again.
    pub fn refresh(&mut self, context: &Context<'_>) -> Result<Option<Update>, QueryError> {
        let answer = match self.query.run(context) {
            Ok(answer) => answer,
            Err(error)
                if matches!(
                    error.kind(),
                    QueryErrorKind::Execute | QueryErrorKind::Unavailable
                ) =>
            {
                self.set_ran(context);
                let is_new = !matches!(&self.delivered, Delivered::Error(known) if *known == error);
                self.delivered = Delivered::Error(error.clone());
                return Ok(is_new.then_some(Update::Failed(error)));
            }
            Err(error) => return Err(error),
        };
        self.set_ran(context);
        let sequence = self.ran_at;
        let rows = KeyedRows::of(&answer);
        let changes = match &self.delivered {
            Delivered::Answer(baseline) => baseline.changes_to(&rows),
            Delivered::Nothing | Delivered::Error(_) => None,
        };
        self.delivered = Delivered::Answer(Baseline::new(rows));
        Ok(match changes {
            None => Some(Update::Answer { answer, sequence }),
            Some(changes) if changes.is_empty() => None,
            Some(changes) => Some(Update::Changes { changes, sequence }),
        })
    }

    fn set_ran(&mut self, context: &Context<'_>) {
        self.ran_at = context.view.sequence();
        // The view may be older than the last event applied.
        self.is_stale = self.applied > self.ran_at;
    }
}
