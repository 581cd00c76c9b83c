//! The probe with the files of a recorded system.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::graph::Graph;

/// The files of a system: a disk with two partitions, of which one contains a logical volume.
struct Lab {
    root: PathBuf,
    graph: Arc<Mutex<Graph>>,
    probe: BlockDevProbe,
}

impl Lab {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = format!("skylib-blockdev-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(root);
        drop(fs::remove_dir_all(&root));
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let mut probe = BlockDevProbe::new(&target, Duration::from_secs(30));
        probe.root.clone_from(&root);
        let lab = Self { root, graph, probe };
        lab.write_disk();
        lab
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn write_disk(&self) {
        let block = "sys/class/block";
        self.write(&format!("{block}/sda/dev"), "8:0\n");
        self.write(&format!("{block}/sda/size"), "536870912\n");
        self.write(&format!("{block}/sda/queue/rotational"), "1\n");
        self.write(
            &format!("{block}/sda/queue/scheduler"),
            "none [mq-deadline]\n",
        );
        self.write(&format!("{block}/sda/queue/logical_block_size"), "512\n");
        self.write(&format!("{block}/sda/stat"), "0 0 0 0 0 0 0 0 0 0 0\n");
        self.write(&format!("{block}/sda/device/model"), "SSD 870  \n");
        for (name, numbers) in [("sda1", "8:1"), ("sda2", "8:2")] {
            for folder in [format!("{block}/sda/{name}"), format!("{block}/{name}")] {
                self.write(&format!("{folder}/partition"), "1\n");
                self.write(&format!("{folder}/dev"), numbers);
                self.write(&format!("{folder}/size"), "2048\n");
            }
        }
        self.write(&format!("{block}/sda2/holders/dm-0/x"), "");
        self.write(&format!("{block}/dm-0/dev"), "253:0\n");
        self.write(&format!("{block}/dm-0/size"), "2048\n");
        self.write(&format!("{block}/dm-0/dm/name"), "vg-root\n");
        self.write(&format!("{block}/dm-0/dm/uuid"), "LVM-abc\n");
        self.write(&format!("{block}/loop0/size"), "0\n");
        self.write(
            "run/udev/data/b8:0",
            "E:ID_WWN=0x5002\nE:ID_SERIAL_SHORT=S1\nE:ID_BUS=ata\n",
        );
        self.write("run/udev/data/b253:0", "E:ID_FS_TYPE=ext4\n");
        self.write("proc/self/mountinfo", "1 0 253:0 / / rw - ext4 x rw\n");
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    }

    fn update(&mut self, now: i64) {
        assert_eq!(self.probe.update(now), 0);
    }

    fn edges(&self) -> Vec<String> {
        let graph = self.graph.lock().unwrap();
        let name = |id: &NodeId| {
            let node = graph.node(id).unwrap();
            let text = |key: &str| {
                let value = node.metadata.get(key).and_then(|value| value.as_text());
                value.unwrap_or_default().to_owned()
            };
            format!("{}:{}", text("Type"), text("Name"))
        };
        let edges = graph.edges().map(|edge| {
            let relation = edge
                .metadata
                .get("RelationType")
                .unwrap()
                .as_text()
                .unwrap();
            format!("{} {relation} {}", name(&edge.parent), name(&edge.child))
        });
        let mut edges: Vec<String> = edges.collect();
        edges.sort();
        edges
    }

    fn node(&self, name: &str) -> serde_json::Value {
        let graph = self.graph.lock().unwrap();
        let mut nodes = graph.find_nodes("Path", &name.into());
        serde_json::to_value(&nodes.next().unwrap().metadata).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}

#[test]
fn disks_partitions_and_volumes_are_linked() {
    let mut lab = Lab::new();
    lab.update(1000);
    let wanted = [
        "blockdev:sda2 connected blockdev:sda",
        "blockdevleaf:/ connected blockdev:sda2",
        "blockdevleaf:sda1 connected blockdev:sda",
        "cluster:/ ownership blockdev:sda",
        "cluster:/ ownership blockdev:sda2",
        "cluster:/ ownership blockdevleaf:/",
        "cluster:block devices connected blockdev:sda",
        "cluster:sda1 ownership blockdevleaf:sda1",
        "host:edge-01 connected cluster:block devices",
    ];
    assert_eq!(lab.edges(), wanted);
    let disk = lab.node("/dev/sda");
    assert_eq!(
        (&disk["Index"], &disk["MajorMinor"]),
        (&"0x5002".into(), &"8:0".into())
    );
    let attributes = &disk["Attributes"];
    for (key, value) in [
        ("Size", "256G"),
        ("Model", "SSD 870"),
        ("Serial", "S1"),
        ("Tran", "sata"),
        ("Sched", "mq-deadline"),
        ("Type", "disk"),
        ("Kname", "/dev/sda"),
    ] {
        assert_eq!(attributes[key], value, "{key}");
    }
    assert_eq!(
        (&attributes["Rota"], &attributes["LogSec"]),
        (&true.into(), &512.into())
    );
    let volume = lab.node("/dev/mapper/vg-root");
    assert_eq!(volume["Attributes"]["Fstype"], "ext4");
    assert_eq!(
        (&volume["Name"], &volume["Attributes"]["Type"]),
        (&"/".into(), &"lvm".into())
    );
}

#[test]
fn devices_disappear_and_paths_of_one_disk_are_linked() {
    let mut lab = Lab::new();
    lab.write("sys/class/block/sdb/dev", "8:16\n");
    lab.write("run/udev/data/b8:16", "E:ID_WWN=0x5002\n");
    lab.update(1000);
    assert!(
        lab.edges()
            .contains(&"blockdev:sda multipath blockdevleaf:sdb".to_owned())
    );
    fs::remove_dir_all(lab.root.join("sys")).unwrap();
    lab.update(2000);
    assert_eq!(
        lab.edges(),
        ["host:edge-01 connected cluster:block devices"]
    );
}

#[test]
fn rates_appear_with_the_second_reading_and_idle_devices_do_not_change() {
    let mut lab = Lab::new();
    lab.update(0);
    assert!(lab.node("/dev/sda").get("BlockdevMetric").is_none());
    lab.write("sys/class/block/sda/stat", "100 0 800 10 0 0 0 0 0 10 10\n");
    lab.update(10_000);
    let metric = &lab.node("/dev/sda")["BlockdevMetric"];
    assert_eq!(
        (&metric["ReadsPerSec"], &metric["Last"]),
        (&10.into(), &10_000.into())
    );
    lab.update(20_000);
    let metric = lab.node("/dev/sda")["BlockdevMetric"].clone();
    assert_eq!(
        (&metric["ReadsPerSec"], &metric["Last"]),
        (&0.into(), &20_000.into())
    );
    lab.update(30_000);
    assert_eq!(lab.node("/dev/sda")["BlockdevMetric"], metric);
}

#[test]
fn the_devices_of_this_system_can_be_read() {
    let (devices, omitted) = read_devices(Path::new("/"));
    assert_eq!(omitted, 0);
    assert!(
        devices
            .values()
            .all(|device| device.path.starts_with("/dev/"))
    );
}
