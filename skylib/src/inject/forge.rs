//! `Forge`: builds the packets of a request.

use std::net::IpAddr;

use etherparse::{Ethernet2Header, IpHeaders, PacketBuilder, PacketBuilderStep};

use super::error::MAX_PACKET;
use super::random::Random;
use super::{InjectError, MacAddress, PacketMode, PacketRequest, PacketType};
use crate::packet::LinkType;

/// Builder of the packets of a request, one after the other.
#[derive(Debug)]
pub(super) struct Forge {
    packet_type: PacketType,
    mode: PacketMode,
    ttl: u8,
    ends: Ends,
    /// Source and destination MAC address; `None` for packets without an Ethernet header.
    macs: Option<(MacAddress, MacAddress)>,
    /// Identifier of the echo requests, or source port.
    id: u16,
    /// Destination port.
    dst_port: u16,
    payload: Vec<u8>,
    increment: i64,
    /// The last packet.
    frame: Vec<u8>,
    /// Number of packets built.
    built: u64,
    random: Random,
}

/// Source and destination address, of one IP version.
#[derive(Clone, Copy, Debug)]
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Forge {
    /// Returns a builder for an interface of the link type `link`.
    pub(super) fn new(
        request: &PacketRequest,
        link: LinkType,
        seed: u64,
    ) -> Result<Self, InjectError> {
        let mut random = Random::new(seed);
        let packet_type = request.packet_type;
        let is_tcp = matches!(packet_type, PacketType::Tcp4 | PacketType::Tcp6);
        let dst_port = match request.dst_port {
            0 if is_tcp => random.between(MIN_RANDOM_PORT, MAX_RANDOM_PORT),
            port => port,
        };
        let payload = if request.payload.is_empty() {
            (0..DEFAULT_PAYLOAD).map(|_| random.letter()).collect()
        } else {
            request.payload.clone().into_bytes()
        };
        Ok(Self {
            packet_type,
            mode: request.mode,
            ttl: if request.ttl == 0 {
                DEFAULT_TTL
            } else {
                request.ttl
            },
            ends: ends_of(request)?,
            macs: macs_of(request, link)?,
            id: if packet_type.is_icmp() {
                request.icmp_id
            } else {
                request.src_port
            },
            dst_port,
            payload,
            increment: request.increment_payload,
            frame: Vec::new(),
            built: 0,
            random,
        })
    }

    /// Builds the next packet.
    pub(super) fn next_frame(&mut self) -> Result<&[u8], InjectError> {
        if self.built > 0 {
            self.vary();
        }
        self.built += 1;
        if self.payload.len() > MAX_PACKET - LONGEST_HEADERS {
            return Err(InjectError::TooLong {
                payload: self.payload.len(),
            });
        }
        self.frame.clear();
        match (self.macs, self.ends) {
            (Some((src, dst)), ends) => {
                let ethernet = PacketBuilder::ethernet2(src.0, dst.0);
                let ip = self.ip_after(ethernet, ends);
                self.finish(ip)?;
                // COMPAT: frames have at least 60 bytes, as on a wire.
                self.frame.resize(self.frame.len().max(MIN_FRAME), 0);
            }
            (None, Ends::V4(src, dst)) => {
                self.finish(PacketBuilder::ipv4(src, dst, self.ttl))?;
            }
            (None, Ends::V6(src, dst)) => {
                self.finish(PacketBuilder::ipv6(src, dst, self.ttl))?;
            }
        }
        Ok(&self.frame)
    }

    /// Prepares the next packet: chooses a new identifier in the mode `Random`, and changes the
    /// length of the payload by `increment`.
    fn vary(&mut self) {
        if self.mode == PacketMode::Random {
            self.id = self.random.between(1, u16::MAX);
        }
        let length = self.payload.len() as i64;
        // A longer payload is rejected when the packet is built.
        let wanted = length
            .saturating_add(self.increment)
            .clamp(0, MAX_PACKET as i64);
        self.payload.truncate(wanted as usize);
        while (self.payload.len() as i64) < wanted {
            self.payload.push(self.random.letter());
        }
    }

    fn ip_after(
        &self,
        ethernet: PacketBuilderStep<Ethernet2Header>,
        ends: Ends,
    ) -> PacketBuilderStep<IpHeaders> {
        match ends {
            Ends::V4(src, dst) => ethernet.ipv4(src, dst, self.ttl),
            Ends::V6(src, dst) => ethernet.ipv6(src, dst, self.ttl),
        }
    }

    /// Adds the transport header and the payload, and writes the packet.
    fn finish(&mut self, ip: PacketBuilderStep<IpHeaders>) -> Result<(), InjectError> {
        let (id, port, payload) = (self.id, self.dst_port, &self.payload);
        let frame = &mut self.frame;
        let written = match self.packet_type {
            PacketType::Icmp4 => ip.icmpv4_echo_request(id, 0).write(frame, payload),
            PacketType::Icmp6 => ip.icmpv6_echo_request(id, 0).write(frame, payload),
            PacketType::Udp4 | PacketType::Udp6 => ip.udp(id, port).write(frame, payload),
            PacketType::Tcp4 | PacketType::Tcp6 => {
                // The low half of the number.
                let sequence = self.random.next() as u32;
                ip.tcp(id, port, sequence, WINDOW)
                    .syn()
                    .write(frame, payload)
            }
        };
        // Writing to memory fails only if a length does not fit its field.
        written.map_err(|_| InjectError::TooLong {
            payload: payload.len(),
        })
    }
}

/// Returns the IP addresses of a request, which must have the IP version of its packets.
fn ends_of(request: &PacketRequest) -> Result<Ends, InjectError> {
    let missing = |end, problem| InjectError::MissingAddress { end, problem };
    let version = if request.packet_type.is_ipv6() { 6 } else { 4 };
    let known =
        |end, ip: Option<IpAddr>| ip.ok_or_else(|| missing(end, "has no IP address".to_owned()));
    let src = known("source", request.src_ip)?;
    let dst = known("destination", request.dst_ip)?;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) if version == 4 => {
            Ok(Ends::V4(src.octets(), dst.octets()))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) if version == 6 => {
            Ok(Ends::V6(src.octets(), dst.octets()))
        }
        _ => {
            let is_wrong = |ip: IpAddr| ip.is_ipv4() == (version == 6);
            let (end, ip) = if is_wrong(src) {
                ("source", src)
            } else {
                ("destination", dst)
            };
            let problem = format!("{ip} is not an IPv{version} address");
            Err(missing(end, problem))
        }
    }
}

/// Returns the MAC addresses of a request; `None` if the interface sends packets without an
/// Ethernet header.
fn macs_of(
    request: &PacketRequest,
    link: LinkType,
) -> Result<Option<(MacAddress, MacAddress)>, InjectError> {
    if link != LinkType::ETHERNET {
        return Ok(None);
    }
    let known = |end, mac: Option<MacAddress>| {
        mac.ok_or_else(|| InjectError::MissingAddress {
            end,
            problem: "has no MAC address".to_owned(),
        })
    };
    let src = known("source", request.src_mac)?;
    Ok(Some((src, known("destination", request.dst_mac)?)))
}

/// Number of random letters if the request has no payload.
const DEFAULT_PAYLOAD: usize = 56;
const DEFAULT_TTL: u8 = 64;
/// Minimum length of a frame without its check sequence (IEEE 802.3 clause 4.2.3.3), in bytes.
const MIN_FRAME: usize = 60;
/// Length of the longest headers: IPv6 and TCP without options, in bytes.
const LONGEST_HEADERS: usize = 40 + 20;
/// Window of the TCP segments, in bytes.
const WINDOW: u16 = 64_240;
const MIN_RANDOM_PORT: u16 = 1_024;
const MAX_RANDOM_PORT: u16 = 65_534;

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn request(packet_type: PacketType) -> PacketRequest {
        let (a, b) = if packet_type.is_ipv6() {
            ("fd00::1", "fd00::2")
        } else {
            ("10.0.0.1", "10.0.0.2")
        };
        let mut request = PacketRequest::new(packet_type)
            .with_source("02:00:00:00:00:01", a, 4_000)
            .and_then(|request| request.with_destination("02:00:00:00:00:02", b, 5_000))
            .unwrap();
        request.icmp_id = 7;
        request
    }

    fn forge(request: &PacketRequest) -> Forge {
        Forge::new(request, LinkType::ETHERNET, 1).unwrap()
    }

    /// Returns the source port or identifier, the destination port, and the payload of a frame
    /// whose checksums are correct.
    fn read(frame: &[u8]) -> (u16, u16, Vec<u8>) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (src, dst) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                (header.source.to_vec(), header.destination.to_vec())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (header.source().to_vec(), header.destination().to_vec())
            }
            NetSlice::Arp(_) => panic!("no IP"),
        };
        let pseudo = |src: &[u8]| <[u8; 16]>::try_from(src).unwrap();
        let v4 = |src: &[u8]| <[u8; 4]>::try_from(src).unwrap();
        match packet.transport.unwrap() {
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let sum = if src.len() == 4 {
                    header.calc_checksum_ipv4_raw(v4(&src), v4(&dst), udp.payload())
                } else {
                    header.calc_checksum_ipv6_raw(pseudo(&src), pseudo(&dst), udp.payload())
                };
                assert_eq!(header.checksum, sum.unwrap());
                (
                    udp.source_port(),
                    udp.destination_port(),
                    udp.payload().to_vec(),
                )
            }
            TransportSlice::Tcp(tcp) => {
                let header = tcp.to_header();
                assert!(header.syn && !header.ack && !header.fin);
                let sum = if src.len() == 4 {
                    header.calc_checksum_ipv4_raw(v4(&src), v4(&dst), tcp.payload())
                } else {
                    header.calc_checksum_ipv6_raw(pseudo(&src), pseudo(&dst), tcp.payload())
                };
                assert_eq!(header.checksum, sum.unwrap());
                (
                    header.source_port,
                    header.destination_port,
                    tcp.payload().to_vec(),
                )
            }
            TransportSlice::Icmpv4(icmp) => {
                let sum = icmp.header().icmp_type.calc_checksum(icmp.payload());
                assert_eq!(icmp.checksum(), sum);
                let [a, b, _, _] = icmp.bytes5to8();
                (u16::from_be_bytes([a, b]), 0, icmp.payload().to_vec())
            }
            TransportSlice::Icmpv6(icmp) => {
                let (src, dst) = (pseudo(&src), pseudo(&dst));
                let kind = icmp.header().icmp_type;
                let sum = kind.calc_checksum(src, dst, icmp.payload()).unwrap();
                assert_eq!(icmp.checksum(), sum);
                let [a, b, _, _] = icmp.bytes5to8();
                (u16::from_be_bytes([a, b]), 0, icmp.payload().to_vec())
            }
            TransportSlice::Igmp(_) => panic!("not requested"),
        }
    }

    #[test]
    fn each_type_has_its_headers_and_correct_checksums() {
        for (packet_type, _) in PacketType::ALL {
            let request = request(packet_type).with_payload("some payload longer than padding");
            let mut forge = forge(&request);
            let (id, port, payload) = read(forge.next_frame().unwrap());
            let wanted = if packet_type.is_icmp() {
                (7, 0)
            } else {
                (4_000, 5_000)
            };
            assert_eq!((id, port), wanted, "{packet_type:?}");
            assert_eq!(payload, request.payload.as_bytes(), "{packet_type:?}");
        }
    }

    #[test]
    fn short_frames_are_padded_and_raw_packets_are_not() {
        let request = request(PacketType::Icmp4).with_payload("hi");
        assert_eq!(forge(&request).next_frame().unwrap().len(), 60);
        let mut raw = Forge::new(&request, LinkType::RAW, 1).unwrap();
        assert_eq!(raw.next_frame().unwrap().len(), 20 + 8 + 2);
    }

    #[test]
    fn a_packet_without_payload_has_56_letters_and_the_default_ttl() {
        let mut forge = forge(&request(PacketType::Udp4));
        let frame = forge.next_frame().unwrap().to_vec();
        let (_, _, payload) = read(&frame);
        assert_eq!(payload.len(), 56);
        assert!(payload.iter().all(u8::is_ascii_alphabetic));
        assert_eq!(frame[22], 64, "TTL");
    }

    #[test]
    fn random_mode_and_increments_change_the_following_packets() {
        let mut request = request(PacketType::Tcp6).with_payload("abc");
        (request.mode, request.increment_payload) = (PacketMode::Random, 2);
        let mut up = forge(&request);
        let frames: Vec<_> = (0..3).map(|_| read(up.next_frame().unwrap())).collect();
        let lengths: Vec<usize> = frames.iter().map(|frame| frame.2.len()).collect();
        assert_eq!(lengths, [3, 5, 7]);
        assert!(frames.iter().all(|frame| frame.2.starts_with(b"abc")));
        assert_eq!(frames[0].0, 4_000, "the first packet is as requested");
        assert_ne!(frames[1].0, frames[2].0);
        request.increment_payload = -2;
        let mut down = forge(&request);
        let lengths: Vec<usize> = (0..3)
            .map(|_| read(down.next_frame().unwrap()).2.len())
            .collect();
        assert_eq!(lengths, [3, 1, 0]);
    }

    #[test]
    fn an_unset_tcp_port_is_random_and_an_unset_udp_port_is_zero() {
        let mut tcp = request(PacketType::Tcp4);
        tcp.dst_port = 0;
        let (_, port, _) = read(forge(&tcp).next_frame().unwrap());
        assert!(port >= 1_024, "{port}");
        tcp.packet_type = PacketType::Udp4;
        assert_eq!(read(forge(&tcp).next_frame().unwrap()).1, 0);
    }

    #[test]
    fn a_payload_that_no_packet_holds_is_an_error() {
        let mut request = request(PacketType::Udp4).with_payload("x");
        request.increment_payload = i64::MAX;
        let mut forge = forge(&request);
        assert!(forge.next_frame().is_ok());
        assert!(matches!(
            forge.next_frame(),
            Err(InjectError::TooLong { .. })
        ));
        assert!(forge.next_frame().is_err(), "no overflow");
    }

    #[test]
    fn missing_and_wrong_addresses_are_named() {
        let fail = |change: fn(&mut PacketRequest)| {
            let mut request = request(PacketType::Udp4);
            change(&mut request);
            Forge::new(&request, LinkType::ETHERNET, 1)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(fail(|r| r.src_ip = None), "the source has no IP address");
        assert_eq!(
            fail(|r| r.dst_mac = None),
            "the destination has no MAC address"
        );
        let wrong = fail(|r| r.packet_type = PacketType::Udp6);
        assert_eq!(wrong, "the source 10.0.0.1 is not an IPv6 address");
        let wrong = fail(|r| r.dst_ip = Some("::1".parse().unwrap()));
        assert_eq!(wrong, "the destination ::1 is not an IPv4 address");
        let mut raw = request(PacketType::Udp4);
        raw.dst_mac = None;
        assert!(
            Forge::new(&raw, LinkType::RAW, 1).is_ok(),
            "no MAC address needed"
        );
    }
}
