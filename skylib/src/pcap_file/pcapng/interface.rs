//! Sections and interfaces of a pcapng file, and the clocks of interfaces.

use super::block::{Block, half};
use crate::packet::LinkType;
use crate::pcap_file::PcapFileError;
use crate::pcap_file::reader::word;
use crate::time::Timestamp;

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
    /// Maximum number of captured bytes of a packet; 0 is unlimited.
    pub(super) snap_len: u32,
    pub(super) clock: InterfaceClock,
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
}

impl Interface {
    /// Parses the body of an interface description block; the error is the kind of damage.
    pub(super) fn new(body: &[u8], is_big_endian: bool) -> Result<Self, &'static str> {
        let Some((head, mut options)) = body.split_first_chunk::<8>() else {
            return Err("too short for a block of its type");
        };
        let [.., s0, s1, s2, s3] = *head;
        let (mut resolution, mut offset_s) = (DEFAULT_RESOLUTION, 0);
        while options.len() >= 4 {
            let code = half(options, 0, is_big_endian);
            let len = usize::from(half(options, 2, is_big_endian));
            if code == END_OF_OPTIONS {
                break;
            }
            let value = options.get(4..4 + len);
            let value = value.ok_or("too short for one of its options")?;
            match (code, value) {
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
        Ok(Self {
            link_type: LinkType(half(head, 0, is_big_endian)),
            snap_len: word([s0, s1, s2, s3], is_big_endian),
            clock: InterfaceClock::new(resolution, offset_s),
        })
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
    /// A second has two to this power of ticks.
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

    /// Returns the time of a number of ticks; a time that is too late is replaced by the latest
    /// one.
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
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;
/// Resolution without the option: microseconds.
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
        let interface = Interface::new(&body(&[0, 0, 0, 0, 9, 0, 9, 9]), false).unwrap();
        assert_eq!(
            (interface.link_type, interface.snap_len),
            (LinkType::ETHERNET, 0x4_0000)
        );
    }
}
