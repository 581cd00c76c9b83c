//! Captures on demand: starts and stops them on the nodes their queries select.
//!
//! One thread evaluates every capture's query when a capture is created and when nodes or edges
//! change, at most once in [`CHECK_PERIOD`], and starts what does not run yet. A capture ends when
//! its resource or its node is deleted; a node that merely leaves the query keeps its capture, as
//! in the original. What runs is shown in the node's `Captures` metadata ([`super::entry`]), what
//! could not be opened as well, and that is tried again when the graph changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::entry::{self, CaptureEntry};
use super::flows::{FlowHub, TableId};
use super::hub::SharedGraph;
use super::opening::{Opener, with_causes};
use super::query::QueryRunner;
use super::subscription::Bus;
use super::target::is_capturable;
use crate::api::{CaptureSpec, ResourceStore};
use crate::capture::{Capture, CaptureReport, CaptureStats};
use crate::flow::FlowStats;
use crate::graph::{GraphEvent, Node, NodeId};
use crate::gremlin::{Answer, Query};
use crate::proto::Outgoing;
use crate::time::{Clock, Timestamp};

/// How often queries are evaluated at most while the graph keeps changing.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// How often statistics of captures go to the flow subscribers.
const STATS_MESSAGES: Duration = Duration::from_secs(10);

/// How long a capture may take to tell its counters; they are asked again a period later.
const REPORT_PATIENCE: Duration = Duration::from_millis(200);

/// Starts and stops captures; shared by the resource API, the dispatcher and its own thread.
pub(super) struct Controller {
    pending: Mutex<Pending>,
    wake: Condvar,
    /// How many nodes each capture is active on.
    counts: Mutex<HashMap<String, i64>>,
}

/// What the controller's thread has to look at.
#[derive(Default)]
struct Pending {
    /// Something changed that may make a query select more nodes.
    graph_changed: bool,
    /// A capture came: look at once.
    created: bool,
    deleted: Vec<String>,
    gone_nodes: Vec<NodeId>,
    stop: bool,
}

/// One capture on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    capture: String,
    node: NodeId,
}

impl Controller {
    pub(super) fn new() -> Self {
        Self {
            pending: Mutex::default(),
            wake: Condvar::new(),
            counts: Mutex::default(),
        }
    }

    /// A capture resource came: its nodes are looked up at once.
    pub(super) fn created(&self) {
        self.tell(|pending| pending.created = true);
    }

    /// A capture resource went: everything that runs for it stops.
    pub(super) fn deleted(&self, capture: &str) {
        self.tell(|pending| pending.deleted.push(capture.to_owned()));
    }

    /// Looks at a graph event; called by the dispatcher, never waits.
    pub(super) fn graph_event(&self, event: &GraphEvent) {
        match event {
            GraphEvent::NodeAdded(_)
            | GraphEvent::NodeUpdated { .. }
            | GraphEvent::EdgeAdded(_) => {
                let mut pending = self.pending.lock();
                if !pending.graph_changed {
                    pending.graph_changed = true;
                    self.wake.notify_one();
                }
            }
            GraphEvent::NodeDeleted(node) if node.metadata.get("Captures").is_some() => {
                self.tell(|pending| pending.gone_nodes.push(node.id.clone()));
            }
            _ => {}
        }
    }

    /// How many nodes each capture is active on, by its id.
    pub(super) fn active_counts(&self) -> HashMap<String, i64> {
        self.counts.lock().clone()
    }

    pub(super) fn stop(&self) {
        self.tell(|pending| pending.stop = true);
    }

    fn tell(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }
}

/// The thread's own state.
pub(super) struct OnDemand {
    controller: Arc<Controller>,
    resources: Arc<Mutex<ResourceStore<CaptureSpec>>>,
    graph: Arc<SharedGraph>,
    flows: Arc<FlowHub>,
    graph_bus: Arc<Bus<Outgoing>>,
    queries: QueryRunner,
    opener: Opener,
    /// How often counters in the nodes' metadata are refreshed.
    stats_period: Duration,
    clock: Arc<dyn Clock>,
    running: HashMap<Key, Running>,
}

/// A capture on a node that was opened, or could not be.
struct Running {
    spec: Arc<CaptureSpec>,
    state: State,
}

enum State {
    Active(Box<Active>),
    Failed { error: String },
}

struct Active {
    capture: Capture,
    table: TableId,
    /// What was last asked of the capture.
    report: CaptureReport,
    /// What it was when statistics were last sent.
    told: CaptureReport,
}

impl OnDemand {
    pub(super) fn new(
        controller: Arc<Controller>,
        resources: Arc<Mutex<ResourceStore<CaptureSpec>>>,
        queries: QueryRunner,
        graph_bus: Arc<Bus<Outgoing>>,
        opener: Opener,
        stats_period: Duration,
    ) -> Self {
        Self {
            controller,
            resources,
            graph: Arc::clone(&queries.graph),
            flows: Arc::clone(&queries.flows),
            graph_bus,
            clock: Arc::clone(&queries.clock),
            queries,
            opener,
            stats_period,
            running: HashMap::new(),
        }
    }

    /// The body of the controller's thread.
    pub(super) fn run(mut self) {
        self.controller.created();
        let mut last_check = Timestamp::ZERO;
        let mut next_stats = self.clock.now().plus(self.stats_period);
        let mut next_messages = self.clock.now().plus(STATS_MESSAGES);
        loop {
            let pending = self.wait(last_check, next_stats);
            if pending.stop {
                break;
            }
            for node in pending.gone_nodes {
                self.stop_where(|key| key.node == node);
            }
            for capture in pending.deleted {
                self.stop_where(|key| key.capture == capture);
            }
            let now = self.clock.now();
            self.expire(now);
            if pending.created || pending.graph_changed {
                last_check = now;
                self.check();
            }
            if next_stats <= now {
                next_stats = now.plus(self.stats_period);
                self.refresh_stats();
            }
            if next_messages <= now {
                next_messages = now.plus(STATS_MESSAGES);
                self.send_stats();
            }
            self.count();
        }
        self.stop_where(|_| true);
    }

    /// Sleeps until there is something to do and takes it. A changed graph waits until
    /// [`CHECK_PERIOD`] has passed since the last check; everything else is taken at once.
    fn wait(&self, last_check: Timestamp, next_stats: Timestamp) -> Pending {
        let mut pending = self.controller.pending.lock();
        loop {
            let now = self.clock.now();
            let may_check = now.since(last_check) >= CHECK_PERIOD || now < last_check;
            let urgent = pending.stop
                || pending.created
                || !pending.deleted.is_empty()
                || !pending.gone_nodes.is_empty();
            if urgent || (pending.graph_changed && may_check) {
                let keep_for_later = pending.graph_changed && !may_check && !pending.created;
                let taken = std::mem::take(&mut *pending);
                if keep_for_later {
                    pending.graph_changed = true;
                    return Pending {
                        graph_changed: false,
                        ..taken
                    };
                }
                return taken;
            }
            let mut until = self.resources.lock().next_expiry();
            if pending.graph_changed {
                until = earlier(until, last_check.plus(CHECK_PERIOD));
            }
            if !self.running.is_empty() {
                until = earlier(until, next_stats);
            }
            match until {
                None => self.controller.wake.wait(&mut pending),
                Some(until) if until <= now => return Pending::default(),
                Some(until) => {
                    self.controller
                        .wake
                        .wait_for(&mut pending, until.since(now));
                }
            }
        }
    }

    /// Starts every capture on every node that its query selects and where it does not run.
    fn check(&mut self) {
        let specs: Vec<CaptureSpec> = self.resources.lock().iter().cloned().collect();
        for spec in specs {
            let nodes = match self.select(&spec) {
                Ok(nodes) => nodes,
                Err(error) => {
                    tracing::warn!(capture = %spec.uuid, %error, "the capture's query failed");
                    continue;
                }
            };
            let spec = Arc::new(spec);
            for node in nodes {
                let key = Key {
                    capture: spec.uuid.clone(),
                    node: node.id.clone(),
                };
                match self.running.get(&key) {
                    Some(Running {
                        state: State::Active(_),
                        ..
                    }) => {}
                    _ => self.start(key, &spec, &node),
                }
            }
        }
    }

    fn select(&self, spec: &CaptureSpec) -> Result<Vec<Arc<Node>>, String> {
        let query = Query::parse(&spec.gremlin_query).map_err(|e| e.to_string())?;
        let view = self.queries.graph.view();
        let answer = self
            .queries
            .run(&view, &query, &|| false)
            .map_err(|e| e.to_string())?;
        let nodes = match answer {
            Answer::Nodes(nodes) => nodes,
            Answer::Paths(paths) => paths.into_iter().flatten().collect(),
            _ => Vec::new(),
        };
        let mut seen = HashSet::new();
        let wanted = |node: &Arc<Node>| {
            is_capturable(node, &self.opener.origin) && seen.insert(node.id.clone())
        };
        Ok(nodes.into_iter().filter(wanted).collect())
    }

    fn start(&mut self, key: Key, spec: &Arc<CaptureSpec>, node: &Node) {
        let state = match self.opener.open(spec, node) {
            Ok((capture, table)) => {
                tracing::info!(capture = %key.capture, node = %key.node, "capture started");
                let report = CaptureReport::default();
                State::Active(Box::new(Active {
                    capture,
                    table,
                    report,
                    told: report,
                }))
            }
            Err(error) => {
                let known = self.running.get(&key).and_then(Running::error);
                if known != Some(&error) {
                    tracing::warn!(capture = %key.capture, node = %key.node, %error, "no capture");
                }
                State::Failed { error }
            }
        };
        let running = Running {
            spec: Arc::clone(spec),
            state,
        };
        self.show(&key, &running);
        if running.error().is_none() {
            notify(&self.graph_bus, "NodeUpdated", spec);
        }
        self.running.insert(key, running);
    }

    /// A capture ended by itself: its interface went away, or reading failed.
    fn ended(&mut self, key: Key) {
        let Some(running) = self.running.remove(&key) else {
            return;
        };
        let spec = Arc::clone(&running.spec);
        let error = match self.close(running) {
            Some(error) => error,
            None => "the capture ended".to_owned(),
        };
        tracing::warn!(capture = %key.capture, node = %key.node, %error, "capture ended");
        let failed = Running {
            spec,
            state: State::Failed { error },
        };
        self.show(&key, &failed);
        self.running.insert(key, failed);
    }

    /// Stops what runs under some keys, all at once: each takes its last packets.
    fn stop_where(&mut self, which: impl Fn(&Key) -> bool) {
        let keys: Vec<Key> = self
            .running
            .keys()
            .filter(|key| which(key))
            .cloned()
            .collect();
        let stopped: Vec<(Key, Running)> = keys
            .into_iter()
            .filter_map(|key| self.running.remove_entry(&key))
            .collect();
        let this = &*self;
        std::thread::scope(|scope| {
            for (key, running) in stopped {
                scope.spawn(move || {
                    this.close(running);
                    this.graph.update_as(None, |graph, now| {
                        entry::remove(graph, &key.node, &key.capture, now);
                    });
                });
            }
        });
    }

    /// Ends a capture; its last flows have gone to the hub when this returns. Tells why it had
    /// ended by itself, if it had.
    fn close(&self, running: Running) -> Option<String> {
        let State::Active(active) = running.state else {
            return None;
        };
        self.flows.remove_table(active.table);
        active.capture.stop().err().map(|error| with_causes(&error))
    }

    fn expire(&self, now: Timestamp) {
        let expired = self.resources.lock().expire(now);
        match expired {
            Ok(expired) => {
                for spec in expired {
                    self.controller.deleted(&spec.uuid);
                    notify(&self.graph_bus, "Deleted", &spec);
                }
            }
            Err(error) => tracing::error!(%error, "expired captures stay until the store works"),
        }
    }

    /// Shows the counters that moved, and captures that ended by themselves.
    fn refresh_stats(&mut self) {
        let (mut ended, mut changed) = (Vec::new(), Vec::new());
        for (key, running) in &mut self.running {
            let State::Active(active) = &mut running.state else {
                continue;
            };
            if active.capture.is_finished() {
                ended.push(key.clone());
            } else if let Some(report) = active.capture.handle().report(REPORT_PATIENCE) {
                if report.packets != active.report.packets {
                    changed.push(key.clone());
                }
                active.report = report;
            }
        }
        for key in changed {
            if let Some(running) = self.running.get(&key) {
                self.show(&key, running);
            }
        }
        ended.into_iter().for_each(|key| self.ended(key));
    }

    /// Tells the flow subscribers what each capture saw since they were last told.
    fn send_stats(&mut self) {
        for (key, running) in &mut self.running {
            if let State::Active(active) = &mut running.state {
                self.flows
                    .send_stats(&stats_between(&key.capture, &active.told, &active.report));
                active.told = active.report;
            }
        }
    }

    fn show(&self, key: &Key, running: &Running) {
        let stats = match &running.state {
            State::Active(active) => active.report.packets,
            State::Failed { .. } => CaptureStats::default(),
        };
        let entry = CaptureEntry {
            spec: &running.spec,
            stats,
            error: running.error(),
        };
        self.graph
            .update_as(None, |graph, now| entry.show(graph, &key.node, now));
    }

    fn count(&self) {
        let mut counts = HashMap::new();
        for (key, running) in &self.running {
            if running.error().is_none() {
                *counts.entry(key.capture.clone()).or_insert(0) += 1;
            }
        }
        *self.controller.counts.lock() = counts;
    }
}

impl Running {
    fn error(&self) -> Option<&str> {
        match &self.state {
            State::Active(_) => None,
            State::Failed { error } => Some(error),
        }
    }
}

/// Tells the graph's subscribers of a capture resource.
pub(super) fn notify(bus: &Bus<Outgoing>, kind: &'static str, spec: &CaptureSpec) {
    if bus.is_wanted(NOTIFICATIONS) {
        let json = serde_json::to_vec(spec).unwrap_or_default();
        bus.send(&Arc::new(Outgoing::object(NOTIFICATIONS, kind, json)));
    }
}

const NOTIFICATIONS: &str = "OnDemandCaptureNotification";

fn stats_between(capture: &str, before: &CaptureReport, now: &CaptureReport) -> FlowStats {
    let since = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(0);
    FlowStats {
        capture_id: capture.into(),
        flow_count: i64::try_from(now.flows.flows).unwrap_or(i64::MAX),
        flow_dropped: since(now.flows.evicted, before.flows.evicted),
        kernel_flow_dropped: 0,
        packets_dropped: since(now.packets.dropped, before.packets.dropped),
        packets_received: since(now.packets.received, before.packets.received),
    }
}

fn earlier(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    Some(a.map_or(b, |a| a.min(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_told_as_differences() {
        let (mut before, mut now) = (CaptureReport::default(), CaptureReport::default());
        (before.packets.received, before.packets.dropped) = (10, 1);
        (now.packets.received, now.packets.dropped) = (25, 3);
        (now.flows.flows, now.flows.evicted) = (7, 2);
        let stats = stats_between("c1", &before, &now);
        assert_eq!((stats.packets_received, stats.packets_dropped), (15, 2));
        assert_eq!((stats.flow_count, stats.flow_dropped), (7, 2));
    }
}
