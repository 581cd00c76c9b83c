//! Receive ring of a packet socket, mapped into this process (TPACKET_V3).
//!
//! The kernel fills the blocks in order. A status word in each block header states whether the
//! kernel or this process owns the block. All unsafe code of the ring is in this file; the contents
//! of blocks are parsed in `block.rs`.

use std::ffi::c_void;
use std::io;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::sys::socket::{PacketSocket, RingShape};

/// Mapped ring and its read position.
#[derive(Debug)]
pub(super) struct Ring {
    /// Start of the mapping of `block_size * block_count` bytes.
    memory: NonNull<u8>,
    /// Size of a block, in bytes; a power of two, at least [`MIN_BLOCK`].
    block_size: usize,
    /// Number of blocks; at least 1.
    block_count: usize,
    /// Index of the block that is read now or next: `current < block_count`.
    current: usize,
    /// Whether the process owns the current block and has not released it yet.
    held: bool,
}

impl Ring {
    /// Creates the socket's ring and maps it.
    pub(super) fn new(socket: &PacketSocket, shape: RingShape) -> io::Result<Self> {
        let (block_size, block_count) = (shape.block_size as usize, shape.block_count as usize);
        // All accesses below rely on complete, aligned, non-empty blocks.
        if !block_size.is_power_of_two() || block_size < MIN_BLOCK || block_count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = block_size
            .checked_mul(block_count)
            .ok_or(io::ErrorKind::InvalidInput)?;
        socket.set_ring(shape)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        #[expect(unsafe_code, reason = "the ring is memory shared with the kernel")]
        // SAFETY: a new mapping at an address of the kernel's choice does not touch memory in use.
        let memory = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                access,
                MapFlags::SHARED,
                socket,
                0,
            )?
        };
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            memory,
            block_size,
            block_count,
            current: 0,
            held: false,
        })
    }

    /// Returns the oldest block that the kernel has released, if there is one. Returns the same
    /// block until [`Ring::release`].
    pub(super) fn block(&mut self) -> Option<&mut [u8]> {
        if !self.held {
            // Acquire: makes the kernel's writes to the block visible.
            self.held = self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0;
        }
        if !self.held {
            return None;
        }
        #[expect(unsafe_code, reason = "the ring is memory shared with the kernel")]
        // SAFETY: `current < block_count`, so the block lies within the mapping, which lives as
        // long as `self`. The kernel writes to a block only while the status word allows it. The
        // status is "user" until `release`, which needs `&mut self` and therefore ends this borrow
        // first.
        Some(unsafe {
            let start = self.memory.add(self.current * self.block_size);
            std::slice::from_raw_parts_mut(start.as_ptr(), self.block_size)
        })
    }

    /// Returns the current block to the kernel; does nothing if the process does not own it.
    pub(super) fn release(&mut self) {
        if self.held {
            // Release: the kernel reuses the block only after all reads from it.
            self.status()
                .store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.current = (self.current + 1) % self.block_count;
            self.held = false;
        }
    }

    /// Returns the status word of the current block.
    fn status(&self) -> &AtomicU32 {
        #[expect(unsafe_code, reason = "the ring is memory shared with the kernel")]
        // SAFETY: the word lies within the block `current`, is aligned because blocks are aligned
        // to pages, and is only accessed atomically while no slice of the block exists.
        unsafe {
            let word = self
                .memory
                .add(self.current * self.block_size + STATUS_OFFSET);
            AtomicU32::from_ptr(word.as_ptr().cast())
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let memory: *mut c_void = self.memory.as_ptr().cast();
        #[expect(unsafe_code, reason = "the ring is memory shared with the kernel")]
        // SAFETY: this is the mapping created in `new`, and no borrow of it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(memory, self.block_size * self.block_count) };
        debug_assert!(unmapped.is_ok(), "the mapping of `new` can be unmapped");
    }
}

#[expect(unsafe_code, reason = "a raw pointer in the type")]
// SAFETY: the mapping belongs to the value alone and may be used by one thread at a time.
unsafe impl Send for Ring {}

/// Minimum size of a block, in bytes: one page.
const MIN_BLOCK: usize = 4096;

/// Offset of the status word in a block.
const STATUS_OFFSET: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);
