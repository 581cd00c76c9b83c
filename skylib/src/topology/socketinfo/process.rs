//! `ProcessTable`: the processes that sockets belong to, from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::value::Text;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Name of its first thread.
    pub(super) name: Text,
    /// Path of its program; empty if it cannot be read.
    pub(super) program: Text,
}

/// The processes of sockets by inode.
///
/// Reading the descriptors of all processes is expensive, so it happens only if there are sockets
/// whose process is unknown, and ends as soon as all are found.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    known: HashMap<u32, Process>,
    /// Inodes that no process has, such as sockets of the kernel.
    unowned: HashSet<u32>,
}

impl ProcessTable {
    /// Finds the processes of sockets, and forgets all other sockets.
    pub(super) fn update(&mut self, inodes: &HashSet<u32>) {
        self.update_from(Path::new("/proc"), inodes);
    }

    pub(super) fn process(&self, inode: u32) -> Option<&Process> {
        self.known.get(&inode)
    }

    fn update_from(&mut self, proc: &Path, inodes: &HashSet<u32>) {
        self.known.retain(|inode, _| inodes.contains(inode));
        self.unowned.retain(|inode| inodes.contains(inode));
        let is_unknown =
            |inode: &&u32| !self.known.contains_key(*inode) && !self.unowned.contains(*inode);
        let mut wanted: HashSet<u32> = inodes.iter().filter(is_unknown).copied().collect();
        for (pid, folder) in processes(proc) {
            if wanted.is_empty() {
                return;
            }
            let mut process = None;
            for inode in socket_inodes(&folder) {
                if wanted.remove(&inode) {
                    let process = process.get_or_insert_with(|| read_process(pid, &folder));
                    self.known.insert(inode, process.clone());
                }
            }
        }
        self.unowned.extend(wanted);
    }
}

/// Returns the processes with their folders.
fn processes(proc: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = proc.read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

/// Returns the inodes of the sockets that a process has open; none if this process may not see them.
fn socket_inodes(folder: &Path) -> impl Iterator<Item = u32> {
    let entries = folder.join("fd").read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        inode.parse().ok()
    })
}

fn read_process(pid: u32, folder: &Path) -> Process {
    let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let program = fs::read_link(folder.join("exe")).unwrap_or_default();
    Process {
        pid,
        name: name.trim_end().into(),
        program: program.to_string_lossy().as_ref().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn add_process(proc: &Path, pid: u32, name: &str, sockets: &[u32]) {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
        symlink(format!("/usr/bin/{name}"), folder.join("exe")).unwrap();
        symlink("pipe:[5]", folder.join("fd/0")).unwrap();
        for (number, inode) in sockets.iter().enumerate() {
            let link = folder.join(format!("fd/{}", number + 1));
            symlink(format!("socket:[{inode}]"), link).unwrap();
        }
    }

    #[test]
    fn sockets_belong_to_processes_until_they_are_closed() {
        let proc = std::env::temp_dir().join(format!("skylib-proc-{}", std::process::id()));
        drop(fs::remove_dir_all(&proc));
        add_process(&proc, 10, "nginx", &[100, 101]);
        add_process(&proc, 11, "named", &[102]);
        fs::create_dir_all(proc.join("sys")).unwrap();
        let mut table = ProcessTable::default();
        table.update_from(&proc, &HashSet::from([100, 102, 999]));
        let name = |table: &ProcessTable, inode| table.process(inode).map(|p| p.name.to_string());
        assert_eq!(name(&table, 100).as_deref(), Some("nginx"));
        assert_eq!(name(&table, 102).as_deref(), Some("named"));
        assert_eq!(name(&table, 101), None, "not asked for");
        assert_eq!(table.unowned, HashSet::from([999]));
        assert_eq!(
            table.process(100).unwrap().program.as_str(),
            "/usr/bin/nginx"
        );
        fs::remove_dir_all(&proc).unwrap();
        table.update_from(&proc, &HashSet::from([100, 999]));
        assert_eq!(
            name(&table, 100).as_deref(),
            Some("nginx"),
            "known without /proc"
        );
        assert_eq!(name(&table, 102), None);
    }
}
