//! Flows inside MPLS, GTP-U, and L2TP begin and end by the same rules as flows outside (A10, C11 to
//! C13, D1, D2, E1, E2, and F4 of `docs/flows.md`): captures of `tests/data/truth` have the same
//! flows before and after each frame is put into a path with one identifier for each direction.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use skylib::flow::{Flow, FlowTable, FlowTableOptions};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::pcap_file::PcapReader;

/// Puts an Ethernet frame with an IPv4 packet into a path; the number is 0 or 1, by direction.
type Wrap = fn(&[u8], u8) -> Vec<u8>;

#[test]
fn connections_and_spans_inside_a_path_are_those_outside() {
    let paths: [(&str, Wrap); 3] = [("MPLS", mpls), ("GTP-U", gtp), ("L2TP", l2tp)];
    let mut compared = 0;
    for file in captures() {
        let Some(plain) = records(&file, |frame, _| frame.to_vec()) else {
            continue;
        };
        for (name, wrap) in paths {
            let inside = records(&file, wrap).unwrap();
            assert_eq!(inside, plain, "{} in {name}", file.display());
        }
        compared += 1;
    }
    // A plain clone has all files; those with other frames are not compared.
    assert!(compared >= 25, "only {compared} captures were compared");
}

/// Returns the captures of the rules that do not depend on the layers around a flow.
fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/truth");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(['b', 'c', 'd', 'e', 'f']) && name.ends_with(".pcap")
        })
        .collect();
    files.sort();
    files
}

/// Returns the innermost flows of a capture as text, without what depends on the layers around
/// them; `None` if a frame is not IPv4 in Ethernet.
fn records(file: &Path, wrap: Wrap) -> Option<Vec<String>> {
    let options = FlowTableOptions::default()
        .with_reassemble_tcp(true)
        .with_extra_tcp_metric(true)
        .with_final_only(true);
    let mut table = FlowTable::new(options);
    let mut sent: Vec<Flow> = Vec::new();
    let mut reader = PcapReader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    while let Some(batch) = reader.next_batch().unwrap() {
        for packet in batch.iter() {
            if packet.link_type != LinkType::ETHERNET || packet.data.get(12..14)? != [8, 0] {
                return None;
            }
            let direction = u8::from(packet.data[6..12] > packet.data[..6]);
            let frame = wrap(packet.data, direction);
            let header = PacketHeader {
                timestamp: packet.timestamp,
                offset: 0,
                captured_len: u32::try_from(frame.len()).unwrap(),
                wire_len: u32::try_from(frame.len()).unwrap(),
                point: CapturePoint::ONLY,
            };
            let batch = PacketBatch {
                link_type: LinkType::ETHERNET,
                buffer: &frame,
                headers: &[header],
            };
            table.replay(&batch, &mut sent);
        }
    }
    table.end(&mut sent);
    let is_plain = |flow: &&Flow| flow.parent_uuid.is_empty();
    let is_inside = sent.iter().any(|flow| !is_plain(&flow));
    let innermost = sent.iter().filter(|flow| is_inside != is_plain(flow));
    let mut texts: Vec<String> = innermost.map(text).collect();
    texts.sort();
    Some(texts)
}

/// Returns what the rules determine of a flow.
fn text(flow: &Flow) -> String {
    let metric = flow.metric.unwrap();
    format!(
        "{}..{} {:?} {:?} {:?} {}/{} RTT {} end {:?} {:?} {:?}",
        flow.start,
        flow.last,
        flow.network,
        flow.transport,
        flow.icmp,
        metric.ab_packets,
        metric.ba_packets,
        metric.rtt,
        flow.finish_type,
        flow.initiator,
        flow.tcp_metric,
    )
}

fn mpls(frame: &[u8], direction: u8) -> Vec<u8> {
    let label = [0, 0, 0xa1 + (direction << 4), 64];
    [&frame[..12], &[0x88, 0x47], &label, &frame[14..]].concat()
}

fn gtp(frame: &[u8], direction: u8) -> Vec<u8> {
    let packet = &frame[14..];
    let mut header = vec![0x30, 0xff];
    header.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
    header.extend([0, 0, direction + 1, 0]);
    in_udp(frame, direction, 2152, &[&header[..], packet].concat())
}

fn l2tp(frame: &[u8], direction: u8) -> Vec<u8> {
    // Version 2; tunnel and session; PPP header of IPv4.
    let header = [0, 2, 0, 1, 0, direction + 1, 0xff, 3, 0, 0x21];
    in_udp(
        frame,
        direction,
        1701,
        &[&header[..], &frame[14..]].concat(),
    )
}

/// Returns a frame with a UDP datagram between the ends of the path; both ports are equal.
fn in_udp(frame: &[u8], direction: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend(u16::try_from(28 + payload.len()).unwrap().to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    let ends = [[198, 51, 100, 1], [198, 51, 100, 2]];
    ip.extend(ends[usize::from(direction)]);
    ip.extend(ends[usize::from(1 - direction)]);
    ip.extend([port.to_be_bytes(), port.to_be_bytes()].concat());
    ip.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    ip.extend([0, 0]);
    [&frame[..14], &ip, payload].concat()
}
