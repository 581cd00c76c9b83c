//! Capture files in memory, as inputs of the tests.

use super::{MINUTE, WAIT, source};
use crate::capture::tests::frames::{frame, tagged, udp};
use crate::capture::{Batch, PacketSource};
use crate::packet::{LinkType, PacketRef};
use crate::pcap_file::{PcapNgWriter, PcapWriter, Resolution};
use crate::time::Timestamp;

/// Returns a file of UDP packets, given their times in milliseconds and their source ports.
pub(super) fn file(packets: &[(i64, u16)]) -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Microseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    for &(ms, port) in packets {
        let data = &frame(0x0800, &udp(port, 9, 18))[..];
        let timestamp = Timestamp::from_ms(1_600_000_000_000 + ms);
        let packet = PacketRef {
            link_type,
            timestamp,
            data,
            wire_len: 60,
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Returns a file with flows that are in the table at the end, flows that expired, and a flow that
/// resumed after its expiry.
pub(super) fn long_capture() -> Vec<u8> {
    let mut packets = vec![(0, 1), (1, 2), (2, 2)];
    packets.extend((1..=25).map(|minute| (minute * MINUTE, 3)));
    packets.extend([(26 * MINUTE, 1), (26 * MINUTE + 1, 4)]);
    file(&packets)
}

/// Returns a file with flows between forty pairs of addresses, with and without tags, in both
/// directions, and some packets without addresses, over two hours, so that timers run.
pub(super) fn mixed_capture() -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    let mut random = 1_u32;
    for number in 0..4000_i64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [pair, port, kind, gap] = random.to_le_bytes();
        let mut packet = udp(u16::from(port % 4), 9, 18);
        packet[15] = pair % 40;
        if kind % 2 == 0 {
            let (source, destination) = packet[12..20].split_at_mut(4);
            source.swap_with_slice(destination);
        }
        let data = match kind % 16 {
            2 | 3 => tagged(&frame(0x0800, &packet), 0x8100, 5),
            4 => tagged(&tagged(&frame(0x0800, &packet), 0x88a8, 6), 0x8100, 5),
            5 => frame(0x0806, &packet),
            6 => frame(0x0800, &packet[..10]),
            7 => frame(0x8847, &[&[0, 0, 0x11, 64], &packet[..]].concat()),
            _ => frame(0x0800, &packet),
        };
        let timestamp = Timestamp::from_ms(1_600_000_000_000 + number * 1800 + i64::from(gap));
        let wire_len = u32::try_from(data.len()).expect("a short packet");
        let packet = PacketRef {
            link_type,
            timestamp,
            data: &data,
            wire_len,
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Returns a file with fragmented datagrams, out-of-order TCP segments, and DNS messages between
/// twenty pairs of addresses, with and without GRE and IPv6 tunnels.
pub(super) fn joined_capture() -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    let mut random = 7_u32;
    for number in 0..6000_i64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, kind, pair, which] = random.to_le_bytes();
        let mut ip = match kind % 4 {
            0 => {
                // Half of a datagram; the first half has "more fragments" set.
                let mut ip = udp(4000, 9, 16);
                let half = which % 2;
                ip[5] = which / 128;
                ip[6] = (1 - half) << 5;
                ip[7] = half * 3;
                ip
            }
            1 => {
                let mut ip = udp(5000, 53, 22);
                ip[28..40].copy_from_slice(&[0, which, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
                ip[40..50].copy_from_slice(b"\x01a\x02io\0\0\x01\0\x01");
                ip
            }
            _ => {
                let mut ip = udp(6000, 80, 40);
                ip[9] = 6;
                ip[24..28].copy_from_slice(&(u32::from(which) * 28).to_be_bytes());
                ip[32] = 5 << 4;
                ip[33] = if which < 3 { 2 } else { 16 };
                ip
            }
        };
        ip[15] = pair % 20;
        if kind & 0x30 == 0x20 {
            // The same fragments inside IPv6 tunnels.
            let len = u16::try_from(ip.len())
                .expect("a short packet")
                .to_be_bytes();
            let ends = [&[0xfd; 15][..], &[pair % 2], &[0xfe; 16]].concat();
            ip = [&[0x60, 0, 0, 0, len[0], len[1], 4, 64], &ends[..], &ip].concat();
        } else if kind & 0x10 != 0 {
            let mut outer = udp(0, 0, 0)[..20].to_vec();
            let len = u16::try_from(24 + ip.len()).expect("a short packet");
            outer[2..4].copy_from_slice(&len.to_be_bytes());
            outer[9] = 47;
            outer[15] = pair % 3;
            ip = [&outer[..], &[0, 0, 8, 0], &ip].concat();
        }
        let data = frame(if ip[0] == 0x60 { 0x86dd } else { 0x0800 }, &ip);
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::from_ms(1_600_000_000_000 + number * 20),
            data: &data,
            wire_len: u32::try_from(data.len()).expect("a short packet"),
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Returns the packets of [`mixed_capture`], alternating between Ethernet, raw IP, and both
/// versions of Linux cooked captures.
pub(super) fn capture_of_many_links() -> Vec<u8> {
    let mut ethernet = source(mixed_capture());
    let mut writer = PcapNgWriter::new(Vec::new()).expect("in memory");
    let mut number = 0;
    while let Batch::Packets(batch) = ethernet.next_batch(WAIT).expect("no damage") {
        for packet in batch.iter() {
            let (kind, inside) = packet.data[12..].split_at(2);
            let (link_type, data) = match number % 4 {
                1 if kind != [8, 6] => (LinkType::RAW, inside.to_vec()),
                2 => (LinkType::LINUX_SLL, [&[0; 14], kind, inside].concat()),
                3 => (LinkType::LINUX_SLL2, [kind, &[0; 18], inside].concat()),
                _ => (LinkType::ETHERNET, packet.data.to_vec()),
            };
            number += 1;
            let packet = PacketRef {
                link_type,
                data: &data,
                wire_len: u32::try_from(data.len()).expect("a short packet"),
                ..packet
            };
            writer.write(&packet).expect("in memory");
        }
    }
    writer.into_inner()
}
