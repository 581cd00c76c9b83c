//! `ModelWriter`: writes the nodes and edges of a cluster to the graph, in short transactions.

use super::edges::ModelEdge;
use super::model::{Changes, ClusterModel};
use crate::graph::{Edge, EdgeId, Graph, Metadata, Node, NodeId, Origin};
use crate::time::Timestamp;
use crate::topology::ProbeTarget;
use crate::topology::subgraph::{difference, is_own};

/// Writes changes of a cluster to the graph.
#[derive(Debug)]
pub(super) struct ModelWriter {
    target: ProbeTarget,
    /// Origin of the edges.
    ///
    /// COMPAT: every client; the edges of Kubernetes have no host.
    edge_origin: Origin,
}

/// A change to one element.
enum Step {
    DeleteEdge(EdgeId),
    DeleteNode(NodeId),
    SetNode(NodeId, Option<Metadata>, Metadata),
    AddEdge(EdgeId, ModelEdge),
}

impl ModelWriter {
    pub(super) fn new(target: ProbeTarget) -> Self {
        let edge_origin = target.origin.clone().with_host("");
        Self {
            target,
            edge_origin,
        }
    }

    /// Writes changes; returns the number of elements that the graph has rejected, because of its
    /// limits.
    pub(super) fn apply(&self, changes: Changes) -> usize {
        let (mut deletions, mut additions) = (Vec::new(), Vec::new());
        for (id, edge) in changes.edges {
            match edge {
                None => deletions.push(Step::DeleteEdge(id)),
                Some(edge) => additions.push(Step::AddEdge(id, edge)),
            }
        }
        let mut nodes = Vec::new();
        for (id, former, wanted) in changes.nodes {
            match wanted {
                None => deletions.push(Step::DeleteNode(id)),
                Some(wanted) => nodes.push(Step::SetNode(id, former, wanted)),
            }
        }
        // An edge is deleted before it is added with other metadata, and added after its nodes.
        self.run(deletions.into_iter().chain(nodes).chain(additions))
    }

    /// Adds missing nodes and edges: those that another analyzer has deleted together with its own,
    /// and those that the graph has rejected. Returns the number of elements that it still rejects.
    pub(super) fn repair(&self, model: &ClusterModel) -> usize {
        let nodes = model.nodes();
        let nodes = nodes.map(|(id, wanted)| Step::SetNode(id, Some(wanted.clone()), wanted));
        let edges = model.edges();
        let edges = edges.map(|(id, edge)| Step::AddEdge(id.clone(), edge.clone()));
        self.run(nodes.chain(edges))
    }

    /// Runs steps in transactions of limited size.
    fn run(&self, steps: impl Iterator<Item = Step>) -> usize {
        let mut steps = steps.peekable();
        let mut rejected = 0;
        while steps.peek().is_some() {
            let batch: Vec<Step> = steps.by_ref().take(BATCH).collect();
            let count = self.target.update(|graph, now| {
                let results = batch.into_iter().map(|step| self.step(graph, step, now));
                results.filter(|is_done| !is_done).count()
            });
            rejected += count.unwrap_or_default();
        }
        rejected
    }

    /// Runs a step; returns `false` if the graph has rejected an element.
    fn step(&self, graph: &mut Graph, step: Step, now: Timestamp) -> bool {
        match step {
            // Fails without effect if the edge was deleted together with a node.
            Step::DeleteEdge(id) => drop(graph.delete_edge(&id, now)),
            Step::DeleteNode(id) => {
                if is_own(graph, &id, &self.target.origin) {
                    let _deleted = graph.delete_node(&id, now);
                }
            }
            Step::SetNode(id, former, wanted) => {
                if graph.node(&id).is_none() {
                    let node = Node::new(id, wanted, now);
                    return graph
                        .add_node(node.with_origin(self.target.origin.clone()))
                        .is_ok();
                }
                if is_own(graph, &id, &self.target.origin) {
                    let ops = difference(&former.unwrap_or_default(), &wanted);
                    return ops.is_empty() || graph.patch_node(&id, &ops, now).is_ok();
                }
            }
            Step::AddEdge(id, edge) => {
                let has_nodes =
                    graph.node(&edge.parent).is_some() && graph.node(&edge.child).is_some();
                if has_nodes && graph.edge(&id).is_none() {
                    let edge = Edge::new(id, edge.parent, edge.child, edge.metadata, now);
                    return graph
                        .add_edge(edge.with_origin(self.edge_origin.clone()))
                        .is_ok();
                }
            }
        }
        true
    }
}

/// Maximum number of elements of a transaction.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::graph::WriteLimits;
    use crate::topology::k8s::{Kind, Kinds, KubernetesObject, Mapping};

    /// Returns a cluster with a namespace and a pod.
    fn model() -> ClusterModel {
        let mut model = ClusterModel::new(Mapping::new("lab", Kinds::ALL));
        for (kind, json) in [
            (Kind::Namespace, r#"{"metadata":{"uid":"n","name":"a"}}"#),
            (
                Kind::Pod,
                r#"{"metadata":{"uid":"p","name":"web","namespace":"a"}}"#,
            ),
        ] {
            let object = KubernetesObject::parse(kind, json.as_bytes(), model.mapping());
            model.set(object.unwrap());
        }
        model
    }

    #[test]
    fn rejected_and_deleted_elements_are_added_later() {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let limits = |nodes| WriteLimits::new("agent.x").with_max_nodes(nodes);
        graph.lock().unwrap().set_write_limits(limits(2));
        let mut model = model();
        let root = model.cluster().clone();
        let origin = Origin::new("analyzer", "ctl-1");
        let writer = ModelWriter::new(ProbeTarget::new(graph.clone(), origin, root));
        let counts = || {
            let graph = graph.lock().unwrap();
            (graph.node_count(), graph.edge_count())
        };
        assert_eq!(writer.apply(model.take_changes()), 1, "one node of three");
        assert_eq!(counts().0, 2);
        assert_eq!(writer.repair(&model), 1);
        graph.lock().unwrap().set_write_limits(limits(10));
        assert_eq!(writer.repair(&model), 0);
        assert_eq!(counts(), (3, 2));
        let now = Timestamp::from_ms(1);
        graph
            .lock()
            .unwrap()
            .delete_node(&NodeId::from("n"), now)
            .unwrap();
        assert_eq!(counts(), (2, 0), "the edges end with their node");
        assert_eq!(writer.repair(&model), 0);
        assert_eq!(counts(), (3, 2));
        model.remove(&NodeId::from("p"));
        assert_eq!(writer.apply(model.take_changes()), 0);
        assert_eq!(counts(), (2, 1));
    }

    #[test]
    fn nodes_of_others_are_neither_changed_nor_deleted() {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let foreign = Node::new(
            "p",
            Metadata::from_iter([("Name", "x")]),
            Timestamp::from_ms(1),
        );
        graph.lock().unwrap().add_node(foreign).unwrap();
        let mut model = model();
        let root = model.cluster().clone();
        let origin = Origin::new("analyzer", "ctl-1");
        let writer = ModelWriter::new(ProbeTarget::new(graph.clone(), origin, root));
        assert_eq!(writer.apply(model.take_changes()), 0);
        model.remove(&NodeId::from("p"));
        assert_eq!(writer.apply(model.take_changes()), 0);
        let graph = graph.lock().unwrap();
        let node = graph.node(&NodeId::from("p")).unwrap();
        assert_eq!(node.metadata.get("Name"), Some(&"x".into()));
    }
}
