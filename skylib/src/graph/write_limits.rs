//! `WriteLimits`: limits on the elements of a graph that were not added by this host's probes.

use super::GraphError;
use super::element::{Element, size};
use crate::value::Text;

/// Limits on the elements of all origins except one.
///
/// ```
/// use skylib::graph::{Graph, GraphError, Metadata, Node, WriteLimits};
/// use skylib::time::Timestamp;
///
/// let mut graph = Graph::new();
/// graph.set_write_limits(WriteLimits::new("agent.edge-01").with_max_nodes(1));
/// let node = |id| Node::new(id, Metadata::new(), Timestamp::ZERO);
/// graph.add_node(node("a"))?;
/// assert!(matches!(graph.add_node(node("b")), Err(GraphError::TooManyElements { .. })));
/// # Ok::<(), GraphError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WriteLimits {
    /// Origin whose elements are not limited and not counted in `max_bytes`.
    pub exempt_origin: Text,
    /// Maximum size of the elements of all other origins together, in bytes, approximately.
    pub max_bytes: usize,
    /// Maximum size of one element, in bytes, approximately.
    pub max_element_bytes: usize,
    /// Maximum number of nodes of all origins; only the exempt origin can add nodes beyond it.
    pub max_nodes: usize,
    /// Maximum number of edges of all origins; only the exempt origin can add edges beyond it.
    pub max_edges: usize,
}

impl WriteLimits {
    /// Returns limits without effect.
    pub fn new(exempt_origin: impl Into<Text>) -> Self {
        Self {
            exempt_origin: exempt_origin.into(),
            max_bytes: usize::MAX,
            max_element_bytes: usize::MAX,
            max_nodes: usize::MAX,
            max_edges: usize::MAX,
        }
    }

    /// Sets the maximum size of all elements together, in bytes.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets the maximum size of one element, in bytes.
    #[must_use]
    pub fn with_max_element_bytes(self, max_element_bytes: usize) -> Self {
        Self {
            max_element_bytes,
            ..self
        }
    }

    /// Sets the maximum number of nodes.
    #[must_use]
    pub fn with_max_nodes(self, max_nodes: usize) -> Self {
        Self { max_nodes, ..self }
    }

    /// Sets the maximum number of edges.
    #[must_use]
    pub fn with_max_edges(self, max_edges: usize) -> Self {
        Self { max_edges, ..self }
    }
}

/// Limits of a graph, and the size of the elements to which they apply.
#[derive(Default)]
pub(super) struct Written {
    limits: Option<WriteLimits>,
    /// Size of the elements of all origins except the exempt one, in bytes; 0 without limits.
    bytes: usize,
}

impl Written {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets the limits. The caller must then count the elements of the graph again.
    pub(super) fn limit(&mut self, limits: WriteLimits) {
        self.limits = Some(limits);
        self.bytes = 0;
    }

    /// Counts an element that already exists in the graph, even beyond the limits.
    pub(super) fn count<E: Element>(&mut self, element: &E) {
        if self.limits_of(element).is_some() {
            self.bytes = self.bytes.saturating_add(size(element));
        }
    }

    /// Returns the limits if they apply to an element.
    fn limits_of<E: Element>(&self, element: &E) -> Option<&WriteLimits> {
        let limits = self.limits.as_ref();
        limits.filter(|limits| *element.fields().origin != limits.exempt_origin)
    }

    /// Counts a new element; `count` is the number of elements of its kind before.
    ///
    /// # Errors
    /// Returns [`GraphError`] if the element exceeds a limit; the element is then not counted.
    pub(super) fn add<E: Element>(&mut self, element: &E, count: usize) -> Result<(), GraphError> {
        let Some(limits) = self.limits_of(element) else {
            return Ok(());
        };
        let limit = match element.fields().ends {
            None => limits.max_nodes,
            Some(_) => limits.max_edges,
        };
        if count >= limit {
            return Err(GraphError::TooManyElements { limit });
        }
        self.bytes = self.bytes_with(limits, 0, size(element))?;
        Ok(())
    }

    /// Counts a new revision of an element.
    ///
    /// # Errors
    /// Returns [`GraphError`] if the element grows beyond a limit; the change is then not counted.
    pub(super) fn revise<E: Element>(&mut self, old: &E, new: &E) -> Result<(), GraphError> {
        if let Some(limits) = self.limits_of(old) {
            self.bytes = self.bytes_with(limits, size(old), size(new))?;
        }
        Ok(())
    }

    /// Subtracts a deleted element.
    pub(super) fn remove<E: Element>(&mut self, element: &E) {
        if self.limits_of(element).is_some() {
            self.bytes = self.bytes.saturating_sub(size(element));
        }
    }

    /// Returns the total size after an element of `old` bytes is replaced by an element of `new`
    /// bytes.
    fn bytes_with(
        &self,
        limits: &WriteLimits,
        old: usize,
        new: usize,
    ) -> Result<usize, GraphError> {
        let bytes = self.bytes.saturating_sub(old).saturating_add(new);
        if new > old && new > limits.max_element_bytes {
            let limit = limits.max_element_bytes;
            return Err(GraphError::ElementTooLarge { bytes: new, limit });
        }
        if new > old && bytes > limits.max_bytes {
            let limit = limits.max_bytes;
            return Err(GraphError::TooManyBytes { limit });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Edge, Graph, GraphError, Metadata, Node, NodeId, Origin, WriteLimits};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_ms(1);

    fn text(len: usize) -> Metadata {
        Metadata::from_iter([("Blob", "x".repeat(len))])
    }

    fn node(id: &str, len: usize) -> Node {
        Node::new(id, text(len), NOW).with_origin(Origin::new("t", "p"))
    }

    fn limited(limits: impl FnOnce(WriteLimits) -> WriteLimits) -> Graph {
        let mut graph = Graph::new();
        graph.set_write_limits(limits(WriteLimits::new("agent.own")));
        graph
    }

    #[test]
    fn an_element_has_a_maximum_size_whichever_part_is_large() {
        let mut graph = limited(|limits| limits.with_max_element_bytes(2_000));
        graph.add_node(node("a", 1_000)).unwrap();
        let large = graph.add_node(node("b", 3_000));
        assert!(matches!(
            large,
            Err(GraphError::ElementTooLarge { limit: 2_000, .. })
        ));
        let long_id = node(&"i".repeat(3_000), 0);
        assert!(matches!(
            graph.add_node(long_id),
            Err(GraphError::ElementTooLarge { .. })
        ));
        let grown = graph.set_node_metadata(&NodeId::from("a"), text(3_000), NOW);
        assert!(matches!(grown, Err(GraphError::ElementTooLarge { .. })));
        let blob = graph.node(&NodeId::from("a")).unwrap();
        assert_eq!(blob.metadata.get("Blob").unwrap().heap_bytes() / 1000, 1);
    }

    #[test]
    fn bytes_are_counted_until_the_element_ends() {
        let mut graph = limited(|limits| limits.with_max_bytes(10_000));
        for id in ["a", "b"] {
            graph.add_node(node(id, 4_000)).unwrap();
        }
        let limit = 10_000;
        assert_eq!(
            graph.add_node(node("c", 4_000)),
            Err(GraphError::TooManyBytes { limit })
        );
        assert_eq!(graph.add_node(node("a", 1)), Err(GraphError::NodeConflict));
        let a = NodeId::from("a");
        graph.set_node_metadata(&a, text(10), NOW).unwrap();
        graph.add_node(node("c", 4_000)).unwrap();
        let edge = |id| Edge::new(id, "a", "b", text(500), NOW);
        graph.add_edge(edge("e")).unwrap();
        for id in ["a", "b", "c"] {
            graph.delete_node(&NodeId::from(id), NOW).unwrap();
        }
        assert_eq!(graph.written_bytes(), 0, "with the edges of the nodes");
    }

    #[test]
    fn the_own_probes_are_not_limited() {
        let mut graph = limited(|limits| {
            let limits = limits.with_max_bytes(0).with_max_element_bytes(0);
            limits.with_max_nodes(0)
        });
        let own = node("own", 100).with_origin(Origin::new("agent", "own"));
        graph.add_node(own).unwrap();
        assert_eq!(graph.written_bytes(), 0);
        let limit = 0;
        assert_eq!(
            graph.add_node(node("other", 0)),
            Err(GraphError::TooManyElements { limit })
        );
    }
}
