//! Limits and memory settings of the process, set once at the start.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: every client needs a descriptor, and the
/// usual soft limit is 1024.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Returns how many client connections the limit of open files allows, at most `wanted`. Descriptors
/// that are open and a reserve for files, captures, and probes do not count.
pub(crate) fn connection_limit(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let allowed = room(files, open);
    if allowed < wanted {
        tracing::warn!(
            "the limit of {files} open files allows only {allowed} client connections instead of \
             {wanted} (http.limits.connections); raise it with ulimit -n or LimitNOFILE"
        );
    }
    allowed.min(wanted)
}

/// Returns the number of descriptors for clients.
fn room(files: usize, open: usize) -> usize {
    let reserve = (files / 4).clamp(MIN_RESERVE, MAX_RESERVE);
    files.saturating_sub(open + reserve).max(1)
}

/// Fewest and most descriptors that are reserved.
const MIN_RESERVE: usize = 16;
const MAX_RESERVE: usize = 1024;

/// Allows or forbids transparent huge pages for the memory of this process.
///
/// An idle daemon has one or two megabytes of heap. In huge pages that becomes eight, and clearing
/// them is most of the processor time of a quiet capture. The flows of a large file are faster with
/// huge pages.
pub(crate) fn allow_huge_pages(are_allowed: bool) {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(!are_allowed) {
        tracing::debug!(%error, "cannot change the transparent huge page setting");
    }
}

/// Returns free memory of the heap to the system.
///
/// The allocator (mimalloc 3) returns freed pages after a second, but only when a thread frees another
/// large block. Without this call, an idle daemon would hold the memory of its last burst of work.
pub(crate) fn return_free_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BLOCK)));
}

/// Time between two calls of [`return_free_memory`].
pub(crate) const RETURN_INTERVAL: Duration = Duration::from_secs(2);
/// Size of a block that the allocator does not keep for the thread, in bytes. It is never touched.
const LARGE_BLOCK: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_reserved() {
        assert_eq!(room(64, 25), 23);
        assert_eq!(room(1024, 25), 743);
        assert_eq!(room(1 << 20, 25), (1 << 20) - 1024 - 25);
        assert_eq!(room(20, 25), 1, "one client at a time");
    }
}
