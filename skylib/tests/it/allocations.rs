//! Counts the allocations of a thread, to check that hot paths allocate nothing per packet.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Returns the number of allocations of `work` on this thread.
pub(crate) fn count<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let before = COUNT.get();
    let result = work();
    (result, COUNT.get() - before)
}

/// Returns the bytes that this thread has allocated minus those that it has freed.
pub(crate) fn live_bytes() -> i64 {
    LIVE.get()
}

fn add_live(bytes: usize, sign: i64) {
    // A thread that ends may allocate after its counters are dropped.
    let _ = LIVE.try_with(|live| live.set(live.get() + sign * bytes as i64));
}

struct Counting;

#[expect(
    unsafe_code,
    reason = "the allocator's interface is unsafe; only tests use this one"
)]
// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may allocate after its counter is dropped.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        add_live(layout.size(), 1);
        // SAFETY: the caller fulfills the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add_live(layout.size(), -1);
        // SAFETY: the caller fulfills the contract of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        add_live(new_size, 1);
        add_live(layout.size(), -1);
        // SAFETY: the caller fulfills the contract of `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
