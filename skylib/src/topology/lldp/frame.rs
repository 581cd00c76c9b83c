//! `LldpFrame`: decoder of LLDP frames (IEEE 802.1AB-2016), with the organizationally specific
//! values of IEEE 802.1 and 802.3. The decoder does no I/O.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A received LLDP frame.
///
/// ```
/// use skylib::topology::lldp::LldpFrame;
///
/// let frame = b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x11\x22\x33\x0a\x88\xcc\
///     \x02\x07\x04\x02\x00\x11\x22\x33\x0a\x04\x05\x05Gi0/\x06\x02\x00\x78\x00\x00";
/// let decoded = LldpFrame::parse(frame)?;
/// assert_eq!(decoded.chassis.text, "02:00:11:22:33:0a");
/// assert_eq!(decoded.port.kind, "Interface Name");
/// assert_eq!(decoded.ttl_s, 120);
/// # Ok::<(), skylib::topology::lldp::LldpError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LldpFrame {
    /// Source address.
    pub source: [u8; 6],
    /// Identifier of the sending device.
    pub chassis: LldpId,
    /// Identifier of the sending port.
    pub port: LldpId,
    /// Time for which the values are valid, in seconds; 0 if the sender is shutting down.
    pub ttl_s: u16,
    /// Description of the port.
    pub port_description: String,
    /// Name of the device.
    pub system_name: String,
    /// Description of the device.
    pub system_description: String,
    /// First management address.
    pub management_address: String,
    /// Number of the untagged VLAN; 0 for none.
    pub port_vlan: u16,
    /// VLANs of the port with their names.
    pub vlan_names: Vec<(u16, String)>,
    /// Flags and numbers of the port and protocol VLANs.
    pub protocol_vlans: Vec<(u8, u16)>,
    /// Digest of the VLAN table; 0 for none.
    pub vid_usage_digest: u32,
    /// Number of the management VLAN; 0 for none.
    pub management_vlan: u16,
    /// Flags of the link aggregation and the number of the aggregated port.
    pub link_aggregation: Option<(u8, u32)>,
    /// Maximum size of a frame, in bytes; 0 if unknown.
    pub max_frame_size: u16,
}

/// An identifier and the name of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LldpId {
    /// Identifier as text; addresses are in their usual notation.
    pub text: String,
    /// Name of the kind, such as `MAC Address`.
    pub kind: &'static str,
}

/// Reason why a frame is not a valid LLDP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LldpError {
    /// The frame ends within its header or within a value.
    #[error("the frame is truncated at byte {0}")]
    Truncated(usize),
    /// The Ethernet type is not 0x88cc.
    #[error("the Ethernet type is 0x{0:04x} instead of 0x88cc")]
    EtherType(u16),
    /// The frame does not begin with chassis, port, and TTL.
    #[error("the value of type {found} is not the mandatory value of type {expected}")]
    Order {
        /// Type of the value in the frame.
        found: u8,
        /// Type that the standard requires here.
        expected: u8,
    },
    /// A mandatory value is too short.
    #[error("the value of type {0} is too short")]
    Short(u8),
}

impl LldpFrame {
    /// Decodes an Ethernet frame. Values after the mandatory ones that are unknown or too short are
    /// ignored, as the standard requires.
    ///
    /// # Errors
    /// Returns [`LldpError`] if the frame is truncated, or its mandatory values are missing.
    pub fn parse(frame: &[u8]) -> Result<Self, LldpError> {
        let (header, mut rest) = frame
            .split_first_chunk::<14>()
            .ok_or(LldpError::Truncated(frame.len()))?;
        let ether_type = u16::from_be_bytes([header[12], header[13]]);
        if ether_type != ETHER_TYPE {
            return Err(LldpError::EtherType(ether_type));
        }
        let mut decoded = Self::default();
        decoded.source.copy_from_slice(&header[6..12]);
        let mut position = 0;
        while let Some((kind, value)) = next_value(&mut rest, frame.len())? {
            position += 1;
            let mandatory = Some(position).filter(|kind| *kind <= TTL);
            if let Some(expected) = mandatory.filter(|expected| *expected != kind) {
                return Err(LldpError::Order {
                    found: kind,
                    expected,
                });
            }
            match kind {
                END => break,
                CHASSIS | PORT | TTL if position > 3 => {}
                CHASSIS => {
                    decoded.chassis = id(value, &CHASSIS_KINDS).ok_or(LldpError::Short(kind))?;
                }
                PORT => decoded.port = id(value, &PORT_KINDS).ok_or(LldpError::Short(kind))?,
                TTL => decoded.ttl_s = u16_at(value, 0).ok_or(LldpError::Short(kind))?,
                _ => decoded.read_optional(kind, value),
            }
        }
        match position {
            3.. => Ok(decoded),
            read => Err(LldpError::Short(read + 1)),
        }
    }

    fn read_optional(&mut self, kind: u8, value: &[u8]) {
        match kind {
            PORT_DESCRIPTION => self.port_description = text(value),
            SYSTEM_NAME => self.system_name = text(value),
            SYSTEM_DESCRIPTION => self.system_description = text(value),
            MANAGEMENT_ADDRESS if self.management_address.is_empty() => {
                // A length that includes the family, then the family and the address.
                let length = value.first().copied().map_or(0, usize::from);
                let address = value.get(1..).and_then(|rest| rest.get(..length));
                self.management_address = address.map(network_address).unwrap_or_default();
            }
            ORGANIZATION => {
                if let Some((organization, rest)) = value.split_first_chunk::<3>() {
                    let (subtype, rest) = rest.split_first().map_or((0, rest), |(s, r)| (*s, r));
                    self.read_organization(*organization, subtype, rest);
                }
            }
            _ => {}
        }
    }

    /// Reads a value of IEEE 802.1 (802.1Q annex D) or 802.3 (802.3 clause 79).
    fn read_organization(&mut self, organization: [u8; 3], subtype: u8, value: &[u8]) {
        match (organization, subtype) {
            (IEEE_802_1, 1) => self.port_vlan = u16_at(value, 0).unwrap_or(0),
            (IEEE_802_1, 2) => {
                let vlan = value.first().copied().zip(u16_at(value, 1));
                self.protocol_vlans
                    .extend(vlan.filter(|_| self.protocol_vlans.len() < MAX_VLANS));
            }
            (IEEE_802_1, 3) => {
                let length = value.get(2).copied().map_or(0, usize::from);
                let name = value.get(3..).and_then(|rest| rest.get(..length));
                let vlan = u16_at(value, 0).zip(name.map(text));
                self.vlan_names
                    .extend(vlan.filter(|_| self.vlan_names.len() < MAX_VLANS));
            }
            (IEEE_802_1, 5) => self.vid_usage_digest = u32_at(value, 0).unwrap_or(0),
            (IEEE_802_1, 6) => self.management_vlan = u16_at(value, 0).unwrap_or(0),
            // Link aggregation has moved from 802.3 to 802.1.
            (IEEE_802_1, 7) | (IEEE_802_3, 3) => {
                self.link_aggregation = value.first().copied().zip(u32_at(value, 1));
            }
            (IEEE_802_3, 4) => self.max_frame_size = u16_at(value, 0).unwrap_or(0),
            _ => {}
        }
    }
}

/// Removes and returns the type and the content of the next value; `None` at the end of the frame.
fn next_value<'a>(rest: &mut &'a [u8], length: usize) -> Result<Option<(u8, &'a [u8])>, LldpError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let truncated = LldpError::Truncated(length);
    let head = u16_at(rest, 0).ok_or(truncated)?;
    let (kind, size) = ((head >> 9) as u8, usize::from(head & 0x1ff));
    let value = rest.get(2..2 + size).ok_or(truncated)?;
    *rest = &rest[2 + size..];
    Ok(Some((kind, value)))
}

/// Returns an identifier; `kinds` are the names of the subtypes from 1.
fn id(value: &[u8], kinds: &[&'static str; 7]) -> Option<LldpId> {
    let (subtype, bytes) = value.split_first().filter(|(_, bytes)| !bytes.is_empty())?;
    let kind = kinds.get(usize::from(*subtype).wrapping_sub(1)).copied();
    let kind = kind.unwrap_or("Reserved");
    let text = match kind {
        "MAC Address" => colon_hex(bytes),
        "Network Address" => network_address(bytes),
        _ => text(bytes),
    };
    Some(LldpId { text, kind })
}

/// Returns an address that is preceded by its family (IANA address family numbers).
fn network_address(bytes: &[u8]) -> String {
    match bytes {
        [1, a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        [2, address @ ..] => match <[u8; 16]>::try_from(address) {
            Ok(octets) => Ipv6Addr::from(octets).to_string(),
            Err(_) => colon_hex(address),
        },
        [_, address @ ..] => colon_hex(address),
        [] => String::new(),
    }
}

/// Returns bytes as text; bytes that are not printable text become replacement characters.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn colon_hex(bytes: &[u8]) -> String {
    let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    octets.join(":")
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Names of the chassis subtypes from 1 (802.1AB table 8-2).
const CHASSIS_KINDS: [&str; 7] = [
    "Chassis Component",
    "Interface Alias",
    "Port Component",
    "MAC Address",
    "Network Address",
    "Interface Name",
    "Local",
];

/// Names of the port subtypes from 1 (802.1AB table 8-3).
const PORT_KINDS: [&str; 7] = [
    "Interface Alias",
    "Port Component",
    "MAC Address",
    "Network Address",
    "Interface Name",
    "Agent Circuit ID",
    "Local",
];

/// Ethernet type of LLDP.
pub(super) const ETHER_TYPE: u16 = 0x88cc;

// Types of values (802.1AB table 8-1).
const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const TTL: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
const MANAGEMENT_ADDRESS: u8 = 8;
const ORGANIZATION: u8 = 127;

/// Organizations of specific values.
const IEEE_802_1: [u8; 3] = [0x00, 0x80, 0xc2];
const IEEE_802_3: [u8; 3] = [0x00, 0x12, 0x0f];

/// Maximum number of VLANs of one kind in a frame.
const MAX_VLANS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: u8, content: &[u8]) -> Vec<u8> {
        let head = u16::from(kind) << 9 | u16::try_from(content.len()).unwrap();
        [&head.to_be_bytes()[..], content].concat()
    }

    fn frame(values: &[Vec<u8>]) -> Vec<u8> {
        let header = b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x11\x22\x33\x0a\x88\xcc";
        [&header[..], &values.concat()].concat()
    }

    fn mandatory() -> Vec<Vec<u8>> {
        vec![
            value(1, b"\x04\x02\x00\x11\x22\x33\x0a"),
            value(2, b"\x05Gi0/7"),
            value(3, b"\x00\x78"),
        ]
    }

    #[test]
    fn all_values_are_decoded() {
        let mut values = mandatory();
        values.push(value(4, b"uplink seven"));
        values.push(value(5, b"lab-switch"));
        values.push(value(6, b"Some OS\n1.0"));
        values.push(value(8, b"\x05\x01\xc6\x33\x64\x01\x02\0\0\0\x01\0"));
        values.push(value(8, b"\x05\x01\x01\x01\x01\x01\x02\0\0\0\x01\0"));
        values.push(value(127, b"\x00\x80\xc2\x01\x00\x0a"));
        values.push(value(127, b"\x00\x80\xc2\x02\x06\x00\x14"));
        values.push(value(127, b"\x00\x80\xc2\x03\x00\x1e\x04blue"));
        values.push(value(127, b"\x00\x80\xc2\x05\x01\x02\x03\x04"));
        values.push(value(127, b"\x00\x80\xc2\x06\x00\x28"));
        values.push(value(127, b"\x00\x80\xc2\x07\x03\x00\x00\x00\x09"));
        values.push(value(127, b"\x00\x12\x0f\x04\x05\xf2"));
        values.push(value(0, b""));
        values.push(vec![0xff; 9]);
        let decoded = LldpFrame::parse(&frame(&values)).unwrap();
        let id = |text: &str, kind| LldpId {
            text: text.to_owned(),
            kind,
        };
        let wanted = LldpFrame {
            source: [2, 0, 0x11, 0x22, 0x33, 0x0a],
            chassis: id("02:00:11:22:33:0a", "MAC Address"),
            port: id("Gi0/7", "Interface Name"),
            ttl_s: 120,
            port_description: "uplink seven".to_owned(),
            system_name: "lab-switch".to_owned(),
            system_description: "Some OS\n1.0".to_owned(),
            management_address: "198.51.100.1".to_owned(),
            port_vlan: 10,
            vlan_names: vec![(30, "blue".to_owned())],
            protocol_vlans: vec![(6, 20)],
            vid_usage_digest: 0x0102_0304,
            management_vlan: 40,
            link_aggregation: Some((3, 9)),
            max_frame_size: 1522,
        };
        assert_eq!(decoded, wanted, "padding after the end is ignored");
    }

    #[test]
    fn identifiers_have_the_notation_of_their_kind() {
        let chassis = |content: &[u8]| id(content, &CHASSIS_KINDS).unwrap();
        assert_eq!(chassis(b"\x05\x01\xc0\x00\x02\x01").text, "192.0.2.1");
        let v6 = [&b"\x05\x02"[..], &Ipv6Addr::LOCALHOST.octets()].concat();
        assert_eq!(chassis(&v6).text, "::1");
        assert_eq!(chassis(b"\x05\x06\x01\x02").text, "01:02");
        assert_eq!(chassis(b"\x07rack\x1b[1m").text, "rack\u{fffd}[1m");
        assert_eq!(chassis(b"\x63x").kind, "Reserved");
        assert_eq!(id(b"\x06x", &PORT_KINDS).unwrap().kind, "Agent Circuit ID");
        assert_eq!(id(b"\x06", &PORT_KINDS), None);
    }

    #[test]
    fn invalid_frames_are_identified() {
        let parse = |values: &[Vec<u8>]| LldpFrame::parse(&frame(values)).unwrap_err();
        assert_eq!(LldpFrame::parse(&[0; 13]), Err(LldpError::Truncated(13)));
        assert_eq!(LldpFrame::parse(&[0; 14]), Err(LldpError::EtherType(0)));
        let mut values = mandatory();
        values.swap(0, 1);
        assert_eq!(
            parse(&values),
            LldpError::Order {
                found: 2,
                expected: 1
            }
        );
        assert_eq!(parse(&mandatory()[..2]), LldpError::Short(3));
        let mut values = mandatory();
        values[2] = value(3, b"\x01");
        assert_eq!(parse(&values), LldpError::Short(3));
        let mut values = mandatory();
        values.push(vec![0x0a, 0xff, 1]);
        assert_eq!(parse(&values), LldpError::Truncated(14 + 9 + 8 + 4 + 3));
        assert_eq!(
            parse(&[value(1, b"\x04"), value(2, b"\x05x")]),
            LldpError::Short(1)
        );
        let early = [mandatory()[0].clone(), value(0, b"")];
        assert_eq!(
            parse(&early),
            LldpError::Order {
                found: 0,
                expected: 2
            }
        );
    }

    #[test]
    fn short_optional_values_are_ignored() {
        let mut values = mandatory();
        for content in [
            &b""[..],
            b"\x00",
            b"\x00\x80\xc2",
            b"\x00\x80\xc2\x03\x00\x1e\x09blue",
        ] {
            values.push(value(127, content));
            values.push(value(8, content));
        }
        let decoded = LldpFrame::parse(&frame(&values)).unwrap();
        assert_eq!(decoded, LldpFrame::parse(&frame(&mandatory())).unwrap());
    }
}
