//! Block devices, as `/sys`, `/proc/self/mountinfo`, and the database of udev describe them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::counters::Counters;
use crate::value::Map;

/// A block device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Device {
    /// Name in the kernel, such as `sda1` or `dm-0`.
    pub(super) kernel_name: String,
    /// Path of the device, such as `/dev/sda1` or `/dev/mapper/root`.
    pub(super) path: String,
    /// Kind, as `lsblk` names it: `disk`, `part`, `lvm`, `mpath`, `crypt`, `rom`, `loop`, …
    pub(super) kind: String,
    /// Numbers of the device, such as `8:1`.
    pub(super) major_minor: String,
    /// World wide name; empty if unknown.
    pub(super) wwn: String,
    /// Serial number; empty if unknown.
    pub(super) serial: String,
    /// Folder where the device is mounted; empty if it is not.
    pub(super) mountpoint: String,
    /// Kernel names of the partitions and of the devices that are built on this one.
    pub(super) children: Vec<String>,
    /// Values with the names that `lsblk` uses, in camel case.
    pub(super) attributes: Map,
    pub(super) counters: Counters,
}

impl Device {
    /// Returns the identity of the device: its world wide name, its serial number, or its path.
    pub(super) fn index(&self) -> &str {
        [&*self.wwn, &self.serial, &self.path]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    /// Returns the name of the node: where the device is mounted, or the last part of its path.
    pub(super) fn name(&self) -> &str {
        match self.mountpoint.as_str() {
            "" => self.path.rsplit('/').next().unwrap_or_default(),
            mountpoint => mountpoint,
        }
    }
}

/// Returns the block devices of the system below a root folder, by kernel name, and the number of
/// devices beyond the limit.
pub(super) fn read_devices(root: &Path) -> (BTreeMap<String, Device>, usize) {
    let system = System::read(root);
    let (mut devices, mut omitted) = (BTreeMap::new(), 0);
    for name in names_in(&root.join("sys/class/block")) {
        let folder = root.join("sys/class/block").join(&name);
        let is_unused = ["loop", "ram", "nbd"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if is_unused && number(&folder, "size") == Some(0) {
            continue;
        }
        if devices.len() >= MAX_DEVICES {
            omitted += 1;
            continue;
        }
        let device = system.device(&folder, &name);
        devices.insert(name, device);
    }
    (devices, omitted)
}

/// Tables of the system that concern several devices.
struct System {
    root: PathBuf,
    /// Folders where devices are mounted, by their numbers.
    mounts: BTreeMap<String, String>,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl System {
    fn read(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        Self {
            root: root.to_owned(),
            mounts: parse_mounts(&read("proc/self/mountinfo")),
            users: parse_names(&read("etc/passwd")),
            groups: parse_names(&read("etc/group")),
        }
    }

    fn device(&self, folder: &Path, name: &str) -> Device {
        let numbers = text(folder, "dev");
        let udev = fs::read_to_string(self.root.join(format!("run/udev/data/b{numbers}")));
        let udev = Udev::parse(&udev.unwrap_or_default());
        let path = match text(folder, "dm/name").as_str() {
            "" => format!("/dev/{}", name.replace('!', "/")),
            mapped => format!("/dev/mapper/{mapped}"),
        };
        let mut device = Device {
            kernel_name: name.to_owned(),
            kind: kind(folder, name),
            wwn: first([
                udev.get("ID_WWN_WITH_EXTENSION"),
                udev.get("ID_WWN"),
                text(folder, "wwid"),
                text(folder, "device/wwid"),
            ]),
            serial: first([
                udev.get("ID_SERIAL_SHORT"),
                text(folder, "serial"),
                text(folder, "device/serial"),
            ]),
            mountpoint: self.mounts.get(&numbers).cloned().unwrap_or_default(),
            children: children(folder, name),
            counters: Counters::parse(&text(folder, "stat")).unwrap_or_default(),
            attributes: Map::new(),
            major_minor: numbers,
            path,
        };
        device.attributes = self.attributes(folder, &device, &udev);
        device
    }

    /// Returns the values that `lsblk` shows; empty strings are omitted.
    fn attributes(&self, folder: &Path, device: &Device, udev: &Udev) -> Map {
        let mut map = Map::new();
        let own = fs::canonicalize(folder).unwrap_or_default();
        // Partitions have no queue of their own.
        let disk = match folder.join("queue").exists() {
            true => folder,
            false => own.parent().unwrap_or(Path::new("")),
        };
        let bytes = number(folder, "size").map(|sectors| sectors.saturating_mul(512));
        let size = |bytes: Option<u64>| bytes.map(human_size).unwrap_or_default();
        let texts = [
            ("Name", device.name().to_owned()),
            ("Kname", format!("/dev/{}", device.kernel_name)),
            ("Path", device.path.clone()),
            ("MajMin", device.major_minor.clone()),
            ("Type", device.kind.clone()),
            ("Size", size(bytes)),
            ("Mountpoint", device.mountpoint.clone()),
            ("WWN", device.wwn.clone()),
            ("Serial", device.serial.clone()),
            ("Fstype", udev.get("ID_FS_TYPE")),
            ("Label", udev.get("ID_FS_LABEL")),
            ("UUID", udev.get("ID_FS_UUID")),
            ("Partlabel", udev.get("ID_PART_ENTRY_NAME")),
            ("Parttype", udev.get("ID_PART_ENTRY_TYPE")),
            ("Partuuid", udev.get("ID_PART_ENTRY_UUID")),
            ("Partflags", udev.get("ID_PART_ENTRY_FLAGS")),
            ("Pttype", udev.get("ID_PART_TABLE_TYPE")),
            ("Ptuuid", udev.get("ID_PART_TABLE_UUID")),
            (
                "Model",
                first([text(folder, "device/model"), udev.get("ID_MODEL")]),
            ),
            ("Vendor", text(folder, "device/vendor")),
            (
                "Rev",
                first([
                    text(folder, "device/rev"),
                    text(folder, "device/firmware_rev"),
                ]),
            ),
            ("State", text(folder, "device/state")),
            ("Hctl", hctl(folder)),
            ("Tran", transport(&device.kernel_name, udev)),
            ("Sched", scheduler(&text(disk, "queue/scheduler"))),
            ("Subsystems", subsystems(&own, &self.root)),
            ("DiscGran", size(number(disk, "queue/discard_granularity"))),
            ("DiscMax", size(number(disk, "queue/discard_max_bytes"))),
            ("Wsame", size(number(disk, "queue/write_same_max_bytes"))),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            map.set(key, text);
        }
        add_numbers(folder, disk, &mut map);
        self.add_permissions(&device.path, &mut map);
        self.add_usage(&device.mountpoint, &mut map);
        map
    }

    /// Adds owner, group, and mode of the device file.
    fn add_permissions(&self, path: &str, map: &mut Map) {
        let file = self.root.join(path.trim_start_matches('/'));
        let Ok(metadata) = fs::metadata(file) else {
            return;
        };
        let name = |names: &BTreeMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        map.set("Owner", name(&self.users, metadata.uid()));
        map.set("Group", name(&self.groups, metadata.gid()));
        map.set("Mode", mode_text(metadata.mode()));
    }

    /// Adds the sizes of the mounted file system.
    fn add_usage(&self, mountpoint: &str, map: &mut Map) {
        if mountpoint.is_empty() {
            return;
        }
        let folder = self.root.join(mountpoint.trim_start_matches('/'));
        let Ok(usage) = rustix::fs::statvfs(folder) else {
            return;
        };
        let total = usage.f_blocks.saturating_mul(usage.f_frsize);
        let used = usage
            .f_blocks
            .saturating_sub(usage.f_bfree)
            .saturating_mul(usage.f_frsize);
        map.set("Fssize", human_size(total));
        map.set("Fsused", human_size(used));
        map.set(
            "Fsavail",
            human_size(usage.f_bavail.saturating_mul(usage.f_frsize)),
        );
        if total > 0 {
            let percent = u128::from(used) * 100 / u128::from(total);
            map.set("FsusePercent", format!("{percent}%"));
        }
    }
}

/// Adds the values that are numbers or flags; `disk` is the folder of the disk of a partition.
fn add_numbers(folder: &Path, disk: &Path, map: &mut Map) {
    let numbers = [
        ("Alignment", number(folder, "alignment_offset")),
        ("DiscAln", number(folder, "discard_alignment")),
        ("LogSec", number(disk, "queue/logical_block_size")),
        ("PhySec", number(disk, "queue/physical_block_size")),
        ("MinIo", number(disk, "queue/minimum_io_size")),
        ("OptIo", number(disk, "queue/optimal_io_size")),
        ("Ra", number(disk, "queue/read_ahead_kb")),
        ("RqSize", number(disk, "queue/nr_requests")),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            map.set(key, number);
        }
    }
    let flags = [
        ("Ro", number(folder, "ro")),
        ("Rm", number(disk, "removable")),
        ("Hotplug", number(disk, "removable")),
        ("Rota", number(disk, "queue/rotational")),
        ("Rand", number(disk, "queue/add_random")),
        ("DiscZero", number(disk, "queue/discard_zeroes_data")),
    ];
    for (key, flag) in flags {
        map.set(key, flag.unwrap_or_default() != 0);
    }
}

/// Properties of a device in the database of udev.
struct Udev(BTreeMap<String, String>);

impl Udev {
    /// Parses lines `E:KEY=VALUE`.
    fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("E:")?.split_once('='));
        Self(
            lines
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn get(&self, key: &str) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// Returns the kind of a device, as `lsblk` names it.
fn kind(folder: &Path, name: &str) -> String {
    if folder.join("partition").exists() {
        return "part".to_owned();
    }
    if folder.join("dm").exists() {
        // The prefix names the program: `LVM-…`, `mpath-…`, `CRYPT-LUKS2-…`, `part1-mpath-…`.
        let uuid = text(folder, "dm/uuid").to_ascii_lowercase();
        let prefix = uuid.split('-').next().unwrap_or_default();
        return match prefix {
            "" => "dm".to_owned(),
            prefix if prefix.starts_with("part") => "part".to_owned(),
            prefix => prefix.to_owned(),
        };
    }
    if folder.join("md").exists() {
        return first([text(folder, "md/level"), "md".to_owned()]);
    }
    match name {
        name if name.starts_with("loop") => "loop".to_owned(),
        // SCSI type 5 is a CD-ROM.
        name if name.starts_with("sr") || text(folder, "device/type") == "5" => "rom".to_owned(),
        _ => "disk".to_owned(),
    }
}

/// Returns the kernel names of the partitions and of the devices that are built on a device.
fn children(folder: &Path, name: &str) -> Vec<String> {
    let partitions = names_in(folder)
        .into_iter()
        .filter(|entry| entry.starts_with(name) && folder.join(entry).join("partition").exists());
    let mut children: Vec<String> = partitions
        .chain(names_in(&folder.join("holders")))
        .collect();
    children.sort_unstable();
    children.dedup();
    children
}

/// Returns the host, channel, target, and LUN of a SCSI device.
fn hctl(folder: &Path) -> String {
    let device = fs::canonicalize(folder.join("device")).unwrap_or_default();
    let name = device
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let is_address = name.split(':').count() == 4
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b':');
    if is_address { name } else { String::new() }
}

fn transport(name: &str, udev: &Udev) -> String {
    match udev.get("ID_BUS").as_str() {
        _ if name.starts_with("nvme") => "nvme".to_owned(),
        "ata" => "sata".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns the name in brackets of a list such as `none [mq-deadline]`.
fn scheduler(list: &str) -> String {
    let names = list.split_whitespace();
    let mut active = names.filter_map(|name| name.strip_prefix('[')?.strip_suffix(']'));
    active.next_back().unwrap_or_default().to_owned()
}

/// Returns the subsystems from the device to its bus, such as `block:scsi:pci`.
fn subsystems(device: &Path, root: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    let folders = device
        .ancestors()
        .take_while(|path| *path != root)
        .take(MAX_ANCESTORS);
    for folder in folders {
        let Ok(subsystem) = fs::read_link(folder.join("subsystem")) else {
            continue;
        };
        let name = subsystem
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.join(":")
}

/// Returns the folders where devices are mounted, from `/proc/self/mountinfo`. The root of a file
/// system is preferred to its folders.
fn parse_mounts(text: &str) -> BTreeMap<String, String> {
    let mut mounts = BTreeMap::new();
    let mut roots = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ').skip(2);
        let (Some(numbers), Some(root), Some(folder)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let target = if root == "/" { &mut roots } else { &mut mounts };
        target
            .entry(numbers.to_owned())
            .or_insert_with(|| unescape(folder));
    }
    mounts.extend(roots);
    mounts
}

/// Replaces octal escapes such as `\040`, which the kernel writes for blanks.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&piece[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(piece);
            }
        }
    }
    plain
}

/// Returns the names by number of `/etc/passwd` or `/etc/group`.
fn parse_names(text: &str) -> BTreeMap<u32, String> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    });
    lines.collect()
}

/// Returns the mode of a block device as `ls` shows it, such as `brw-rw----`.
fn mode_text(mode: u32) -> String {
    let bits = (0..9).map(|bit| match mode & (0o400 >> bit) {
        0 => '-',
        _ => ['r', 'w', 'x'][bit % 3],
    });
    std::iter::once('b').chain(bits).collect()
}

/// Returns a size as `lsblk` shows it: in the largest unit, with at most one digit after the point.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
    let (mut unit, mut tenths) = (0, u128::from(bytes) * 10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    match tenths % 10 {
        0 => format!("{}{}", tenths / 10, UNITS[unit]),
        tenth => format!("{}.{tenth}{}", tenths / 10, UNITS[unit]),
    }
}

/// Returns the first string that is not empty.
fn first<const N: usize>(texts: [String; N]) -> String {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Returns the trimmed content of a small file; empty if the file cannot be read.
fn text(folder: &Path, file: &str) -> String {
    let text = fs::read(folder.join(file)).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file).parse().ok()
}

/// Returns the sorted names of the entries of a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// Maximum number of devices.
const MAX_DEVICES: usize = 4096;

/// Maximum number of folders between a device and the root of the devices.
const MAX_ANCESTORS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_lsblk() {
        let sizes = [0, 512, 4096, 1_048_576, 274_877_906_944, 1_500_301_910_016];
        let texts = sizes.map(human_size);
        assert_eq!(texts, ["0B", "512B", "4K", "1M", "256G", "1.4T"]);
        assert_eq!(human_size(u64::MAX), "16E");
    }

    #[test]
    fn mounts_prefer_the_root_of_a_file_system() {
        let text = "22 1 254:0 /data /run/data rw - ext4 /dev/vda rw\n\
                    23 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    24 1 8:1 / /mnt/my\\040disk rw - xfs /dev/sda1 rw\nbroken";
        let mounts = parse_mounts(text);
        assert_eq!(mounts["254:0"], "/");
        assert_eq!(mounts["8:1"], "/mnt/my disk");
        assert_eq!(unescape("a\\9b\\"), "a\\9b\\");
    }

    #[test]
    fn names_and_modes_are_texts() {
        assert_eq!(parse_names("root:x:0:0::/:\ndisk:x:6:\nbad")[&6], "disk");
        assert_eq!(mode_text(0o60660), "brw-rw----");
        assert_eq!(scheduler("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(scheduler("none"), "");
    }
}
