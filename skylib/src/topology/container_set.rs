//! `ContainerSet`: the running containers of an engine, as nodes in their namespaces.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::netlink::Namespaces;
use super::{ProbeContext, Subgraph, SubgraphWriter};
use crate::graph::{Metadata, NodeId};

/// The running containers of one engine.
#[derive(Debug)]
pub(super) struct ContainerSet {
    /// Name of the engine, and value of `Manager` of its namespaces.
    engine: &'static str,
    namespaces: Arc<Namespaces>,
    writer: SubgraphWriter,
    /// Containers by their identifier.
    containers: BTreeMap<String, Shown>,
}

/// A running container.
pub(super) struct RunningContainer {
    /// Name of the container, which becomes the name of its namespace.
    pub(super) name: String,
    /// Process identifier of the first process.
    pub(super) pid: i32,
    /// Whether the container uses the network of its host.
    pub(super) has_host_network: bool,
    /// Metadata of the node.
    pub(super) metadata: Metadata,
}

#[derive(Debug)]
struct Shown {
    metadata: Metadata,
    /// Node of the container's namespace, or of the host.
    owner: NodeId,
    /// Registered path of the namespace.
    path: PathBuf,
}

impl ContainerSet {
    pub(super) fn new(engine: &'static str, namespaces: &Arc<Namespaces>) -> Self {
        Self {
            engine,
            namespaces: Arc::clone(namespaces),
            writer: SubgraphWriter::new(namespaces.target().clone()),
            containers: BTreeMap::new(),
        }
    }

    /// Adds or changes a container.
    pub(super) fn set(&mut self, id: &str, container: RunningContainer, context: &ProbeContext) {
        let path = PathBuf::from(format!("/proc/{}/ns/net", container.pid));
        if self
            .containers
            .get(id)
            .is_some_and(|known| known.path != path)
        {
            self.remove(id, context);
        }
        if self.containers.len() >= MAX_CONTAINERS && !self.containers.contains_key(id) {
            return;
        }
        let owner = match container.has_host_network {
            true => Ok(self.writer.target().root.clone()),
            false => {
                let extra = Metadata::from_iter([("Manager", self.engine)]);
                self.namespaces
                    .register(&path, &container.name, &extra, context)
            }
        };
        match owner {
            Ok(owner) => {
                context.problem(id, None);
                let shown = Shown {
                    metadata: container.metadata,
                    owner,
                    path,
                };
                self.containers.insert(id.to_owned(), shown);
            }
            // The container has ended since it was read; its event follows.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove(id, context),
            Err(error) => {
                let name = &container.name;
                let text = format!("cannot open the namespace of container {name}: {error}");
                context.problem(id, Some(text));
            }
        }
    }

    /// Removes a container; does nothing if it is unknown.
    pub(super) fn remove(&mut self, id: &str, context: &ProbeContext) {
        context.problem(id, None);
        if let Some(former) = self.containers.remove(id) {
            self.namespaces.unregister(&former.path);
        }
    }

    /// Removes the containers that a new list does not contain, and reports how many containers of
    /// the list exceed the limit.
    pub(super) fn retain(&mut self, listed: &[String], context: &ProbeContext) {
        let wanted: HashSet<&String> = listed.iter().collect();
        let known = self.containers.keys().filter(|id| !wanted.contains(id));
        for id in known.cloned().collect::<Vec<_>>() {
            self.remove(&id, context);
        }
        let omitted = listed.len().saturating_sub(MAX_CONTAINERS);
        let text = format!("limit of {MAX_CONTAINERS} containers reached; {omitted} are omitted");
        context.problem("containers", (omitted > 0).then_some(text));
    }

    /// Writes the running containers to the graph.
    pub(super) fn show(&mut self) {
        let mut wanted = Subgraph::new();
        for (id, shown) in &self.containers {
            let node = NodeId::derived(&format!("{}/{id}", self.engine));
            wanted.add_node(node.clone(), shown.metadata.clone());
            wanted.own(&shown.owner, &node);
        }
        self.writer.apply(wanted);
    }
}

/// Maximum number of containers; each may have a separate network namespace.
pub(super) const MAX_CONTAINERS: usize = 4096;
