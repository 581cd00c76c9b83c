//! The host's own node and the probes that fill the graph around it.

use std::sync::Arc;
use std::time::Duration;

use super::shared_graph::SharedGraph;
use crate::graph::{Node, NodeId, Origin};
use crate::topology::host::HostInfo;
use crate::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
use crate::topology::netns::NetnsProbe;
use crate::topology::{Probe, ProbeSet, ProbeTarget};
use crate::value::Map;

/// What the probes of a host are told.
pub(crate) struct HostOptions<'a> {
    /// Owner of everything that the probes add: `agent.<host>`.
    pub(crate) origin: Origin,
    /// What the host node shows besides what is found out.
    pub(crate) metadata: &'a Map,
    /// Folder of the named network namespaces, if watched.
    pub(crate) netns_path: Option<&'a std::path::Path>,
    pub(crate) metrics_period: Duration,
}

/// Adds the host node and starts the probes; one that cannot start never stops another.
pub(crate) fn start(graph: &Arc<SharedGraph>, options: &HostOptions<'_>) -> ProbeSet {
    let root = NodeId::random();
    let metadata = HostInfo::read().to_metadata(options.origin.host(), options.metadata);
    let added = graph.update_as(None, |graph, now| {
        graph.add_node(Node::new(root.clone(), metadata, now).with_origin(options.origin.clone()))
    });
    if let Err(error) = added {
        tracing::error!(%error, "no node for this host");
    }
    let target = ProbeTarget::new(Arc::clone(graph) as _, options.origin.clone(), root);
    let netlink = NetlinkOptions::default().with_metrics_update(options.metrics_period);
    let namespaces = Namespaces::new(target, netlink);
    let mut probes = ProbeSet::new();
    start_one(&mut probes, NetlinkProbe::new(&namespaces));
    if let Some(path) = options.netns_path {
        start_one(&mut probes, NetnsProbe::new(&namespaces, path));
    }
    probes
}

fn start_one(probes: &mut ProbeSet, probe: impl Probe + 'static) {
    let name = probe.name();
    if let Err(error) = probes.start(probe) {
        tracing::error!(probe = name, %error, "the probe did not start");
    }
}
