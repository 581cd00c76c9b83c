//! Allocator of the process, and how long it retains freed memory.

#![expect(unsafe_code, reason = "the options of mimalloc are functions of C")]

use std::ffi::c_long;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sets the time after which freed pages are returned to the system.
///
/// With the default of mimalloc 3, a second, the memory of a hundred clients that read large answers
/// grows to 1.7 times its peak without any delay (`skyd/tests/attack/hostile_mix.py`).
pub(crate) fn limit_retained_memory() {
    // SAFETY: the function only stores a number in the table of options, which has this index.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
}

/// Returns free heap memory to the system.
///
/// The allocator returns freed pages only when a thread frees another large block. Without this
/// call, an idle daemon would retain the memory of its last burst of work.
pub(crate) fn return_free_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BLOCK)));
}

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Time after which freed pages may be returned, in milliseconds.
const PURGE_DELAY_MS: c_long = 10;
/// Time between two calls of [`return_free_memory`].
pub(crate) const RETURN_INTERVAL: Duration = Duration::from_secs(2);
/// Size of a block that the allocator does not retain for the thread, in bytes. Its memory is never
/// accessed.
const LARGE_BLOCK: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A later version of mimalloc may have a different table of options.
    #[test]
    fn the_option_is_the_purge_delay() {
        // SAFETY: the function only reads a number from the table of options, which has this index.
        let default = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(
            default, 1000,
            "the default of the purge delay in milliseconds"
        );
    }
}
