//! `Reader`: reads big-endian numbers and byte strings from a datagram.

use std::net::IpAddr;

/// Reader of a byte string. Each read returns `None` at the end, and consumes nothing in that case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the unread bytes.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Reads up to `length` bytes, fewer at the end.
    pub(super) fn up_to(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}

/// Returns an IP address of 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Returns a big-endian number of 1 to 8 bytes; `None` for other lengths.
#[inline]
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        0 => None,
        length @ 1..=8 => {
            let mut whole = [0; 8];
            whole[8 - length..].copy_from_slice(bytes);
            Some(u64::from_be_bytes(whole))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u16(), None);
        assert_eq!(reader.bytes(2), None);
        assert_eq!(reader.up_to(2), [3]);
        assert_eq!(reader.u8(), None);
    }

    #[test]
    fn numbers_have_one_to_eight_bytes() {
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[1, 0, 0]), Some(0x01_00_00));
        assert_eq!(number(&[0xff; 8]), Some(u64::MAX));
        assert_eq!(number(&[0; 9]), None);
    }
}
