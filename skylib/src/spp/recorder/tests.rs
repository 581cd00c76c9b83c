use super::super::tests::{Folder, folder};
use super::*;
use crate::pcap_file::CaptureReader;

fn spec(folder: &Folder) -> PcapSpec {
    PcapSpec::new(1, "phy:0 nq 2".parse().unwrap()).with_out_dir(folder.path())
}

fn open(spec: &PcapSpec, stats: &Arc<WriterStats>) -> Result<Recorder, SppError> {
    let names = FileNames::new(spec, 1_700_000_000, 1);
    Recorder::open(spec, names, LinkType::ETHERNET, Arc::clone(stats))
}

fn packet(data: &[u8], ns: i64) -> PacketRef<'_> {
    PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::from_ns(ns),
        data,
        wire_len: 9000,
    }
}

/// Lengths and times of the packets of a file.
fn read(path: &Path) -> Vec<(usize, i64)> {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(batch.iter().map(|p| (p.data.len(), p.timestamp.as_ns())));
    }
    found
}

#[test]
fn a_file_has_its_name_only_when_it_is_complete() {
    let folder = folder("names");
    let stats = Arc::default();
    let mut recorder = open(&spec(&folder), &stats).unwrap();
    let stamp = stamp(1_700_000_000);
    assert_eq!(stamp.len(), 14);
    let name = format!("spp_pcap.{stamp}.phy0nq2.1.1.pcap.lz4");
    assert_eq!(folder.names(), [format!("{name}.tmp")]);
    let path = folder.path().join(&name);
    assert_eq!(Path::new(&stats.file()), path);
    recorder.write(&packet(&[7; 60], 1_999)).unwrap();
    recorder.finish().unwrap();
    assert_eq!(folder.names(), [name]);
    assert_eq!((stats.file().as_str(), stats.stats().files), ("", 1));
    assert_eq!(read(&path), [(60, 1_000)], "microseconds");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o037, 0);
}

#[test]
fn a_file_without_packets_holds_the_header_of_one() {
    let folder = folder("none");
    for compressed in [true, false] {
        let mut spec = spec(&folder);
        (spec.compressed, spec.nanoseconds) = (compressed, true);
        let mut recorder = open(&spec, &Arc::default()).unwrap();
        recorder.finish().unwrap();
    }
    let plain = folder
        .names()
        .into_iter()
        .find(|name| name.ends_with(".pcap"))
        .unwrap();
    let header = fs::read(folder.path().join(plain)).unwrap();
    let wanted = [
        0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];
    assert_eq!(header, wanted);
    let all: Vec<_> = folder
        .names()
        .iter()
        .map(|name| read(&folder.path().join(name)))
        .collect();
    assert_eq!(all, [vec![], vec![]]);
}

#[test]
fn the_next_file_begins_when_there_is_more_than_fsize() {
    let folder = folder("rotation");
    let stats = Arc::default();
    let mut recorder = open(&spec(&folder).with_fsize(1024), &stats).unwrap();
    // 7 + 9 · 116 = 1051 bytes is the first size above the limit.
    for i in 0..20 {
        recorder.write(&packet(&[1; 100], i * 1_000)).unwrap();
    }
    recorder.finish().unwrap();
    let counts: Vec<usize> = folder
        .names()
        .iter()
        .map(|n| read(&folder.path().join(n)).len())
        .collect();
    assert_eq!(counts, [9, 9, 2]);
    assert_eq!((recorder.written(), stats.stats().files), (20, 3));
}

#[test]
fn long_packets_fill_blocks_and_come_back() {
    let folder = folder("long");
    let mut recorder = open(&spec(&folder), &Arc::default()).unwrap();
    let data: Vec<u8> = (0..65_535_u32).map(|i| ((i * i) >> 3) as u8).collect();
    for i in 0..50 {
        recorder.write(&packet(&data[..65_535 - i * 7], 5)).unwrap();
    }
    recorder.finish().unwrap();
    let found = read(&folder.path().join(&folder.names()[0]));
    assert!(
        found
            .iter()
            .map(|(len, _)| *len)
            .eq((0..50).map(|i| 65_535 - i * 7))
    );
}

#[test]
fn nothing_is_overwritten() {
    let folder = folder("taken");
    let spec = spec(&folder).with_fsize(1024);
    let names = FileNames::new(&spec, 1_700_000_000, 1);
    assert!(names.are_free());
    fs::write(names.file(2), "mine").unwrap();
    let mut recorder = open(&spec, &Arc::default()).unwrap();
    assert!(!names.are_free(), "the one being written");
    assert!(matches!(
        open(&spec, &Arc::default()),
        Err(SppError::File { .. })
    ));
    let mut write = || recorder.write(&packet(&[1; 1000], 0));
    let outcomes = [write(), write(), write(), write(), write()];
    assert!(outcomes[..2].iter().all(Result::is_ok));
    assert!(outcomes[2].is_ok() && outcomes[4].is_err(), "{outcomes:?}");
    assert_eq!(fs::read(names.file(2)).unwrap(), b"mine");
    assert_eq!(read(&names.file(1)).len(), 2);
    assert!(!names.are_free());
}

#[test]
fn a_file_that_was_opened_for_nothing_goes_away() {
    let folder = folder("discard");
    let stats = Arc::default();
    open(&spec(&folder), &stats).unwrap().discard();
    assert_eq!((folder.names().len(), stats.file()), (0, String::new()));
    let nowhere = spec(&folder).with_out_dir(folder.path().join("nowhere"));
    assert!(open(&nowhere, &stats).is_err());
}
