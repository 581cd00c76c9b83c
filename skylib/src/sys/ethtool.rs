//! `Ethtool`: driver information of interfaces, obtained with `SIOCETHTOOL` requests that need no
//! privileges.
//!
//! Commands and structures: `linux/ethtool.h`.
#![expect(
    clippy::host_endian_bytes,
    reason = "the kernel's structures are in host order"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use arcstr::ArcStr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Socket for requests about the interfaces of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Ethtool(OwnedFd);

/// Driver of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Driver {
    /// Name of the driver, such as `ixgbe` or `veth`.
    pub(crate) name: String,
    /// Bus address of the device, such as `0000:03:00.1`; empty if the device has none.
    pub(crate) bus_info: String,
}

/// Active offload features of an interface: one bit per feature, in the order of
/// [`Ethtool::feature_names`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Features(Vec<u32>);

impl Features {
    /// Returns whether the feature at a position of the list of names is active.
    #[must_use]
    pub(crate) fn is_active(&self, position: usize) -> bool {
        self.0
            .get(position / 32)
            .is_some_and(|block| block >> (position % 32) & 1 == 1)
    }
}

impl Ethtool {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Returns an error if no file descriptor is available.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self(socket))
    }

    /// Returns the driver name and bus address of an interface.
    ///
    /// # Errors
    /// Returns `EOPNOTSUPP` for interfaces without a driver (`lo`), and `ENODEV` if the interface
    /// does not exist.
    pub(crate) fn driver(&self, interface: &str) -> io::Result<Driver> {
        // struct ethtool_drvinfo: cmd, five strings of 32 bytes, 12 reserved bytes, five counters.
        let mut words = [0_u32; 49];
        words[0] = ETHTOOL_GDRVINFO;
        self.call(interface, &mut words)?;
        let bytes = to_bytes(&words);
        Ok(Driver {
            name: text(&bytes[4..36]),
            bus_info: text(&bytes[100..132]),
        })
    }

    /// Returns the speed of an interface in Mbit/s; `None` if the driver reports "unknown".
    ///
    /// # Errors
    /// Returns `EOPNOTSUPP` if the driver does not report a speed, and `ENODEV` if the interface
    /// does not exist.
    pub(crate) fn speed(&self, interface: &str) -> io::Result<Option<u32>> {
        // struct ethtool_cmd: `speed` at byte 12, its upper half `speed_hi` at byte 28.
        let mut words = [0_u32; 11];
        words[0] = ETHTOOL_GSET;
        self.call(interface, &mut words)?;
        let bytes = to_bytes(&words);
        let low = u16::from_ne_bytes([bytes[12], bytes[13]]);
        let high = u16::from_ne_bytes([bytes[28], bytes[29]]);
        let speed = u32::from(high) << 16 | u32::from(low);
        Ok((speed != u32::MAX).then_some(speed))
    }

    /// Returns the active offload features of an interface.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface does not exist.
    pub(crate) fn features(&self, interface: &str) -> io::Result<Features> {
        let blocks = self.feature_names(interface)?.len().div_ceil(32);
        // struct ethtool_gfeatures: cmd, number of blocks; a block is available, requested,
        // active, never_changed.
        let mut words = vec![0_u32; 2 + 4 * blocks];
        words[0] = ETHTOOL_GFEATURES;
        words[1] = u32::try_from(blocks).unwrap_or(0);
        self.call(interface, &mut words)?;
        Ok(Features(
            words[2..].chunks_exact(4).map(|block| block[2]).collect(),
        ))
    }

    /// Returns the names of all features of this kernel, which are equal for all interfaces.
    /// Positions without a feature have an empty name.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface does not exist.
    pub(crate) fn feature_names(&self, interface: &str) -> io::Result<&'static [ArcStr]> {
        static NAMES: OnceLock<Vec<ArcStr>> = OnceLock::new();
        if let Some(names) = NAMES.get() {
            return Ok(names);
        }
        let count = self.feature_count(interface)?;
        // struct ethtool_gstrings: cmd, set, count, then strings of 32 bytes.
        let mut words = vec![0_u32; 3 + 8 * count];
        words[0] = ETHTOOL_GSTRINGS;
        words[1] = ETH_SS_FEATURES;
        words[2] = u32::try_from(count).unwrap_or(0);
        self.call(interface, &mut words)?;
        let bytes = to_bytes(&words[3..]);
        let names = bytes
            .chunks_exact(32)
            .map(|name| ArcStr::from(text(name)))
            .collect();
        Ok(NAMES.get_or_init(|| names))
    }

    /// Returns the number of features of this kernel.
    fn feature_count(&self, interface: &str) -> io::Result<usize> {
        // struct ethtool_sset_info: cmd, reserved, 64-bit mask, one count for each bit that the
        // kernel leaves set.
        let mut words = [0_u32; 5];
        words[0] = ETHTOOL_GSSET_INFO;
        let mask = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
        words[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
        words[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
        self.call(interface, &mut words)?;
        if words[2] == 0 && words[3] == 0 {
            return Ok(0);
        }
        Ok(usize::try_from(words[4]).unwrap_or(0).min(MAX_FEATURES))
    }

    /// Sends one request. `words` is the command's structure; it must be as large as the kernel may
    /// write.
    fn call(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= name.len() || interface.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (slot, byte) in name.iter_mut().zip(interface.bytes()) {
            *slot = byte.cast_signed();
        }
        let data = libc::__c_anonymous_ifr_ifru {
            ifru_data: words.as_mut_ptr().cast(),
        };
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: data,
        };
        #[expect(unsafe_code, reason = "rustix has no SIOCETHTOOL")]
        // SAFETY: `request` and `words` live through the call, and every caller sizes `words` to
        // the structure of its command, whose variable part the kernel bounds by a count in it.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                SIOCETHTOOL as libc::Ioctl,
                &raw mut request,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Returns the string before the first zero byte.
fn text(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes)
        .map_or_else(|_| String::from_utf8_lossy(bytes), CStr::to_string_lossy)
        .into_owned()
}

const SIOCETHTOOL: u32 = 0x8946;
const ETHTOOL_GSET: u32 = 0x01;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;

/// Upper bound of the feature count (kernels have about 70), so that an invalid response cannot
/// cause a large allocation.
const MAX_FEATURES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns;

    #[test]
    fn loopback_has_features_and_no_driver() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(
            ethtool.driver("lo").unwrap_err().raw_os_error(),
            Some(libc::EOPNOTSUPP)
        );
        let names = ethtool.feature_names("lo").unwrap();
        let highdma = names.iter().position(|n| n == "highdma").unwrap();
        assert!(ethtool.features("lo").unwrap().is_active(highdma));
        assert!(!ethtool.features("lo").unwrap().is_active(100_000));
    }

    #[test]
    fn names_that_cannot_exist_are_refused() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["", "a-name-that-is-far-too-long", "nope"] {
            let error = ethtool.features(name).or_else(|e| {
                if name == "nope" {
                    ethtool.speed(name).map(|_| Features::default())
                } else {
                    Err(e)
                }
            });
            assert_eq!(
                error.unwrap_err().raw_os_error(),
                Some(libc::ENODEV),
                "{name:?}"
            );
        }
    }

    #[test]
    #[ignore = "needs root: creates a network namespace"]
    fn a_veth_reports_driver_and_speed_inside_its_namespace() {
        let ethtool = netns::tests_support::private()
            .run(|| {
                let made = std::process::Command::new("ip")
                    .args([
                        "link", "add", "sysv0", "type", "veth", "peer", "name", "sysv1",
                    ])
                    .status();
                assert!(made.unwrap().success());
                Ethtool::open().unwrap()
            })
            .unwrap();
        // The socket refers to its namespace, although this thread is in another one.
        assert_eq!(ethtool.driver("sysv0").unwrap().name, "veth");
        assert_eq!(ethtool.speed("sysv0").unwrap(), Some(10_000));
        let names = ethtool.feature_names("sysv0").unwrap();
        let active = ethtool.features("sysv0").unwrap();
        assert!(
            names
                .iter()
                .enumerate()
                .any(|(i, n)| n == "highdma" && active.is_active(i))
        );
    }
}
