//! Allocator of the process, and how long it retains freed memory.

#![expect(unsafe_code, reason = "the options of mimalloc are functions of C")]

use std::ffi::c_long;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sets the time after which freed pages are returned to the system.
///
/// With the default of mimalloc, a second, a hundred clients with large answers let the process grow
/// to 1.7 times the memory in use (`skyd/tests/attack/hostile_mix.py`).
pub(crate) fn limit_retained_memory() {
    // SAFETY: the function only stores a number in a table of the allocator; the option exists.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
}

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Time after which freed pages are returned, in milliseconds.
const PURGE_DELAY_MS: c_long = 10;
