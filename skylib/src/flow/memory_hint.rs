//! Memory hints: prefetch instructions and huge pages. They affect speed, never results.
//!
//! Both are no-ops on targets without support.

/// Prefetches the cache lines of a value for a later read or write. Unless the value is aligned to
/// a cache line or fits in one, its last cache line may be missed.
#[inline]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the prefetch instruction has no safe form")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for line in (0..size_of::<T>()).step_by(CACHE_LINE) {
            // SAFETY: the address lies within a live reference, and a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Advises the kernel to back the spare capacity of a vector with huge pages, if the capacity spans
/// at least one huge page.
pub(super) fn huge_pages<T>(vector: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    #[expect(
        unsafe_code,
        reason = "advice on a range of addresses has no safe form"
    )]
    {
        let spare = vector.spare_capacity_mut();
        let start = spare.as_mut_ptr().addr().next_multiple_of(PAGE);
        let end = spare.as_mut_ptr_range().end.addr() / PAGE * PAGE;
        if end.saturating_sub(start) < HUGE_PAGE {
            return;
        }
        let address = spare.as_mut_ptr().with_addr(start).cast();
        // SAFETY: the range lies within memory that this vector owns and nothing else refers to,
        // and this advice changes neither its content nor its validity. A failure has no effect.
        let refused =
            unsafe { rustix::mm::madvise(address, end - start, rustix::mm::Advice::LinuxHugepage) };
        let _ = refused;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vector;
}

/// Size of a cache line, in bytes.
pub(super) const CACHE_LINE: usize = 64;
/// Size of a page, in bytes.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;
/// Size of a huge page, in bytes.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_leave_memory_as_it_is() {
        let mut vector: Vec<u64> = Vec::with_capacity(1 << 20);
        vector.extend([1, 2, 3]);
        huge_pages(&mut vector);
        prefetch(&vector[1]);
        vector.resize(1 << 20, 7);
        assert_eq!((vector[2], vector[(1 << 20) - 1]), (3, 7));
        huge_pages(&mut Vec::<u64>::new());
    }
}
