//! `Hop`: an interface that a packet passes.

use super::owners_of;
use crate::graph::NodeRef;
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::gremlin::steps::qualified::qualified_name;
use crate::value::{Map, Text, Value};

/// Interface that a packet passes, with the reason why the packet reaches it.
pub(super) struct Hop {
    pub(super) node: NodeRef,
    /// Qualified name.
    pub(super) name: Text,
    pub(super) by: By,
    /// Number of tunnels around the packet.
    pub(super) depth: usize,
}

/// Reason why a packet reaches an interface.
pub(super) enum By {
    /// A route of the namespace of the interface; the packet leaves through the interface.
    Route {
        /// Gateway; `None` if the destination is on the link.
        gateway: Option<String>,
        priority: i64,
        /// Number of equivalent next hops, including this one.
        alternatives: usize,
    },
    /// A connection at layer 2.
    Link,
    /// The other end of a tunnel.
    Tunnel,
    /// The interface has the address, and the packet was sent in the same namespace.
    Local,
}

impl Hop {
    pub(super) fn mtu(&self) -> Option<i64> {
        self.node.metadata.get("MTU")?.to_int()
    }

    pub(super) fn state(&self) -> Option<&str> {
        self.node.metadata.get("State")?.as_text()
    }

    /// Returns the number of packets that the interface has dropped.
    pub(super) fn drops(&self) -> i64 {
        let metric = self.node.metadata.get("Metric").and_then(Value::as_map);
        let counter = |key| {
            metric
                .and_then(|metric| metric.get(key)?.to_int())
                .unwrap_or(0)
        };
        counter("RxDropped").saturating_add(counter("TxDropped"))
    }

    /// Returns the hop as shown in a path.
    pub(super) fn to_value(&self) -> Value {
        let mut hop = Map::new();
        hop.set("Node", Value::from(self.node.id.to_string().as_str()));
        hop.set("Name", self.name.clone());
        for key in ["Type", "State", "MTU"] {
            if let Some(value) = self.node.metadata.get(key) {
                hop.set(key, value.clone());
            }
        }
        hop.set("Drops", self.drops());
        if self.depth > 0 {
            let depth = i64::try_from(self.depth).unwrap_or(i64::MAX);
            hop.set("Outer", depth);
        }
        let by = match &self.by {
            By::Route {
                gateway,
                priority,
                alternatives,
            } => {
                if let Some(gateway) = gateway {
                    hop.set("NextHop", Value::from(gateway.as_str()));
                }
                hop.set("Priority", *priority);
                if *alternatives > 1 {
                    hop.set(
                        "Alternatives",
                        i64::try_from(*alternatives).unwrap_or(i64::MAX),
                    );
                }
                "route"
            }
            By::Link => "link",
            By::Tunnel => "tunnel",
            By::Local => "local",
        };
        hop.set("By", by);
        Value::from(hop)
    }
}

/// Returns the name of a node, qualified with its namespace or host.
pub(super) fn name(
    scope: &Scope<'_>,
    node: &NodeRef,
    budget: &Budget<'_>,
) -> Result<Text, QueryError> {
    Ok(qualified_name(node, &owners_of(scope, node, budget)?))
}

/// Returns the name of a node, or its id if it has none.
pub(super) fn simple_name(node: &NodeRef) -> String {
    let name = node.metadata.get("Name").and_then(Value::as_text);
    name.map_or_else(|| node.id.to_string(), str::to_owned)
}
