//! The interfaces and PCI devices of a virtual machine, from its description in XML.
//!
//! The reader knows what libvirt writes: elements, attributes, and the five predefined entities. It
//! reads the description once and stores only what it needs, so the size of the result is bounded
//! by the limits here and not by the description.

/// The devices of a virtual machine that concern its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DomainDevices {
    /// Network interfaces and PCI devices of the host, in the order of the description.
    pub devices: Vec<Device>,
}

/// A device of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Whether the device is an interface, not a device of the host.
    pub is_interface: bool,
    /// Type, such as `network`, `bridge`, `hostdev`, or `pci`.
    pub kind: String,
    /// Mode of a device of the host, such as `subsystem`.
    pub mode: String,
    /// Address of an interface in the virtual machine.
    pub mac: String,
    /// Name of the interface on the host.
    pub target: String,
    /// Name of the device in libvirt.
    pub alias: String,
    /// Address in the virtual machine.
    pub address: Address,
    /// Address of a PCI device on the host.
    pub source: Option<Address>,
}

/// Address of a device on a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// Type of the bus, such as `pci`.
    pub bus_type: String,
    /// Domain, bus, slot, and function, such as `0000:03:00.1`.
    pub info: String,
}

impl DomainDevices {
    /// Reads the description of a virtual machine; what cannot be read is ignored.
    #[must_use]
    pub fn parse(xml: &str) -> Self {
        let mut devices = Self::default();
        let (mut path, mut rest) = (Vec::new(), xml);
        while let Some((tag, after)) = next_tag(rest) {
            rest = after;
            match tag {
                Tag::Close => drop(path.pop()),
                Tag::Open(element) if path.len() < MAX_DEPTH => {
                    devices.add(&path, &element);
                    if !element.is_empty {
                        path.push(element.name);
                    }
                }
                // Deeper elements are no devices, and the end of the description is near or lost.
                Tag::Open(_) => return devices,
            }
        }
        devices
    }

    /// Adds the properties of devices that an element contains. `path` has the names of the
    /// elements around it.
    fn add(&mut self, path: &[&str], element: &Element<'_>) {
        let Some(inside) = path.strip_prefix(&["domain", "devices"]) else {
            return;
        };
        if inside.is_empty() && matches!(element.name, "interface" | "hostdev") {
            if self.devices.len() < MAX_DEVICES {
                self.devices.push(Device {
                    is_interface: element.name == "interface",
                    kind: element.attribute("type"),
                    mode: element.attribute("mode"),
                    ..Device::default()
                });
            }
            return;
        }
        let [kind, within @ ..] = inside else { return };
        let (true, Some(device)) = (
            matches!(*kind, "interface" | "hostdev"),
            self.devices.last_mut(),
        ) else {
            return;
        };
        match (within, element.name) {
            ([], "mac") => device.mac = element.attribute("address"),
            ([], "target") => device.target = element.attribute("dev"),
            ([], "alias") => device.alias = element.attribute("name"),
            ([], "address") => device.address = element.address(),
            (["source"], "address") => device.source = Some(element.address()),
            _ => {}
        }
    }
}

enum Tag<'a> {
    Open(Element<'a>),
    Close,
}

/// The beginning of an element.
struct Element<'a> {
    name: &'a str,
    attributes: &'a str,
    /// Whether the element has no content.
    is_empty: bool,
}

impl Element<'_> {
    /// Returns the value of an attribute; empty if there is none.
    fn attribute(&self, wanted: &str) -> String {
        let mut rest = self.attributes.trim_start();
        while let Some((name, after)) = rest.split_once('=') {
            let after = after.trim_start();
            let Some(quote) = after
                .chars()
                .next()
                .filter(|quote| matches!(quote, '"' | '\''))
            else {
                break;
            };
            let Some((value, next)) = after[1..].split_once(quote) else {
                break;
            };
            if name.trim() == wanted && value.len() <= MAX_VALUE_BYTES {
                return unescape(value);
            }
            rest = next.trim_start();
        }
        String::new()
    }

    /// Returns the address that the attributes describe.
    fn address(&self) -> Address {
        let part = |name: &str| self.attribute(name).trim_start_matches("0x").to_owned();
        let parts = ["domain", "bus", "slot", "function"].map(part);
        let [domain, bus, slot, function] = &parts;
        Address {
            bus_type: self.attribute("type"),
            info: match parts.iter().all(String::is_empty) {
                true => String::new(),
                false => format!("{domain}:{bus}:{slot}.{function}"),
            },
        }
    }
}

/// Returns the next beginning or end of an element, and the text after it. Comments, declarations,
/// and unparsed sections are skipped.
fn next_tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        let skipped = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>"), ("!", ">")];
        match skipped.iter().find(|(start, _)| rest.starts_with(start)) {
            Some((_, end)) => rest = &rest[rest.find(end)? + end.len()..],
            None => break,
        }
    }
    let end = end_of_tag(rest)?;
    let (inside, after) = (&rest[..end], &rest[end + 1..]);
    if inside.starts_with('/') {
        return Some((Tag::Close, after));
    }
    let (inside, is_empty) = match inside.strip_suffix('/') {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let (name, attributes) = inside
        .split_once(char::is_whitespace)
        .unwrap_or((inside, ""));
    let element = Element {
        name,
        attributes,
        is_empty,
    };
    Some((Tag::Open(element), after))
}

/// Returns the position of the `>` that ends a tag; the character can also be part of a value.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (position, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(position),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Replaces the predefined entities.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (entity, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ] {
        if plain.contains('&') {
            plain = plain.replace(entity, character);
        }
    }
    plain
}

/// Maximum number of elements around an element.
const MAX_DEPTH: usize = 64;

/// Maximum number of devices of a virtual machine.
const MAX_DEVICES: usize = 1024;

/// Maximum length of a value, in bytes.
const MAX_VALUE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_devices_of_the_host_are_found() {
        let xml = r#"<?xml version="1.0"?><!-- <interface type='no'/> -->
<domain type='kvm' id='3'>
  <name>vm</name>
  <metadata><x:y xmlns:x="u"><interface type='no'/></x:y></metadata>
  <devices>
    <disk type='file'><target dev='vda'/><alias name='virtio-disk0'/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/><source bridge='a&amp;b>c'/><target dev="vnet0"/>
      <alias name='net0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </interface>
    <interface type='hostdev' managed='yes'>
      <mac address='52:54:00:00:00:02'/>
      <source><address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x1'/></source>
    </interface>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></source>
      <alias name='hostdev0'/>
    </hostdev>
  </devices>
</domain>"#;
        let found = DomainDevices::parse(xml).devices;
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0],
            Device {
                is_interface: true,
                kind: "bridge".into(),
                mac: "52:54:00:00:00:01".into(),
                target: "vnet0".into(),
                alias: "net0".into(),
                address: Address {
                    bus_type: "pci".into(),
                    info: "0000:00:03.0".into(),
                },
                ..Device::default()
            }
        );
        let sources: Vec<_> = found
            .iter()
            .map(|d| d.source.as_ref().map(|a| &*a.info))
            .collect();
        assert_eq!(sources, [None, Some("0000:03:10.1"), Some("0000:05:00.0")]);
        assert_eq!(
            (found[2].mode.as_str(), found[2].kind.as_str()),
            ("subsystem", "pci")
        );
    }

    #[test]
    fn broken_descriptions_end_early() {
        for xml in [
            "",
            "<",
            "<a",
            "<!--",
            "<domain><devices><interface type='x",
            "</a></a>",
            "<domain><devices><interface type=x><mac address></interface>",
        ] {
            assert!(DomainDevices::parse(xml).devices.len() <= 1, "{xml}");
        }
        assert!(
            DomainDevices::parse(&"<a>".repeat(100_000))
                .devices
                .is_empty()
        );
        let many = "<interface/>".repeat(5000);
        let many = DomainDevices::parse(&format!("<domain><devices>{many}"));
        assert_eq!(many.devices.len(), MAX_DEVICES);
        assert_eq!(unescape("&amp;lt;"), "&lt;");
    }
}
