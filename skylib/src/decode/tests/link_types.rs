//! Tests of link types that Skydive does not support.

use super::*;

/// Checks the path and the length of a packet, and that none of its prefixes panics.
fn check(link_type: LinkType, header: &str, path: &str, length: i64) -> Encapsulations {
    let packet = [&hex(header)[..], &ipv4(1, ECHO)].concat();
    let (encapsulations, result) = decode_as(link_type, &packet);
    assert_eq!(
        (paths(&encapsulations), result),
        (vec![path.to_owned()], Ok(()))
    );
    assert_eq!(encapsulations[0].length, length);
    decode_prefixes(link_type, &packet);
    let recorded = DecoderOptions::default().with_recorded(true);
    let (_, result) = decode_with(recorded, link_type, &packet, packet.len() as u32);
    assert_eq!(result, Err(DecodeError::LinkType(link_type.0)));
    encapsulations
}

/// Ends of the frames: addresses of source and destination.
const ENDS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ends(encapsulations: &Encapsulations) -> ([u8; 6], [u8; 6]) {
    let link = encapsulations[0].link.unwrap();
    (link.source, link.destination)
}

#[test]
fn serial_lines_and_loggers_hide_their_header() {
    check(LinkType::PPP_HDLC, "ff03 0021", "PPP/IPv4/ICMPv4", 28);
    check(LinkType::PPP_HDLC, "0f00 0800", "CiscoHDLC/IPv4/ICMPv4", 28);
    check(LinkType::C_HDLC, "8f00 0800", "CiscoHDLC/IPv4/ICMPv4", 28);
    check(
        LinkType::PPP_ETHER,
        "1100 0001 001e 0021",
        "PPPoE/PPP/IPv4/ICMPv4",
        36,
    );
    check(
        LinkType::ENC,
        "02000000 00001001 00000000",
        "IPv4/ICMPv4",
        28,
    );
    let pflog = format!("3d 02 0000 {}", "00".repeat(60));
    check(LinkType::PFLOG, &pflog, "PFLog/IPv4/ICMPv4", 28);
    let little = "02 00 0000 0800 0100 08000101 0500 0a00 61000000 2000 0900";
    check(LinkType::NFLOG, little, "NFLOG/IPv4/ICMPv4", 28);
    let big = "02 00 0000 0008 0001 08000101 0020 0009";
    check(LinkType::NFLOG, big, "NFLOG/IPv4/ICMPv4", 28);
    let ipoib = format!("{} 0800 0000", "00".repeat(40));
    check(LinkType::IPOIB, &ipoib, "IPoIB/IPv4/ICMPv4", 28);
}

#[test]
fn fddi_has_ends() {
    let header = "57 020000000002 020000000001 aaaa03 000000 0800";
    let encapsulations = check(LinkType::FDDI, header, "FDDI/LLC/SNAP/IPv4/ICMPv4", 49);
    assert_eq!(ends(&encapsulations), ENDS);
}

#[test]
fn wireless_data_frames_have_their_ends_in_all_directions() {
    let (source, destination, system) = ("020000000001", "020000000002", "020000000003");
    let snap = "aaaa03 000000 0800";
    let path = "Dot11/Dot11Data/LLC/SNAP/IPv4/ICMPv4";
    let frames = [
        format!("0800 0000 {destination} {source} {system} 0000 {snap}"),
        format!("0801 0000 {system} {source} {destination} 0000 {snap}"),
        format!("0802 0000 {destination} {system} {source} 0000 {snap}"),
        format!("0803 0000 {system} {system} {destination} 0000 {source} {snap}"),
        // Quality of service; with a field for high throughput; an aggregate.
        format!("8801 0000 {system} {source} {destination} 0000 0000 {snap}"),
        format!("8881 0000 {system} {source} {destination} 0000 0000 00000000 {snap}"),
        format!(
            "8801 0000 {system} {source} {system} 0000 8000 {destination} {source} 0024 {snap}"
        ),
        // A retransmitted frame.
        format!("0809 0000 {system} {source} {destination} 0000 {snap}"),
    ];
    for frame in frames {
        let length = hex(&frame).len() as i64 + 28;
        let encapsulations = check(LinkType::IEEE802_11, &frame, path, length);
        assert_eq!(ends(&encapsulations), ENDS, "{frame}");
    }
}

#[test]
fn headers_before_wireless_frames_are_skipped() {
    let snap = "aaaa03 000000 0800";
    let header = "0000 020000000002 020000000001 020000000003 0000";
    let data = format!("0800 {header} {snap}");
    let path = |first: &str| format!("{first}/Dot11/Dot11Data/LLC/SNAP/IPv4/ICMPv4");
    let plain = format!("0000 0800 00000000 {data}");
    check(LinkType::IEEE802_11_RADIOTAP, &plain, &path("RadioTap"), 60);
    // Two words of fields, a time and the flag of a padded header.
    let padded = format!(
        "0000 1900 03000080 00000000 00000000 1122334455667788 20 8800 {header} 0000 0000 {snap}"
    );
    check(
        LinkType::IEEE802_11_RADIOTAP,
        &padded,
        &path("RadioTap"),
        64,
    );
    let prism = format!("44000000 10000000 {} {data}", "00".repeat(8));
    check(LinkType::IEEE802_11_PRISM, &prism, &path("PrismHeader"), 60);
    let avs = format!("80211001 00000010 {} {data}", "00".repeat(8));
    check(LinkType::IEEE802_11_PRISM, &avs, &path("PrismHeader"), 60);
    let information = format!("00 00 0800 69000000 {data}");
    check(LinkType::PPI, &information, &path("PPI"), 60);
}

#[test]
fn management_and_protected_frames_make_no_flow() {
    for control in ["8000", "0840", "4800", "d400"] {
        let frame = format!("{control} 0000 020000000002 020000000001 020000000003 0000 aaaa03");
        let (encapsulations, result) = decode_as(LinkType::IEEE802_11, &hex(&frame));
        assert_eq!(
            (encapsulations.len(), encapsulations.without_flow(), result),
            (0, 1, Ok(()))
        );
    }
}
