//! Tests of the decoder, one file for each subject; this file builds packets.

mod damage;
mod ip;
mod link;
mod link_types;
mod proptests;
mod pseudowire;
mod tunnel;
mod tunnel_rules;

use super::*;
use crate::time::Timestamp;

/// Parses hexadecimal digits and ignores all other characters.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

fn decode_as(link_type: LinkType, data: &[u8]) -> (Encapsulations, Result<(), DecodeError>) {
    decode_with(
        DecoderOptions::default(),
        link_type,
        data,
        data.len() as u32,
    )
}

fn decode_with(
    options: DecoderOptions,
    link_type: LinkType,
    data: &[u8],
    wire_len: u32,
) -> (Encapsulations, Result<(), DecodeError>) {
    let mut encapsulations = Encapsulations::new();
    let packet = PacketRef {
        link_type,
        timestamp: Timestamp::ZERO,
        data,
        wire_len,
    };
    let result = Decoder::new(options).decode(packet, &mut encapsulations);
    (encapsulations, result)
}

fn decode(data: &[u8]) -> (Encapsulations, Result<(), DecodeError>) {
    decode_as(LinkType::ETHERNET, data)
}

/// Decodes a frame as Skydive does.
fn decode_recorded(data: &[u8]) -> (Encapsulations, Result<(), DecodeError>) {
    decode_with(
        DecoderOptions::default().with_recorded(true),
        LinkType::ETHERNET,
        data,
        data.len() as u32,
    )
}

/// Decodes all prefixes of a packet, none of which may panic.
fn decode_prefixes(link_type: LinkType, data: &[u8]) {
    for len in 0..data.len() {
        let options = DecoderOptions::default();
        let _ = decode_with(options, link_type, &data[..len], data.len() as u32);
    }
}

fn paths(encapsulations: &Encapsulations) -> Vec<String> {
    encapsulations
        .iter()
        .map(|level| level.layers.to_string())
        .collect()
}

/// Returns the paths of a packet that must decode without an error.
fn clean_paths(data: &[u8]) -> Vec<String> {
    let (encapsulations, result) = decode(data);
    assert_eq!(result, Ok(()));
    paths(&encapsulations)
}

fn lengths(encapsulations: &Encapsulations) -> Vec<(u32, i64)> {
    encapsulations
        .iter()
        .map(|level| (level.offset, level.length))
        .collect()
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = hex("02000000 0b02 02000000 0a01");
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex("4500 0000 0001 0000 40 00 0000 0a010009 0a010002");
    header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    header[9] = protocol;
    header.extend(payload);
    header
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex("60000000 0000 00 3c");
    header.extend(hex(
        "20010db8000000000000000000000009 20010db8000000000000000000000002",
    ));
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = protocol;
    header.extend(payload);
    header
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend((8 + payload.len() as u16).to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = hex("9c40 0050 000003e8 00000000 50 00 0200 0000 0000");
    header[13] = flags;
    header
}

const ECHO: &[u8] = &[8, 0, 0, 0, 0x12, 0x34, 0, 1];
