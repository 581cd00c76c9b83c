//! The node of the host, which owns all nodes that its probes add.

use std::fs;
use std::path::Path;

use crate::graph::Metadata;
pub use crate::sys::cpu::Cpu;
use crate::sys::cpu::{parse_cpuinfo, parse_list};
use crate::sys::memory;
pub use crate::sys::memory::NumaNode;
use crate::value::{Map, Value};

/// Properties of a host, read once.
///
/// ```
/// use skylib::graph::Metadata;
/// use skylib::topology::host::HostInfo;
///
/// let metadata = HostInfo::read().to_metadata("edge-01", &Metadata::new());
/// assert_eq!(metadata.get("Name").and_then(|v| v.as_text()), Some("edge-01"));
/// assert_eq!(metadata.get("Type").and_then(|v| v.as_text()), Some("host"));
/// assert!(metadata.get("KernelVersion").is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostInfo {
    /// Host name of the machine.
    pub hostname: String,
    /// Kernel release, such as `6.18.0`.
    pub kernel_version: String,
    /// Kernel command line.
    pub kernel_cmdline: String,
    /// Logical CPUs.
    pub cpus: Vec<Cpu>,
    /// Logical CPUs excluded from scheduling (`isolcpus`).
    pub isolated_cpus: Vec<u32>,
    /// Size of the memory, in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// NUMA nodes; empty if unknown.
    pub numa_nodes: Vec<NumaNode>,
    /// Instance id from cloud-init; empty if there is none.
    pub instance_id: String,
    /// Distribution, such as `debian`.
    pub platform: String,
    /// Family of the distribution, such as `debian` for `ubuntu`.
    pub platform_family: String,
    /// Version of the distribution.
    pub platform_version: String,
    /// Virtualization system, such as `kvm`; empty if there is none.
    pub virtualization_system: String,
    /// Role of this machine in the virtualization system: `host` or `guest`.
    pub virtualization_role: String,
}

impl HostInfo {
    /// Returns the properties of this machine; properties that cannot be read are empty.
    #[must_use]
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        Self {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel_version: uname.release().to_string_lossy().into_owned(),
            ..Self::read_files(Path::new("/"))
        }
    }

    /// Returns the properties from the files below a root folder, excluding properties from
    /// `uname`.
    fn read_files(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let cpuinfo = read("proc/cpuinfo");
        let release = Release::parse(&read("etc/os-release"));
        let version = match release.id.as_str() {
            // The os-release file of Debian lacks the point release.
            "debian" => read("etc/debian_version").trim().to_owned(),
            _ => String::new(),
        };
        let (virtualization_system, virtualization_role) =
            virtualization(&cpuinfo, &read).unwrap_or_default();
        Self {
            hostname: String::new(),
            kernel_version: String::new(),
            kernel_cmdline: read("proc/cmdline").trim().to_owned(),
            cpus: parse_cpuinfo(&cpuinfo),
            isolated_cpus: parse_list(&read("sys/devices/system/cpu/isolated")),
            memory_bytes: memory::total_bytes(root),
            numa_nodes: memory::numa_nodes(root),
            instance_id: read("var/lib/cloud/data/instance-id").trim().to_owned(),
            platform_family: release.family().to_owned(),
            platform_version: if version.is_empty() {
                release.version
            } else {
                version
            },
            platform: release.id,
            virtualization_system: virtualization_system.to_owned(),
            virtualization_role: virtualization_role.to_owned(),
        }
    }

    /// Returns the metadata of the host's node. The keys of `extra` (`agent.metadata` in the
    /// configuration) take precedence.
    #[must_use]
    pub fn to_metadata(&self, host_id: &str, extra: &Metadata) -> Metadata {
        let mut metadata = Metadata::from_iter([
            ("Name", Value::from(host_id)),
            ("Type", "host".into()),
            ("OS", std::env::consts::OS.into()),
        ]);
        let texts = [
            ("Hostname", &self.hostname),
            ("InstanceID", &self.instance_id),
            ("Platform", &self.platform),
            ("PlatformFamily", &self.platform_family),
            ("PlatformVersion", &self.platform_version),
            ("KernelVersion", &self.kernel_version),
            ("VirtualizationSystem", &self.virtualization_system),
            ("VirtualizationRole", &self.virtualization_role),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            metadata.set(key, text.as_str());
        }
        if !self.cpus.is_empty() {
            metadata.set("CPU", Value::list(self.cpus.iter().map(cpu_metadata)));
        }
        if !self.isolated_cpus.is_empty() {
            metadata.set(
                "IsolatedCPU",
                Value::list(self.isolated_cpus.iter().copied()),
            );
        }
        if self.memory_bytes > 0 {
            metadata.set("Memory", self.memory_bytes);
        }
        if !self.numa_nodes.is_empty() {
            metadata.set(
                "NUMA",
                Value::list(self.numa_nodes.iter().map(numa_metadata)),
            );
        }
        if !self.kernel_cmdline.is_empty() {
            metadata.set("KernelCmdLine", cmdline_metadata(&self.kernel_cmdline));
        }
        for (key, value) in extra.iter() {
            metadata.set(key, value.clone());
        }
        metadata
    }
}

/// Returns the identifier of the current boot of the kernel; `None` if it cannot be read.
#[cfg_attr(
    not(feature = "engine"),
    allow(dead_code, reason = "only the engine uses it")
)]
pub(crate) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Returns the metadata of a logical CPU.
///
/// COMPAT: every client; zero and empty values are omitted, including the number of CPU 0.
fn cpu_metadata(cpu: &Cpu) -> Map {
    let numbers = [
        ("CPU", cpu.number),
        ("Stepping", cpu.stepping),
        ("Cores", cpu.cores),
        ("Mhz", cpu.mhz),
        ("CacheSize", cpu.cache_kib),
    ];
    let texts = [
        ("VendorID", &cpu.vendor_id),
        ("Family", &cpu.family),
        ("Model", &cpu.model),
        ("PhysicalID", &cpu.physical_id),
        ("CoreID", &cpu.core_id),
        ("ModelName", &cpu.model_name),
        ("Microcode", &cpu.microcode),
    ];
    let numbers = numbers
        .into_iter()
        .filter(|(_, n)| *n != 0)
        .map(|(k, n)| (k, Value::from(n)));
    let texts = texts.into_iter().filter(|(_, t)| !t.is_empty());
    numbers
        .chain(texts.map(|(k, t)| (k, t.as_str().into())))
        .collect()
}

/// Returns the metadata of a NUMA node.
fn numa_metadata(node: &NumaNode) -> Map {
    Map::from_iter([
        ("Node", u64::from(node.number)),
        ("Memory", node.memory_bytes),
    ])
    .with("CPUs", Value::list(node.cpus.iter().copied()))
}

/// Returns the kernel command line as a map: `key=value` as a string, a single word as `true`. The
/// last of equal keys wins.
fn cmdline_metadata(cmdline: &str) -> Map {
    let words = cmdline
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key, Value::from(value)),
            None => (word, true.into()),
        });
    words.collect()
}

/// Properties from `os-release`.
#[derive(Debug, Default)]
struct Release {
    id: String,
    like: String,
    version: String,
}

impl Release {
    fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            match key.trim() {
                "ID" => value.clone_into(&mut release.id),
                "ID_LIKE" => value.clone_into(&mut release.like),
                "VERSION_ID" => value.clone_into(&mut release.version),
                _ => {}
            }
        }
        release
    }

    fn family(&self) -> &str {
        let known = |id: &str| match id {
            "debian" | "ubuntu" | "linuxmint" | "raspbian" => Some("debian"),
            "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "scientific" | "amzn" => {
                Some("rhel")
            }
            "fedora" => Some("fedora"),
            "sles" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" | "suse" => Some("suse"),
            _ => None,
        };
        let like = self.like.split_whitespace().find_map(known);
        known(&self.id).or(like).unwrap_or(&self.id)
    }
}

/// Returns the virtualization system and the role of this machine in it.
fn virtualization(
    cpuinfo: &str,
    read: &dyn Fn(&str) -> String,
) -> Option<(&'static str, &'static str)> {
    let hypervisor = read("sys/hypervisor/type");
    if hypervisor.trim() == "xen" {
        return Some(("xen", "guest"));
    }
    let product = format!(
        "{} {}",
        read("sys/class/dmi/id/sys_vendor").trim(),
        read("sys/class/dmi/id/product_name").trim()
    );
    let is_guest = cpuinfo.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")
    });
    let vendors = [
        ("QEMU", "kvm"),
        ("KVM", "kvm"),
        ("Amazon EC2", "kvm"),
        ("Google", "kvm"),
        ("OpenStack", "kvm"),
        ("VMware", "vmware"),
        ("VirtualBox", "vbox"),
        ("innotek", "vbox"),
        ("Microsoft Corporation Virtual", "hyperv"),
        ("Xen", "xen"),
        ("Parallels", "parallels"),
    ];
    let vendor = vendors.iter().find(|(vendor, _)| product.contains(vendor));
    if is_guest {
        // Minimal virtual machines have no DMI tables; on Linux they usually run on KVM.
        return Some((vendor.map_or("kvm", |(_, system)| system), "guest"));
    }
    let modules = read("proc/modules");
    let loaded = |name: &str| modules.lines().any(|m| m.split(' ').next() == Some(name));
    if loaded("kvm") {
        return Some(("kvm", "host"));
    }
    loaded("vboxdrv").then_some(("vbox", "host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(metadata: &Metadata, key: &str) -> String {
        serde_json::to_string(metadata.get(key).unwrap()).unwrap()
    }

    #[test]
    fn everything_known_is_shown_and_configured_keys_win() {
        let info = HostInfo {
            hostname: "edge".into(),
            kernel_version: "6.18.0".into(),
            kernel_cmdline: "quiet root=/dev/vda1 console=tty0 console=ttyS0 a.b=1".into(),
            cpus: parse_cpuinfo("processor : 0\nmodel : 6\nprocessor : 1\ncpu MHz : 2899.9\n"),
            isolated_cpus: vec![2, 3],
            memory_bytes: 4096,
            numa_nodes: memory::numa_nodes(Path::new("/nowhere")),
            instance_id: "i-1".into(),
            ..HostInfo::default()
        };
        let extra = Metadata::from_iter([("Hostname", Value::from("other")), ("Rack", 7.into())]);
        let metadata = info.to_metadata("edge-01", &extra);
        assert_eq!(json(&metadata, "Name"), r#""edge-01""#);
        assert_eq!(
            json(&metadata, "CPU"),
            r#"[{"Model":"6"},{"CPU":1,"Mhz":2899}]"#
        );
        assert_eq!(json(&metadata, "IsolatedCPU"), "[2,3]");
        assert_eq!(json(&metadata, "InstanceID"), r#""i-1""#);
        assert_eq!(json(&metadata, "Memory"), "4096");
        assert_eq!(metadata.get("NUMA"), None);
        let node = NumaNode {
            number: 1,
            cpus: vec![2, 3],
            memory_bytes: 1024,
        };
        assert_eq!(
            serde_json::to_string(&numa_metadata(&node)).unwrap(),
            r#"{"CPUs":[2,3],"Memory":1024,"Node":1}"#
        );
        assert_eq!(
            json(&metadata, "KernelCmdLine"),
            r#"{"a.b":"1","console":"ttyS0","quiet":true,"root":"/dev/vda1"}"#
        );
        assert_eq!(json(&metadata, "Hostname"), r#""other""#);
        assert_eq!(json(&metadata, "Rack"), "7");
        assert_eq!(
            metadata.get("VirtualizationRole"),
            None,
            "nothing is made up"
        );
    }

    #[test]
    fn the_files_of_a_system_are_read() {
        let root = std::env::temp_dir().join(format!("skylib-host-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n");
        write("etc/debian_version", "13.1\n");
        write("proc/cmdline", "quiet\n");
        write("proc/cpuinfo", "processor : 0\nflags : fpu hypervisor\n");
        write("sys/devices/system/cpu/isolated", "1-2\n");
        write("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n");
        write("var/lib/cloud/data/instance-id", "i-07\n");
        let info = HostInfo::read_files(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            (
                info.platform.as_str(),
                info.platform_family.as_str(),
                info.platform_version.as_str()
            ),
            ("debian", "debian", "13.1")
        );
        assert_eq!(info.virtualization_system, "vmware");
        assert_eq!(info.virtualization_role, "guest");
        assert_eq!(
            (info.isolated_cpus, info.instance_id.as_str()),
            (vec![1, 2], "i-07")
        );
        assert_eq!(
            (info.cpus.len(), info.kernel_cmdline.as_str()),
            (1, "quiet")
        );
        assert_eq!(
            HostInfo::read_files(&root),
            HostInfo::default(),
            "nothing there, nothing known"
        );
    }

    #[test]
    fn derived_distributions_belong_to_a_family() {
        let family = |text| Release::parse(text).family().to_owned();
        assert_eq!(family("ID=ubuntu\nID_LIKE=debian\n"), "debian");
        assert_eq!(
            family("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            "rhel"
        );
        assert_eq!(family("ID=popular\nID_LIKE=\"strange ubuntu\"\n"), "debian");
        assert_eq!(family("ID=alpine\n"), "alpine");
    }

    #[test]
    fn a_machine_with_guests_is_a_host() {
        let read = |path: &str| match path {
            "proc/modules" => "kvm_intel 1 0 - Live\nkvm 2 1 kvm_intel, Live\n".to_owned(),
            _ => String::new(),
        };
        assert_eq!(
            virtualization("flags : fpu\n", &read),
            Some(("kvm", "host"))
        );
        assert_eq!(virtualization("flags : fpu\n", &|_| String::new()), None);
    }
}
