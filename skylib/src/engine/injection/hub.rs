//! `InjectionHub`: starts and stops injections when their resources are created and deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Problems;
use crate::api::Injection;
use crate::engine::bus::Bus;
use crate::engine::fleet::{AgentObserver, TaskServer};
use crate::engine::monotonic;
use crate::engine::query::{QueryRunner, reason_of};
use crate::engine::resource::{Observer, notify};
use crate::graph::{GraphAccess, Node, NodeId};
use crate::gremlin::Query;
use crate::inject::PacketRequest;
use crate::proto::{BroadcastMessage, ON_DEMAND_INJECTION, OnDemandTask};
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

    /// Returns whether the outcome of a start arrives later, as a [`StartOutcome`].
    fn has_replies(&self) -> bool {
        false
    }

    /// Returns the outcomes that arrived since the last call. Injections that failed may be started
    /// again.
    fn take_replies(&self) -> Vec<StartOutcome> {
        Vec::new()
    }
}

/// Outcome of the start of an injection on a node.
pub(crate) struct StartOutcome {
    pub(super) node: NodeId,
    /// Identifier of the injection.
    pub(super) injection: String,
    /// Reason why no packets are sent; `None` if packets are sent.
    pub(super) problem: Option<String>,
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
    /// Whether the next graph event schedules another start of failed injections.
    has_failures: AtomicBool,
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
    /// Whether a target has replies.
    has_replies: bool,
    /// Time of another start of failed injections.
    retry: Option<Instant>,
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

/// Injection whose resource exists.
struct Active {
    injection: Injection,
    starts: Vec<Start>,
}

/// Start of an injection on a node.
struct Start {
    node: NodeId,
    /// Position of the node among the nodes of the injection.
    number: usize,
    /// Target that sends.
    target: Arc<dyn InjectionTarget>,
    /// Whether the last reply was a failure.
    has_failed: bool,
    /// Whether the start must be repeated.
    must_retry: bool,
}

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
            has_failures: AtomicBool::new(false),
        }
    }

    /// Runs until [`InjectionHub::stop`] is called, then stops all injections; the body of a thread.
    pub(crate) fn run(&self) {
        let mut active: HashMap<String, Active> = HashMap::new();
        while let Some(work) = self.wait() {
            work.tasks.into_iter().for_each(|task| self.serve(task));
            for id in work.deleted {
                if let Some(active) = active.remove(&id) {
                    active.stop();
                }
                self.problems.remove(&id);
            }
            for injection in work.created {
                let starts = self.start(&injection);
                let id = injection.uuid.clone();
                active.insert(id, Active { injection, starts });
            }
            if work.has_replies {
                self.handle_replies(&mut active);
            }
            if work.retry.is_some() {
                active.values_mut().for_each(|active| self.retry(active));
            }
        }
        active.into_values().for_each(Active::stop);
    }

    /// Waits for work and returns it; `None` once the hub is stopped.
    fn wait(&self) -> Option<Pending> {
        let mut pending = self.pending.lock();
        loop {
            if pending.stop {
                return None;
            }
            let is_due = pending.retry.is_some_and(|retry| monotonic::now() >= retry);
            if is_due || !pending.is_empty() {
                return Some(pending.take(is_due));
            }
            match pending.retry {
                Some(retry) => drop(self.wake.wait_until(&mut pending, retry)),
                None => self.wake.wait(&mut pending),
            }
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.pending.lock().stop = true;
        self.wake.notify_one();
    }

    /// Handles a graph event: schedules another start of failed injections. Called by the
    /// dispatcher; never blocks.
    pub(crate) fn graph_event(&self) {
        if !self.has_failures.swap(false, Ordering::Relaxed) {
            return;
        }
        let retry = monotonic::now() + RETRY_DELAY;
        self.pending.lock().retry.get_or_insert(retry);
        self.wake.notify_one();
    }

    /// Handles the replies of agents to starts.
    fn handle_replies(&self, active: &mut HashMap<String, Active>) {
        for target in &self.targets {
            for outcome in target.take_replies() {
                // The resource may have been deleted in the meantime.
                if let Some(active) = active.get_mut(&outcome.injection) {
                    self.handle_reply(active, outcome);
                }
            }
        }
    }

    fn handle_reply(&self, active: &mut Active, outcome: StartOutcome) {
        let mut starts = active.starts.iter_mut();
        let Some(start) = starts.find(|start| start.node == outcome.node) else {
            return;
        };
        let had_failed = start.has_failed;
        start.has_failed = outcome.problem.is_some();
        start.must_retry = start.has_failed;
        if let Some(problem) = outcome.problem {
            self.problems.add(&outcome.injection, problem);
            self.has_failures.store(true, Ordering::Relaxed);
        } else if had_failed && !active.has_failed() {
            self.problems.remove(&outcome.injection);
        }
        notify(&self.bus, "NodeUpdated", &active.injection);
    }

    /// Starts an injection again on the nodes where its start failed.
    fn retry(&self, active: &mut Active) {
        let Active { injection, starts } = active;
        starts.retain_mut(|start| {
            if !start.must_retry {
                return true;
            }
            let mut node = None;
            self.queries
                .graph
                .read(&mut |graph| node = graph.node(&start.node).cloned());
            let Some(node) = node else {
                return false;
            };
            match self.start_on(injection, &node, start.number) {
                Ok(target) => (start.target, start.must_retry) = (target, false),
                Err(_) => self.has_failures.store(true, Ordering::Relaxed),
            }
            true
        });
    }

    /// Starts an injection on the nodes that its query selects.
    fn start(&self, injection: &Injection) -> Vec<Start> {
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
                Ok(target) => started.push(Start {
                    node: node.id.clone(),
                    number,
                    target,
                    has_failed: false,
                    must_retry: false,
                }),
                Err(problem) => {
                    let problem = format!("node {}: {problem}", node.id);
                    self.problems.add(&injection.uuid, problem);
                }
            }
        }
        // For agents, their replies are the notifications.
        if started.iter().any(|start| !start.target.has_replies()) {
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
    /// Returns whether there is nothing to do before the next retry.
    fn is_empty(&self) -> bool {
        self.created.is_empty()
            && self.deleted.is_empty()
            && self.tasks.is_empty()
            && !self.has_replies
    }

    /// Returns the work and removes it, with the retry if it is due.
    fn take(&mut self, is_due: bool) -> Self {
        Self {
            created: std::mem::take(&mut self.created),
            deleted: std::mem::take(&mut self.deleted),
            tasks: std::mem::take(&mut self.tasks),
            has_replies: std::mem::take(&mut self.has_replies),
            retry: self.retry.take_if(|_| is_due),
            ..Self::default()
        }
    }
}

impl Active {
    fn stop(self) {
        for start in self.starts {
            start.target.stop(&start.node, &self.injection.uuid);
        }
    }

    fn has_failed(&self) -> bool {
        self.starts.iter().any(|start| start.has_failed)
    }
}

/// Wakes the thread when an agent has replied; the target has stored the reply.
impl AgentObserver for InjectionHub {
    fn replied(&self, _: &str, namespace: &str, _: &str, _: i64, _: &OnDemandTask) {
        if namespace == ON_DEMAND_INJECTION {
            self.pending.lock().has_replies = true;
            self.wake.notify_one();
        }
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

/// Minimum time between a graph event and another start of failed injections.
const RETRY_DELAY: Duration = Duration::from_secs(1);

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
    use super::super::AgentInjections;
    use super::*;
    use crate::capture::BpfCompiler;
    use crate::engine::bus::SubscribeOptions;
    use crate::engine::fleet::AgentLinks;
    use crate::engine::flow::{FlowHub, FlowOptions};
    use crate::engine::graph::SharedGraph;
    use crate::graph::Graph;
    use crate::gremlin::Limits;
    use crate::proto::Encoding;
    use crate::time::{Clock, SystemClock};

    fn hub(limits: Limits) -> InjectionHub {
        hub_of(limits, Vec::new())
    }

    fn hub_of(limits: Limits, targets: Vec<Arc<dyn InjectionTarget>>) -> InjectionHub {
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
        InjectionHub::new(queries, Arc::default(), Arc::default(), targets)
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

    #[test]
    fn the_replies_of_an_agent_are_notifications_and_a_failed_start_is_repeated() {
        let links = Arc::<AgentLinks>::default();
        let remote = Arc::new(AgentInjections::new(Arc::clone(&links)));
        links.observe(&(Arc::clone(&remote) as _));
        let hub = Arc::new(hub_of(Limits::default(), vec![remote]));
        links.observe(&(Arc::clone(&hub) as _));
        let agent = links.connect("h", Encoding::Json);
        let mut subscription = hub.bus.subscribe(SubscribeOptions::default());
        let mut notified = || std::iter::from_fn(|| subscription.try_next()).count();
        let sent = || std::iter::from_fn(|| agent.try_next()).count();
        let mut injection = Injection::new("G.V('a')", "icmp4").with_dst_ip("10.0.0.2");
        injection.uuid = "i".to_owned();
        injection.src_ip = "10.0.0.1".to_owned();
        injection.src_mac = "02:00:00:00:00:01".to_owned();
        injection.dst_mac = "02:00:00:00:00:02".to_owned();
        let starts = hub.start(&injection);
        assert_eq!(
            (starts.len(), sent(), notified()),
            (1, 1, 0),
            "{:?}",
            hub.problems
        );
        let mut active = HashMap::from([("i".to_owned(), Active { injection, starts })]);
        let mut turn = |status: Option<i64>| {
            if let Some(status) = status {
                let task = OnDemandTask::new("a".into(), r#"{"UUID":"i"}"#).unwrap();
                let reply = task.message(ON_DEMAND_INJECTION, "StartReply", status);
                agent.receive(&reply).unwrap();
                assert!(std::mem::take(&mut hub.pending.lock().has_replies));
                hub.handle_replies(&mut active);
            }
            hub.graph_event();
            let is_scheduled = hub.pending.lock().retry.take().is_some();
            if is_scheduled {
                active.values_mut().for_each(|active| hub.retry(active));
            }
            (notified(), sent(), hub.problems.get("i").is_some())
        };
        assert_eq!(turn(None), (0, 0, false), "nothing has failed");
        assert_eq!(turn(Some(500)), (1, 1, true));
        assert_eq!(turn(None), (0, 0, true), "its reply is awaited");
        assert_eq!(turn(Some(200)), (1, 0, false));
    }
}
