//! `Inner`: the parts of an engine and how they are connected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::agent::TaskServers;
use super::alert::{ActionQueue, AlertHub, AlertParts, Evaluator};
use super::bus::Bus;
use super::capture::{
    ControlTraffic, ListenAddresses, Mailbox, Opener, Reconciler, ReconcilerOptions, RingMemory,
    SwitchCaptures, TargetAddresses,
};
use super::collector::{Collector, CollectorOptions};
use super::fleet::AgentLinks;
use super::flow::{AgentTables, FlowHub, FlowUplink, Importer};
use super::graph::{GraphPersister, OrphanEdgeProcessor, SharedGraph};
use super::housekeeping::Deadline;
use super::injection::{AgentInjections, InjectionHub, InjectionTarget, LocalInjections, Problems};
use super::live::LiveHub;
use super::options::{EngineOptions, Role};
use super::query::QueryRunner;
use super::replication::Replication;
use super::resource::{ActivityRecorder, Registry, ResourceContext};
use super::rule::RuleHub;
#[cfg(feature = "scripting")]
use super::script::{Bridge, ScriptEngine, built_in_workflows};
use crate::capture::BpfCompiler;
use crate::flow::FlowTableOptions;
use crate::graph::{Graph, Origin, Processor};
use crate::memory::MemoryBudget;
use crate::proto::BroadcastMessage;
use crate::store::{ActivityLog, StoreError};
use crate::topology::k8s::ClusterLinks;
use crate::topology::ovsdb::SwitchExports;
use crate::topology::tid::TidProcessor;
use crate::topology::{FabricProcessor, PeeringProcessor, ProbeSet};

/// State of an engine. The threads hold individual parts, never the whole state, so that the last
/// handle can be dropped while they run.
pub(super) struct Inner {
    pub(super) role: Role,
    pub(super) host: String,
    pub(super) origin: String,
    pub(super) graph: Arc<SharedGraph>,
    pub(super) flows: Arc<FlowHub>,
    pub(super) agents: Arc<AgentLinks>,
    pub(super) tasks: Arc<TaskServers>,
    pub(super) replication: Arc<Replication>,
    pub(super) graph_bus: Arc<Bus<BroadcastMessage>>,
    pub(super) registry: Registry,
    pub(super) persister: Option<Arc<GraphPersister>>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) deadline: Arc<Deadline>,
    pub(super) memory: MemoryBudget,
    pub(super) queries: QueryRunner,
    pub(super) live: Arc<LiveHub>,
    pub(super) rules: Arc<RuleHub>,
    pub(super) injections: Arc<InjectionHub>,
    pub(super) collectors: Vec<Arc<Collector>>,
    pub(super) alerts: Arc<AlertHub>,
    /// Live queries of alerts.
    pub(super) alert_live: Arc<LiveHub>,
    pub(super) actions: Arc<ActionQueue>,
    #[cfg(feature = "scripting")]
    pub(super) scripts: Arc<ScriptEngine>,
    /// Settings of every flow table.
    pub(super) table: FlowTableOptions,
    pub(super) importer: Importer,
    pub(super) probes: Mutex<Option<ProbeSet>>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    /// Connects the parts, without starting threads.
    pub(super) fn new(options: &EngineOptions) -> Result<Self, StoreError> {
        let origin = format!("agent.{}", options.host);
        let persister = options.elements.clone();
        let persister = persister.map(|store| Arc::new(GraphPersister::new(store)));
        let graph = Arc::new(shared_graph(options, &origin, persister.as_ref()));
        let agents = Arc::<AgentLinks>::default();
        let flows = Arc::new(flow_hub(options, &graph, &agents));
        let graph_bus = Arc::new(Bus::default());
        let queries = query_runner(options, &graph, &flows)?;
        let (mailbox, deadline) = (Arc::<Mailbox>::default(), Arc::<Deadline>::default());
        let mut registry = registry(options, &queries, &graph_bus, &mailbox, &deadline)?;
        agents.observe(&(Arc::clone(&mailbox) as _));
        let injections = injections(options, &origin, &queries, &agents, &graph_bus);
        registry.injections.observe(Arc::clone(&injections) as _);
        let rules = rules(&queries, &mut registry, &options.host);
        #[cfg(feature = "scripting")]
        let scripts = Arc::new(ScriptEngine::new(options.scripts));
        #[cfg(feature = "scripting")]
        let evaluator: Option<Arc<dyn Evaluator>> = Some(Arc::clone(&scripts) as _);
        #[cfg(not(feature = "scripting"))]
        let evaluator: Option<Arc<dyn Evaluator>> = None;
        let actions = Arc::new(ActionQueue::new(options.webhooks.clone()));
        let alerts = alerts(&queries, &mut registry, &graph_bus, &actions, evaluator);
        #[cfg(feature = "scripting")]
        connect_scripts(&scripts, options, &queries, &mut registry);
        Ok(Self {
            role: options.role,
            host: options.host.clone(),
            origin,
            replication: Arc::new(replication(options, &graph, &agents)),
            importer: importer(options, &flows),
            graph,
            flows,
            agents,
            tasks: Arc::new(TaskServers {
                injections: Some(Arc::clone(&injections) as _),
            }),
            graph_bus,
            registry,
            persister,
            mailbox,
            deadline,
            memory: options.memory.clone(),
            live: Arc::new(LiveHub::new(options.live, queries.clone(), &options.memory)),
            rules,
            injections,
            collectors: collectors(options, &queries),
            alerts,
            alert_live: alert_live(options, &queries),
            actions,
            #[cfg(feature = "scripting")]
            scripts,
            queries,
            table: options.table.clone(),
            probes: Mutex::new(None),
            stopping: Arc::default(),
            threads: Mutex::default(),
        })
    }

    /// Returns the capture reconciler.
    pub(super) fn reconciler(&self, options: &EngineOptions) -> Reconciler {
        let opener = Opener {
            graph: Arc::clone(&self.graph),
            flows: Arc::clone(&self.flows),
            table: self.table.clone(),
            clock: Arc::clone(&self.queries.clock),
            origin: self.origin.clone(),
            rings: RingMemory::new(options.ring_bytes, options.ring_bytes_total),
            filters: self.queries.filters.clone(),
            shards: options.capture_shards,
            pcap_sockets: ListenAddresses {
                address: options.pcap_socket_address,
                ports: options.pcap_socket_ports.clone(),
            },
            switch: SwitchCaptures::new(
                SwitchExports::new(options.probes.ovsdb.clone()),
                ListenAddresses {
                    address: options.sflow_address,
                    ports: options.sflow_ports.clone(),
                },
                ListenAddresses {
                    address: options.netflow_address,
                    ports: options.netflow_ports.clone(),
                },
            ),
            targets: TargetAddresses::default(),
            control: ControlTraffic::new(options.control_services.clone()),
        };
        let options = ReconcilerOptions {
            stats_interval: options.capture_stats_interval,
            max_active: options.max_active_captures,
            is_local: options.local_captures,
        };
        Reconciler::new(
            Arc::clone(&self.mailbox),
            Arc::clone(self.registry.captures.store()),
            self.queries.clone(),
            Arc::clone(&self.graph_bus),
            Arc::clone(&self.agents),
            opener,
            options,
        )
    }

    /// Returns the number of stored resources, by the name of their kind.
    pub(super) fn resources(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.registry.counts();
        if let Some(persister) = &self.persister {
            let (nodes, edges) = persister.counts();
            counts.extend([("node", nodes), ("edge", edges)]);
        }
        counts
    }

    /// Returns the reason if the last change to a resource or a graph element could not be stored.
    pub(super) fn store_problem(&self) -> Option<String> {
        let persister = self.persister.as_ref();
        let unwritten = || persister.and_then(|persister| persister.problem());
        self.registry.store_problem().or_else(unwritten)
    }

    /// Stops probes, captures, and threads, in this order, and waits until they have ended.
    pub(super) fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        self.mailbox.stop();
        if let Some(mut probes) = self.probes.lock().take() {
            probes.stop();
        }
        self.collectors
            .iter()
            .for_each(|collector| collector.stop());
        // The batcher must outlive the captures and collectors: it receives their last flows.
        let (first, others): (Vec<_>, Vec<_>) = threads
            .into_iter()
            .partition(|thread| matches!(thread.thread().name(), Some(RECONCILER | COLLECTOR)));
        join(first);
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(persister) = &self.persister {
            persister.stop();
        }
        self.deadline.stop();
        self.graph.close_log();
        self.live.stop();
        self.rules.stop();
        self.injections.stop();
        self.alert_live.stop();
        self.alerts.stop();
        self.actions.stop();
        #[cfg(feature = "scripting")]
        self.scripts.stop();
        join(others);
        self.graph_bus.close();
        self.flows.bus().close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Also stops an engine whose last handle is dropped; a second stop does nothing.
        self.stop();
    }
}

/// Returns the graph with the processors of the engine's role, its history, and its persistence.
fn shared_graph(
    options: &EngineOptions,
    origin: &str,
    persister: Option<&Arc<GraphPersister>>,
) -> SharedGraph {
    let mut processors: Vec<Box<dyn Processor>> = vec![Box::new(TidProcessor::new(origin))];
    if options.role != Role::Agent {
        let analyzer = Origin::new("analyzer", options.host.as_str());
        processors.push(Box::new(PeeringProcessor::new(analyzer.clone())));
        if options.analyzer_probes.kubernetes.is_some() {
            processors.push(Box::new(ClusterLinks::new(analyzer.clone())));
        }
        let fabric = options.fabric.clone();
        processors.push(Box::new(FabricProcessor::new(fabric, analyzer)));
    }
    if let Some(persister) = persister {
        processors.push(Box::new(OrphanEdgeProcessor(Arc::clone(persister))));
    }
    SharedGraph::new(Graph::new(), Arc::clone(&options.clock), processors)
        .with_history(options.history.clone())
        .with_persister(persister.cloned())
}

/// Returns the hub of the flows of this host and its agents.
fn flow_hub(
    options: &EngineOptions,
    graph: &Arc<SharedGraph>,
    agents: &Arc<AgentLinks>,
) -> FlowHub {
    let is_agent = options.role == Role::Agent;
    let uplink = is_agent.then(|| Arc::new(FlowUplink::new(options.max_uplink_bytes)));
    FlowHub::new(options.flows)
        .with_agents(AgentTables::new(Arc::clone(agents), Arc::clone(graph)))
        .with_uplink(uplink)
        .with_store(options.flow_store.clone())
        .with_memory(options.memory.clone())
}

/// Returns the runner of queries on the graph and the flows.
fn query_runner(
    options: &EngineOptions,
    graph: &Arc<SharedGraph>,
    flows: &Arc<FlowHub>,
) -> Result<QueryRunner, StoreError> {
    Ok(QueryRunner {
        graph: Arc::clone(graph),
        flows: Arc::clone(flows),
        clock: Arc::clone(&options.clock),
        time_zone: options.time_zone.clone(),
        limits: options.limits,
        filters: BpfCompiler::default(),
        activities: Arc::new(ActivityLog::open(Arc::clone(&options.documents))?),
    })
}

/// Opens the collections of stored resources, which captures, housekeeping, and the activity log
/// observe.
fn registry(
    options: &EngineOptions,
    queries: &QueryRunner,
    bus: &Arc<Bus<BroadcastMessage>>,
    mailbox: &Arc<Mailbox>,
    deadline: &Arc<Deadline>,
) -> Result<Registry, StoreError> {
    let context = ResourceContext {
        queries: queries.clone(),
        bus: Arc::clone(bus),
        layer_key_mode: options.layer_key_mode,
        memory: options.memory.clone(),
        alert_scripts: options.alert_scripts,
        #[cfg(feature = "scripting")]
        check_script: super::script::check,
        #[cfg(not(feature = "scripting"))]
        check_script: |_| Ok(()),
        local_captures: options.local_captures,
    };
    let (documents, limits) = (&options.documents, options.resources);
    let mut registry = Registry::open(documents, limits, &options.host, context)?;
    registry.captures.observe(Arc::clone(mailbox) as _);
    registry.observe(deadline);
    registry.observe(&Arc::new(ActivityRecorder::new(queries)));
    Ok(registry)
}

/// Returns the hub of packet injections on this host and on agents.
fn injections(
    options: &EngineOptions,
    origin: &str,
    queries: &QueryRunner,
    agents: &Arc<AgentLinks>,
    bus: &Arc<Bus<BroadcastMessage>>,
) -> Arc<InjectionHub> {
    let problems = Arc::<Problems>::default();
    let mut targets: Vec<Arc<dyn InjectionTarget>> = Vec::new();
    if options.local_captures {
        let graph = Arc::clone(&queries.graph);
        let local = LocalInjections::new(graph, origin.to_owned(), Arc::clone(&problems));
        targets.push(Arc::new(local));
    }
    let remote = Arc::new(AgentInjections::new(Arc::clone(agents)));
    agents.observe(&(Arc::clone(&remote) as _));
    targets.push(remote);
    let hub = InjectionHub::new(queries.clone(), Arc::clone(bus), problems, targets);
    let hub = Arc::new(hub);
    agents.observe(&(Arc::clone(&hub) as _));
    hub
}

/// Returns the collectors of flow exports.
fn collectors(options: &EngineOptions, queries: &QueryRunner) -> Vec<Arc<Collector>> {
    let collector = |collector: &CollectorOptions| {
        let (collector, table) = (collector.clone(), options.table.clone());
        Arc::new(Collector::new(collector, table, queries, &options.host))
    };
    options.collectors.iter().map(collector).collect()
}

/// Returns the hub of node and edge rules, which observes both.
fn rules(queries: &QueryRunner, registry: &mut Registry, host: &str) -> Arc<RuleHub> {
    let node_rules = Arc::clone(registry.node_rules.store());
    let edge_rules = Arc::clone(registry.edge_rules.store());
    let rules = Arc::new(RuleHub::new(queries.clone(), node_rules, edge_rules, host));
    registry.node_rules.observe(Arc::clone(&rules) as _);
    registry.edge_rules.observe(Arc::clone(&rules) as _);
    rules
}

/// Returns the hub of alerts, which observes them.
fn alerts(
    queries: &QueryRunner,
    registry: &mut Registry,
    bus: &Arc<Bus<BroadcastMessage>>,
    actions: &Arc<ActionQueue>,
    evaluator: Option<Arc<dyn Evaluator>>,
) -> Arc<AlertHub> {
    let alerts = Arc::new(AlertHub::new(AlertParts {
        queries: queries.clone(),
        store: Arc::clone(registry.alerts.store()),
        bus: Arc::clone(bus),
        actions: Arc::clone(actions),
        evaluator,
    }));
    registry.alerts.observe(Arc::clone(&alerts) as _);
    alerts
}

/// Returns the replication between this analyzer and others.
fn replication(
    options: &EngineOptions,
    graph: &Arc<SharedGraph>,
    agents: &Arc<AgentLinks>,
) -> Replication {
    Replication::new(
        &options.host,
        Arc::clone(graph),
        Arc::clone(agents),
        Arc::clone(&options.clock),
        options.ghost_timeout,
    )
}

/// Returns the importer of capture files.
fn importer(options: &EngineOptions, flows: &Arc<FlowHub>) -> Importer {
    let (table, clock) = (options.table.clone(), Arc::clone(&options.clock));
    Importer::new(table, Arc::clone(flows), clock)
}

/// Connects the JavaScript engine to queries and resources, whose observers are all registered.
#[cfg(feature = "scripting")]
fn connect_scripts(
    scripts: &ScriptEngine,
    options: &EngineOptions,
    queries: &QueryRunner,
    registry: &mut Registry,
) {
    registry.workflows.set_built_in(built_in_workflows());
    let (memory, limits) = (options.memory.clone(), options.scripts);
    scripts.connect(Bridge::new(queries.clone(), registry, memory, limits));
}

/// Returns the hub of the live queries of alerts.
fn alert_live(options: &EngineOptions, queries: &QueryRunner) -> Arc<LiveHub> {
    // The live query of a changed alert ends only after the new live query has begun.
    let max_queries = options.resources.alerts.saturating_mul(2);
    let live = options.live.with_max_queries(max_queries);
    Arc::new(LiveHub::new(live, queries.clone(), &options.memory))
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::error!(thread = name, "a thread of the engine panicked");
        }
    }
}

/// Name of the thread that starts and stops captures.
pub(super) const RECONCILER: &str = "reconciler";
/// Name of the threads that receive flow exports.
pub(super) const COLLECTOR: &str = "collector";
