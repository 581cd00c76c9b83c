//! `AfPacket`: the packets of a live interface, from the kernel's ring.

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
use super::{Batch, BpfProgram, CaptureError, CaptureOptions, CaptureStats, PacketSource, Waker};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::sys::capability::Capability;
use crate::sys::eventfd::EventFd;
use crate::sys::netns;
use crate::sys::socket::{InterfaceInfo, PacketSocket, RingShape};

/// The packets of a live interface, both directions unless asked otherwise.
///
/// Packets are handed out where the kernel put them; their memory goes back to the kernel when the
/// next batch is asked for or the source is dropped. Timestamps are the kernel's, in nanoseconds.
/// A VLAN tag that the kernel keeps apart is back in the frame and in both lengths.
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
    /// Frames that got their tag back have to pass this too.
    tagged_filter: Option<BpfProgram>,
    /// Where reading goes on in the block that is held.
    reader: Option<BlockReader>,
    /// The present batch.
    headers: Vec<PacketHeader>,
    stats: CaptureStats,
    /// Packets the kernel let through and `tagged_filter` did not.
    rejected: u64,
    /// Blocks read since the kernel's counters, of 32 bits, were fetched.
    blocks: u32,
    /// Whether the interface was down when last looked at.
    down: bool,
    /// The kernel's part of the filter.
    kernel_filter: Vec<(u16, u8, u8, u32)>,
    /// Packets of the blocks opened so far.
    opened: u64,
    /// Whether nothing more is received, and how often the rest was waited for.
    ending: Option<u32>,
    fanout_group: Option<u16>,
}

impl AfPacket {
    /// Opens an interface and starts to receive.
    ///
    /// # Errors
    /// When the interface is not there or not up, the process may not capture, the filter does not
    /// fit the interface, or there is no memory for the ring.
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
        let limit = if options.header_size == 0 {
            MAX_PACKET
        } else {
            options.header_size
        };
        let program = match &options.filter {
            Some(filter) => filter.program(link_type, options.header_size)?,
            None => BpfProgram::everything(link_type, options.header_size),
        };
        let filter = LiveFilter::new(program);
        let first = if options.paused {
            NOTHING
        } else {
            &filter.kernel
        };
        socket.attach_filter(first).map_err(fail)?;
        if !options.outgoing || info.hardware == ARPHRD_LOOPBACK {
            socket.ignore_outgoing().map_err(fail)?;
        }
        let shape = RingShape {
            block_size: options.block_size,
            block_count: options.block_count,
            retire_ms: u32::try_from(options.retire.as_millis().max(1)).unwrap_or(u32::MAX),
            headroom: TAG_LEN as u32,
        };
        let ring = Ring::new(&socket, shape).map_err(|error| {
            let bytes = options.ring_bytes();
            CaptureError::io(
                format!("make a ring of {bytes} bytes for {interface}"),
                error,
            )
        })?;
        let wake = EventFd::new().map_err(fail)?;
        let fanout_group = start(&socket, info, options).map_err(fail)?;
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

    /// Number of the group of sources it belongs to.
    #[must_use]
    pub const fn fanout_group(&self) -> Option<u16> {
        self.fanout_group
    }

    /// Begins to receive, if it was opened paused.
    ///
    /// # Errors
    /// When the kernel refuses the filter.
    pub fn resume(&mut self) -> Result<(), CaptureError> {
        self.ending = None;
        self.socket
            .attach_filter(&self.kernel_filter)
            .map_err(|error| CaptureError::io(format!("capture on {}", self.interface), error))
    }

    /// Receives nothing more. What is in the ring can still be read, also what the kernel has not
    /// given away yet; after the last packet comes [`Batch::End`].
    ///
    /// A socket that is only closed would lose that rest, and the other sources of its group would
    /// get its flows.
    pub fn end_intake(&mut self) {
        if self.ending.is_none() {
            // A kernel that refuses this filter would have refused the first.
            self.socket.attach_filter(NOTHING).ok();
            self.ending = Some(0);
        }
    }

    /// Whether nothing is left to read, after waiting for what the kernel still holds back.
    fn has_ended(&mut self) -> bool {
        self.fetch_stats();
        let kept = self.stats.received.saturating_sub(self.stats.dropped);
        let waits = self.ending.unwrap_or_default();
        if self.opened >= kept || waits == LAST_WAITS {
            return true;
        }
        self.ending = Some(waits + 1);
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        // Nothing to do about an error here but to look again.
        poll(&mut socket, Some(&RETIRED)).ok();
        if socket[0].revents().contains(PollFlags::ERR) {
            self.socket.take_error().ok();
        }
        false
    }

    /// Fills the batch from what lies in the ring; false when there is nothing.
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

    /// Waits for a block, the waker or the end of the time.
    fn wait(&mut self, wait: Duration) -> Result<(), CaptureError> {
        // While the interface is down nobody tells when it goes away for good.
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
            self.look_after_interface()
        } else {
            Ok(())
        }
    }

    /// Tells an interface that is down for now from one that will not come back.
    fn look_after_interface(&mut self) -> Result<(), CaptureError> {
        let action = || format!("read from {}", self.interface);
        match self.socket.take_error() {
            Err(error) if error.raw_os_error() != Some(libc::ENETDOWN) => {
                return Err(CaptureError::io(action(), error));
            }
            _ => {}
        }
        let there = self
            .socket
            .is_bound()
            .map_err(|error| CaptureError::io(action(), error))?;
        match self.socket.is_up(self.index) {
            Ok(up) if there => {
                self.down = !up;
                Ok(())
            }
            _ => {
                // So that the next call comes here again.
                self.down = true;
                Err(CaptureError::InterfaceGone(self.interface.clone()))
            }
        }
    }

    fn fetch_stats(&mut self) {
        self.blocks = 0;
        // Fetching sets the kernel's counters to 0.
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

/// A socket in the namespace of the interface; it stays there, this thread does not go there.
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

/// What comes after everything else is ready: frames arrive from here on. Tells the number of the
/// group that was joined.
fn start(
    socket: &PacketSocket,
    info: InterfaceInfo,
    options: &CaptureOptions,
) -> io::Result<Option<u16>> {
    socket.bind(info.index)?;
    if options.promiscuous && info.hardware == ARPHRD_ETHER {
        // Some drivers cannot; what reaches the host is still captured.
        socket.set_promiscuous(info.index).ok();
    }
    match options.fanout {
        None => Ok(None),
        Some(0) => socket.found_fanout().map(Some),
        Some(group) => {
            socket.join_fanout(group)?;
            Ok(Some(group))
        }
    }
}

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

/// What frames of a hardware type begin with; packet sockets give bare IP for tunnels.
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

/// Packets of a batch: enough to work through at one go, few enough that their headers stay in the
/// first cache and other work gets its turn.
const BATCH: usize = 256;

/// Blocks between two looks at the kernel's counters, which would overflow after 2³² packets.
const BLOCKS_PER_FETCH: u32 = 1 << 16;

const DOWN_CHECK: Duration = Duration::from_millis(100);

/// The filter that no packet passes: `return 0`.
const NOTHING: &[(u16, u8, u8, u32)] = &[(6, 0, 0, 0)];

/// How long the kernel's timer of blocks that are not full is waited for, at a time.
const RETIRED: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// And how often: some ring times later nothing comes any more, whatever the counters say.
const LAST_WAITS: u32 = 250;

#[cfg(test)]
mod tests;
