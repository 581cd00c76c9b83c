//! IP addresses of either version, as compact values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP address in wire order: 4 or 16 bytes, or no address if the header is truncated.
///
/// Addresses are ordered by their bytes, an IPv4 address as if it were followed by zeros. They are
/// displayed in the notation of RFC 5952, with an IPv4 address mapped into IPv6 in dotted-quad
/// notation; no address is displayed as an empty string.
///
/// ```
/// use skylib::decode::IpAddress;
///
/// let address = IpAddress::v4([10, 0, 0, 1]);
/// assert_eq!(address.as_bytes(), [10, 0, 0, 1]);
/// assert_eq!(address.to_string(), "10.0.0.1");
/// assert_eq!("10.0.0.1".parse(), Ok(address));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IpAddress {
    /// Bytes of the address; the bytes from index `len` on are zero.
    octets: [u8; 16],
    /// Number of bytes in use: 0, 4, or 16.
    len: u8,
}

impl IpAddress {
    /// No address.
    pub const NONE: Self = Self {
        octets: [0; 16],
        len: 0,
    };

    /// Returns an IPv4 address.
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        // One 16-byte store: the address is loaded again soon, and the CPU cannot forward a 4-byte
        // store and a 12-byte store to one 16-byte load.
        let number = (u32::from_be_bytes(octets) as u128) << 96;
        Self {
            octets: number.to_be_bytes(),
            len: 4,
        }
    }

    /// Returns an IPv6 address.
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self { octets, len: 16 }
    }

    /// Returns the bytes in wire order: 4, 16, or none.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Returns all 16 bytes; the last 12 of an IPv4 address are zero.
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        self.octets
    }

    /// Returns whether this is an IPv4 address.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.len == 4
    }

    /// Returns whether this is [`NONE`](Self::NONE).
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.len == 0
    }
}

impl PartialOrd for IpAddress {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IpAddress {
    /// Compares the bytes: flow identifiers and directions depend on this order.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.octets
            .cmp(&other.octets)
            .then(self.len.cmp(&other.len))
    }
}

impl From<IpAddr> for IpAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address.octets()),
            IpAddr::V6(address) => Self::v6(address.octets()),
        }
    }
}

impl std::str::FromStr for IpAddress {
    type Err = std::net::AddrParseError;

    /// Parses an IPv4 or IPv6 address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

impl fmt::Display for IpAddress {
    /// Writes the address in the notation documented at [`IpAddress`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_bytes() {
            &[a, b, c, d] => Ipv4Addr::new(a, b, c, d).fmt(f),
            [] => Ok(()),
            _ => {
                let address = Ipv6Addr::from(self.octets);
                match address.to_ipv4_mapped() {
                    Some(mapped) => mapped.fmt(f),
                    None => address.fmt(f),
                }
            }
        }
    }
}

impl fmt::Debug for IpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_clients_expect() {
        let v6 = |text: &str| {
            let address: Ipv6Addr = text.parse().unwrap();
            IpAddress::v6(address.octets()).to_string()
        };
        assert_eq!(v6("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1");
        assert_eq!(v6("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(v6("::a00:1"), "::a00:1");
        assert_eq!(v6("::"), "::");
        assert_eq!(IpAddress::NONE.to_string(), "");
    }

    #[test]
    fn addresses_parse_from_either_version() {
        assert_eq!("10.1.2.3".parse(), Ok(IpAddress::v4([10, 1, 2, 3])));
        let mut octets = [0; 16];
        octets[15] = 1;
        assert_eq!("::1".parse(), Ok(IpAddress::v6(octets)));
        assert!("10.1.2".parse::<IpAddress>().is_err());
    }

    #[test]
    fn addresses_order_by_their_bytes() {
        assert!(IpAddress::v4([10, 0, 0, 2]) < IpAddress::v4([10, 0, 1, 0]));
        assert!(IpAddress::v4([9, 255, 0, 0]) < IpAddress::v4([10, 0, 0, 0]));
    }
}
