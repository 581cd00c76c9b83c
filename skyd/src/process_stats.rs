//! What this process takes of the machine, as the kernel tells it (proc(5)).

use std::fs;

/// Figures of the process; none of what cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessStats {
    /// Seconds on a processor, in user and kernel mode.
    pub(crate) cpu_seconds: Option<f64>,
    /// When it started, in seconds of Unix time.
    pub(crate) start_seconds: Option<f64>,
    /// Bytes in memory.
    pub(crate) resident_bytes: Option<u64>,
    /// Bytes of address space.
    pub(crate) virtual_bytes: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
    /// Open descriptors.
    pub(crate) descriptors: Option<usize>,
    /// Descriptors there may be; none where there is no limit.
    pub(crate) max_descriptors: Option<u64>,
}

impl ProcessStats {
    /// As of now.
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::parse(&text("/proc/self/stat"), &text("/proc/stat"), ticks)
        }
    }

    fn parse(own: &str, machine: &str, ticks: u64) -> Self {
        // The name in parentheses may hold blanks and parentheses itself; state is field 3.
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
        let figures = ProcessStats::parse(own, "cpu 1 2\nbtime 1000\nprocesses 5\n", 100);
        assert_eq!(figures.cpu_seconds, Some(4.0));
        assert_eq!(figures.start_seconds, Some(1030.0));
        assert_eq!(figures.threads, Some(9));
        assert_eq!(figures.virtual_bytes, Some(1 << 20));
        let pages = figures.resident_bytes.unwrap() / rustix::param::page_size() as u64;
        assert_eq!(pages, 2);
        assert_eq!(ProcessStats::parse("", "", 100), ProcessStats::default());
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessStats::read();
        assert!(figures.resident_bytes.unwrap() > 100_000);
        assert!(figures.descriptors.unwrap() >= 3);
        assert!(figures.start_seconds.unwrap() > 1e9);
    }
}
