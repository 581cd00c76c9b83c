//! Captures on demand: starts and stops them on the nodes their queries select.
//!
//! One thread evaluates a capture's query when the capture is created, and every capture's when
//! nodes or edges change, at most once in [`CHECK_PERIOD`] and at most half of the time; it starts
//! what does not run yet. Between two queries it takes what cannot wait. A capture ends when its
//! resource or its node is deleted; a node that merely leaves the query keeps its capture, as in
//! the original. What runs is shown in the node's `Captures` metadata ([`super::node_status`]), what
//! could not be opened as well, and that is tried again when the graph changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Controller, Pause};
use super::node_capture::{Key, Running, State};
use super::node_status;
use super::opener::Opener;
use super::selector::Watched;
use super::totals::CaptureTotals;
use crate::api::{CaptureSpec, ResourceStore};
use crate::engine::bus::Bus;
use crate::engine::expiry::Expiry;
use crate::engine::flow::hub::FlowHub;
use crate::engine::graph::shared_graph::SharedGraph;
use crate::engine::query::QueryRunner;
use crate::engine::resource::resources::notify;
use crate::error_chain::Chain;
use crate::graph::{GraphAccess, Node, NodeId};
use crate::proto::BroadcastMessage;
use crate::time::{Clock, Timestamp};

/// How often queries are evaluated at most while the graph keeps changing.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// How often statistics of captures go to the flow subscribers.
const STATS_MESSAGES: Duration = Duration::from_secs(10);

/// How long captures may take to tell their counters; they are asked again a period later.
const REPORT_PATIENCE: Duration = Duration::from_millis(200);

/// Captures on nodes that are kept in mind, also those that could not be opened.
const MAX_ENTRIES: usize = 10_000;

/// Settings of the capture thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnDemandOptions {
    /// How often counters in the nodes' metadata are refreshed.
    pub(crate) stats_period: Duration,
    /// How many captures may be active at a time, each with a ring and a flow table.
    pub(crate) max_active: usize,
    /// Whether this process captures; else the agents do on which the nodes are, this host's too.
    pub(crate) is_here: bool,
}

/// The thread's own state.
pub(crate) struct OnDemand {
    controller: Arc<Controller>,
    resources: Arc<ResourceStore<CaptureSpec>>,
    graph: Arc<SharedGraph>,
    flows: Arc<FlowHub>,
    graph_bus: Arc<Bus<BroadcastMessage>>,
    queries: QueryRunner,
    opener: Opener,
    options: OnDemandOptions,
    clock: Arc<dyn Clock>,
    expiries: Vec<Expiry>,
    watched: HashMap<String, Watched>,
    /// Captures whose queries are to be evaluated, the next one last.
    queue: Vec<String>,
    /// When the evaluation of all queries began, while it goes on.
    round_began: Option<Timestamp>,
    /// Until when a changed graph waits.
    pause: Pause,
    running: HashMap<Key, Running>,
    /// How many of them are active.
    active: usize,
    /// What those saw that have ended.
    past: CaptureTotals,
    /// Whether others have yet to be told what runs.
    changed: bool,
    next_stats: Timestamp,
    next_messages: Timestamp,
}

impl OnDemand {
    pub(crate) fn new(
        controller: Arc<Controller>,
        resources: Arc<ResourceStore<CaptureSpec>>,
        queries: QueryRunner,
        graph_bus: Arc<Bus<BroadcastMessage>>,
        opener: Opener,
        expiries: Vec<Expiry>,
        options: OnDemandOptions,
    ) -> Self {
        let clock = Arc::clone(&queries.clock);
        let now = clock.now();
        Self {
            controller,
            expiries,
            resources,
            graph: Arc::clone(&queries.graph),
            flows: Arc::clone(&queries.flows),
            graph_bus,
            queries,
            opener,
            options,
            clock,
            watched: HashMap::new(),
            queue: Vec::new(),
            round_began: None,
            pause: Pause::default(),
            running: HashMap::new(),
            active: 0,
            past: CaptureTotals::default(),
            changed: false,
            next_stats: now.saturating_add(options.stats_period),
            next_messages: now.saturating_add(STATS_MESSAGES),
        }
    }

    /// The body of the thread.
    pub(crate) fn run(mut self) {
        self.controller.created();
        loop {
            let pending = if self.queue.is_empty() {
                let until = self.next_chore();
                self.controller.wait(&*self.clock, self.pause, until)
            } else {
                self.controller.take_urgent()
            };
            if pending.stop {
                break;
            }
            if !pending.gone_nodes.is_empty() || !pending.deleted.is_empty() {
                self.end(pending.gone_nodes, pending.deleted);
            }
            if pending.graph_changed {
                self.look_at_all();
            }
            if pending.created {
                self.learn();
            }
            if let Some(id) = self.queue.pop() {
                self.evaluate(&id);
            }
            if self.queue.is_empty()
                && let Some(began) = self.round_began.take()
            {
                let now = self.clock.now();
                self.pause = Pause {
                    began: now,
                    length: now.duration_since(began).max(CHECK_PERIOD),
                };
            }
            self.do_chores();
            if std::mem::take(&mut self.changed) {
                self.count();
            }
        }
        self.stop_where(|_| true);
    }

    fn next_chore(&self) -> Option<Timestamp> {
        let stats = (!self.running.is_empty()).then_some(self.next_stats);
        let expiries = self.expiries.iter().filter_map(Expiry::next);
        expiries.chain(stats).min()
    }

    /// Does what comes with time.
    fn do_chores(&mut self) {
        let now = self.clock.now();
        for expiry in &mut self.expiries {
            expiry.expire(now);
        }
        if let Some(history) = self.graph.history() {
            history.expire(now);
        }
        if let Some(store) = self.flows.store() {
            store.expire(now);
        }
        if self.next_stats <= now {
            self.next_stats = now.saturating_add(self.options.stats_period);
            self.refresh_stats();
        }
        if self.next_messages <= now {
            self.next_messages = now.saturating_add(STATS_MESSAGES);
            self.send_stats();
        }
    }

    /// Stops what runs on nodes that are gone and for captures that were deleted.
    fn end(&mut self, nodes: Vec<NodeId>, captures: Vec<String>) {
        let nodes: HashSet<NodeId> = nodes.into_iter().collect();
        let captures: HashSet<String> = captures.into_iter().collect();
        self.watched.retain(|id, _| !captures.contains(id));
        self.stop_where(|key| nodes.contains(&key.node) || captures.contains(&key.capture));
        if self.active < self.running.len() {
            // One that was one too many may now start.
            self.controller.look_again();
        }
    }

    /// Takes captures that are new; their queries come next.
    fn learn(&mut self) {
        for spec in self.resources.all() {
            if !self.watched.contains_key(&spec.uuid) {
                self.queue.push(spec.uuid.clone());
                self.watched.insert(spec.uuid.clone(), Watched::new(spec));
            }
        }
    }

    /// Lets every query be evaluated, those first that took the least time.
    fn look_at_all(&mut self) {
        self.drop_gone();
        self.round_began = Some(self.clock.now());
        let mut all: Vec<_> = self.watched.iter().map(|(id, w)| (w.cost, id)).collect();
        all.sort_by(|a, b| b.cmp(a));
        self.queue = all.into_iter().map(|(_, id)| id.clone()).collect();
    }

    /// Stops what runs on nodes that are not there any more, whatever was heard of them.
    fn drop_gone(&mut self) {
        let mut gone = HashSet::new();
        self.graph.read(&mut |graph| {
            let keys = self.running.keys();
            gone = keys
                .filter(|key| graph.node(&key.node).is_none())
                .cloned()
                .collect();
        });
        if !gone.is_empty() {
            self.stop_where(|key| gone.contains(key));
        }
    }

    /// Starts a capture on every node that its query selects and where it does not run.
    fn evaluate(&mut self, id: &str) {
        if !self.options.is_here {
            return;
        }
        let Some(watched) = self.watched.get_mut(id) else {
            return;
        };
        let spec = Arc::clone(&watched.spec);
        let is_stopping = || self.controller.is_stopping();
        let nodes = watched.select(&self.queries, &self.opener.origin, &is_stopping);
        if self.controller.is_stopping() {
            return;
        }
        let (nodes, mut problem) = match nodes {
            Ok(nodes) => (nodes, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let mut is_full = false;
        for node in nodes {
            let key = Key {
                capture: id.to_owned(),
                node: node.id.clone(),
            };
            match self.running.get(&key) {
                Some(running) if running.is_active() => {}
                None if self.running.len() >= MAX_ENTRIES => is_full = true,
                _ => self.start(key, &spec, &node),
            }
        }
        if is_full {
            problem = Some(format!("{MAX_ENTRIES} captures on nodes are known already"));
        }
        if let Some(watched) = self.watched.get_mut(id) {
            watched.tell(problem);
        }
    }

    fn start(&mut self, key: Key, spec: &Arc<CaptureSpec>, node: &Node) {
        let max_active = self.options.max_active;
        let opened = if self.active < max_active {
            self.opener.open(spec, node)
        } else {
            Err(format!(
                "{max_active} captures are active, as many as may be (agent.capture.max_active)"
            ))
        };
        let running = match opened {
            Ok((capture, table)) => {
                tracing::info!(capture = %key.capture, node = %key.node, "capture started");
                self.active += 1;
                Running::active(Arc::clone(spec), capture, table)
            }
            Err(error) => {
                let known = self.running.get(&key).and_then(Running::error);
                if known != Some(&error) {
                    tracing::warn!(capture = %key.capture, node = %key.node, %error, "no capture");
                }
                Running::failed(Arc::clone(spec), error)
            }
        };
        let is_active = running.is_active();
        if self.keep(key, running) && is_active {
            notify(&self.graph_bus, "NodeUpdated", &**spec);
        }
    }

    /// Shows a capture on its node and keeps it in mind; closes it where the node has gone
    /// meanwhile.
    fn keep(&mut self, key: Key, running: Running) -> bool {
        self.controller.watch(&key.node);
        let entry = running.entry();
        let is_shown = self
            .graph
            .update_as(None, |graph, now| entry.show(graph, &key.node, now));
        if is_shown {
            let is_active = running.is_active();
            let before = self.running.insert(key, running);
            self.changed |= before.is_none_or(|before| before.is_active() != is_active);
        } else {
            self.running.remove(&key);
            self.close(running);
            self.changed = true;
        }
        is_shown
    }

    /// A capture ended by itself: its interface went away, or reading failed.
    fn ended(&mut self, key: Key) {
        let Some(running) = self.running.remove(&key) else {
            return;
        };
        self.changed = true;
        let spec = Arc::clone(&running.spec);
        let error = match self.close(running) {
            Some(error) => error,
            None => "the capture ended".to_owned(),
        };
        tracing::warn!(capture = %key.capture, node = %key.node, %error, "capture ended");
        self.keep(key, Running::failed(spec, error));
    }

    /// Stops what runs under some keys, all at once: each takes its last packets.
    fn stop_where(&mut self, which: impl Fn(&Key) -> bool) {
        let stopped: Vec<(Key, Running)> = self.running.extract_if(|key, _| which(key)).collect();
        if stopped.is_empty() {
            return;
        }
        self.changed = true;
        for (_, running) in &stopped {
            if let State::Active(active) = &running.state {
                active.capture.request_stop();
            }
        }
        let mut keys = Vec::with_capacity(stopped.len());
        for (key, running) in stopped {
            self.close(running);
            keys.push(key);
        }
        self.graph.update_as(None, |graph, now| {
            for key in keys {
                node_status::remove(graph, &key.node, &key.capture, now);
            }
        });
    }

    /// Ends a capture; its last flows have gone to the hub when this returns. Tells why it had
    /// ended by itself, if it had.
    fn close(&mut self, running: Running) -> Option<String> {
        let State::Active(active) = running.state else {
            return None;
        };
        self.active -= 1;
        self.flows.remove_table(active.table);
        match active.capture.stop() {
            Ok(report) => {
                self.past.add_ended(&report);
                None
            }
            Err(error) => {
                self.past.add_ended(&active.report);
                Some(Chain(&error).to_string())
            }
        }
    }

    /// Shows the counters that moved, and captures that ended by themselves.
    fn refresh_stats(&mut self) {
        let (mut ended, mut asked) = (Vec::new(), Vec::new());
        for (key, running) in &mut self.running {
            let State::Active(active) = &mut running.state else {
                continue;
            };
            if active.capture.is_finished() {
                ended.push(key.clone());
            } else if let Some(report) = active.capture.handle().start_report() {
                asked.push((key.clone(), report));
            }
        }
        let deadline = self.clock.now().saturating_add(REPORT_PATIENCE);
        let mut changed = Vec::new();
        for (key, report) in asked {
            let patience = deadline.duration_since(self.clock.now());
            if let Some(report) = report.wait(patience)
                && let Some(Running {
                    state: State::Active(active),
                    ..
                }) = self.running.get_mut(&key)
            {
                if report.packets != active.report.packets {
                    changed.push(key);
                }
                active.report = report;
            }
        }
        self.graph.update_as(None, |graph, now| {
            for key in changed {
                if let Some(running) = self.running.get(&key) {
                    running.entry().show(graph, &key.node, now);
                }
            }
        });
        ended.into_iter().for_each(|key| self.ended(key));
        self.show_totals();
    }

    /// Tells the flow subscribers what each capture saw since they were last told.
    fn send_stats(&mut self) {
        for (key, running) in &mut self.running {
            if let State::Active(active) = &mut running.state {
                self.flows.send_stats(&active.news(&key.capture));
            }
        }
    }

    /// Tells others what runs now.
    fn count(&self) {
        let mut counts = HashMap::new();
        let mut nodes = HashSet::new();
        for (key, running) in &self.running {
            nodes.insert(key.node.clone());
            if running.is_active() {
                *counts.entry(key.capture.clone()).or_insert(0) += 1;
            }
        }
        self.controller.show(counts, nodes);
        self.show_totals();
    }

    fn show_totals(&self) {
        let mut totals = self.past;
        for running in self.running.values() {
            match &running.state {
                State::Active(active) => totals.add_active(&active.report),
                State::Failed { .. } => totals.failed += 1,
            }
        }
        self.controller.show_totals(totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flow::hub::FlowOptions;
    use crate::flow::FlowTableOptions;
    use crate::graph::{Graph, Metadata, Origin};
    use crate::gremlin::Limits;
    use crate::store::MemoryStore;
    use crate::time::SystemClock;

    fn on_demand(max_active: usize) -> OnDemand {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
        let queries = QueryRunner {
            graph: Arc::new(graph),
            flows: Arc::new(FlowHub::new(FlowOptions::default())),
            clock: Arc::clone(&clock),
            limits: Limits::default(),
        };
        let (resources, _) = ResourceStore::open(Arc::new(MemoryStore::default())).unwrap();
        let opener = Opener {
            graph: Arc::clone(&queries.graph),
            flows: Arc::clone(&queries.flows),
            table: FlowTableOptions::default(),
            clock,
            origin: "agent.h".to_owned(),
        };
        let options = OnDemandOptions {
            is_here: true,
            stats_period: Duration::from_secs(1),
            max_active,
        };
        let (controller, resources) = (Arc::default(), Arc::new(resources));
        OnDemand::new(
            controller,
            resources,
            queries,
            Arc::default(),
            opener,
            Vec::new(),
            options,
        )
    }

    /// The loopback interface: a capture on it runs where the test may open one.
    fn loopback() -> Node {
        let metadata = serde_json::from_str(
            r#"{"Name":"lo","Type":"device","EncapType":"loopback","TID":"t","LinkFlags":["UP"]}"#,
        );
        let metadata: Metadata = metadata.unwrap();
        Node::new("lo", metadata, SystemClock.now()).with_origin(Origin::new("agent", "h"))
    }

    fn key(capture: &str) -> Key {
        Key {
            capture: capture.to_owned(),
            node: "lo".into(),
        }
    }

    fn spec(capture: &str) -> Arc<CaptureSpec> {
        Arc::new(CaptureSpec {
            uuid: capture.to_owned(),
            ..CaptureSpec::default()
        })
    }

    fn shown(on_demand: &OnDemand) -> String {
        let mut text = String::new();
        on_demand.graph.read(&mut |graph| {
            let node = graph.node(&"lo".into());
            let captures = node.and_then(|node| node.metadata.get("Captures"));
            text = serde_json::to_string(&captures).unwrap();
        });
        text
    }

    #[test]
    fn a_capture_whose_node_went_while_it_was_opened_is_closed_at_once() {
        let mut on_demand = on_demand(8);
        on_demand.start(key("c"), &spec("c"), &loopback());
        assert!(on_demand.running.is_empty());
        assert_eq!(on_demand.active, 0);
    }

    #[test]
    fn a_capture_whose_node_is_not_there_any_more_is_dropped_at_a_check() {
        let mut on_demand = on_demand(8);
        let graph = Arc::clone(&on_demand.graph);
        graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
        on_demand.start(key("c"), &spec("c"), &loopback());
        assert_eq!(on_demand.running.len(), 1);
        graph.update_as(None, |graph, now| {
            graph.delete_node(&"lo".into(), now).unwrap();
        });
        on_demand.look_at_all();
        assert!(on_demand.running.is_empty());
        assert_eq!(on_demand.active, 0);
    }

    #[test]
    fn a_capture_too_many_says_so_on_its_node_and_starts_when_another_ends() {
        let mut on_demand = on_demand(1);
        let graph = Arc::clone(&on_demand.graph);
        graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
        on_demand.start(key("a"), &spec("a"), &loopback());
        if on_demand.active == 0 {
            eprintln!(
                "SKIPPED: no capture on lo for the test: {}",
                shown(&on_demand)
            );
            return;
        }
        on_demand.start(key("b"), &spec("b"), &loopback());
        let limit = "1 captures are active, as many as may be (agent.capture.max_active)";
        assert!(shown(&on_demand).contains(limit), "{}", shown(&on_demand));
        on_demand.end(Vec::new(), vec!["a".to_owned()]);
        let pause = Pause::default();
        let pending = on_demand.controller.wait(&SystemClock, pause, None);
        assert!(pending.graph_changed, "all are looked at again");
        on_demand.start(key("b"), &spec("b"), &loopback());
        assert!(
            !shown(&on_demand).contains("Error"),
            "{}",
            shown(&on_demand)
        );
        on_demand.stop_where(|_| true);
        assert_eq!((on_demand.active, shown(&on_demand).as_str()), (0, "null"));
    }
}
