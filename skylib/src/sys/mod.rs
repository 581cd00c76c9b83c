//! Safe wrappers of system calls. All system calls that need `unsafe` are in this module, except
//! the mapped ring of `capture::afpacket`.
#![cfg_attr(
    not(all(feature = "engine", feature = "spp")),
    allow(dead_code, reason = "each feature uses a part of this module")
)]

#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod capability;
#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod cpu;
#[cfg(feature = "netlink")]
pub(crate) mod ethtool;
#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod eventfd;
#[cfg(feature = "netlink")]
pub(crate) mod memory;
#[cfg(feature = "netlink")]
pub(crate) mod monotonic;
#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod name_lookup;
#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod netns;
#[cfg(feature = "netlink")]
pub(crate) mod pci;
pub(crate) mod receive_drops;
#[cfg(feature = "afpacket")]
pub(crate) mod socket;
#[cfg(any(feature = "afpacket", feature = "netlink"))]
pub(crate) mod timerfd;
