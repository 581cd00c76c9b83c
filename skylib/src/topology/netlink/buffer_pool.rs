//! `BufferPool`: read buffers that the watches of all namespaces share, because a host may have
//! thousands of namespaces, of which few are read at the same time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Read buffers that are not in use; at most [`MAX_FREE`].
#[derive(Debug, Default)]
pub(super) struct BufferPool(Mutex<Vec<Vec<u8>>>);

/// A buffer in use, which returns to its pool on drop.
#[derive(Debug)]
pub(super) struct PooledBuffer<'a> {
    pool: &'a BufferPool,
    bytes: Vec<u8>,
}

impl BufferPool {
    /// Returns an empty buffer with a capacity of at least [`BUFFER_BYTES`].
    pub(super) fn take(&self) -> PooledBuffer<'_> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        PooledBuffer {
            pool: self,
            bytes: free.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES)),
        }
    }
}

impl Deref for PooledBuffer<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for PooledBuffer<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            free.push(bytes);
        }
    }
}

/// Size of a buffer, in bytes; exceeds the maximum size of a datagram of the kernel, 32 KiB.
const BUFFER_BYTES: usize = 64 << 10;

/// Maximum number of buffers that are not in use.
const MAX_FREE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_empty_and_their_number_is_bounded() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        buffer.extend([1, 2, 3]);
        let address = buffer.as_ptr();
        drop(buffer);
        let buffer = pool.take();
        assert_eq!((buffer.as_ptr(), buffer.len()), (address, 0));
        let many: Vec<_> = (0..20).map(|_| pool.take()).collect();
        drop(many);
        assert_eq!(pool.0.lock().unwrap().len(), MAX_FREE);
    }
}
