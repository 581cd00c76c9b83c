//! Hints to the memory system: they change when things happen, never what happens.
//!
//! On targets without such instructions they do nothing.

/// Asks for the cache lines of a value, to be read and written soon: of one that begins a line, or
/// fits in one.
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

/// Asks the kernel to back the spare room of a large vector with huge pages; small ones stay.
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
        // SAFETY: the range lies within memory this vector owns and nobody else refers to, and
        // this advice changes neither its content nor its validity. A refusal changes nothing.
        let refused =
            unsafe { rustix::mm::madvise(address, end - start, rustix::mm::Advice::LinuxHugepage) };
        let _ = refused;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vector;
}

/// Bytes that come from memory together.
pub(super) const CACHE_LINE: usize = 64;
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;
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
