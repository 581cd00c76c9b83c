//! `PacketSocket`: a raw `AF_PACKET` socket.
//!
//! A socket belongs to the network namespace of the thread that opened it. All calls on a socket,
//! including interface lookups, refer to that namespace, not to that of the calling thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::netdevice;

/// Socket that receives the frames of an interface as they are on the wire, including the link
/// header.
///
/// A socket receives nothing until it is bound, so that options and filters can be set before the
/// first frame.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

/// Properties of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceInfo {
    /// Index in the network namespace.
    pub(crate) index: u32,
    /// Hardware type, an `ARPHRD_` number (1 Ethernet, 772 loopback, 65534 none …).
    pub(crate) hardware: u16,
    /// Whether the interface is up.
    pub(crate) up: bool,
    /// Whether the interface can send: it is up and has a carrier (`IFF_RUNNING`).
    pub(crate) running: bool,
}

/// Dimensions of a receive ring, for [`PacketSocket::set_ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    /// Size of a block, in bytes; a multiple of the page size.
    pub(crate) block_size: u32,
    /// Number of blocks.
    pub(crate) block_count: u32,
    /// Time after which the kernel releases a block that is not full, in milliseconds.
    pub(crate) retire_ms: u32,
    /// Number of bytes reserved before each frame.
    pub(crate) headroom: u32,
}

impl PacketSocket {
    /// Opens an unbound socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Returns `PermissionDenied` if the thread lacks `CAP_NET_RAW`.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        #[expect(unsafe_code, reason = "rustix has no packet sockets")]
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        #[expect(unsafe_code, reason = "takes ownership of a new descriptor")]
        // SAFETY: the descriptor is new and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the properties of the interface with this name.
    ///
    /// # Errors
    /// Returns `ENODEV` if the namespace has no such interface.
    pub(crate) fn interface(&self, name: &str) -> io::Result<InterfaceInfo> {
        let index = netdevice::name_to_index(self, name)?;
        let mut request = interface_request(name)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        #[expect(unsafe_code, reason = "the field of the union that this request fills")]
        // SAFETY: SIOCGIFFLAGS has succeeded, so the kernel has written `ifru_flags`.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        self.ioctl(libc::SIOCGIFHWADDR, &mut request)?;
        #[expect(unsafe_code, reason = "the field of the union that this request fills")]
        // SAFETY: SIOCGIFHWADDR has succeeded, so the kernel has written `ifru_hwaddr`.
        let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
        Ok(InterfaceInfo {
            index,
            hardware,
            up: i32::from(flags) & libc::IFF_UP != 0,
            running: i32::from(flags) & libc::IFF_RUNNING != 0,
        })
    }

    /// Binds the socket, so that it receives all frames of an interface, including sent ones.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface does not exist, and `ENETDOWN` if it is down.
    pub(crate) fn bind(&self, index: u32) -> io::Result<()> {
        self.bind_protocol(libc::ETH_P_ALL as u16, index)
    }

    /// Binds the socket, so that it receives the frames with an Ethernet type from an interface, or
    /// from all interfaces of the namespace if the index is 0.
    ///
    /// # Errors
    /// Returns the errors of [`PacketSocket::bind`].
    pub(crate) fn bind_protocol(&self, protocol: u16, index: u32) -> io::Result<()> {
        let mut address = empty_address();
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = to_int(index)?;
        #[expect(unsafe_code, reason = "rustix does not write packet addresses")]
        // SAFETY: `address` is valid for its length and outlives the call.
        check(unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                SOCKADDR_LEN,
            )
        })?;
        Ok(())
    }

    /// Sends a frame on an interface. `protocol` is the Ethernet type of its first header.
    ///
    /// # Errors
    /// Returns `WouldBlock` or `ENOBUFS` while a queue is full, `ENETDOWN` if the interface is
    /// down, `EMSGSIZE` if the frame exceeds its MTU, and `ENXIO` if it does not exist.
    pub(crate) fn send_to(&self, index: u32, protocol: u16, frame: &[u8]) -> io::Result<()> {
        let mut address = empty_address();
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = to_int(index)?;
        #[expect(unsafe_code, reason = "rustix does not write packet addresses")]
        // SAFETY: `frame` and `address` are valid for their lengths and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                SOCKADDR_LEN,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Returns whether the interface that the socket was bound to still exists.
    ///
    /// # Errors
    /// Returns the error of `getsockname`, which does not occur in practice.
    pub(crate) fn is_bound(&self) -> io::Result<bool> {
        let mut address = empty_address();
        let mut length = SOCKADDR_LEN;
        #[expect(unsafe_code, reason = "rustix does not read packet addresses")]
        // SAFETY: `address` is valid for `length` bytes and both outlive the call.
        check(unsafe {
            libc::getsockname(
                self.0.as_raw_fd(),
                (&raw mut address).cast(),
                &raw mut length,
            )
        })?;
        Ok(address.sll_ifindex > 0)
    }

    /// Returns whether an interface is up.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface no longer exists.
    pub(crate) fn is_up(&self, index: u32) -> io::Result<bool> {
        let name = netdevice::index_to_name(self, index)?;
        Ok(self.interface(&name)?.up)
    }

    /// Creates a TPACKET_V3 ring, which can then be mapped with the socket's descriptor.
    ///
    /// # Errors
    /// Returns `EINVAL` if the kernel rejects the dimensions, and `ENOMEM` if there is not enough
    /// memory.
    pub(crate) fn set_ring(&self, shape: RingShape) -> io::Result<()> {
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        self.set_option(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        self.set_option(libc::SOL_PACKET, libc::PACKET_RESERVE, &shape.headroom)?;
        let request = libc::tpacket_req3 {
            tp_block_size: shape.block_size,
            tp_block_nr: shape.block_count,
            // In version 3, frames have variable sizes; the kernel only checks the consistency of
            // these two values.
            tp_frame_size: FRAME_SIZE,
            tp_frame_nr: shape.block_size / FRAME_SIZE * shape.block_count,
            tp_retire_blk_tov: shape.retire_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
    }

    /// Enables promiscuous mode until the socket is closed, so that frames for other stations are
    /// received too.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface does not exist.
    pub(crate) fn set_promiscuous(&self, index: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: to_int(index)?,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Makes an interface receive the frames for a multicast address until the socket is closed or
    /// the interface disappears.
    ///
    /// # Errors
    /// Returns `ENODEV` if the interface does not exist.
    pub(crate) fn join_multicast(&self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&mac);
        let request = libc::packet_mreq {
            mr_ifindex: to_int(index)?,
            mr_type: libc::PACKET_MR_MULTICAST as libc::c_ushort,
            mr_alen: 6,
            mr_address: address,
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Reads one queued frame; returns its length, which can exceed the buffer, and the index of
    /// its interface. Frames that this host has sent are skipped.
    ///
    /// # Errors
    /// Returns `WouldBlock` if no frame is queued, and otherwise the error of the system call.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        loop {
            let mut address = empty_address();
            let mut length = SOCKADDR_LEN;
            #[expect(unsafe_code, reason = "rustix does not read packet addresses")]
            // SAFETY: the buffer and `address` are valid for their lengths and outlive the call.
            let count = unsafe {
                libc::recvfrom(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_TRUNC,
                    (&raw mut address).cast(),
                    &raw mut length,
                )
            };
            let Ok(count) = usize::try_from(count) else {
                return Err(io::Error::last_os_error());
            };
            if address.sll_pkttype != libc::PACKET_OUTGOING {
                return Ok((count, u32::try_from(address.sll_ifindex).unwrap_or(0)));
            }
        }
    }

    /// Excludes frames sent by this host (Linux 4.20 and later).
    ///
    /// # Errors
    /// Returns `ENOPROTOOPT` on older kernels.
    pub(crate) fn ignore_outgoing(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        self.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)
    }

    /// Joins a fanout group, whose sockets share the interface's frames by a flow hash that is
    /// equal in both directions. IPv4 datagrams are reassembled before they are hashed.
    ///
    /// # Errors
    /// Returns `EINVAL` if the socket is not bound or the group has another mode, interface, or set
    /// of frames.
    pub(crate) fn join_fanout(&self, group: u16, frames: FanoutFrames) -> io::Result<()> {
        let request = u32::from(group) | ((FANOUT_MODE | frames.flag()) << 16);
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &request)
    }

    /// Creates a fanout group with a number that is unused in the namespace (Linux 4.13 and later).
    /// Returns the number.
    ///
    /// # Errors
    /// Returns `EINVAL` if the socket is not bound.
    pub(crate) fn create_fanout(&self, frames: FanoutFrames) -> io::Result<u16> {
        let request = (FANOUT_MODE | PACKET_FANOUT_FLAG_UNIQUEID | frames.flag()) << 16;
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &request)?;
        let mut group: libc::c_int = 0;
        let mut length = size_of_val(&group) as libc::socklen_t;
        #[expect(unsafe_code, reason = "rustix has no packet socket options")]
        // SAFETY: `group` is valid for `length` bytes and both outlive the call.
        check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_FANOUT,
                (&raw mut group).cast(),
                &raw mut length,
            )
        })?;
        Ok((group & 0xffff) as u16)
    }

    /// Sets the filter that the kernel runs on each frame: classic BPF instructions as (code, jump
    /// if true, jump if false, operand).
    ///
    /// # Errors
    /// Returns the error of `setsockopt`: `EINVAL` if the kernel rejects the program, `ENOMEM` if
    /// it exceeds the socket's memory limit; `InvalidInput` if the program has more than 65535
    /// instructions.
    pub(crate) fn attach_filter(&self, program: &[(u16, u8, u8, u32)]) -> io::Result<()> {
        let mut instructions: Vec<libc::sock_filter> = program
            .iter()
            .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
            .collect();
        let len = instructions
            .len()
            .try_into()
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let request = libc::sock_fprog {
            len,
            filter: instructions.as_mut_ptr(),
        };
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &request)
    }

    /// Returns the number of frames that passed the filter since the last call, and the number of
    /// frames among them that were dropped because the ring was full.
    ///
    /// # Errors
    /// Returns the error of `getsockopt`, which does not occur in practice.
    pub(crate) fn take_statistics(&self) -> io::Result<(u32, u32)> {
        let mut stats = libc::tpacket_stats_v3 {
            tp_packets: 0,
            tp_drops: 0,
            tp_freeze_q_cnt: 0,
        };
        let mut length = size_of_val(&stats) as libc::socklen_t;
        #[expect(unsafe_code, reason = "rustix has no packet socket options")]
        // SAFETY: `stats` is valid for `length` bytes and both outlive the call.
        check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        })?;
        Ok((stats.tp_packets, stats.tp_drops))
    }

    /// Clears the pending error of the socket.
    ///
    /// # Errors
    /// Returns the pending error, if there was one.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        rustix::net::sockopt::socket_error(self)?.map_err(io::Error::from)
    }

    fn set_option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
        #[expect(unsafe_code, reason = "rustix has no packet socket options")]
        // SAFETY: `value` is valid for `length` bytes and outlives the call; the kernel copies it.
        check(unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                length,
            )
        })?;
        Ok(())
    }

    fn ioctl(&self, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        #[expect(unsafe_code, reason = "rustix does not have these requests")]
        // SAFETY: both requests used here read and write one `ifreq`, which outlives the call.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), code as _, std::ptr::from_mut(request)) })?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn to_int(index: u32) -> io::Result<libc::c_int> {
    index
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidInput.into())
}

const fn empty_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    if name.len() >= ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (slot, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed() as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: 0 };
    Ok(libc::ifreq { ifr_name, ifr_ifru })
}

/// Size of a packet address, in bytes.
const SOCKADDR_LEN: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// Nominal frame size for the ring request, in bytes.
const FRAME_SIZE: u32 = 2048;

/// Fanout mode: by flow hash, after reassembly of IP fragments.
const FANOUT_MODE: u32 = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG;

/// Flag that requests an unused group number (`linux/if_packet.h`; not in the libc crate).
const PACKET_FANOUT_FLAG_UNIQUEID: u32 = 0x2000;

/// Excludes frames sent by this host from the group (`linux/if_packet.h`; not in the libc crate).
const PACKET_FANOUT_FLAG_IGNORE_OUTGOING: u32 = 0x4000;

/// Frames that a fanout group receives.
///
/// The group has a separate packet hook, so the option `PACKET_IGNORE_OUTGOING` of a member has no
/// effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FanoutFrames {
    /// Frames in both directions.
    All,
    /// Frames received by the interface.
    Incoming,
}

impl FanoutFrames {
    /// Returns the flag of the request.
    const fn flag(self) -> u32 {
        match self {
            Self::All => 0,
            Self::Incoming => PACKET_FANOUT_FLAG_IGNORE_OUTGOING,
        }
    }
}
