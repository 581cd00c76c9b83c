//! Live queries: an answer, and then what enters, changes or leaves it.
//!
//! A [`LiveQuery`] is a query with the answer told last. It is fed with the graph's events
//! ([`LiveQuery::note`]), most of which cost it a glance: one that cannot touch the answer is
//! forgotten, one that only changes an element of the answer is told without running the query
//! again. For everything else the query runs again ([`LiveQuery::refresh`]), once for any number of
//! events, and the difference is told. When that happens is up to whoever drives it; in a running
//! `Engine` (feature `engine`) its thread `live` does.
//!
//! What is promised: the news come in order, and each leads to the answer as of one change of the
//! graph, whose number it bears. After the last event and the [`Update`] it leads to, the answer
//! that was followed is the answer of the query, order included. States in between may be passed
//! over. Flows and the past change without an event: queries that look at them
//! ([`LiveQuery::is_timed`]) are to be refreshed now and then.
//!
//! ```
//! use skylib::flow::FlowSet;
//! use skylib::graph::{Graph, GraphView, Metadata, MetadataOp, Node, NodeId};
//! use skylib::gremlin::live::{Change, LiveQuery, Update};
//! use skylib::gremlin::{Answer, Context, Query};
//! use skylib::time::Timestamp;
//!
//! let now = Timestamp::from_ms(1_700_000_000_000);
//! let mut graph = Graph::new().with_journal();
//! let metadata = Metadata::from_iter([("State", "UP")]);
//! graph.add_node(Node::new("eth0", metadata, now))?;
//! graph.take_events();
//!
//! let mut query = LiveQuery::new(Query::parse("G.V().Has('State', 'UP')")?);
//! let refresh = |query: &mut LiveQuery, graph: &Graph| {
//!     let view = GraphView::open(graph);
//!     query.refresh(&Context::new(&view, &FlowSet::default(), now))
//! };
//! let Some(Update::Answer { answer: Answer::Nodes(nodes), .. }) = refresh(&mut query, &graph)?
//! else { panic!("the first news is the answer") };
//! assert_eq!(nodes.len(), 1);
//!
//! graph.patch_node(&NodeId::from("eth0"), &[MetadataOp::set("State", "DOWN")], now)?;
//! for event in graph.take_events() {
//!     query.note(&event, graph.sequence());
//! }
//! assert!(query.is_in_doubt());
//! let Some(Update::Changes { changes, .. }) = refresh(&mut query, &graph)? else {
//!     panic!("it left")
//! };
//! assert!(matches!(&changes[..], [Change::Left { at: 0, .. }]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod baseline;
mod dependencies;
mod diff;
mod item;
mod keyed_rows;
#[cfg(test)]
mod tests;
mod update;

pub use item::{Item, Key};
pub use update::{Change, Followed, List, Update};

use self::baseline::Told;
use self::dependencies::Reach;
use self::keyed_rows::Rows;
use super::{Context, Query, QueryError, QueryErrorKind};
use crate::graph::GraphEvent;

/// A query that is followed; see the [module](self).
#[derive(Debug)]
pub struct LiveQuery {
    query: Query,
    reach: Reach,
    state: State,
    /// The change of the graph up to which the query saw it when it ran last.
    ran_at: u64,
    /// The last change taken note of since.
    noted: u64,
    is_in_doubt: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing was told.
    New,
    Answered(Told),
    /// What was told last.
    Failed(QueryError),
}

impl LiveQuery {
    /// A query to follow; nothing runs yet, and it is in doubt.
    #[must_use]
    pub fn new(query: Query) -> Self {
        Self {
            reach: Reach::of(&query.plan),
            query,
            state: State::New,
            ran_at: 0,
            noted: 0,
            is_in_doubt: true,
        }
    }

    /// The query.
    #[must_use]
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// Whether its answer changes with time, without an event: it looks at flows or at the past.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.reach.is_timed
    }

    /// The change of the graph up to which the query saw it when it ran last; 0 before.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.ran_at
    }

    /// Number of items in the answer, which it holds on to.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.state {
            State::Answered(told) => told.len(),
            State::New | State::Failed(_) => 0,
        }
    }

    /// Bytes that the answer takes beside the graph, approximately.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.state {
            State::Answered(told) => told.bytes(),
            State::New | State::Failed(_) => 0,
        }
    }

    /// Whether there is no item in the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes note of something that happened to the graph, in the order in which it happened.
    ///
    /// `sequence` is the graph's number after the transaction; what the query has seen when it ran
    /// is passed over.
    pub fn note(&mut self, event: &GraphEvent, sequence: u64) {
        if sequence <= self.ran_at {
            return;
        }
        self.noted = self.noted.max(sequence);
        if self.is_in_doubt {
            return;
        }
        let State::Answered(told) = &mut self.state else {
            self.is_in_doubt = true;
            return;
        };
        self.is_in_doubt = !told.take_in(&self.reach, event);
    }

    /// Some events were missed: the answer may be another by now.
    pub const fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    /// Whether the answer may be another by now, which only [`LiveQuery::refresh`] can tell.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Whether there is something to tell without running the query.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.is_in_doubt && matches!(&self.state, State::Answered(told) if told.has_news())
    }

    /// What the events since the last news changed; nothing while it [is in doubt].
    ///
    /// The news hold up to the last event noted: note all of a transaction before.
    ///
    /// [is in doubt]: Self::is_in_doubt
    pub fn take_news(&mut self) -> Option<Update> {
        if !self.has_news() {
            return None;
        }
        let State::Answered(told) = &mut self.state else {
            return None;
        };
        Some(Update::Changes {
            changes: told.take_news(),
            sequence: self.noted.max(self.ran_at),
        })
    }

    /// Runs the query and gives what is new; the first time, and after a failure, the answer.
    ///
    /// A query that cannot be answered at the moment goes on: that is [`Update::Failed`], once.
    ///
    /// # Errors
    /// A query that took more than it may, or was interrupted. It may be tried again.
    pub fn refresh(&mut self, context: &Context<'_>) -> Result<Option<Update>, QueryError> {
        let answer = match self.query.run(context) {
            Ok(answer) => answer,
            Err(error) if error.kind() == QueryErrorKind::Execute => {
                self.ran(context);
                let is_new = !matches!(&self.state, State::Failed(told) if *told == error);
                self.state = State::Failed(error.clone());
                return Ok(is_new.then_some(Update::Failed(error)));
            }
            Err(error) => return Err(error),
        };
        self.ran(context);
        let sequence = self.ran_at;
        let rows = Rows::of(&answer);
        let changes = match &self.state {
            State::Answered(told) => told.changes_to(&rows),
            State::New | State::Failed(_) => None,
        };
        self.state = State::Answered(Told::new(rows));
        Ok(match changes {
            None => Some(Update::Answer { answer, sequence }),
            Some(changes) if changes.is_empty() => None,
            Some(changes) => Some(Update::Changes { changes, sequence }),
        })
    }

    fn ran(&mut self, context: &Context<'_>) {
        self.ran_at = context.view.sequence();
        self.is_in_doubt = self.noted > self.ran_at;
    }
}
