//! Block devices of the host: disks, partitions, and the volumes that are built on them.
//!
//! The probe reads what `lsblk` and `iostat` read (`/sys`, the mounted file systems, and the
//! database of udev) at an interval, so it needs neither program. Every device that nothing is built
//! on has a group (a node of type `cluster` with its name), which owns it and the devices below it.

mod counters;
mod device;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use self::counters::Counters;
use self::device::{Device, read_devices};
use super::{Probe, ProbeContext, ProbeError, ProbeTarget, Subgraph, SubgraphWriter};
use crate::graph::{Metadata, NodeId};
use crate::time::{Clock as _, SystemClock};
use crate::value::Map;

/// A probe of the block devices of the host.
#[derive(Debug)]
pub struct BlockDevProbe {
    /// Root of the file system, for tests.
    root: PathBuf,
    interval: Duration,
    writer: SubgraphWriter,
    /// Last counters of each device, and the rates that are shown.
    metrics: BTreeMap<String, Metric>,
}

#[derive(Debug)]
struct Metric {
    counters: Counters,
    /// Time of the counters, in Unix milliseconds.
    read_at: i64,
    rates: Option<Map>,
}

impl BlockDevProbe {
    /// Returns a probe that reads the devices at an interval.
    #[must_use]
    pub fn new(target: &ProbeTarget, interval: Duration) -> Self {
        Self {
            root: PathBuf::from("/"),
            interval,
            writer: SubgraphWriter::new(target.clone()),
            metrics: BTreeMap::new(),
        }
    }

    /// Reads the devices, and writes them to the graph; returns the number of devices beyond the
    /// limit.
    fn update(&mut self, now: i64) -> usize {
        let (devices, omitted) = read_devices(&self.root);
        self.update_metrics(&devices, now);
        let mut wanted = Tree {
            host: &self.writer.target().root,
            devices: &devices,
            metrics: &self.metrics,
            subgraph: Subgraph::new(),
        };
        wanted.add_all();
        let subgraph = wanted.subgraph;
        self.writer.apply(subgraph);
        omitted
    }

    fn update_metrics(&mut self, devices: &BTreeMap<String, Device>, now: i64) {
        self.metrics.retain(|name, _| devices.contains_key(name));
        for (name, device) in devices {
            let former = self.metrics.remove(name);
            let rates = former.and_then(|former| {
                let rates = device
                    .counters
                    .rates_since(&former.counters, former.read_at, now)?;
                // An idle device is shown as idle once; then its node does not change.
                match device.counters == former.counters && is_idle(former.rates.as_ref()) {
                    true => former.rates,
                    false => Some(rates),
                }
            });
            let metric = Metric {
                counters: device.counters,
                read_at: now,
                rates,
            };
            self.metrics.insert(name.clone(), metric);
        }
    }
}

impl Probe for BlockDevProbe {
    fn name(&self) -> &'static str {
        "blockdev"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        loop {
            let omitted = self.update(SystemClock.now().as_ms());
            let text = format!("{omitted} block devices exceed the limit and are not shown");
            context.problem("devices", (omitted > 0).then_some(text));
            context.running();
            if context.wait(self.interval) {
                return Ok(());
            }
        }
    }
}

/// Returns whether rates show no requests.
fn is_idle(rates: Option<&Map>) -> bool {
    let mut counts = rates.into_iter().flat_map(|rates| rates.iter());
    rates.is_some()
        && counts.all(|(key, value)| {
            matches!(key.as_str(), "Start" | "Last") || value.as_int() == Some(0)
        })
}

/// The devices as nodes and edges.
struct Tree<'a> {
    host: &'a NodeId,
    devices: &'a BTreeMap<String, Device>,
    metrics: &'a BTreeMap<String, Metric>,
    subgraph: Subgraph,
}

impl<'a> Tree<'a> {
    fn add_all(&mut self) {
        let all = self.add_group(ALL_DEVICES, "");
        self.subgraph
            .link(&self.host.clone(), &all, "connected", Metadata::new());
        let mut by_wwn: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
        for device in self.devices.values() {
            let node = self.node_of(device);
            self.subgraph.add_node(node.clone(), self.metadata(device));
            let top = self.top_of(device, 0);
            let wwn = match top.kind.as_str() {
                "mpath" => self.parent_wwn(top),
                _ => top.wwn.as_str(),
            };
            let group = self.add_group(top.name(), wwn);
            self.subgraph.own(&group, &node);
            if matches!(device.kind.as_str(), "disk" | "rom") {
                let extra = Metadata::from_iter([("Type", "blockdevlink")]);
                self.subgraph.link(&all, &node, "connected", extra);
            }
            for child in self.children(device) {
                let child = self.node_of(child);
                self.subgraph
                    .link(&child, &node, "connected", Metadata::new());
            }
            if !device.wwn.is_empty() && device.kind != "part" {
                let paths = by_wwn.entry(&device.wwn).or_default();
                for other in paths.iter() {
                    self.subgraph
                        .link(other, &node, "multipath", Metadata::new());
                }
                paths.push(node);
            }
        }
    }

    /// Adds the node of a group, and returns its identifier.
    fn add_group(&mut self, name: &str, id: &str) -> NodeId {
        let node = NodeId::derived(&format!("{}/blockdev/group/{name}", self.host));
        let metadata = Metadata::from_iter([
            ("Name", name),
            ("ID", id),
            ("Type", "cluster"),
            ("Manager", MANAGER),
        ]);
        self.subgraph.add_node(node.clone(), metadata);
        node
    }

    fn node_of(&self, device: &Device) -> NodeId {
        NodeId::derived(&format!("{}/blockdev/{}", self.host, device.kernel_name))
    }

    /// Returns the devices that are built on a device.
    fn children(&self, device: &Device) -> Vec<&'a Device> {
        let children = device.children.iter();
        children.filter_map(|name| self.devices.get(name)).collect()
    }

    /// Returns the device that names the group of a device: the last that is built on it, up to a
    /// multipath device.
    fn top_of<'b>(&self, device: &'b Device, depth: usize) -> &'b Device
    where
        'a: 'b,
    {
        match self.children(device).last() {
            Some(child) if device.kind != "mpath" && depth < MAX_DEPTH => {
                self.top_of(child, depth + 1)
            }
            _ => device,
        }
    }

    /// Returns the world wide name of the paths of a multipath device, which has none itself.
    fn parent_wwn(&self, device: &Device) -> &'a str {
        let mut parents = self.devices.values();
        let parent = parents.find(|parent| parent.children.contains(&device.kernel_name));
        parent.map_or("", |parent| &parent.wwn)
    }

    fn metadata(&self, device: &Device) -> Metadata {
        let kind = match (device.children.is_empty(), device.kind.as_str()) {
            (true, _) => "blockdevleaf",
            (false, "lvm") => "blockdevlvm",
            (false, _) => "blockdev",
        };
        let mut attributes = device.attributes.clone();
        if device.kind == "mpath" {
            attributes.set("WWN", self.parent_wwn(device));
        }
        let mut metadata = Metadata::from_iter([
            ("Name", device.name()),
            ("Type", kind),
            ("Manager", MANAGER),
            ("Index", device.index()),
            ("Path", &device.path),
            ("MajorMinor", &device.major_minor),
        ]);
        metadata.set("Attributes", attributes);
        let metric = self.metrics.get(&device.kernel_name);
        if let Some(rates) = metric.and_then(|metric| metric.rates.as_ref()) {
            metadata.set("BlockdevMetric", rates.clone());
        }
        metadata
    }
}

/// Value of `Manager` of the nodes.
const MANAGER: &str = "blockdev";

/// Name of the group that is linked to the host and to all disks.
const ALL_DEVICES: &str = "block devices";

/// Maximum number of devices that are built on each other.
const MAX_DEPTH: usize = 32;
