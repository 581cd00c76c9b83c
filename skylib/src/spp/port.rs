//! `PortId` and `Ports`: SPP's port names and their interfaces.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::SppError;

/// Name of a port in SPP: `phy:0`, `phy:0 nq 1` for one of its queues, or `ring:1`.
///
/// ```
/// use skylib::spp::PortId;
/// let port: PortId = "phy:0 nq 1".parse()?;
/// assert_eq!((port.number, port.queue), (0, Some(1)));
/// assert_eq!(port.to_string(), "phy:0 nq 1");
/// assert!("vhost:0".parse::<PortId>().is_err());
/// # Ok::<(), skylib::spp::SppError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId {
    /// Kind of the port.
    pub kind: PortKind,
    /// Number of the port, from 0.
    pub number: u16,
    /// Receive queue to capture; `None` for all queues.
    pub queue: Option<u16>,
}

/// Kind of a port that can be captured; SPP's capture process rejects all other kinds too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortKind {
    /// A network card: an entry in the list of interfaces.
    Phy,
    /// A ring between two processes in SPP; here, a name that the user assigns to an interface.
    Ring,
}

impl PortId {
    /// Returns the name as used in file names: `phy0`, `phy0nq1`, `ring1`.
    pub(super) fn file_part(self) -> String {
        let name = format!("{}{}", self.kind.name(), self.number);
        match self.queue {
            Some(queue) => format!("{name}nq{queue}"),
            None => name,
        }
    }
}

impl PortKind {
    /// Returns the name of the kind.
    const fn name(self) -> &'static str {
        match self {
            Self::Phy => "phy",
            Self::Ring => "ring",
        }
    }
}

impl FromStr for PortId {
    type Err = SppError;

    fn from_str(text: &str) -> Result<Self, SppError> {
        let invalid = || SppError::Port(super::shortened(text));
        let mut words = text.split_ascii_whitespace();
        let (kind, number) = words
            .next()
            .and_then(|word| word.split_once(':'))
            .ok_or_else(invalid)?;
        let kind = match kind {
            "phy" => PortKind::Phy,
            "ring" => PortKind::Ring,
            _ => return Err(invalid()),
        };
        let queue = match (words.next(), words.next(), words.next()) {
            (None, _, _) => None,
            (Some("nq"), Some(queue), None) if kind == PortKind::Phy => {
                Some(decimal(queue).ok_or_else(invalid)?)
            }
            _ => return Err(invalid()),
        };
        Ok(Self {
            kind,
            number: decimal(number).ok_or_else(invalid)?,
            queue,
        })
    }
}

/// Parses a number that consists only of decimal digits; `parse` alone would accept a sign.
fn decimal(text: &str) -> Option<u16> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.number)?;
        match self.queue {
            Some(queue) => write!(f, " nq {queue}"),
            None => Ok(()),
        }
    }
}

/// Table of ports and their interfaces.
///
/// ```
/// use skylib::spp::Ports;
/// let ports = Ports::new(["eth0", "eth1"]).with_ring(0, "br0");
/// assert_eq!(ports.interface("phy:1".parse()?), Some("eth1"));
/// assert_eq!(ports.interface("ring:0".parse()?), Some("br0"));
/// assert_eq!(ports.interface("phy:2".parse()?), None);
/// # Ok::<(), skylib::spp::SppError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    phy: Vec<String>,
    ring: BTreeMap<u16, String>,
}

impl Ports {
    /// Creates a table in which `phy:0`, `phy:1` … are these interfaces.
    pub fn new<T: Into<String>>(phy: impl IntoIterator<Item = T>) -> Self {
        Self {
            phy: phy.into_iter().map(Into::into).collect(),
            ring: BTreeMap::new(),
        }
    }

    /// Creates a table of this host's interfaces. `phy:0`, `phy:1` … are the interfaces with a
    /// device, in the order of their bus addresses, as in DPDK; if there are none, all interfaces
    /// except the loopback interface, by index.
    #[must_use]
    pub fn of_host() -> Self {
        Self::new(host_interfaces(Path::new("/sys/class/net")))
    }

    /// Adds `ring:<number>` as a name of an interface.
    #[must_use]
    pub fn with_ring(mut self, number: u16, interface: impl Into<String>) -> Self {
        self.ring.insert(number, interface.into());
        self
    }

    /// Returns the interface of a port; `None` if the port has none.
    #[must_use]
    pub fn interface(&self, port: PortId) -> Option<&str> {
        match port.kind {
            PortKind::Phy => self.phy.get(usize::from(port.number)),
            PortKind::Ring => self.ring.get(&port.number),
        }
        .map(String::as_str)
    }

    /// Returns the interfaces of `phy:0`, `phy:1` …
    #[must_use]
    pub fn phy(&self) -> &[String] {
        &self.phy
    }
}

/// Returns the interfaces in a folder such as `/sys/class/net`, in the order of [`Ports::of_host`].
fn host_interfaces(folder: &Path) -> Vec<String> {
    let names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let mut devices: Vec<(String, String)> = names
        .iter()
        .filter_map(|name| Some((bus_address(&folder.join(name))?, name.clone())))
        .collect();
    devices.sort();
    if !devices.is_empty() {
        return devices.into_iter().map(|(_, name)| name).collect();
    }
    let index = |name: &String| -> Option<u32> {
        let text = fs::read_to_string(folder.join(name).join("ifindex")).ok()?;
        text.trim().parse().ok()
    };
    let mut others: Vec<(u32, String)> = names
        .iter()
        .filter(|name| *name != "lo")
        .filter_map(|name| Some((index(name)?, name.clone())))
        .collect();
    others.sort();
    others.into_iter().map(|(_, name)| name).collect()
}

/// Returns the address of an interface's device: the last PCI address in its path, because a virtio
/// device is below a PCI device, or else the whole path; `None` if the interface has no device.
fn bus_address(interface: &Path) -> Option<String> {
    let device = fs::canonicalize(interface.join("device")).ok()?;
    let is_pci = |part: &&str| {
        let fields: Vec<&str> = part.split([':', '.']).collect();
        fields.len() == 4
            && fields
                .iter()
                .all(|f| f.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let parts = device.iter().filter_map(|part| part.to_str());
    let pci = parts.rev().find(is_pci).map(str::to_owned);
    Some(pci.unwrap_or_else(|| device.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_spp_writes_them_and_nothing_else() {
        for (text, shown, file) in [
            ("phy:0", "phy:0", "phy0"),
            ("  phy:00  nq  3 ", "phy:0 nq 3", "phy0nq3"),
            ("ring:12", "ring:12", "ring12"),
        ] {
            let port: PortId = text.parse().unwrap();
            assert_eq!(
                (port.to_string().as_str(), port.file_part().as_str()),
                (shown, file)
            );
        }
        for text in [
            "",
            "phy",
            "phy:",
            "phy:x",
            "phy:-1",
            "phy:+1",
            "phy:65536",
            "phy:0 nq",
            "phy:0 nq x",
            "phy:0 q 1",
            "phy:0 nq 1 2",
            "ring:0 nq 1",
            "vhost:0",
            "PHY:0",
            "phy:0:1",
            "phy:1 nq +1",
        ] {
            assert!(text.parse::<PortId>().is_err(), "{text}");
        }
    }

    #[test]
    fn cards_come_in_the_order_of_their_bus_addresses() {
        let root = super::super::tests::folder("ports");
        let net = root.path().join("class/net");
        for (name, index, device) in [
            ("lo", 1, None),
            ("tap0", 7, None),
            ("br0", 2, None),
            ("ens1", 3, Some("pci0000:00/0000:00:1f.6")),
            ("eth9", 4, Some("pci0000:00/0000:00:03.0/virtio0")),
        ] {
            fs::create_dir_all(net.join(name)).unwrap();
            fs::write(net.join(name).join("ifindex"), format!("{index}\n")).unwrap();
            if let Some(device) = device {
                let device = root.path().join("devices").join(device);
                fs::create_dir_all(&device).unwrap();
                std::os::unix::fs::symlink(&device, net.join(name).join("device")).unwrap();
            }
        }
        assert_eq!(host_interfaces(&net), ["eth9", "ens1"]);
        for name in ["ens1", "eth9"] {
            fs::remove_file(net.join(name).join("device")).unwrap();
        }
        assert_eq!(host_interfaces(&net), ["br0", "ens1", "eth9", "tap0"]);
        assert_eq!(host_interfaces(&root.path().join("nothing")), [""; 0]);
    }
}
