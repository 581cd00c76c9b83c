//! Properties of PCI devices, from `/sys/bus/pci/devices`.

use std::fs;
use std::path::Path;

/// Properties of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PciDevice {
    /// NUMA node that the device is attached to; `None` if the machine has only one.
    pub(crate) numa_node: Option<u32>,
    /// Address of the physical function and the number of this virtual function there; `None`
    /// unless the device is a virtual function (SR-IOV).
    pub(crate) virtual_function: Option<(String, u32)>,
}

impl PciDevice {
    /// Reads the properties of the device with an address such as `0000:03:00.1`; for any other
    /// string, all properties are `None`.
    pub(crate) fn read(address: &str) -> Self {
        Self::read_from(Path::new("/sys/bus/pci/devices"), address)
    }

    fn read_from(devices: &Path, address: &str) -> Self {
        let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if !address.contains(':') || !address.bytes().all(is_part) {
            return Self::default();
        }
        let device = devices.join(address);
        let numa_node = fs::read_to_string(device.join("numa_node")).ok();
        Self {
            // -1 means that the machine has only one node.
            numa_node: numa_node.and_then(|text| text.trim().parse().ok()),
            virtual_function: virtual_function(&device, address),
        }
    }
}

/// Returns the physical function of a device, and the number of the device there.
fn virtual_function(device: &Path, address: &str) -> Option<(String, u32)> {
    let physical = fs::read_link(device.join("physfn")).ok()?;
    let physical = physical.file_name()?.to_str()?.to_owned();
    let entries = device.join("physfn").read_dir().ok()?;
    let number = entries.flatten().find_map(|entry| {
        let number = entry
            .file_name()
            .to_str()?
            .strip_prefix("virtfn")?
            .parse()
            .ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        (target.file_name()?.to_str()? == address).then_some(number)
    })?;
    Some((physical, number))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_virtual_function_knows_its_physical_function() {
        let devices = std::env::temp_dir().join(format!("skylib-pci-{}", std::process::id()));
        drop(fs::remove_dir_all(&devices));
        for (address, node) in [("0000:03:00.0", "1\n"), ("0000:03:10.2", "-1\n")] {
            fs::create_dir_all(devices.join(address)).unwrap();
            fs::write(devices.join(address).join("numa_node"), node).unwrap();
        }
        symlink("../0000:03:10.0", devices.join("0000:03:00.0/virtfn0")).unwrap();
        symlink("../0000:03:10.2", devices.join("0000:03:00.0/virtfn1")).unwrap();
        symlink("../0000:03:00.0", devices.join("0000:03:10.2/physfn")).unwrap();
        let read = |address| PciDevice::read_from(&devices, address);
        let physical = PciDevice {
            numa_node: Some(1),
            virtual_function: None,
        };
        assert_eq!(read("0000:03:00.0"), physical);
        let function = Some(("0000:03:00.0".to_owned(), 1));
        let virtual_one = PciDevice {
            numa_node: None,
            virtual_function: function,
        };
        assert_eq!(read("0000:03:10.2"), virtual_one);
        for other in ["", "virtio0", "../x", "0000:99:00.0", "0000:03:00.0/.."] {
            assert_eq!(read(other), PciDevice::default(), "{other}");
        }
        fs::remove_dir_all(&devices).unwrap();
    }
}
