//! Adds the node of this host to the graph and starts the probes.

use std::sync::Arc;
use std::time::Duration;

use super::persistence::GraphPersister;
use super::shared_graph::SharedGraph;
use crate::engine::probe_options::{AnalyzerProbeOptions, OptionalProbe, ProbeOptions};
use crate::graph::{Node, NodeId, Origin};
use crate::topology::blockdev::BlockDevProbe;
use crate::topology::docker::DockerProbe;
use crate::topology::host::{self, HostInfo};
use crate::topology::k8s::KubernetesProbe;
use crate::topology::known_tids::KnownTids;
use crate::topology::libvirt::LibvirtProbe;
use crate::topology::lldp::LldpProbe;
use crate::topology::lxd::LxdProbe;
use crate::topology::metadata_files::MetadataFilesProbe;
use crate::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
use crate::topology::netns::NetnsProbe;
use crate::topology::openflow::OpenFlowProbe;
use crate::topology::ovsdb::OvsdbProbe;
use crate::topology::process_netns::ProcessNetnsProbe;
use crate::topology::runc::RuncProbe;
use crate::topology::socketinfo::SocketInfoProbe;
use crate::topology::{Probe, ProbeSet, ProbeTarget, tid};
use crate::value::{Map, Value};

/// Settings of the probes.
pub(crate) struct HostOptions<'a> {
    /// Origin of the elements that the probes create: `agent.<host>`.
    pub(crate) origin: Origin,
    /// Additional metadata of the host node.
    pub(crate) metadata: &'a Map,
    /// Folder of the named network namespaces; `None` to ignore them.
    pub(crate) netns_path: Option<&'a std::path::Path>,
    /// Interval at which the counters of interfaces are refreshed.
    pub(crate) metrics_interval: Duration,
    /// Store of the TIDs of the interfaces; with `None`, the TIDs are derived again at each start.
    pub(crate) persister: Option<&'a Arc<GraphPersister>>,
    /// Optional probes and their settings.
    pub(crate) probes: &'a ProbeOptions,
}

/// Adds the host node and starts the probes. A probe that cannot start is logged; the others start
/// nevertheless.
pub(crate) fn start_probes(graph: &Arc<SharedGraph>, options: &HostOptions<'_>) -> ProbeSet {
    let metadata = HostInfo::read().to_metadata(options.origin.host(), options.metadata);
    let name = metadata.get("Name").and_then(Value::as_text);
    let root = name.map_or_else(NodeId::random, |name| {
        tid::node_id(&tid::of_host(name).to_string())
    });
    let added = graph.update_as(None, |graph, now| {
        graph.add_node(Node::new(root.clone(), metadata, now).with_origin(options.origin.clone()))
    });
    if let Err(error) = added {
        tracing::error!(%error, "cannot add the node of this host");
    }
    let target = ProbeTarget::new(Arc::clone(graph) as _, options.origin.clone(), root);
    let netlink = NetlinkOptions::default()
        .with_metrics_update(options.metrics_interval)
        .with_tids(Arc::new(known_tids(options.persister)));
    let namespaces = Namespaces::new(target, netlink);
    let mut probes = ProbeSet::new();
    start_probe(&mut probes, NetlinkProbe::new(&namespaces));
    if let Some(path) = options.netns_path {
        start_probe(&mut probes, NetnsProbe::new(&namespaces, path));
    }
    let files = &options.probes.metadata_files;
    if !files.is_empty() {
        start_probe(
            &mut probes,
            MetadataFilesProbe::new(namespaces.target(), files.clone()),
        );
    }
    if options.probes.process_namespaces {
        start_probe(&mut probes, ProcessNetnsProbe::new(&namespaces));
    }
    for probe in &options.probes.probes {
        start_optional(&mut probes, *probe, &namespaces, options.probes);
    }
    probes
}

/// Starts a probe that runs only if it is configured.
fn start_optional(
    probes: &mut ProbeSet,
    probe: OptionalProbe,
    namespaces: &Arc<Namespaces>,
    options: &ProbeOptions,
) {
    match probe {
        OptionalProbe::BlockDev => {
            let interval = options.block_devices_interval;
            start_probe(probes, BlockDevProbe::new(namespaces.target(), interval));
        }
        OptionalProbe::Docker => {
            start_probe(
                probes,
                DockerProbe::docker(namespaces, options.docker.clone()),
            );
        }
        OptionalProbe::Podman => {
            start_probe(
                probes,
                DockerProbe::podman(namespaces, options.podman.clone()),
            );
        }
        OptionalProbe::Libvirt => {
            start_probe(
                probes,
                LibvirtProbe::new(namespaces.target(), &options.libvirt),
            );
        }
        OptionalProbe::Lldp => {
            let interfaces = options.lldp_interfaces.iter().cloned();
            start_probe(probes, LldpProbe::new(namespaces, interfaces));
        }
        OptionalProbe::Lxd => {
            start_probe(probes, LxdProbe::new(namespaces, options.lxd.clone()));
        }
        OptionalProbe::Ovsdb => {
            let probe = OvsdbProbe::new(namespaces, options.ovsdb.clone())
                .with_metrics(options.ovs_metrics)
                .with_optional(options.is_ovs_optional);
            start_probe(probes, probe);
            if let Some(openflow) = &options.openflow {
                let target = namespaces.target();
                start_probe(probes, OpenFlowProbe::new(target, openflow.clone()));
            }
        }
        OptionalProbe::Runc => {
            start_probe(
                probes,
                RuncProbe::new(namespaces, options.runc_paths.clone()),
            );
        }
        OptionalProbe::SocketInfo => {
            let interval = options.sockets_interval;
            start_probe(probes, SocketInfoProbe::new(namespaces, interval));
        }
        OptionalProbe::BuiltIn(_) => {}
        OptionalProbe::Unavailable(name) => {
            add_unavailable(probes, name, "agent.topology.probes");
        }
    }
}

/// Starts the probes that run in an analyzer.
pub(crate) fn start_analyzer_probes(
    probes: &mut ProbeSet,
    graph: &Arc<SharedGraph>,
    origin: &Origin,
    options: &AnalyzerProbeOptions,
) {
    if let Some(kubernetes) = &options.kubernetes {
        let graph = Arc::clone(graph) as _;
        let probe = KubernetesProbe::new(graph, origin.clone(), kubernetes.clone());
        start_probe(probes, probe);
    }
    for name in &options.unavailable {
        add_unavailable(probes, name, "analyzer.topology.probes");
    }
}

/// Shows a requested probe that this version does not have; `key` is the setting that names it.
fn add_unavailable(probes: &mut ProbeSet, name: &'static str, key: &str) {
    let reason = format!("not part of this version; remove the name from {key}");
    if let Err(error) = probes.add_unavailable(name, &reason) {
        tracing::error!(probe = name, %error, "cannot show the state of the probe");
    }
}

/// Returns the TIDs of the interfaces that an earlier run stored since the last boot.
fn known_tids(persister: Option<&Arc<GraphPersister>>) -> KnownTids {
    let (Some(persister), Some(boot)) = (persister, host::boot_id()) else {
        return KnownTids::default();
    };
    let stored = persister.tids().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the stored TIDs of interfaces; deriving them again");
        Vec::new()
    });
    KnownTids::open(&boot, Arc::clone(persister) as _, stored)
}

fn start_probe(probes: &mut ProbeSet, probe: impl Probe + 'static) {
    let name = probe.name();
    if let Err(error) = probes.start(probe) {
        tracing::error!(probe = name, %error, "cannot start the probe");
    }
}
