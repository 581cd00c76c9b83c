//! Sections and interfaces of a pcapng file, and the clocks of interfaces.

use super::block::{Block, half};
use crate::packet::{CapturePointName, CapturePoints, LinkType};
use crate::pcap_file::PcapFileError;
use crate::pcap_file::reader::word;
use crate::time::Timestamp;
use crate::value::Text;

/// State of the current section.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) is_big_endian: bool,
    pub(super) interfaces: Vec<Interface>,
}

/// Description of one interface in a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) link_type: LinkType,
    /// Maximum number of captured bytes of a packet; 0 means no limit.
    pub(super) snap_len: u32,
    pub(super) clock: InterfaceClock,
    /// Index in the capture points of the file.
    pub(super) point: u32,
    /// Number of packets lost so far, according to the latest statistics.
    pub(super) dropped: u64,
}

impl Section {
    /// Parses a section header block that starts at `offset` in the file.
    pub(super) fn new(block: &Block<'_>, offset: u64) -> Result<Self, PcapFileError> {
        let half = |at| half(block.body, at, block.is_big_endian);
        let (major, minor) = (half(4), half(6));
        if block.body.len() < 16 || major != 1 {
            return Err(PcapFileError::SectionVersion {
                offset,
                major,
                minor,
            });
        }
        Ok(Self {
            is_big_endian: block.is_big_endian,
            interfaces: Vec::new(),
        })
    }

    /// Adds the interface of an interface description block that starts at `offset` in the file,
    /// and its capture point.
    pub(super) fn add_interface(
        &mut self,
        block: &Block<'_>,
        offset: u64,
        points: &mut CapturePoints,
    ) -> Result<(), PcapFileError> {
        let bad = |reason| PcapFileError::BadBlock {
            offset,
            kind: block.kind,
            reason,
        };
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(bad("the section has more than 65536 interfaces"));
        }
        let (mut interface, name) = Interface::new(block.body, block.is_big_endian).map_err(bad)?;
        let number = self.interfaces.len() as u32;
        let name = name.map_or(CapturePointName::Number(number), CapturePointName::Name);
        let point = points.register(name);
        interface.point = point.ok_or(PcapFileError::CapturePoints)?;
        self.interfaces.push(interface);
        Ok(())
    }

    /// Counts the lost packets of an interface statistics block at their capture point. Statistics
    /// of an unknown interface are ignored.
    pub(super) fn count_dropped(&mut self, block: &Block<'_>, points: &mut CapturePoints) {
        let statistics = InterfaceStatistics::parse(block.body, block.is_big_endian);
        if let Some(InterfaceStatistics { interface, dropped }) = statistics
            && let Some(interface) = self.interfaces.get_mut(interface)
        {
            let more = dropped.saturating_sub(interface.dropped);
            interface.dropped = interface.dropped.max(dropped);
            points.count_dropped(interface.point, more);
        }
    }
}

impl Interface {
    /// Parses the body of an interface description block; the error describes the damage. Also
    /// returns the name of the interface, if it has one.
    pub(super) fn new(
        body: &[u8],
        is_big_endian: bool,
    ) -> Result<(Self, Option<Text>), &'static str> {
        let Some((head, mut options)) = body.split_first_chunk::<8>() else {
            return Err("too short for a block of its type");
        };
        let [.., s0, s1, s2, s3] = *head;
        let (mut resolution, mut offset_s, mut name) = (DEFAULT_RESOLUTION, 0, None);
        while options.len() >= 4 {
            let code = half(options, 0, is_big_endian);
            let len = usize::from(half(options, 2, is_big_endian));
            if code == END_OF_OPTIONS {
                break;
            }
            let value = options.get(4..4 + len);
            let value = value.ok_or("too short for one of its options")?;
            match (code, value) {
                (NAME, value) => name = interface_name(value),
                (TIME_RESOLUTION, [value]) => resolution = *value,
                (TIME_OFFSET, value) => {
                    let value = value.try_into();
                    let value =
                        value.map_err(|_| "the length of its option if_tsoffset is not 8")?;
                    offset_s = match is_big_endian {
                        true => i64::from_be_bytes(value),
                        false => i64::from_le_bytes(value),
                    };
                }
                (TIME_RESOLUTION, _) => return Err("the length of its option if_tsresol is not 1"),
                _ => {}
            }
            options = options
                .get(4 + len.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        let interface = Self {
            link_type: LinkType(half(head, 0, is_big_endian)),
            snap_len: word([s0, s1, s2, s3], is_big_endian),
            clock: InterfaceClock::new(resolution, offset_s),
            point: 0,
            dropped: 0,
        };
        Ok((interface, name))
    }
}

/// Returns the name of an interface, truncated to [`MAX_NAME`] bytes; `None` if it is empty.
fn interface_name(value: &[u8]) -> Option<Text> {
    let value = value.get(..MAX_NAME).unwrap_or(value);
    let text = String::from_utf8_lossy(value);
    let text = text.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.into())
}

/// Statistics of an interface: its number in the section, and the number of packets lost since the
/// beginning of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InterfaceStatistics {
    pub(super) interface: usize,
    pub(super) dropped: u64,
}

impl InterfaceStatistics {
    /// Parses the body of an interface statistics block; `None` if it is too short. Parsing ends at
    /// a damaged option, without an error, because statistics are not needed to read the packets.
    pub(super) fn parse(body: &[u8], is_big_endian: bool) -> Option<Self> {
        let (head, mut options) = body.split_first_chunk::<12>()?;
        let [n0, n1, n2, n3, ..] = *head;
        let mut statistics = Self {
            interface: word([n0, n1, n2, n3], is_big_endian) as usize,
            dropped: 0,
        };
        while options.len() >= 4 {
            let code = half(options, 0, is_big_endian);
            let len = usize::from(half(options, 2, is_big_endian));
            let value = options
                .get(4..4 + len)
                .and_then(|value| value.try_into().ok());
            if let (DROPPED_BY_INTERFACE | DROPPED_BY_SYSTEM, Some(value)) = (code, value) {
                let count = match is_big_endian {
                    true => u64::from_be_bytes(value),
                    false => u64::from_le_bytes(value),
                };
                statistics.dropped = statistics.dropped.saturating_add(count);
            }
            if code == END_OF_OPTIONS {
                break;
            }
            options = options
                .get(4 + len.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        Some(statistics)
    }
}

/// Conversion of the ticks of an interface to Unix time.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterfaceClock {
    unit: Unit,
    offset_ns: i64,
}

/// Conversion of ticks to nanoseconds.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Multiply(u64),
    Divide(u64),
    /// Number of ticks per second, as a power of two.
    Binary(u8),
}

impl InterfaceClock {
    /// Returns a clock for the values of the options `if_tsresol` and `if_tsoffset`.
    fn new(resolution: u8, offset_s: i64) -> Self {
        let exponent = resolution & 0x7f;
        let unit = if resolution & 0x80 != 0 {
            Unit::Binary(exponent)
        } else {
            match 9_u32.checked_sub(u32::from(exponent)) {
                Some(power) => Unit::Multiply(10_u64.pow(power)),
                None => {
                    let power = u32::from(exponent) - 9;
                    10_u64
                        .checked_pow(power)
                        .map_or(Unit::Multiply(0), Unit::Divide)
                }
            }
        };
        Self {
            unit,
            offset_ns: offset_s.saturating_mul(1_000_000_000),
        }
    }

    /// Returns the time of a number of ticks; a time beyond the range is replaced with the latest
    /// possible one.
    #[inline]
    pub(super) fn timestamp(&self, ticks: u64) -> Timestamp {
        let ns = match self.unit {
            Unit::Multiply(factor) => ticks.saturating_mul(factor),
            Unit::Divide(divisor) => ticks / divisor,
            Unit::Binary(exponent) => {
                let ns = (u128::from(ticks) * 1_000_000_000) >> exponent;
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
        };
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        Timestamp::from_ns(ns.saturating_add(self.offset_ns))
    }
}

const END_OF_OPTIONS: u16 = 0;
/// Option `if_name`.
const NAME: u16 = 2;
/// Option `isb_ifdrop`.
const DROPPED_BY_INTERFACE: u16 = 5;
/// Option `isb_osdrop`.
const DROPPED_BY_SYSTEM: u16 = 7;
/// Maximum number of interfaces of a section, which bounds memory; it is the number of interfaces
/// that an obsolete packet block can refer to.
const MAX_INTERFACES: usize = 1 << 16;
/// Maximum length of an interface name, in bytes; longer names are truncated.
const MAX_NAME: usize = 255;
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;
/// Resolution if the option is absent: microseconds.
const DEFAULT_RESOLUTION: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_every_resolution_become_nanoseconds() {
        for (resolution, ticks, ns) in [
            (0, 5, 5_000_000_000),
            (6, 1_600_000_000_123_456, 1_600_000_000_123_456_000),
            (9, 1_600_000_000_123_456_789, 1_600_000_000_123_456_789),
            (12, 1_999, 1),
            (127, u64::MAX, 0),
            (0x80, 7, 7_000_000_000),
            (0x80 | 32, 3 << 31, 1_500_000_000),
            (0x80 | 127, u64::MAX, 0),
            (3, u64::MAX, i64::MAX),
            (0x80, u64::MAX, i64::MAX),
        ] {
            let clock = InterfaceClock::new(resolution, 0);
            assert_eq!(clock.timestamp(ticks).as_ns(), ns, "{resolution:#x}");
        }
    }

    #[test]
    fn the_offset_may_be_of_either_sign_and_too_large() {
        let ns = |offset| InterfaceClock::new(6, offset).timestamp(5_000_000).as_ns();
        assert_eq!(ns(10), 15_000_000_000);
        assert_eq!(ns(-10), -5_000_000_000);
        assert_eq!(ns(i64::MAX), i64::MAX);
        assert_eq!(ns(i64::MIN), i64::MIN + 5_000_000_000);
    }

    #[test]
    fn invalid_options_are_reported() {
        let body = |options: &[u8]| [&[1, 0, 0, 0, 0, 0, 4, 0], options].concat();
        let error = |options: &[u8]| Interface::new(&body(options), false).unwrap_err();
        assert_eq!(error(&[9, 0, 5, 0, 9]), "too short for one of its options");
        assert_eq!(
            error(&[9, 0, 2, 0, 9, 9, 0, 0]),
            "the length of its option if_tsresol is not 1"
        );
        assert_eq!(
            error(&[14, 0, 1, 0, 9, 0, 0, 0]),
            "the length of its option if_tsoffset is not 8"
        );
        assert!(Interface::new(&[1, 0, 0], false).is_err());
        // Options after the end mark are ignored.
        let options = [2, 0, 3, 0, b'l', b'o', 0, 0, 0, 0, 0, 0, 9, 0, 9, 9];
        let (interface, name) = Interface::new(&body(&options), false).unwrap();
        assert_eq!(name.as_deref(), Some("lo"));
        assert_eq!(
            (interface.link_type, interface.snap_len),
            (LinkType::ETHERNET, 0x4_0000)
        );
    }
    #[test]
    fn statistics_sum_up_the_packets_lost() {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        for (code, count) in [(4_u16, 100_u64), (5, 3), (7, 4)] {
            body.extend(code.to_be_bytes());
            body.extend([0, 8]);
            body.extend(count.to_be_bytes());
        }
        let parse = |body: &[u8]| InterfaceStatistics::parse(body, true);
        let wanted = |dropped| {
            Some(InterfaceStatistics {
                interface: 1,
                dropped,
            })
        };
        assert_eq!(parse(&body), wanted(7));
        assert_eq!(parse(&body[..body.len() - 1]), wanted(3));
        assert_eq!(parse(&body[..11]), None);
    }
}
