//! Packet sockets: raw frames of one interface, in and out.
//!
//! A [`PacketSocket`] belongs to the network namespace its maker's thread was in; every call on it
//! (interface lookups too) acts there, whatever the namespace of the calling thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{SendFlags, netdevice};

/// A raw `AF_PACKET` socket: frames as they are on the wire, link header included.
///
/// It receives nothing until it is bound, so options and filters can be set without a race.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// What the kernel tells of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Its number in this namespace.
    pub index: u32,
    /// Hardware type, an `ARPHRD_` number (1 Ethernet, 772 loopback, 65534 none …).
    pub hardware: u16,
    /// Whether it is up.
    pub up: bool,
}

/// The shape of a receive ring, for [`PacketSocket::set_ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingShape {
    /// Bytes of one block; a multiple of the page size.
    pub block_size: u32,
    /// Number of blocks.
    pub block_count: u32,
    /// Milliseconds after which a block that is not full is handed out.
    pub retire_ms: u32,
    /// Free bytes kept before each frame.
    pub headroom: u32,
}

impl PacketSocket {
    /// A socket that is not bound yet, in the network namespace of this thread.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        #[expect(unsafe_code, reason = "rustix has no packet sockets")]
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        #[expect(unsafe_code, reason = "takes ownership of the descriptor just made")]
        // SAFETY: the descriptor is new and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Looks an interface up by name.
    ///
    /// # Errors
    /// `ENODEV` when this namespace has none of that name.
    pub fn interface(&self, name: &str) -> io::Result<InterfaceInfo> {
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
        })
    }

    /// Starts to receive all frames of an interface, sent ones included, and names where
    /// [`PacketSocket::send`] puts its own.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface, `ENETDOWN` when it is down.
    pub fn bind(&self, index: u32) -> io::Result<()> {
        self.bind_protocol(index, libc::ETH_P_ALL)
    }

    /// Names where [`PacketSocket::send`] puts its frames, and receives nothing.
    ///
    /// # Errors
    /// Those of [`PacketSocket::bind`].
    pub fn bind_to_send(&self, index: u32) -> io::Result<()> {
        self.bind_protocol(index, 0)
    }

    /// Whether the interface this socket was bound to is still there.
    ///
    /// # Errors
    /// None in practice.
    pub fn is_bound(&self) -> io::Result<bool> {
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

    /// Whether an interface is up.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface any more.
    pub fn is_up(&self, index: u32) -> io::Result<bool> {
        let name = netdevice::index_to_name(self, index)?;
        Ok(self.interface(&name)?.up)
    }

    /// Asks for a TPACKET_V3 ring, which is then mapped with the socket's descriptor.
    ///
    /// # Errors
    /// `EINVAL` for a shape the kernel refuses, `ENOMEM` when there is not enough memory.
    pub fn set_ring(&self, shape: RingShape) -> io::Result<()> {
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        self.set_option(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        self.set_option(libc::SOL_PACKET, libc::PACKET_RESERVE, &shape.headroom)?;
        let request = libc::tpacket_req3 {
            tp_block_size: shape.block_size,
            tp_block_nr: shape.block_count,
            // Frames of version 3 have any size: these two only have to be consistent.
            tp_frame_size: FRAME_SIZE,
            tp_frame_nr: shape.block_size / FRAME_SIZE * shape.block_count,
            tp_retire_blk_tov: shape.retire_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
    }

    /// Receives frames for other stations too, until the socket is closed.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface.
    pub fn set_promiscuous(&self, index: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: to_int(index)?,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Leaves out the frames this host sends (Linux 4.20 and later).
    ///
    /// # Errors
    /// `ENOPROTOOPT` on older kernels.
    pub fn ignore_outgoing(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        self.set_option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)
    }

    /// Shares the interface's frames with the other sockets of a group, by a hash of the flow that
    /// is the same in both directions; IPv4 fragments are joined before they are hashed.
    ///
    /// # Errors
    /// `EINVAL` when the socket is not bound or the group has another mode or interface.
    pub fn join_fanout(&self, group: u16) -> io::Result<()> {
        let request = u32::from(group) | (FANOUT_MODE << 16);
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &request)
    }

    /// Founds such a group under a number that nobody in this namespace has (Linux 4.13 and later);
    /// tells the number.
    ///
    /// # Errors
    /// `EINVAL` when the socket is not bound.
    pub fn found_fanout(&self) -> io::Result<u16> {
        let request = (FANOUT_MODE | PACKET_FANOUT_FLAG_UNIQUEID) << 16;
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

    /// Sets the filter that decides in the kernel which frames are kept and how many bytes of each:
    /// classic BPF instructions as (code, jump if true, jump if false, operand).
    ///
    /// # Errors
    /// `EINVAL` for a program the kernel refuses.
    pub fn attach_filter(&self, program: &[(u16, u8, u8, u32)]) -> io::Result<()> {
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

    /// Frames that passed the filter and frames of these that found no room, since the last call.
    ///
    /// # Errors
    /// None in practice.
    pub fn take_statistics(&self) -> io::Result<(u32, u32)> {
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

    /// The error that is pending on the socket, which is taken off.
    ///
    /// # Errors
    /// The pending one.
    pub fn take_error(&self) -> io::Result<()> {
        rustix::net::sockopt::socket_error(self)?.map_err(io::Error::from)
    }

    /// Sends one frame, link header included.
    ///
    /// # Errors
    /// `EMSGSIZE` beyond the MTU, `ENOBUFS` and `WouldBlock` when the queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(self, frame, SendFlags::empty())?;
        Ok(())
    }

    fn bind_protocol(&self, index: u32, protocol: libc::c_int) -> io::Result<()> {
        let mut address = empty_address();
        address.sll_protocol = u16::try_from(protocol).unwrap_or_default().to_be();
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

const SOCKADDR_LEN: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

const FRAME_SIZE: u32 = 2048;

const FANOUT_MODE: u32 = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG;

/// Of `linux/if_packet.h`; the libc crate lacks it.
const PACKET_FANOUT_FLAG_UNIQUEID: u32 = 0x2000;
