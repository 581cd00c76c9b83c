//! Memory of the machine, or of the control group that the process is limited to.

use std::fs;

/// Returns the memory that the process may use, in bytes; `None` if the kernel does not report it.
pub(crate) fn bytes() -> Option<u64> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = text("/proc/self/cgroup");
    let limit = own_group(&groups).and_then(|group| limit_of(group, &text));
    let total = total(&text("/proc/meminfo"));
    limit.into_iter().chain(total).min()
}

/// Parses `MemTotal` of `/proc/meminfo`; returns it in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns the path of the version 2 control group in `/proc/self/cgroup`.
fn own_group(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Returns the lowest memory limit of a control group and its ancestors, in bytes; `None` if there
/// is none.
fn limit_of(group: &str, text: &impl Fn(&str) -> String) -> Option<u64> {
    let ends = group.match_indices('/').map(|(at, _)| at);
    let parents = ends.chain([group.len()]).map(|end| &group[..end]);
    let limit = |path: &str| {
        let path = format!("/sys/fs/cgroup{}/memory.max", path.trim_end_matches('/'));
        text(&path).trim().parse().ok()
    };
    parents.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        let meminfo = "MemFree:  1 kB\nMemTotal:       24690328 kB\nSwapTotal: 0 kB\n";
        assert_eq!(total(meminfo), Some(24_690_328 * 1024));
        assert_eq!(total(""), None);
        assert_eq!(own_group("1:cpu:/x\n0::/a/b\n"), Some("/a/b"));
        let files = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/a/memory.max" => "5000\n",
                "/sys/fs/cgroup/a/b/memory.max" => "7000\n",
                "/sys/fs/cgroup/memory.max" => "max\n",
                _ => "",
            };
            text.to_owned()
        };
        assert_eq!(limit_of("/a/b", &files), Some(5000));
        assert_eq!(limit_of("/", &files), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(bytes() > Some(1 << 20));
    }
}
