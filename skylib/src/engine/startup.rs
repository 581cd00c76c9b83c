//! Start of an engine: its threads, the stored elements of the graph, and the probes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bus::Bus;
use super::graph::{HostOptions, LoggedEvent, SharedGraph, start_analyzer_probes, start_probes};
use super::housekeeping::Housekeeping;
use super::inner::{COLLECTOR, RECONCILER};
use super::live::LiveClient;
use super::options::{EngineOptions, Role};
use super::{Engine, EngineError};
use crate::graph::{Graph, Origin, WriteLimits};
use crate::memory::MemoryBudget;
use crate::proto::BroadcastMessage;
use crate::sys::capability::Capability;
use crate::topology::ProbeSet;

impl Engine {
    /// Starts the threads, except those of probes, and loads the stored graph.
    pub(super) fn start_threads(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let inner = &self.0;
        self.start_dispatch()?;
        let live = Arc::clone(&inner.live);
        self.spawn("live", move || live.run())?;
        let (flows, stopping) = (Arc::clone(&inner.flows), Arc::clone(&inner.stopping));
        let clock = Arc::clone(&options.clock);
        self.spawn("flow-batch", move || {
            flows.run_batcher(&*clock, &|| stopping.load(Ordering::Relaxed));
        })?;
        let reconciler = inner.reconciler(options);
        self.spawn(RECONCILER, move || reconciler.run())?;
        let housekeeping = Housekeeping::new(
            Arc::clone(&inner.deadline),
            inner.registry.all(),
            Arc::clone(&inner.graph),
            Arc::clone(&inner.flows),
            Arc::clone(&inner.replication),
            Arc::clone(&inner.queries.activities),
            Arc::clone(&options.clock),
        );
        self.spawn("housekeeping", move || housekeeping.run())?;
        self.load_graph(options)?;
        let rules = Arc::clone(&inner.rules);
        self.spawn("rules", move || rules.run())?;
        for collector in &inner.collectors {
            let collector = Arc::clone(collector);
            self.spawn(COLLECTOR, move || collector.run())?;
        }
        let injections = Arc::clone(&inner.injections);
        self.spawn("injections", move || injections.run())?;
        self.start_alerts()
    }

    /// Starts the thread that passes the events of the graph to the other parts.
    fn start_dispatch(&self) -> Result<(), EngineError> {
        let inner = &self.0;
        let (graph, bus) = (Arc::clone(&inner.graph), Arc::clone(&inner.graph_bus));
        let (mailbox, live) = (Arc::clone(&inner.mailbox), Arc::clone(&inner.live));
        let (rules, alerts) = (Arc::clone(&inner.rules), Arc::clone(&inner.alerts));
        let (alert_live, memory) = (Arc::clone(&inner.alert_live), inner.memory.clone());
        let replication = Arc::clone(&inner.replication);
        let injections = Arc::clone(&inner.injections);
        self.spawn("dispatch", move || {
            let observe = |logged: &LoggedEvent| {
                mailbox.graph_event(&logged.event);
                live.graph_event(logged);
                alert_live.graph_event(logged);
                alerts.graph_event();
                rules.graph_event(logged);
                replication.graph_event(logged);
                injections.graph_event();
            };
            dispatch(&graph, &bus, &memory, observe);
        })
    }

    /// Adds the stored elements and the configured fabric to the graph, sets its limits, and starts the
    /// thread that persists it.
    fn load_graph(&self, options: &EngineOptions) -> Result<(), EngineError> {
        let inner = &self.0;
        if let Some(persister) = &inner.persister {
            let load = |graph: &mut Graph, _| persister.load(graph, &inner.origin);
            inner.graph.update_as(None, load)?;
            let persister = Arc::clone(persister);
            self.spawn("graph-persister", move || persister.run())?;
        }
        // Set after the stored elements have been loaded, so that a lowered limit does not reject
        // them.
        let limits = WriteLimits::new(inner.origin.as_str())
            .with_max_bytes(options.max_graph_bytes)
            .with_max_element_bytes(options.max_element_bytes)
            .with_max_nodes(options.resources.nodes)
            .with_max_edges(options.resources.edges);
        let limit = |graph: &mut Graph, _| graph.set_write_limits(limits);
        inner.graph.update_as(None, limit);
        if options.role != Role::Agent {
            let analyzer = Origin::new("analyzer", options.host.as_str());
            let add = |graph: &mut Graph, now| options.fabric.write_to(graph, &analyzer, now);
            inner.graph.update_as(None, add);
        }
        Ok(())
    }

    /// Starts the threads of the alerts.
    fn start_alerts(&self) -> Result<(), EngineError> {
        let inner = &self.0;
        let live = Arc::clone(&inner.alert_live);
        self.spawn("alert-live", move || live.run())?;
        let actions = Arc::clone(&inner.actions);
        self.spawn("alert-actions", move || actions.run())?;
        let client = LiveClient::new(&inner.alert_live, usize::MAX);
        let alerts = Arc::clone(&inner.alerts);
        self.spawn("alerts", move || alerts.run(&client))
    }

    /// Starts the probes of the role.
    pub(super) fn start_probes(&self, options: &EngineOptions) {
        let mut probes = match options.role {
            Role::Analyzer => ProbeSet::new(),
            Role::AllInOne | Role::Agent => self.start_host_probes(options),
        };
        if options.role != Role::Agent {
            let analyzer = Origin::new("analyzer", options.host.as_str());
            let settings = &options.analyzer_probes;
            start_analyzer_probes(&mut probes, &self.0.graph, &analyzer, settings);
        }
        *self.0.probes.lock() = Some(probes);
    }

    /// Starts the probes of this host.
    fn start_host_probes(&self, options: &EngineOptions) -> ProbeSet {
        if let Some(missing) = Capability::missing() {
            tracing::warn!("{missing}; everything else works");
        }
        let host = HostOptions {
            origin: Origin::new("agent", options.host.as_str()),
            metadata: &options.host_metadata,
            netns_path: options.netns_path.as_deref(),
            metrics_interval: options.metrics_interval,
            persister: self.0.persister.as_ref(),
            probes: &options.probes,
        };
        start_probes(&self.0.graph, &host)
    }

    /// Starts a thread, which [`Engine::stop`] waits for.
    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        self.0.threads.lock().push(thread);
        Ok(())
    }
}

/// Passes the events of the graph to the observing parts of the engine and sends them to the
/// subscribers; the body of the dispatcher thread.
fn dispatch(
    graph: &SharedGraph,
    bus: &Bus<BroadcastMessage>,
    memory: &MemoryBudget,
    observe: impl Fn(&LoggedEvent),
) {
    while let Some(events) = graph.take_log() {
        for logged in events {
            observe(&logged);
            if bus.is_wanted(crate::proto::GRAPH) {
                let message = BroadcastMessage::graph_event(logged.event)
                    .with_memory(memory)
                    .with_sequence(logged.sequence)
                    .with_author(logged.author);
                bus.send(&Arc::new(message));
            }
        }
    }
}
