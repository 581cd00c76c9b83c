//! Limits and memory settings of the process, set once at the start.

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
