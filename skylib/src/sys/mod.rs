//! The kernel, wrapped once: every system call that needs `unsafe` stands here behind a safe type.

pub mod capability;
pub mod cpu;
#[cfg(feature = "netlink")]
pub mod ethtool;
pub mod eventfd;
pub mod netns;
#[cfg(feature = "afpacket")]
pub mod socket;
pub mod timerfd;
pub mod udp;
