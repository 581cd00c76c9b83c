//! Kubernetes: the objects of a cluster as nodes, with their owners and relations.
//!
//! The probe runs in an analyzer. It lists the objects of each kind and follows their changes
//! (`reflector`, one thread per kind), converts them to nodes and edges ([`ClusterModel`], which
//! is pure), and writes the differences to the graph. [`ClusterLinks`] links them to what agents
//! have found on the machines.
//!
//! The client is part of this module: it sends `GET` requests through the HTTP/1.1 client and the
//! TLS library that other probes use. The alternative, the crate `kube`, brings more than 100 further
//! crates, an asynchronous runtime, and types for all objects, of which this probe reads a few keys;
//! the graph shows the rest as it is. The part that is missing here, programs that supply
//! credentials (`exec`), is rejected with a message; a token or a certificate replaces it.
//!
//! ```
//! use skylib::topology::k8s::{ClusterModel, Kind, Kinds, KubernetesObject, Mapping};
//!
//! let mapping = Mapping::new("lab", Kinds::ALL);
//! let mut model = ClusterModel::new(mapping.clone());
//! let pod = br#"{"metadata":{"uid":"p","name":"web","namespace":"shop"}}"#;
//! model.set(KubernetesObject::parse(Kind::Pod, pod, &mapping)?);
//! assert_eq!(model.nodes().count(), 2, "the cluster and the pod");
//! # Ok::<(), skylib::topology::k8s::ObjectError>(())
//! ```

mod access;
mod client;
mod edges;
mod event;
mod fields;
mod kind;
mod links;
mod model;
#[cfg(test)]
mod model_tests;
mod network_policy;
mod object;
mod reflector;
mod selector;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

pub use edges::ModelEdge;
pub use event::{ListPage, WatchEvent};
pub use kind::{Kind, Kinds};
pub use links::ClusterLinks;
pub use model::{Changes, ClusterModel};
pub use object::{KubernetesObject, Mapping, ObjectError};

use self::access::ClusterAccess;
use self::client::{ApiClient, ApiError};
use self::reflector::{Reflector, Update};
use self::writer::ModelWriter;
use super::metadata_files::FileParser;
use super::{EventFd, Probe, ProbeContext, ProbeError, ProbeTarget};
use crate::graph::{GraphWriter, Origin};
use crate::time::{Clock as _, SystemClock, Timestamp};

/// Settings of the connection to a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KubernetesOptions {
    /// Configuration file in the format of `kubectl`. If it does not exist, the service account of
    /// the pod or the usual files are used.
    pub config_file: PathBuf,
    /// Parser of the configuration file, which is YAML.
    pub parser: FileParser,
    /// Kinds to show.
    pub kinds: Kinds,
    /// Name of the cluster; empty for the name in the configuration file.
    pub cluster_name: String,
    /// Time between two attempts to follow a kind of objects; doubled with each failure.
    pace: Duration,
}

impl KubernetesOptions {
    /// Returns the settings of a configuration file, for all kinds.
    pub fn new(config_file: impl Into<PathBuf>, parser: FileParser) -> Self {
        Self {
            config_file: config_file.into(),
            parser,
            kinds: Kinds::ALL,
            cluster_name: String::new(),
            pace: Duration::from_secs(1),
        }
    }

    /// Sets the kinds to show.
    #[must_use]
    pub const fn with_kinds(mut self, kinds: Kinds) -> Self {
        self.kinds = kinds;
        self
    }

    /// Sets the name of the cluster; empty for the name in the configuration file.
    #[must_use]
    pub fn with_cluster_name(mut self, name: impl Into<String>) -> Self {
        self.cluster_name = name.into();
        self
    }
}

/// A probe of the objects of a cluster.
#[derive(Debug)]
pub struct KubernetesProbe {
    options: KubernetesOptions,
    graph: Target,
    /// Objects that are known, and the writer of their nodes; `None` before the first connection.
    shown: Option<(ClusterModel, ModelWriter)>,
}

/// The graph, and the origin of the elements that the probe adds.
struct Target {
    graph: Arc<dyn GraphWriter>,
    origin: Origin,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.origin.fmt(f)
    }
}

impl KubernetesProbe {
    /// Returns a probe that adds elements with this origin, usually `analyzer.<host>`.
    pub fn new(graph: Arc<dyn GraphWriter>, origin: Origin, options: KubernetesOptions) -> Self {
        Self {
            options,
            graph: Target { graph, origin },
            shown: None,
        }
    }

    /// Connects to the cluster; returns the reason if this is impossible.
    fn connect(&mut self, context: &ProbeContext) -> Result<Option<ApiClient>, String> {
        let access = ClusterAccess::find(&self.options.config_file, self.options.parser)?;
        let name = match (
            self.options.cluster_name.as_str(),
            access.cluster_name.as_str(),
        ) {
            ("", "") => "cluster",
            ("", name) | (name, _) => name,
        };
        let mapping = Mapping::new(name, self.options.kinds);
        let client = ApiClient::new(access);
        match client.get("/version", context.stop(), REQUEST_TIME) {
            Ok(_) => {}
            Err(ApiError::Stopped) => return Ok(None),
            // A server can forbid everything that is not necessary.
            Err(ApiError::Status {
                code: 403 | 404, ..
            }) => {}
            Err(error) => return Err(format!("{}: {error}", client.address())),
        }
        // The objects that are known are replaced by the new lists.
        if self
            .shown
            .as_ref()
            .is_none_or(|(model, _)| *model.mapping() != mapping)
        {
            let model = ClusterModel::new(mapping);
            let root = model.cluster().clone();
            let Target { graph, origin } = &self.graph;
            let target = ProbeTarget::new(Arc::clone(graph), origin.clone(), root);
            self.shown = Some((model, ModelWriter::new(target)));
        }
        Ok(Some(client))
    }

    /// Follows the objects until the probe has to stop, or the credentials are not accepted.
    fn follow(&mut self, client: &ApiClient, context: &ProbeContext) -> Result<(), String> {
        let Some((model, writer)) = &mut self.shown else {
            return Ok(());
        };
        let stop = EventFd::new().map_err(|error| error.to_string())?;
        let mapping = model.mapping().clone();
        let kinds: Vec<Kind> = self.options.kinds.requested().collect();
        let pace = self.options.pace;
        thread::scope(|scope| {
            // Also ends the threads if one of them cannot be started, or this one panics.
            let _guard = StopOnDrop(&stop);
            // Dropped before the threads are joined, so that none of them waits for room.
            let (sender, updates) = bounded(MAX_UPDATES);
            for kind in &kinds {
                let Some(path) = kind.path() else { continue };
                let reflector = Reflector {
                    kind: *kind,
                    path,
                    client,
                    mapping: &mapping,
                    stop: &stop,
                    updates: sender.clone(),
                    pace,
                };
                thread::Builder::new()
                    .name(format!("k8s-{kind}"))
                    .spawn_scoped(scope, move || reflector.run())
                    .map_err(|error| format!("cannot start a thread: {error}"))?;
            }
            drop(sender);
            let mut follower = Follower {
                model,
                writer,
                context,
                waiting: kinds.iter().copied().collect(),
                rejected: BTreeMap::new(),
                overflow: 0,
                repaired_at: SystemClock.now(),
            };
            follower.run(&updates)
        })
    }
}

impl Probe for KubernetesProbe {
    fn name(&self) -> &'static str {
        "k8s"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let connected = self.connect(context);
        let result = connected.and_then(|client| match client {
            Some(client) => self.follow(&client, context),
            None => Ok(()),
        });
        match result {
            Err(error) if !context.is_stopping() => Err(ProbeError::Failed(format!(
                "cannot watch Kubernetes: {error}; check analyzer.topology.k8s.config_file"
            ))),
            _ => Ok(()),
        }
    }
}

/// Raises a flag on drop.
struct StopOnDrop<'a>(&'a EventFd);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// Applies the updates of all reflectors.
struct Follower<'a> {
    model: &'a mut ClusterModel,
    writer: &'a ModelWriter,
    context: &'a ProbeContext,
    /// Kinds whose list has neither arrived nor failed.
    waiting: BTreeSet<Kind>,
    /// Number of objects that are malformed or too many, by kind.
    rejected: BTreeMap<Kind, usize>,
    /// Number of elements that the graph has rejected.
    overflow: usize,
    /// Time when missing elements were last added again.
    repaired_at: Timestamp,
}

impl Follower<'_> {
    fn run(&mut self, updates: &Receiver<(Kind, Update)>) -> Result<(), String> {
        while !self.context.is_stopping() {
            self.repair();
            let first = match updates.recv_timeout(POLL) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("all connections have ended".to_owned());
                }
            };
            for (kind, update) in std::iter::once(first).chain(updates.try_iter().take(BATCH)) {
                self.receive(kind, update)?;
            }
            self.overflow += self.writer.apply(self.model.take_changes());
            self.report();
            if self.waiting.is_empty() {
                self.context.running();
            }
        }
        Ok(())
    }

    /// Adds missing elements again, from time to time.
    fn repair(&mut self) {
        let now = SystemClock.now();
        if now.as_ms().abs_diff(self.repaired_at.as_ms()) >= REPAIR_MS {
            self.repaired_at = now;
            self.overflow = self.writer.repair(self.model);
            self.report();
        }
    }

    fn receive(&mut self, kind: Kind, update: Update) -> Result<(), String> {
        match update {
            Update::Listed(objects, omitted) => {
                self.model.replace(kind, objects);
                self.rejected.insert(kind, omitted);
                self.waiting.remove(&kind);
            }
            Update::Set(object) => self.model.set(*object),
            Update::Deleted(id) => self.model.remove(&id),
            Update::Rejected => *self.rejected.entry(kind).or_default() += 1,
            Update::Problem(problem) => {
                if problem.is_some() {
                    self.waiting.remove(&kind);
                }
                self.context.problem(kind.name(), problem);
            }
            Update::Unauthorized(error) => return Err(error),
        }
        Ok(())
    }

    /// Reports, as problems of the probe, how many objects and edges are missing from the graph.
    fn report(&self) {
        let report = |part: &str, count: usize, text: &str| {
            let text = (count > 0).then(|| format!("{count} {text}"));
            self.context.problem(part, text);
        };
        let rejected = self.rejected.values().sum();
        report(
            "~rejected",
            rejected,
            "objects are malformed or too many, and not shown",
        );
        report(
            "~omitted",
            self.model.omitted(),
            "objects exceed the limits and are not shown",
        );
        report(
            "~edges",
            self.model.omitted_edges(),
            "edges exceed the limit and are not shown",
        );
        let text =
            "elements were rejected by the graph; raise graph.max_bytes or http.limits.nodes";
        report("~graph", self.overflow, text);
    }
}

/// Maximum number of updates that wait; then the connections wait.
const MAX_UPDATES: usize = 1024;

/// Maximum number of updates that are written together.
const BATCH: usize = 1000;

/// Interval at which the stop signal is checked.
const POLL: Duration = Duration::from_millis(200);

/// Interval at which missing elements are added again, in milliseconds.
const REPAIR_MS: u64 = 30_000;

/// Maximum time of a pause of the server in the first response.
const REQUEST_TIME: Duration = Duration::from_secs(10);
