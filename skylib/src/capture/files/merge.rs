//! `Merge`: packets of several files in the order of their times (k-way merge with a binary heap).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::queue::FileQueue;
use crate::capture::file::Step;
use crate::capture::{CaptureError, PacketSource, PcapFile};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

/// Merge of files by time. The packets of each file remain in their order.
pub(super) struct Merge {
    /// Open files with at least one packet that has not been returned, by the time of that packet.
    heads: BinaryHeap<Box<Head>>,
    /// Number of files opened so far.
    opened: usize,
    /// Link type of the batch.
    link_type: LinkType,
    /// Bytes of the packets of the batch.
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
    /// Number of packets returned so far, including those of the batch.
    returned: u64,
}

/// Open file and the rest of its latest batch.
///
/// Invariant: `at < headers.len()` while it is in the heap.
struct Head {
    file: PcapFile,
    /// Number of the file in the order of opening, which determines the order of equal times.
    order: usize,
    link_type: LinkType,
    buffer: Arc<[u8]>,
    headers: Vec<PacketHeader>,
    at: usize,
}

impl Merge {
    /// Returns a merge of an open file and the files in a queue.
    pub(super) fn new(first: PcapFile, queue: &mut FileQueue) -> Self {
        let mut merge = Self {
            heads: BinaryHeap::new(),
            opened: 0,
            link_type: first.link_type(),
            buffer: Vec::new(),
            headers: Vec::new(),
            returned: 0,
        };
        merge.add(first, queue);
        merge
    }

    /// Returns the open files.
    pub(super) fn files(&self) -> impl Iterator<Item = &PcapFile> {
        self.heads.iter().map(|head| &head.file)
    }

    /// Returns the number of packets returned so far.
    pub(super) const fn returned(&self) -> u64 {
        self.returned
    }

    /// Returns the packets of the latest batch.
    pub(super) fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: self.link_type,
            buffer: &self.buffer,
            headers: &self.headers,
        }
    }

    /// Reads the next packets of one link type, which [`batch`](Self::batch) returns.
    ///
    /// # Errors
    /// Returns an error if more than [`MAX_OPEN`] files overlap in time.
    pub(super) fn advance(&mut self, queue: &mut FileQueue) -> Result<Step, CaptureError> {
        self.buffer.clear();
        self.headers.clear();
        while self.headers.len() < MAX_PACKETS && self.buffer.len() < MAX_BYTES {
            self.open_due(queue)?;
            let Some(mut head) = self.heads.pop() else {
                break;
            };
            if head.link_type != self.link_type && !self.headers.is_empty() {
                self.heads.push(head);
                break;
            }
            self.link_type = head.link_type;
            self.take_run(&mut head, queue.next_time());
            if head.load(queue) {
                self.heads.push(head);
            }
        }
        self.returned += self.headers.len() as u64;
        Ok(match self.headers.is_empty() {
            true => Step::End,
            false => Step::Packets,
        })
    }

    /// Opens each queued file that begins no later than the next packet of the open files; without
    /// an open file, the next one.
    fn open_due(&mut self, queue: &mut FileQueue) -> Result<(), CaptureError> {
        loop {
            let next = self.heads.peek().map(|head| head.key().0);
            let is_due = match (queue.next_time(), next) {
                (Some(first), Some(next)) => first <= next,
                // Without an open file, the next file is due; it may have no packets.
                (_, None) => queue.len() > 0,
                (None, Some(_)) => false,
            };
            if !is_due {
                return Ok(());
            }
            if self.heads.len() >= MAX_OPEN {
                return Err(CaptureError::TooManyFiles(MAX_OPEN));
            }
            if let Some(file) = queue.open_next() {
                self.add(file, queue);
            }
        }
    }

    /// Adds a file if it has packets.
    fn add(&mut self, file: PcapFile, queue: &mut FileQueue) {
        let mut head = Box::new(Head {
            link_type: file.link_type(),
            file,
            order: self.opened,
            buffer: Arc::default(),
            headers: Vec::new(),
            at: 0,
        });
        self.opened += 1;
        if head.load(queue) {
            self.heads.push(head);
        }
    }

    /// Appends packets of a file to the batch until the next packet is in another file. `waiting`
    /// is the time of the first packet of the next queued file.
    fn take_run(&mut self, head: &mut Head, waiting: Option<Timestamp>) {
        let other = self.heads.peek().map(|other| other.key());
        let order = head.order;
        let is_next = |time| {
            other.is_none_or(|other| (time, order) < other)
                && waiting.is_none_or(|waiting| time < waiting)
        };
        // The first packet is always taken: it is the earliest of all files, because the head was
        // the top of the heap.
        let mut is_first = true;
        while let Some(header) = head.headers.get(head.at)
            && (is_first || is_next(header.timestamp))
            && self.headers.len() < MAX_PACKETS
            && self.buffer.len() < MAX_BYTES
        {
            let packet = header.packet(&head.buffer, head.link_type);
            self.headers.push(PacketHeader {
                offset: self.buffer.len() as u32,
                captured_len: packet.data.len() as u32,
                ..*header
            });
            self.buffer.extend_from_slice(packet.data);
            head.at += 1;
            is_first = false;
        }
    }
}

impl Head {
    /// Returns the sort key in the heap: the time of the next packet, and the number of the file.
    fn key(&self) -> (Timestamp, usize) {
        let next = self.headers.get(self.at);
        let time = next.map_or(Timestamp::from_ns(i64::MAX), |header| header.timestamp);
        (time, self.order)
    }

    /// Reads the next packets of the file if the latest batch has no packets left. Returns whether
    /// there are packets; at the end of the file or after damage, it is counted as closed.
    fn load(&mut self, queue: &mut FileQueue) -> bool {
        while self.at >= self.headers.len() {
            self.at = 0;
            self.headers.clear();
            // Releases the buffer, so that the reader can reuse it.
            self.buffer = Arc::default();
            match self.file.advance() {
                Ok(Step::Packets) => {
                    let batch = self.file.batch();
                    self.link_type = batch.link_type;
                    self.headers.extend_from_slice(batch.headers);
                    self.buffer = self.file.shared_buffer().unwrap_or_default();
                }
                Ok(Step::Nothing) => {}
                Ok(Step::End) => {
                    queue.close(&mut self.file);
                    return false;
                }
                Err(error) => {
                    queue.errors.push(error);
                    queue.close(&mut self.file);
                    return false;
                }
            }
        }
        true
    }
}

impl Ord for Head {
    /// Orders later packets first, because [`BinaryHeap`] is a max-heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

/// Maximum number of files that are open at the same time; each needs about 1 MiB.
const MAX_OPEN: usize = 256;
/// Maximum number of packets of a batch.
const MAX_PACKETS: usize = 2048;
/// Maximum size of a batch without its last packet, in bytes.
const MAX_BYTES: usize = 1 << 20;
