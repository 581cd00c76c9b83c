//! `HistoryReader`: the contents of a history folder, read without its lock, while another process may
//! write it.
//!
//! Files are opened once and stay readable when the other process merges or removes them. If the
//! names in the folder change while the files are opened, they are opened again, so that no record
//! is missing because it was just moved to another file.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::flow_store::LocalFlowStore;
use super::folder::{HistoryFolder, file_error};
use super::graph_history::LocalHistory;
use super::options::HistoryOptions;
use super::read_only_disk::ReadOnlyDisk;
use super::report::NO_HISTORY;
use crate::file_use::FileUse;
use crate::filter::Filter;
use crate::flow::{
    Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSource, PacketsByFlow,
};
use crate::graph::history::{History, HistoryLimits, PastView, ReadBudget};
use crate::graph::{Edge, ElementRef, Graph, GraphError, GraphReader, Node};
use crate::store::history::disk::Disk as _;
use crate::store::{FlowStore, StoreError};
use crate::time::{TimeSlice, Timestamp, When};
use crate::value::Text;

/// Flows and the past of the graph in a history folder, as of the moment at which it was opened.
///
/// ```
/// use skylib::flow::{Flow, FlowQuery};
/// use skylib::store::FlowStore;
/// use skylib::store::history::{HistoryFolder, HistoryOptions, HistoryReader, LocalFlowStore};
/// use skylib::time::Timestamp;
///
/// # let path = std::env::temp_dir().join(format!("skylib-reader-{}", std::process::id()));
/// let folder = HistoryFolder::open(&path, HistoryOptions::default())?;
/// let store = LocalFlowStore::open(folder)?;
/// store.put(vec![Flow::default().with_uuid("f1")], Timestamp::from_ms(60_000));
///
/// let reader = HistoryReader::open(&path)?;
/// assert_eq!(reader.flows(&FlowQuery::default(), &|| true).unwrap().flows.len(), 1);
/// # drop(store);
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), skylib::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct HistoryReader {
    path: PathBuf,
    flows: LocalFlowStore,
    graph: LocalHistory,
    newest: OnceLock<Graph>,
}

impl HistoryReader {
    /// Opens the data folder of a daemon, or the folder `history` in it.
    ///
    /// # Errors
    /// Returns [`StoreError::File`] if the folder contains no history or cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let below = folder.join("history");
        let root = if has_table(folder) || !has_table(&below) {
            folder
        } else {
            &below
        };
        let mut names = table_names(root)?;
        for _ in 1..MAX_ATTEMPTS {
            let opened = Self::open_once(root);
            let newer = table_names(root)?;
            if newer == names {
                return opened;
            }
            names = newer;
        }
        Self::open_once(root)
    }

    fn open_once(root: &Path) -> Result<Self, StoreError> {
        let options = HistoryOptions::default();
        let folder = HistoryFolder::open_unlocked(Arc::new(ReadOnlyDisk), root, options)?;
        Ok(Self {
            path: root.to_owned(),
            flows: LocalFlowStore::open(Arc::clone(&folder))?,
            graph: LocalHistory::open(folder, HistoryLimits::default())?,
            newest: OnceLock::new(),
        })
    }

    /// Returns the folder of the history.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the newest record of each flow that was active in the time of a query; without a time, of
    /// each stored flow. Ends with [`FlowQueryError::Interrupted`] when `keep_going`, which is called
    /// regularly, returns `false`.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query_while`].
    pub fn flows(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<FlowSet, FlowQueryError> {
        self.flows.query_while(query, keep_going)
    }

    /// Calls `visit` with each flow that [`HistoryReader::flows`] would return, until it breaks. The
    /// flows lack their raw packets.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query_while`].
    pub fn visit_flows(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        self.flows.visit(query, keep_going, visit)
    }

    /// Returns the flows for queries, which end when `keep_going` returns `false`.
    #[must_use]
    pub const fn flow_source<'a>(
        &'a self,
        keep_going: &'a (dyn Fn() -> bool + Sync),
    ) -> impl FlowSource + 'a {
        StoredFlows {
            flows: &self.flows,
            keep_going,
        }
    }

    /// Returns the past of the graph for queries.
    #[must_use]
    pub fn history(&self) -> &dyn History {
        &self.graph
    }

    /// Returns the nodes at a time.
    ///
    /// # Errors
    /// Returns the errors of the budget, and [`GraphError::Unreadable`] if a file cannot be read.
    pub fn nodes(
        &self,
        at: Timestamp,
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Arc<Node>>, GraphError> {
        let view = PastView::open_within(&self.graph, When::At(at), budget);
        let all = Filter::everything();
        let nodes = view.nodes(&all);
        nodes
            .map(|node| node.map(ElementRef::into_element))
            .collect()
    }

    /// Returns the edges at a time.
    ///
    /// # Errors
    /// Returns the errors of the budget, and [`GraphError::Unreadable`] if a file cannot be read.
    pub fn edges(
        &self,
        at: Timestamp,
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Arc<Edge>>, GraphError> {
        let view = PastView::open_within(&self.graph, When::At(at), budget);
        let all = Filter::everything();
        let edges = view.edges(&all);
        edges
            .map(|edge| edge.map(ElementRef::into_element))
            .collect()
    }

    /// Returns the graph after the newest change, for queries that name no time. It is restored when
    /// it is needed first.
    ///
    /// # Errors
    /// Returns the errors of [`HistoryReader::nodes`].
    pub fn newest_graph(&self, budget: &dyn ReadBudget) -> Result<&Graph, GraphError> {
        if let Some(graph) = self.newest.get() {
            return Ok(graph);
        }
        let mut graph = Graph::new();
        for node in self.nodes(END_OF_TIME, budget)? {
            graph.add_node((*node).clone())?;
        }
        for edge in self.edges(END_OF_TIME, budget)? {
            match graph.add_edge((*edge).clone()) {
                // The file with the end was damaged.
                Err(GraphError::ParentNotFound | GraphError::ChildNotFound) => {}
                outcome => outcome?,
            }
        }
        Ok(self.newest.get_or_init(|| graph))
    }

    /// Returns the times whose flows or elements are missing, because their files are damaged, in
    /// ascending order.
    #[must_use]
    pub fn damaged(&self) -> Vec<TimeSlice> {
        let all = TimeSlice {
            start: Timestamp::ZERO,
            last: END_OF_TIME,
        };
        let mut times = self.flows.damaged(all);
        times.extend(self.graph.damaged(all));
        times.sort_unstable_by_key(|time| (time.start, time.last));
        times.dedup();
        times
    }

    /// Returns the time since which flows and the graph are stored; `None` for each of them without
    /// any record.
    #[must_use]
    pub fn oldest(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let graph: &dyn History = &self.graph;
        (self.flows.status().oldest, graph.status().oldest)
    }
}

/// Flows of a reader, with the interrupt of a query.
struct StoredFlows<'a> {
    flows: &'a LocalFlowStore,
    keep_going: &'a (dyn Fn() -> bool + Sync),
}

impl FlowSource for StoredFlows<'_> {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.flows.query_while(query, &self.keep_going)
    }

    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        self.flows.visit(query, &self.keep_going, visit)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.flows.count_while(query, &self.keep_going)
    }

    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        self.flows.metrics_while(uuids, time, &self.keep_going)
    }

    fn files(&self, query: &FlowQuery) -> Vec<FileUse> {
        self.flows.files(query)
    }

    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        self.flows.raw_packets(uuids)
    }
}

/// Returns the names in the folders of both tables.
fn table_names(root: &Path) -> Result<[Vec<String>; 2], StoreError> {
    if !has_table(root) {
        // A folder that cannot be read has a better reason.
        let entries = std::fs::read_dir(root).err();
        let reason = entries.unwrap_or_else(|| io::Error::other(NO_HISTORY));
        return Err(file_error("read the history in", root)(reason));
    }
    let list = |table: &str| {
        let path = root.join(table);
        ReadOnlyDisk.list(&path).map_err(file_error("list", &path))
    };
    Ok([list("flow")?, list("graph")?])
}

fn has_table(root: &Path) -> bool {
    ["flow", "graph"]
        .iter()
        .any(|table| root.join(table).is_dir())
}

/// Maximum number of times that the files are opened because their names have changed meanwhile. A
/// daemon changes them about once a minute.
const MAX_ATTEMPTS: usize = 10;
/// Time after every record.
const END_OF_TIME: Timestamp = Timestamp::from_ms(i64::MAX);
