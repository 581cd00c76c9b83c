//! `ProbeOptions`, `AnalyzerProbeOptions`: the optional probes of an engine and their settings.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::topology::ServerAddress;
use crate::topology::k8s::KubernetesOptions;
use crate::topology::metadata_files::MetadataFile;
use crate::topology::openflow::OpenFlowOptions;

/// Settings of the optional probes. The probes of the host, of its interfaces, and of its named
/// namespaces always run.
///
/// ```
/// use skylib::engine::{OptionalProbe, ProbeOptions};
///
/// let options = ProbeOptions::default().with_probes(vec!["lldp".parse()?, OptionalProbe::Docker]);
/// assert_eq!(options.probes[0].to_string(), "lldp");
/// # Ok::<(), skylib::engine::UnknownProbe>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbeOptions {
    /// Probes to start.
    pub probes: Vec<OptionalProbe>,
    /// Address of Docker.
    pub docker: ServerAddress,
    /// Address of Podman.
    pub podman: ServerAddress,
    /// URL of libvirt; empty for `qemu:///system`.
    pub libvirt: String,
    /// Address of LXD or Incus.
    pub lxd: ServerAddress,
    /// Names of the interfaces on which LLDP neighbors are shown; all if empty.
    pub lldp_interfaces: Vec<String>,
    /// Address of the OVSDB server of Open vSwitch.
    pub ovsdb: ServerAddress,
    /// Whether the counters of the interfaces of Open vSwitch are shown.
    pub ovs_metrics: bool,
    /// Whether the probe `ovsdb` reports no problem on a host without Open vSwitch.
    pub is_ovs_optional: bool,
    /// Settings of the connections to bridges whose OpenFlow rules are shown; `None` to show no
    /// rules.
    pub openflow: Option<OpenFlowOptions>,
    /// State folders of `runc`.
    pub runc_paths: Vec<PathBuf>,
    /// Whether the namespaces of processes are shown, even if they have no name.
    pub process_namespaces: bool,
    /// Values of files that the node of the host shows.
    pub metadata_files: Vec<MetadataFile>,
    /// Interval between two reads of the sockets.
    pub sockets_interval: Duration,
    /// Interval between two reads of the block devices.
    pub block_devices_interval: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        let unix = |path: &str| ServerAddress::Unix(path.into());
        Self {
            probes: vec![OptionalProbe::Ovsdb],
            docker: unix("/var/run/docker.sock"),
            podman: unix("/run/podman/podman.sock"),
            libvirt: String::new(),
            lxd: unix("/var/lib/lxd/unix.socket"),
            lldp_interfaces: Vec::new(),
            ovsdb: unix("/var/run/openvswitch/db.sock"),
            ovs_metrics: false,
            is_ovs_optional: true,
            openflow: None,
            runc_paths: ["/run/containerd/runc", "/run/runc", "/run/runc-ctrs"]
                .map(PathBuf::from)
                .to_vec(),
            process_namespaces: false,
            metadata_files: Vec::new(),
            sockets_interval: Duration::from_secs(10),
            block_devices_interval: Duration::from_secs(30),
        }
    }
}

impl ProbeOptions {
    /// Sets the probes to start.
    #[must_use]
    pub fn with_probes(mut self, probes: Vec<OptionalProbe>) -> Self {
        self.probes = probes;
        self
    }

    /// Sets the address of Docker.
    #[must_use]
    pub fn with_docker(mut self, docker: ServerAddress) -> Self {
        self.docker = docker;
        self
    }

    /// Sets the address of Podman.
    #[must_use]
    pub fn with_podman(mut self, podman: ServerAddress) -> Self {
        self.podman = podman;
        self
    }

    /// Sets the URL of libvirt; empty for `qemu:///system`.
    #[must_use]
    pub fn with_libvirt(mut self, libvirt: impl Into<String>) -> Self {
        self.libvirt = libvirt.into();
        self
    }

    /// Sets the address of LXD or Incus.
    #[must_use]
    pub fn with_lxd(mut self, lxd: ServerAddress) -> Self {
        self.lxd = lxd;
        self
    }

    /// Sets the names of the interfaces on which LLDP neighbors are shown; all if empty.
    #[must_use]
    pub fn with_lldp_interfaces(mut self, interfaces: Vec<String>) -> Self {
        self.lldp_interfaces = interfaces;
        self
    }

    /// Sets the address of the OVSDB server, and whether the counters of the interfaces are shown.
    #[must_use]
    pub fn with_ovsdb(mut self, ovsdb: ServerAddress, metrics: bool) -> Self {
        self.ovsdb = ovsdb;
        self.ovs_metrics = metrics;
        self
    }

    /// Sets whether the probe `ovsdb` reports no problem on a host without Open vSwitch.
    #[must_use]
    pub const fn with_optional_ovs(mut self, is_optional: bool) -> Self {
        self.is_ovs_optional = is_optional;
        self
    }

    /// Sets the connections to bridges whose OpenFlow rules are shown; `None` to show no rules.
    #[must_use]
    pub fn with_openflow(mut self, openflow: Option<OpenFlowOptions>) -> Self {
        self.openflow = openflow;
        self
    }

    /// Sets the state folders of `runc`.
    #[must_use]
    pub fn with_runc_paths(mut self, paths: Vec<PathBuf>) -> Self {
        self.runc_paths = paths;
        self
    }

    /// Sets whether the namespaces of processes are shown, even if they have no name.
    #[must_use]
    pub const fn with_process_namespaces(mut self, are_shown: bool) -> Self {
        self.process_namespaces = are_shown;
        self
    }

    /// Sets the values of files that the node of the host shows.
    #[must_use]
    pub fn with_metadata_files(mut self, files: Vec<MetadataFile>) -> Self {
        self.metadata_files = files;
        self
    }

    /// Sets the interval between two reads of the sockets.
    #[must_use]
    pub const fn with_sockets_interval(mut self, interval: Duration) -> Self {
        self.sockets_interval = interval;
        self
    }

    /// Sets the interval between two reads of the block devices.
    #[must_use]
    pub const fn with_block_devices_interval(mut self, interval: Duration) -> Self {
        self.block_devices_interval = interval;
        self
    }
}

/// Probe that runs only if it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionalProbe {
    /// Disks, partitions, and volumes.
    BlockDev,
    /// Containers of Docker.
    Docker,
    /// Containers of Podman.
    Podman,
    /// Virtual machines of libvirt.
    Libvirt,
    /// Switches that announce themselves by LLDP.
    Lldp,
    /// Containers of LXD or Incus.
    Lxd,
    /// Bridges, ports, and interfaces of Open vSwitch.
    Ovsdb,
    /// Containers of `runc`: containerd, CRI-O, and Podman.
    Runc,
    /// TCP and UDP sockets with their processes.
    SocketInfo,
    /// A probe that always runs.
    BuiltIn(&'static str),
    /// A probe of Skydive that this version does not support.
    Unavailable(&'static str),
}

impl OptionalProbe {
    /// All names, those of available probes first.
    const NAMES: [(&'static str, Self); 16] = [
        ("blockdev", Self::BlockDev),
        ("docker", Self::Docker),
        ("podman", Self::Podman),
        ("libvirt", Self::Libvirt),
        ("lldp", Self::Lldp),
        ("lxd", Self::Lxd),
        ("ovsdb", Self::Ovsdb),
        ("runc", Self::Runc),
        ("socketinfo", Self::SocketInfo),
        ("hardware", Self::BuiltIn("hardware")),
        ("netlink", Self::BuiltIn("netlink")),
        ("netns", Self::BuiltIn("netns")),
        ("neutron", Self::Unavailable("neutron")),
        ("opencontrail", Self::Unavailable("opencontrail")),
        ("vpp", Self::Unavailable("vpp")),
        ("bess", Self::Unavailable("bess")),
    ];

    /// Returns the names that can be configured.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for OptionalProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, probe)| probe == self);
        f.pad(name.map_or("", |(name, _)| name))
    }
}

/// Settings of the probes that run in an analyzer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AnalyzerProbeOptions {
    /// Settings of the cluster whose objects are shown; `None` to show none.
    pub kubernetes: Option<KubernetesOptions>,
    /// Names of requested probes that this version does not have.
    pub unavailable: Vec<&'static str>,
}

impl AnalyzerProbeOptions {
    /// Names of the probes of Skydive's analyzer.
    pub const NAMES: [&'static str; 4] = ["k8s", "istio", "ovn", "ovnk8s"];

    /// Sets the cluster whose objects are shown; `None` to show none.
    #[must_use]
    pub fn with_kubernetes(mut self, kubernetes: Option<KubernetesOptions>) -> Self {
        self.kubernetes = kubernetes;
        self
    }

    /// Sets the names of requested probes that this version does not have.
    #[must_use]
    pub fn with_unavailable(mut self, unavailable: Vec<&'static str>) -> Self {
        self.unavailable = unavailable;
        self
    }
}

/// Error returned for an unknown name of a probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a probe")]
pub struct UnknownProbe(String);

impl FromStr for OptionalProbe {
    type Err = UnknownProbe;

    fn from_str(text: &str) -> Result<Self, UnknownProbe> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, probe)| *probe)
            .ok_or_else(|| UnknownProbe(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_and_printed() {
        for name in OptionalProbe::names() {
            assert_eq!(name.parse::<OptionalProbe>().unwrap().to_string(), name);
        }
        let error = "dockr".parse::<OptionalProbe>().unwrap_err();
        assert_eq!(error.to_string(), "\"dockr\" is not a probe");
    }
}
