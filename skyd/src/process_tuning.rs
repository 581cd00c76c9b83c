//! Limits of the process and its use of huge pages, set once at the start.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard limit: every client needs a descriptor, and the
/// usual soft limit is 1024.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit on open files");
    }
}

/// Returns the number of client connections that the limit on open files allows, at most `wanted`.
/// Descriptors that are already open and a reserve for files, captures, and probes are subtracted.
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

/// Returns the number of descriptors that are available for clients.
fn room(files: usize, open: usize) -> usize {
    let reserve = (files / 4).clamp(MIN_RESERVE, MAX_RESERVE);
    files.saturating_sub(open + reserve).max(1)
}

/// Minimum and maximum number of reserved descriptors.
const MIN_RESERVE: usize = 16;
const MAX_RESERVE: usize = 1024;

/// Allows or forbids transparent huge pages for the memory of this process.
///
/// The heap of an idle daemon takes one or two megabytes. With huge pages, it takes eight
/// megabytes, and clearing the pages takes most of the CPU time of a quiet capture. Large capture
/// files are processed faster with huge pages.
pub(crate) fn allow_huge_pages(are_allowed: bool) {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(!are_allowed) {
        tracing::debug!(%error, "cannot change the transparent huge page setting");
    }
}

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
