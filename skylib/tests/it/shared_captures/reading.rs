//! Every capture is read without loss and decoded without panic, with the same results as
//! independent readers.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use etherparse::{
    LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice,
};
use skylib::capture::{PcapFile, Replay};
use skylib::decode::{Decoder, DecoderOptions, Encapsulations, IpAddress, Layer};
use skylib::flow::{Flow, FlowTableOptions};
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{CaptureReader, FileFormat};

use super::captures;

#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn every_capture_is_read_and_decoded() {
    let files = captures();
    let decoder = Decoder::new(DecoderOptions::default());
    let mut parts = Encapsulations::new();
    let (mut files_read, mut packets, mut flows, mut stopped) = (0, 0, 0, 0);
    let mut ended = Vec::new();
    for path in files {
        let mut reader = match CaptureReader::new(File::open(&path).unwrap()) {
            Ok(reader) => reader,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        files_read += 1;
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) => {
                    for packet in batch.iter() {
                        packets += 1;
                        stopped += usize::from(decoder.decode(packet, &mut parts).is_err());
                        flows += parts.len();
                        check_parts(&packet, &parts);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    ended.push((path, error));
                    break;
                }
            }
        }
    }
    println!(
        "{files_read} captures, {packets} packets, {flows} parts, {stopped} walks ended early"
    );
    assert!(ended.is_empty(), "{ended:?}");
}

#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn the_flow_table_counts_the_packets_of_another_reader() {
    let files = captures();
    let (reader, counts) = independent_counts(&files);
    let decoder = Decoder::new(DecoderOptions::default());
    let mut parts = Encapsulations::new();
    let (mut packets, mut stopped_early, mut pcapng) = (0, 0, 0);
    for (path, count) in files.iter().zip(counts) {
        let name = path.display();
        let mut file = PcapFile::open(path).unwrap();
        let mut flows: Vec<Flow> = Vec::new();
        let replay = Replay::new(FlowTableOptions::default());
        let stats = match replay.run(&mut file, &mut flows) {
            Ok(stats) => stats,
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(stats.packets, count, "{name}");
        let stopped = &stats.stopped;
        let reasons = stopped.link_type
            + stopped.truncated
            + stopped.malformed
            + stopped.other_application
            + stopped.unknown_protocol
            + stopped.too_deep;
        let mut undecodable = 0;
        let mut reader_again = CaptureReader::new(File::open(path).unwrap()).unwrap();
        while let Ok(Some(batch)) = reader_again.next_batch() {
            let stops = |packet| decoder.decode(packet, &mut parts).is_err();
            undecodable += batch.iter().map(stops).filter(|stops| *stops).count() as u64;
        }
        assert_eq!(reasons, undecodable, "{name}: {stats:?}");
        packets += stats.packets;
        stopped_early += undecodable;
        pcapng += usize::from(reader_again.format() == FileFormat::PcapNg);
    }
    println!(
        "{} captures, {pcapng} of them pcapng: {packets} packets as {reader} counts them, \
        {stopped_early} decoded in part, each with its reason",
        files.len()
    );
}

/// Returns the name of another program (capinfos or tcpdump) and the packets it counts in each file.
fn independent_counts(files: &[PathBuf]) -> (&'static str, Vec<u64>) {
    let number = |text: &str| text.parse::<u64>().unwrap();
    if let Ok(output) = Command::new("capinfos").arg("-rTmc").args(files).output() {
        let text = String::from_utf8(output.stdout).unwrap();
        let counts: Vec<_> = text
            .lines()
            .map(|line| number(line.rsplit_once(',').unwrap().1))
            .collect();
        assert_eq!(counts.len(), files.len());
        return ("capinfos", counts);
    }
    let count = |path: &PathBuf| {
        let output = Command::new("tcpdump")
            .arg("-r")
            .arg(path)
            .arg("--count")
            .output();
        let output = output.expect("capinfos (tshark) or tcpdump is installed");
        let text = String::from_utf8(output.stdout).unwrap();
        number(text.split_whitespace().next().unwrap())
    };
    ("tcpdump", files.iter().map(count).collect())
}

/// Checks the invariants of the encapsulations of a packet.
fn check_parts(packet: &PacketRef<'_>, parts: &Encapsulations) {
    for (index, part) in parts.iter().enumerate() {
        assert!(!part.layers.is_empty());
        assert!(part.link.is_some() || part.network.is_some());
        assert!(part.offset as usize <= packet.data.len());
        assert!(part.length >= 0);
        assert!(part.transport.is_none() || part.network.is_some());
        assert!(index == 0 || part.offset > parts[index - 1].offset);
        if let Some(transport) = &part.transport {
            let end = transport.payload_offset + transport.payload_len;
            assert!(transport.payload_len == 0 || end as usize <= packet.data.len());
        }
    }
}

#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn etherparse_decodes_the_same_endpoints() {
    let files = captures();
    let decoder = Decoder::new(DecoderOptions::default());
    let mut parts = Encapsulations::new();
    let (mut addresses, mut ports) = (0, 0);
    for path in files {
        let Ok(mut reader) = CaptureReader::new(File::open(&path).unwrap()) else {
            continue;
        };
        let mut number = 0;
        while let Ok(Some(batch)) = reader.next_batch() {
            if batch.link_type != LinkType::ETHERNET {
                continue;
            }
            for packet in batch.iter() {
                number += 1;
                let context = format!("{} packet {number}", path.display());
                let _ = decoder.decode(packet, &mut parts);
                let Ok(lax) = LaxSlicedPacket::from_ethernet(packet.data) else {
                    continue;
                };
                // This decoder does not support MACsec.
                if lax
                    .link_exts
                    .iter()
                    .any(|ext| matches!(ext, LaxLinkExtSlice::Macsec(_)))
                {
                    continue;
                }
                if let Some(ends) = lax_ends(&lax) {
                    assert_eq!(parts.key_network(0), Some(ends), "{context}");
                    addresses += 1;
                }
                // Packets with a fragment header that are whole datagrams are excluded, too.
                if parts
                    .iter()
                    .any(|part| part.layers.contains(Layer::IPV6_FRAGMENT))
                {
                    continue;
                }
                // Compares only packets that the strict reader accepts: the lax one continues after
                // contradictory lengths.
                let Ok(strict) = SlicedPacket::from_ethernet(packet.data) else {
                    continue;
                };
                if let (Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_)), Some(ends)) =
                    (&strict.net, strict_ports(&strict))
                {
                    let found = parts.key_transport(0).map(|t| (t.source, t.destination));
                    assert_eq!(found, Some(ends), "{context}");
                    ports += 1;
                }
            }
        }
    }
    println!("{addresses} address pairs, {ports} port pairs agree");
    assert!(addresses > 0 && ports > 0);
}

fn lax_ends(packet: &LaxSlicedPacket<'_>) -> Option<(IpAddress, IpAddress)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((
                IpAddress::v4(header.source()),
                IpAddress::v4(header.destination()),
            ))
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((
                IpAddress::v6(header.source()),
                IpAddress::v6(header.destination()),
            ))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

fn strict_ports(packet: &SlicedPacket<'_>) -> Option<(u16, u16)> {
    match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => Some((tcp.source_port(), tcp.destination_port())),
        TransportSlice::Udp(udp) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    }
}

#[cfg(feature = "pcap")]
#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn libpcap_reads_the_same_packets() {
    let files = captures();
    let mut compared = 0;
    for path in files {
        let Ok(mut reader) = CaptureReader::new(File::open(&path).unwrap()) else {
            continue;
        };
        let mut oracle = match pcap::Capture::from_file(&path) {
            Ok(oracle) => oracle,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        while let Ok(Some(batch)) = reader.next_batch() {
            for packet in batch.iter() {
                let context = format!("{} packet {compared}", path.display());
                let expected = oracle.next_packet().expect(&context);
                let header = expected.header;
                // libpcap truncates packets longer than the snap length.
                assert!(packet.data.starts_with(expected.data), "{context}");
                assert_eq!(packet.wire_len, header.len, "{context}");
                let us = header.ts.tv_sec * 1_000_000 + header.ts.tv_usec;
                assert_eq!(packet.timestamp.as_ns() / 1_000, us, "{context}");
                compared += 1;
            }
        }
        assert!(
            oracle.next_packet().is_err(),
            "{} has more packets",
            path.display()
        );
    }
    println!("{compared} packets are the same");
    assert!(compared > 0);
}
