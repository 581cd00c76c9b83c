//! Random conversations of several pairs of hosts, as packets whose order and times a test can
//! change.

use crate::capture::tests::frames::{frame, tagged};
use crate::packet::{LinkType, PacketRef};
use crate::pcap_file::{PcapWriter, Resolution};
use crate::time::Timestamp;

/// Packet of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Capture time in Unix milliseconds.
    pub(super) at: i64,
    /// Port of the client, which identifies the conversation.
    pub(super) port: u16,
    /// Whether the packet opens a connection or answers such a packet.
    pub(super) is_syn: bool,
    pub(super) frame: Vec<u8>,
}

/// Linear congruential generator.
struct Random(u32);

impl Random {
    /// Returns a number below `limit`.
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

/// Returns the packets of ten conversations, in the order of their times: UDP, and successive TCP
/// connections on the same ports, with lost, repeated, and overtaken segments and long pauses.
pub(super) fn conversations(seed: u32) -> Vec<Sent> {
    let mut random = Random(seed.wrapping_mul(2_654_435_761));
    let mut all = Vec::new();
    for port in 1000..1010 {
        let mut conversation = Conversation {
            port,
            is_tagged: random.below(3) == 0,
            at: 1_600_000_000_000 + i64::from(random.below(600_000)),
            out: &mut all,
        };
        if port % 3 == 0 {
            conversation.datagrams(&mut random);
        } else {
            for _ in 0..=random.below(3) {
                conversation.connection(&mut random);
            }
        }
    }
    all.sort_by_key(|packet| packet.at);
    all
}

struct Conversation<'a> {
    port: u16,
    is_tagged: bool,
    at: i64,
    out: &'a mut Vec<Sent>,
}

impl Conversation<'_> {
    fn datagrams(&mut self, random: &mut Random) {
        for _ in 0..10 {
            self.send(random.below(3) == 0, 17, &[0, 8, 0, 0]);
            self.at += i64::from([10, 20_000, 500_000, 601_000][random.below(4) as usize]);
        }
    }

    /// Returns a connection whose segments have up to 500 bytes.
    fn connection(&mut self, random: &mut Random) {
        let mut numbers = [random.below(u32::MAX), random.below(u32::MAX)];
        self.segment(false, SYN, numbers, 0);
        self.at += 8;
        self.segment(true, SYN | ACK, [numbers[0].wrapping_add(1), numbers[1]], 0);
        numbers = numbers.map(|number| number.wrapping_add(1));
        self.at += 12;
        self.segment(false, ACK, numbers, 0);
        for _ in 0..random.below(20) {
            let is_back = random.below(2) == 0;
            let len = 1 + random.below(500);
            let at = self.at;
            match random.below(8) {
                0 => self.at += 400,
                1 => {
                    self.segment(is_back, ACK, numbers, len);
                    self.at += 300;
                }
                2 => self.at += 1,
                _ => {}
            }
            self.segment(is_back, ACK, numbers, len);
            let side = usize::from(is_back);
            numbers[side] = numbers[side].wrapping_add(len);
            self.at = at + i64::from([1, 30, 5_000, 100_000, 610_000][random.below(5) as usize]);
        }
        self.at += 500;
        if random.below(3) > 0 {
            self.segment(false, FIN | ACK, numbers, 0);
            self.at += 8;
            self.segment(true, FIN | ACK, [numbers[0].wrapping_add(1), numbers[1]], 0);
        }
        self.at += i64::from([600, 30_000, 700_000][random.below(3) as usize]);
    }

    fn segment(&mut self, is_back: bool, flags: u8, numbers: [u32; 2], len: u32) {
        let [own, other] = if is_back {
            [numbers[1], numbers[0]]
        } else {
            numbers
        };
        let mut rest = own.to_be_bytes().to_vec();
        rest.extend(other.to_be_bytes());
        rest.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        rest.resize(rest.len() + len as usize, 0xaa);
        self.send(is_back, 6, &rest);
    }

    /// Sends an IP packet; `rest` follows the ports.
    fn send(&mut self, is_back: bool, protocol: u8, rest: &[u8]) {
        let ends = [(1, self.port), (2, 80)];
        let [(from, source), (to, destination)] = if is_back { [ends[1], ends[0]] } else { ends };
        let len = u16::try_from(24 + rest.len()).expect("a short packet");
        let host = (self.port % 256) as u8;
        let mut packet = vec![0x45, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, host, from]);
        packet.extend([10, 0, host, to]);
        packet.extend(source.to_be_bytes());
        packet.extend(destination.to_be_bytes());
        packet.extend(rest);
        let plain = frame(0x0800, &packet);
        self.out.push(Sent {
            at: self.at,
            port: self.port,
            is_syn: protocol == 6 && rest[9] & SYN != 0,
            frame: match self.is_tagged {
                true => tagged(&plain, 0x8100, 7),
                false => plain,
            },
        });
    }
}

/// Returns a capture file of packets, in their order.
pub(super) fn capture(packets: &[Sent]) -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    for sent in packets {
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::from_ms(sent.at),
            data: &sent.frame,
            wire_len: u32::try_from(sent.frame.len()).expect("a short packet"),
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

// TCP flags.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
