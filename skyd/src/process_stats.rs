//! Statistics of this process from the kernel (proc(5)).

use std::fs;

/// Statistics of the process; `None` for values that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessStats {
    /// CPU time in user and kernel mode, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Start time, in seconds since the Unix epoch.
    pub(crate) start_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Virtual memory, in bytes.
    pub(crate) virtual_bytes: Option<u64>,
    /// Number of threads.
    pub(crate) threads: Option<u64>,
    /// Number of open file descriptors.
    pub(crate) descriptors: Option<usize>,
    /// Maximum number of open file descriptors; `None` if there is no limit or it cannot be read.
    pub(crate) max_descriptors: Option<u64>,
}

impl ProcessStats {
    /// Returns the current statistics.
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::parse(&text("/proc/self/stat"), &text("/proc/stat"), ticks)
        }
    }

    /// Parses `/proc/self/stat` and `/proc/stat`; `ticks` is the number of clock ticks per second.
    fn parse(own: &str, machine: &str, ticks: u64) -> Self {
        // The name in parentheses may itself contain blanks and parentheses, so the fields are
        // counted from the last closing parenthesis: the next field, the state, is field 3.
        let fields: Vec<&str> = match own.rsplit_once(')') {
            Some((_, rest)) => rest.split_whitespace().collect(),
            None => Vec::new(),
        };
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks_of: u64| ticks_of as f64 / ticks as f64;
        let boot = machine.lines().find_map(|line| line.strip_prefix("btime "));
        let boot = boot.and_then(|seconds| seconds.trim().parse::<u64>().ok());
        Self {
            cpu_seconds: Option::zip(field(14), field(15))
                .map(|(user, system)| seconds(user + system)),
            start_seconds: Option::zip(boot, field(22)).map(|(boot, at)| boot as f64 + seconds(at)),
            threads: field(20),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * rustix::param::page_size() as u64),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let own = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 9 0 3000 1048576 2 0 0";
        let stats = ProcessStats::parse(own, "cpu 1 2\nbtime 1000\nprocesses 5\n", 100);
        assert_eq!(stats.cpu_seconds, Some(4.0));
        assert_eq!(stats.start_seconds, Some(1030.0));
        assert_eq!(stats.threads, Some(9));
        assert_eq!(stats.virtual_bytes, Some(1 << 20));
        let pages = stats.resident_bytes.unwrap() / rustix::param::page_size() as u64;
        assert_eq!(pages, 2);
        assert_eq!(ProcessStats::parse("", "", 100), ProcessStats::default());
    }

    #[test]
    fn this_process_has_statistics() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.unwrap() > 100_000);
        assert!(stats.descriptors.unwrap() >= 3);
        assert!(stats.start_seconds.unwrap() > 1e9);
    }
}
