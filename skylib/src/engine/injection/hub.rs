//! `InjectionHub`: starts and stops injections when their resources are created and deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::Problems;
use crate::api::Injection;
use crate::engine::bus::Bus;
use crate::engine::fleet::TaskServer;
use crate::engine::query::{QueryRunner, reason_of};
use crate::engine::resource::{Observer, notify};
use crate::graph::{GraphAccess, Node, NodeId};
use crate::gremlin::Query;
use crate::inject::PacketRequest;
use crate::proto::{BroadcastMessage, OnDemandTask};
use crate::time::Timestamp;
use crate::value::Value;

/// Sender of packets on some nodes of the graph: those of this host, or those of an agent.
pub(crate) trait InjectionTarget: Send + Sync {
    /// Returns whether this target sends packets on a node.
    fn owns(&self, node: &Node) -> bool;

    /// Starts to send packets. Does nothing if an injection with the same id was started on the
    /// node before.
    ///
    /// # Errors
    /// Returns the reason why packets cannot be sent.
    fn start(&self, node: &Node, request: PacketRequest) -> Result<(), String>;

    /// Stops sending, and allows an injection with this id to be started again. Returns whether an
    /// injection with this id was started on the node.
    fn stop(&self, node: &NodeId, injection: &str) -> bool;
}

/// Starts the injections that are created, and stops those that are deleted.
pub(crate) struct InjectionHub {
    queries: QueryRunner,
    bus: Arc<Bus<BroadcastMessage>>,
    problems: Arc<Problems>,
    targets: Vec<Arc<dyn InjectionTarget>>,
    pending: Mutex<Pending>,
    /// Signal that wakes the thread.
    wake: Condvar,
}

/// Work for the thread, at most one entry for each injection.
#[derive(Default)]
struct Pending {
    created: Vec<Injection>,
    deleted: Vec<String>,
    /// Requests of analyzers; the connections limit their number.
    tasks: Vec<AnalyzerTask>,
    /// Injections whose deletion must be reported: those that were started.
    known: HashSet<String>,
    stop: bool,
}

/// Request of an analyzer to this host.
struct AnalyzerTask {
    node: NodeId,
    id: String,
    /// Packets to send; `None` to stop.
    request: Option<Result<PacketRequest, String>>,
    /// Receives the status of the reply.
    done: Box<dyn FnOnce(i64) + Send>,
}

/// Nodes on which an injection was started, each with the target that sends.
type Started = Vec<(NodeId, Arc<dyn InjectionTarget>)>;

impl InjectionHub {
    pub(crate) fn new(
        queries: QueryRunner,
        bus: Arc<Bus<BroadcastMessage>>,
        problems: Arc<Problems>,
        targets: Vec<Arc<dyn InjectionTarget>>,
    ) -> Self {
        Self {
            queries,
            bus,
            problems,
            targets,
            pending: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Runs until [`InjectionHub::stop`] is called, then stops all injections; the body of a thread.
    pub(crate) fn run(&self) {
        let mut started: HashMap<String, Started> = HashMap::new();
        loop {
            let (created, deleted, tasks) = {
                let mut pending = self.pending.lock();
                while pending.is_empty() {
                    self.wake.wait(&mut pending);
                }
                if pending.stop {
                    break;
                }
                let created = std::mem::take(&mut pending.created);
                let deleted = std::mem::take(&mut pending.deleted);
                (created, deleted, std::mem::take(&mut pending.tasks))
            };
            tasks.into_iter().for_each(|task| self.serve(task));
            for id in deleted {
                stop(&id, started.remove(&id).unwrap_or_default());
                self.problems.remove(&id);
            }
            for injection in created {
                let nodes = self.start(&injection);
                started.insert(injection.uuid.clone(), nodes);
            }
        }
        for (id, nodes) in started {
            stop(&id, nodes);
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.pending.lock().stop = true;
        self.wake.notify_one();
    }

    /// Starts an injection on the nodes that its query selects.
    fn start(&self, injection: &Injection) -> Started {
        let mut started = Vec::new();
        let src = &injection.src;
        let nodes = match self.sources(src) {
            Ok(nodes) if nodes.is_empty() => {
                let problem = format!("no node matches the source query {src:?}");
                self.problems.add(&injection.uuid, problem);
                nodes
            }
            Ok(nodes) => nodes,
            Err(reason) => {
                let problem = format!("the source query {src:?} fails: {reason}");
                self.problems.add(&injection.uuid, problem);
                Vec::new()
            }
        };
        for (number, node) in nodes.iter().enumerate() {
            match self.start_on(injection, node, number) {
                Ok(target) => started.push((node.id.clone(), target)),
                Err(problem) => {
                    let problem = format!("node {}: {problem}", node.id);
                    self.problems.add(&injection.uuid, problem);
                }
            }
        }
        if !started.is_empty() {
            notify(&self.bus, "NodeUpdated", injection);
        }
        started
    }

    fn start_on(
        &self,
        injection: &Injection,
        node: &Node,
        number: usize,
    ) -> Result<Arc<dyn InjectionTarget>, String> {
        let mut targets = self.targets.iter();
        let target = targets
            .find(|target| target.owns(node))
            .ok_or("the node is not an interface of a host with an agent")?;
        // The number of nodes may exceed the number of ports, which then repeat.
        let request = injection.request_for(node, number as u16, &self.queries);
        target.start(node, request.map_err(|error| error.to_string())?)?;
        Ok(Arc::clone(target))
    }

    /// Serves a request of an analyzer.
    fn serve(&self, task: AnalyzerTask) {
        let mut node = None;
        self.queries
            .graph
            .read(&mut |graph| node = graph.node(&task.node).cloned());
        let owner = |node: &Node| self.targets.iter().find(|target| target.owns(node));
        let found = node.as_ref().and_then(|node| Some((node, owner(node)?)));
        let is_stop = task.request.is_none();
        let status = match (found, task.request) {
            (None, _) => NOT_FOUND,
            (Some((node, target)), Some(request)) => {
                match request.and_then(|request| target.start(node, request)) {
                    Ok(()) => OK,
                    Err(problem) => {
                        let (injection, node) = (&task.id, &task.node);
                        tracing::warn!(%injection, %node, problem, "cannot send the packets of an analyzer");
                        FAILED
                    }
                }
            }
            (Some((node, target)), None) if target.stop(&node.id, &task.id) => OK,
            (Some(_), None) => NOT_FOUND,
        };
        if is_stop {
            // Also of an injection that was forgotten, or whose node has disappeared.
            self.problems.remove(&task.id);
        }
        (task.done)(status);
    }

    fn request(&self, task: AnalyzerTask) {
        self.pending.lock().tasks.push(task);
        self.wake.notify_one();
    }

    /// Returns the nodes of a source query. Of nodes with the same TID, only the first is a source.
    ///
    /// # Errors
    /// Returns the reason if the query is invalid or fails.
    fn sources(&self, query: &str) -> Result<Vec<Arc<Node>>, String> {
        let found = Query::parse(query).and_then(|query| self.queries.nodes(&query));
        let mut nodes = found.map_err(|error| reason_of(&error))?;
        let mut seen = HashSet::new();
        nodes.retain(|node| {
            let tid = node.metadata.get("TID").and_then(Value::as_text);
            seen.insert(tid.map_or_else(|| node.id.to_string(), str::to_owned))
        });
        Ok(nodes)
    }
}

impl Pending {
    /// Returns whether there is nothing to do.
    fn is_empty(&self) -> bool {
        !self.stop && self.created.is_empty() && self.deleted.is_empty() && self.tasks.is_empty()
    }
}

impl TaskServer for InjectionHub {
    fn start(&self, task: &OnDemandTask, done: Box<dyn FnOnce(i64) + Send>) {
        let request = serde_json::from_str::<PacketRequest>(task.resource.get());
        self.request(AnalyzerTask {
            node: task.node.clone(),
            id: task.resource_id(),
            request: Some(request.map_err(|error| error.to_string())),
            done,
        });
    }

    fn stop(&self, task: &OnDemandTask, done: Box<dyn FnOnce(i64) + Send>) {
        self.request(AnalyzerTask {
            node: task.node.clone(),
            id: task.resource_id(),
            request: None,
            done,
        });
    }
}

/// Statuses of replies.
const OK: i64 = 200;
const NOT_FOUND: i64 = 404;
const FAILED: i64 = 500;

fn stop(id: &str, nodes: Started) {
    for (node, target) in nodes {
        target.stop(&node, id);
    }
}

impl Observer<Injection> for InjectionHub {
    fn created(&self, injection: &Injection, _: Option<Timestamp>) {
        let mut pending = self.pending.lock();
        pending.known.insert(injection.uuid.clone());
        pending.created.push(injection.clone());
        self.wake.notify_one();
    }

    fn deleted(&self, injection: &Injection) {
        let mut pending = self.pending.lock();
        if !pending.known.remove(&injection.uuid) {
            return;
        }
        let waiting = pending.created.len();
        pending.created.retain(|known| known.uuid != injection.uuid);
        if pending.created.len() == waiting {
            pending.deleted.push(injection.uuid.clone());
            self.wake.notify_one();
        }
    }

    /// Fills in the reason why packets were not sent.
    fn decorate(&self, injections: Vec<Arc<Injection>>) -> Vec<Arc<Injection>> {
        let with_problem = |injection: Arc<Injection>| match self.problems.get(&injection.uuid) {
            Some(error) => Arc::new(Injection {
                error,
                ..Arc::unwrap_or_clone(injection)
            }),
            None => injection,
        };
        injections.into_iter().map(with_problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::BpfCompiler;
    use crate::engine::flow::{FlowHub, FlowOptions};
    use crate::engine::graph::SharedGraph;
    use crate::graph::Graph;
    use crate::gremlin::Limits;
    use crate::time::{Clock, SystemClock};

    fn hub(limits: Limits) -> InjectionHub {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
        graph.update_as(None, |graph, now| {
            for id in ["a", "b"] {
                let origin = crate::graph::Origin::new("agent", "h");
                let node = Node::new(id, crate::graph::Metadata::new(), now).with_origin(origin);
                graph.add_node(node).unwrap();
            }
        });
        let queries = QueryRunner {
            graph: Arc::new(graph),
            flows: Arc::new(FlowHub::new(FlowOptions::default())),
            clock,
            time_zone: jiff::tz::TimeZone::UTC,
            limits,
            filters: BpfCompiler::default(),
            activities: Arc::default(),
        };
        InjectionHub::new(queries, Arc::default(), Arc::default(), Vec::new())
    }

    #[test]
    fn the_problem_of_an_injection_is_the_reason_why_its_query_fails() {
        let limited = hub(Limits::default().with_max_elements(1));
        let problem = |hub: &InjectionHub, src: &str| {
            let mut injection = Injection::new(src, "icmp4");
            injection.uuid = src.to_owned();
            assert!(hub.start(&injection).is_empty());
            hub.problems.get(src).unwrap()
        };
        let hub = hub(Limits::default());
        let none = problem(&hub, "G.V().Has('Name', 'x')");
        let text = r#"no node matches the source query "G.V().Has('Name', 'x')""#;
        assert_eq!(none, text);
        let invalid = problem(&hub, "G.V(");
        let text = r#"the source query "G.V(" fails: "#;
        assert!(invalid.starts_with(text), "{invalid}");
        let absent = problem(&hub, "G.V('absent')");
        assert!(
            absent.contains("fails: Node 'absent' does not exist"),
            "{absent}"
        );
        let large = problem(&limited, "G.V()");
        assert!(large.contains("fails: "), "{large}");
    }
}
