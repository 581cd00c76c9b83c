//! What other probes see of the links: a list, and a signal when the list changes.

use std::io;
use std::sync::{Arc, Weak};

use super::link_table::{LinkTable, NamespaceKey};
use super::namespace::Namespaces;
use crate::graph::{Graph, MetadataOp, NodeId};
use crate::sys::eventfd::EventFd;
use crate::topology::known_tids::{KernelId, TidSource};
use crate::value::Text;

/// Properties of a link that other probes use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::topology) struct LinkSummary {
    pub(in crate::topology) node: NodeId,
    /// Whether the link is in the namespace of the host.
    pub(in crate::topology) is_in_host: bool,
    pub(in crate::topology) index: u32,
    pub(in crate::topology) name: Text,
    /// Hardware address; empty if there is none.
    pub(in crate::topology) mac: Text,
    /// `ARPHRD_` number.
    pub(in crate::topology) hardware: u16,
    /// Whether the operational state is `UP`.
    pub(in crate::topology) is_up: bool,
}

impl Default for LinkSummary {
    fn default() -> Self {
        Self {
            node: NodeId::from(""),
            is_in_host: true,
            index: 0,
            name: Text::default(),
            mac: Text::default(),
            hardware: 0,
            is_up: false,
        }
    }
}

/// Probes that are woken when links change.
#[derive(Debug, Default)]
pub(super) struct LinkWatchers(Vec<Weak<EventFd>>);

impl LinkWatchers {
    /// Returns whether a change of a node's metadata concerns the observers.
    pub(super) fn concern(ops: &[MetadataOp]) -> bool {
        let keys = ["Name", "State", "MAC", "Type"];
        ops.iter().any(|op| keys.contains(&op.key().as_str()))
    }

    pub(super) fn wake(&mut self) {
        self.0.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.raise();
                true
            }
            None => false,
        });
    }
}

impl LinkTable {
    /// Returns the links that have a node; `own` is the namespace of the host.
    fn summaries(&self, own: NamespaceKey) -> Vec<LinkSummary> {
        let mut found = Vec::new();
        for (key, namespace) in &self.namespaces {
            for link in namespace.links.values() {
                let message = &link.message;
                if link.node.is_empty() {
                    continue;
                }
                found.push(LinkSummary {
                    node: link.node.clone(),
                    is_in_host: *key == own,
                    index: message.index,
                    name: message.name.clone(),
                    mac: message.address.clone(),
                    hardware: message.hardware,
                    is_up: message.state == IF_OPER_UP,
                });
            }
        }
        found
    }

    /// Returns the TID of a link if its type were `kind`; `None` if the link or the TID of its owner
    /// is unknown.
    fn tid_with_type(&self, graph: &Graph, node: &NodeId, kind: &str) -> Option<Text> {
        let mut all = self.namespaces.values();
        let (namespace, link) = all.find_map(|namespace| {
            let link = namespace.links.values().find(|link| link.node == *node)?;
            Some((namespace, link))
        })?;
        let owner = graph
            .node(&namespace.root)?
            .metadata
            .get("TID")?
            .as_text()?;
        let key = KernelId {
            namespace: namespace.id?,
            index: link.message.index,
        };
        let source = TidSource {
            owner,
            name: &link.message.name,
            kind,
        };
        Some(self.tids.of_interface(key, source))
    }
}

impl Namespaces {
    /// Returns the links of all namespaces.
    pub(in crate::topology) fn links(&self) -> Vec<LinkSummary> {
        let read = |_: &mut _, _| self.shared.table().summaries(self.own);
        self.shared.target.update(read).unwrap_or_default()
    }

    /// Derives the TID of a link again from the type that another probe knows better than the kernel.
    pub(in crate::topology) fn set_link_type(&self, node: &NodeId, kind: &str) {
        self.shared.target.update(|graph, now| {
            let tid = self.shared.table().tid_with_type(graph, node, kind);
            if let Some(tid) = tid {
                // Fails if another writer has deleted the node.
                let _changed = graph.patch_node(node, &[MetadataOp::set("TID", tid)], now);
            }
        });
    }

    /// Returns a flag that is raised when a link appears, disappears, or changes its name or state.
    /// Dropping the flag ends the watch.
    ///
    /// # Errors
    /// Returns an error if no file descriptor is available.
    pub(in crate::topology) fn watch_links(&self) -> io::Result<Arc<EventFd>> {
        let flag = Arc::new(EventFd::new()?);
        let watcher = Arc::downgrade(&flag);
        let add = |_: &mut _, _| self.shared.table().watchers.0.push(watcher);
        self.shared.target.update(add);
        Ok(flag)
    }
}

/// `IF_OPER_UP` of `linux/if.h`.
const IF_OPER_UP: u8 = 6;
