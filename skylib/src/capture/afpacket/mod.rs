//! `AfPacket`: live capture on an interface through a memory-mapped TPACKET_V3 ring.

mod block;
mod ring;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub(super) use self::block::TAG_LEN;
use self::block::{BlockReader, Treatment};
use self::ring::Ring;
use super::bpf::{LiveFilter, MAX_PACKET};
use super::{
    Batch, BpfProgram, CaptureError, CaptureOptions, CaptureStats, Fanout, PacketSource, Waker,
};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::sys::capability::Capability;
use crate::sys::eventfd::EventFd;
use crate::sys::netns;
use crate::sys::socket::{FanoutFrames, InterfaceInfo, PacketSocket, RingShape};

/// Live capture on an interface, by default in both directions.
///
/// Packets are not copied: a batch borrows the ring block with the packets, which is returned to
/// the kernel with the next batch or when the source is dropped. Timestamps are those of the
/// kernel, in nanoseconds. A VLAN tag that the kernel has removed is restored in the frame and in
/// both lengths.
///
/// ```no_run
/// use std::time::Duration;
/// use skylib::capture::{AfPacket, Batch, CaptureOptions, PacketSource};
///
/// let mut source = AfPacket::open(&CaptureOptions::new("eth0"))?;
/// while let Batch::Packets(batch) = source.next_batch(Duration::from_secs(10))? {
///     for packet in batch.iter() {
///         println!("{:?} {} bytes", packet.timestamp, packet.wire_len);
///     }
/// }
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
#[derive(Debug)]
pub struct AfPacket {
    interface: String,
    index: u32,
    socket: PacketSocket,
    ring: Ring,
    wake: Arc<EventFd>,
    link_type: LinkType,
    treatment: Treatment,
    /// Additional filter for frames with a restored tag; `None` if the kernel's filter is exact.
    tagged_filter: Option<BpfProgram>,
    /// Read position in the current block; `None` if no block is being read.
    reader: Option<BlockReader>,
    /// Packets of the current batch, all in the current block.
    headers: Vec<PacketHeader>,
    stats: CaptureStats,
    /// Number of packets that passed the kernel's filter and failed `tagged_filter`.
    rejected: u64,
    /// Number of blocks read since the kernel's 32-bit counters were fetched;
    /// `blocks < BLOCKS_PER_FETCH`.
    blocks: u32,
    /// Whether the interface was down at the last check.
    down: bool,
    /// Filter that the kernel runs.
    kernel_filter: Vec<(u16, u8, u8, u32)>,
    /// Number of packets in all blocks opened so far.
    opened: u64,
    /// Number of waits for the remaining packets so far; `None` until intake has ended.
    ending: Option<u32>,
    fanout_group: Option<u16>,
}

impl AfPacket {
    /// Opens an interface and starts to receive packets, unless `paused` is set in the options.
    ///
    /// # Errors
    /// Returns an error if the interface does not exist or is down, if the process lacks a
    /// capability, if the filter does not match the interface's link type, or if there is not
    /// enough memory for the ring.
    pub fn open(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let interface = options.interface.clone();
        let fail = |error: io::Error| on_open(options, error);
        let socket = open_socket(options)?;
        let info = socket.interface(&interface).map_err(fail)?;
        if !info.up {
            return Err(CaptureError::InterfaceDown(interface));
        }
        let link_type = options
            .link_type
            .unwrap_or_else(|| link_type_of(info.hardware));
        let limit = match options.header_size {
            0 => MAX_PACKET,
            header_size => header_size,
        };
        let filter = live_filter(options, link_type)?;
        let first = if options.paused {
            NOTHING
        } else {
            &filter.kernel
        };
        socket.attach_filter(first).map_err(fail)?;
        let frames = if options.outgoing && info.hardware != ARPHRD_LOOPBACK {
            FanoutFrames::All
        } else {
            socket.ignore_outgoing().map_err(fail)?;
            FanoutFrames::Incoming
        };
        let ring = open_ring(&socket, options)?;
        let wake = EventFd::new().map_err(fail)?;
        let fanout_group = start(&socket, info, options, frames).map_err(fail)?;
        Ok(Self {
            interface,
            index: info.index,
            socket,
            ring,
            wake: Arc::new(wake),
            link_type,
            treatment: Treatment {
                restore_tags: link_type == LinkType::ETHERNET,
                limit,
            },
            tagged_filter: filter.tagged,
            reader: None,
            headers: Vec::with_capacity(BATCH),
            stats: CaptureStats::default(),
            rejected: 0,
            blocks: 0,
            down: false,
            kernel_filter: filter.kernel,
            opened: 0,
            ending: None,
            fanout_group,
        })
    }

    /// Returns the number of the fanout group of the source; `None` if it is in no group.
    #[must_use]
    pub const fn fanout_group(&self) -> Option<u16> {
        self.fanout_group
    }

    /// Starts to receive packets, if the source was opened paused.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the filter.
    pub fn resume(&mut self) -> Result<(), CaptureError> {
        self.ending = None;
        self.socket
            .attach_filter(&self.kernel_filter)
            .map_err(|error| CaptureError::io(format!("capture on {}", self.interface), error))
    }

    /// Stops receiving packets. Packets already received can still be read; [`Batch::End`] follows
    /// the last one.
    ///
    /// Closing the socket instead would lose the packets in blocks that are not full, and the
    /// kernel would reassign the flows of this source to the other sources of its group.
    pub fn end_intake(&mut self) {
        if self.ending.is_none() {
            // A kernel that rejects this filter would have rejected the first one.
            self.socket.attach_filter(NOTHING).ok();
            self.ending = Some(0);
        }
    }

    /// Returns whether all received packets have been read; otherwise waits once for the kernel to
    /// release its last block.
    fn has_ended(&mut self) -> bool {
        self.fetch_stats();
        let accepted = self.stats.received.saturating_sub(self.stats.dropped);
        let waits = self.ending.unwrap_or_default();
        if self.opened >= accepted || waits == LAST_WAITS {
            return true;
        }
        self.ending = Some(waits + 1);
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        // If poll fails, the ring is checked again anyway.
        poll(&mut socket, Some(&RETIRED)).ok();
        if socket[0].revents().contains(PollFlags::ERR) {
            self.socket.take_error().ok();
        }
        false
    }

    /// Fills the batch from the ring; returns whether there are packets.
    fn fill(&mut self) -> bool {
        self.headers.clear();
        while self.headers.is_empty() {
            if self.reader.is_some_and(|reader| reader.is_done()) {
                self.reader = None;
                self.ring.release();
                self.blocks += 1;
                if self.blocks == BLOCKS_PER_FETCH {
                    self.fetch_stats();
                }
            }
            let Some(block) = self.ring.block() else {
                return false;
            };
            let reader = self.reader.get_or_insert_with(|| {
                let reader = BlockReader::new(block);
                self.opened += u64::from(reader.left());
                reader
            });
            while self.headers.len() < BATCH && !reader.is_done() {
                let Some((header, tagged)) = reader.next(block, self.treatment) else {
                    continue;
                };
                if tagged && let Some(filter) = &self.tagged_filter {
                    let packet = header.packet(block, self.link_type);
                    if !filter.matches(&packet) {
                        self.rejected += 1;
                        continue;
                    }
                }
                self.headers.push(header);
            }
        }
        true
    }

    /// Waits until there is a block, the waker is used, or the timeout expires.
    fn wait(&mut self, wait: Duration) -> Result<(), CaptureError> {
        // While the interface is down, the kernel does not report its removal: the thread polls
        // more often.
        let wait = if self.down {
            wait.min(DOWN_CHECK)
        } else {
            wait
        };
        let timeout = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut descriptors = [
            PollFd::new(&self.socket, PollFlags::IN | PollFlags::ERR),
            PollFd::new(&*self.wake, PollFlags::IN),
        ];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(CaptureError::io(
                    format!("wait for {}", self.interface),
                    error,
                ));
            }
        }
        let failed = descriptors[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP);
        self.wake.clear();
        if failed || self.down {
            self.check_interface()
        } else {
            Ok(())
        }
    }

    /// Checks whether an interface that is reported as down was removed.
    ///
    /// # Errors
    /// Returns [`CaptureError::InterfaceRemoved`] if the interface was removed.
    fn check_interface(&mut self) -> Result<(), CaptureError> {
        let action = || format!("read from {}", self.interface);
        match self.socket.take_error() {
            Err(error) if error.raw_os_error() != Some(libc::ENETDOWN) => {
                return Err(CaptureError::io(action(), error));
            }
            _ => {}
        }
        let is_bound = self
            .socket
            .is_bound()
            .map_err(|error| CaptureError::io(action(), error))?;
        match self.socket.is_up(self.index) {
            Ok(up) if is_bound => {
                self.down = !up;
                Ok(())
            }
            _ => {
                // Makes the next call return the same error.
                self.down = true;
                Err(CaptureError::InterfaceRemoved(self.interface.clone()))
            }
        }
    }

    /// Adds the kernel's counters to the totals, which also resets them.
    fn fetch_stats(&mut self) {
        self.blocks = 0;
        // Reading the kernel's counters resets them.
        if let Ok((packets, drops)) = self.socket.take_statistics() {
            self.stats.received += u64::from(packets);
            self.stats.dropped += u64::from(drops);
        }
    }
}

impl PacketSource for AfPacket {
    fn link_type(&self) -> LinkType {
        self.link_type
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        if !self.fill() {
            if self.ending.is_some() {
                while !self.fill() {
                    if self.has_ended() {
                        return Ok(Batch::End);
                    }
                }
            } else {
                self.wait(wait)?;
                if !self.fill() {
                    return Ok(Batch::Timeout);
                }
            }
        }
        let buffer = self.ring.block().map_or(&[][..], |block| &*block);
        let (link_type, headers) = (self.link_type, &self.headers[..]);
        Ok(Batch::Packets(PacketBatch {
            link_type,
            buffer,
            headers,
        }))
    }

    fn stats(&mut self) -> CaptureStats {
        self.fetch_stats();
        CaptureStats {
            received: self.stats.received.saturating_sub(self.rejected),
            ..self.stats
        }
    }

    fn waker(&self) -> Waker {
        let wake = Arc::clone(&self.wake);
        Waker::new(move || wake.raise())
    }
}

/// Opens a socket in the interface's network namespace. The calling thread's namespace does not
/// change.
fn open_socket(options: &CaptureOptions) -> Result<PacketSocket, CaptureError> {
    let opened = match &options.netns {
        None => PacketSocket::open(),
        Some(path) => netns::run_in(path, PacketSocket::open).map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied {
                return not_permitted(options, Capability::SysAdmin);
            }
            let action = format!("enter network namespace {}", path.display());
            CaptureError::io(action, source)
        })?,
    };
    opened.map_err(|error| on_open(options, error))
}

/// Returns the filter of the options, or a filter that every packet passes.
fn live_filter(options: &CaptureOptions, link_type: LinkType) -> Result<LiveFilter, CaptureError> {
    let program = match &options.filter {
        Some(filter) => filter.program(link_type, options.header_size)?,
        None => BpfProgram::everything(link_type, options.header_size),
    };
    Ok(LiveFilter::new(program))
}

/// Allocates the ring of a socket.
fn open_ring(socket: &PacketSocket, options: &CaptureOptions) -> Result<Ring, CaptureError> {
    let shape = RingShape {
        block_size: options.block_size,
        block_count: options.block_count,
        retire_ms: u32::try_from(options.block_timeout.as_millis().max(1)).unwrap_or(u32::MAX),
        headroom: TAG_LEN as u32,
    };
    Ring::new(socket, shape).map_err(|error| {
        let (bytes, interface) = (options.ring_bytes(), &options.interface);
        CaptureError::io(
            format!("allocate a capture ring of {bytes} bytes for {interface}"),
            error,
        )
    })
}

/// Binds the socket to the interface, sets promiscuous mode, and joins the fanout group. Frames
/// arrive as soon as the socket is bound, so the filter and the ring must be set up before. Returns
/// the number of the fanout group, if any.
fn start(
    socket: &PacketSocket,
    info: InterfaceInfo,
    options: &CaptureOptions,
    frames: FanoutFrames,
) -> io::Result<Option<u16>> {
    socket.bind(info.index)?;
    if options.promiscuous && info.hardware == ARPHRD_ETHER {
        // Some drivers do not support promiscuous mode; frames for this host are still captured.
        socket.set_promiscuous(info.index).ok();
    }
    match options.fanout {
        None => Ok(None),
        Some(Fanout::New) => socket.create_fanout(frames).map(Some),
        Some(Fanout::Group(group)) => {
            socket.join_fanout(group, frames)?;
            Ok(Some(group))
        }
    }
}

/// Converts the error of a system call made while opening the source.
fn on_open(options: &CaptureOptions, error: io::Error) -> CaptureError {
    let interface = options.interface.clone();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => not_permitted(options, Capability::NetRaw),
        Some(libc::ENODEV) => {
            let netns = options
                .netns
                .as_ref()
                .map(|path| path.display().to_string());
            CaptureError::NoInterface { interface, netns }
        }
        Some(libc::ENETDOWN) => CaptureError::InterfaceDown(interface),
        _ => CaptureError::io(format!("capture on {interface}"), error),
    }
}

fn not_permitted(options: &CaptureOptions, missing: Capability) -> CaptureError {
    CaptureError::NotPermitted {
        interface: options.interface.clone(),
        capability: missing.to_string(),
        remedy: missing.remedy(),
    }
}

/// Returns the link type of frames of a hardware type. For tunnels, packet sockets deliver bare IP.
const fn link_type_of(hardware: u16) -> LinkType {
    match hardware {
        libc::ARPHRD_NONE | libc::ARPHRD_IPGRE | ARPHRD_RAWIP => LinkType::RAW,
        libc::ARPHRD_TUNNEL | libc::ARPHRD_SIT => LinkType::IPV4,
        libc::ARPHRD_TUNNEL6 | ARPHRD_IP6GRE => LinkType::IPV6,
        _ => LinkType::ETHERNET,
    }
}

const ARPHRD_ETHER: u16 = libc::ARPHRD_ETHER;
const ARPHRD_LOOPBACK: u16 = libc::ARPHRD_LOOPBACK;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_IP6GRE: u16 = 823;

/// Maximum number of packets in a batch: large enough to amortize the per-batch cost, small enough
/// that their headers remain in the L1 cache and other work of the thread is not delayed.
const BATCH: usize = 256;

/// Number of blocks between two reads of the kernel's counters, which overflow after 2³² packets.
const BLOCKS_PER_FETCH: u32 = 1 << 16;

/// Interval at which an interface that is down is checked for removal.
const DOWN_CHECK: Duration = Duration::from_millis(100);

/// Filter that rejects all packets: `return 0`.
const NOTHING: &[(u16, u8, u8, u32)] = &[(6, 0, 0, 0)];

/// Duration of one wait for the kernel's block timeout.
const RETIRED: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// Maximum number of waits for the last packets, in case the kernel's counters never match.
const LAST_WAITS: u32 = 250;
