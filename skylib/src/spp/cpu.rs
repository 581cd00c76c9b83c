//! CPU layout of this machine, in the form of SPP's `cpu_layout`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// CPU socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SocketLayout {
    /// Number of the socket.
    pub socket_id: u32,
    /// Cores of the socket, by number.
    pub cores: Vec<CoreLayout>,
}

/// CPU core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CoreLayout {
    /// Number of the core in its socket.
    pub core_id: u32,
    /// Numbers of the core's logical CPUs, in ascending order.
    pub lcores: Vec<u32>,
}

/// Reads the layout from a folder such as `/sys/devices/system/cpu`; empty if the folder does not
/// exist.
pub(super) fn layout(folder: &Path) -> Vec<SocketLayout> {
    let mut sockets: BTreeMap<u32, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let lcore = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        let Some(lcore) = lcore.and_then(|number| number.parse().ok()) else {
            continue;
        };
        let number = |file: &str| -> Option<u32> {
            let text = fs::read_to_string(entry.path().join("topology").join(file)).ok()?;
            text.trim().parse().ok()
        };
        let (Some(socket), Some(core)) = (number("physical_package_id"), number("core_id")) else {
            continue;
        };
        sockets
            .entry(socket)
            .or_default()
            .entry(core)
            .or_default()
            .push(lcore);
    }
    let core = |(core_id, mut lcores): (u32, Vec<u32>)| {
        lcores.sort_unstable();
        CoreLayout { core_id, lcores }
    };
    sockets
        .into_iter()
        .map(|(socket_id, cores)| SocketLayout {
            socket_id,
            cores: cores.into_iter().map(core).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    #[test]
    fn threads_are_grouped_by_core_and_socket() {
        let folder = folder("cpus");
        for (cpu, socket, core) in [(0, 0, 0), (10, 0, 0), (1, 0, 1), (2, 1, 0)] {
            let topology = folder.path().join(format!("cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("physical_package_id"), format!("{socket}\n")).unwrap();
            fs::write(topology.join("core_id"), format!("{core}\n")).unwrap();
        }
        // An offline CPU has no topology; `cpufreq` is not a CPU.
        fs::create_dir_all(folder.path().join("cpu3")).unwrap();
        fs::create_dir_all(folder.path().join("cpufreq")).unwrap();
        let json = serde_json::to_string(&layout(folder.path())).unwrap();
        assert_eq!(
            json,
            r#"[{"socket_id":0,"cores":[{"core_id":0,"lcores":[0,10]},{"core_id":1,"lcores":[1]}]},{"socket_id":1,"cores":[{"core_id":0,"lcores":[2]}]}]"#
        );
        assert!(layout(&folder.path().join("nothing")).is_empty());
    }
}
