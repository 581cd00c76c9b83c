//! Memory of the machine and its NUMA nodes, from `/proc/meminfo` and `/sys/devices/system/node`.

use std::fs;
use std::path::Path;

use super::cpu::parse_list;

/// NUMA node: a group of CPUs with local memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumaNode {
    /// Number of the node.
    pub number: u32,
    /// Logical CPUs of the node.
    pub cpus: Vec<u32>,
    /// Size of the node's memory, in bytes.
    pub memory_bytes: u64,
}

/// Returns the size of the memory of the machine, in bytes; 0 if it cannot be read.
pub(crate) fn total_bytes(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    text.lines().find_map(total_of).unwrap_or(0)
}

/// Returns the NUMA nodes in the order of their numbers; empty if the kernel does not list them.
pub(crate) fn numa_nodes(root: &Path) -> Vec<NumaNode> {
    let folder = root.join("sys/devices/system/node");
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut nodes: Vec<NumaNode> = entries
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("node")?
                .parse()
                .ok()?;
            let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            Some(NumaNode {
                number,
                cpus: parse_list(&read("cpulist")),
                memory_bytes: read("meminfo").lines().find_map(total_of).unwrap_or(0),
            })
        })
        .collect();
    nodes.sort_by_key(|node| node.number);
    nodes
}

/// Returns the size in a line such as `MemTotal: 2048 kB` or `Node 0 MemTotal: 2048 kB`.
fn total_of(line: &str) -> Option<u64> {
    let (_, value) = line.split_once("MemTotal:")?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_numa_nodes_are_read() {
        let root = std::env::temp_dir().join(format!("skylib-memory-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemFree: 5 kB\nMemTotal:       2048 kB\n");
        write("sys/devices/system/node/node1/cpulist", "2-3\n");
        write(
            "sys/devices/system/node/node1/meminfo",
            "Node 1 MemTotal:  1024 kB\n",
        );
        write("sys/devices/system/node/node0/cpulist", "0-1\n");
        write("sys/devices/system/node/possible", "0-1\n");
        assert_eq!(total_bytes(&root), 2 << 20);
        let node = |number, cpus: [u32; 2], memory_bytes| NumaNode {
            number,
            cpus: cpus.to_vec(),
            memory_bytes,
        };
        let wanted = [node(0, [0, 1], 0), node(1, [2, 3], 1 << 20)];
        assert_eq!(numa_nodes(&root), wanted);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(total_bytes(&root), 0);
        assert!(numa_nodes(&root).is_empty());
    }
}
