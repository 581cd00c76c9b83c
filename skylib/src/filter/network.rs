//! IPv4 and IPv6 networks, and addresses with an optional prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Network {
    /// Host bits are zero: `address & mask == address`.
    address: u32,
    mask: u32,
}

/// IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Network {
    /// Host bits are zero: `address & mask == address`.
    address: u128,
    mask: u128,
}

/// Error returned if a string is not an [`Ipv4Network`] or [`Ipv6Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network in CIDR notation, such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct ParseNetworkError;

impl FromStr for Ipv4Network {
    type Err = ParseNetworkError;

    /// Parses a network in CIDR notation, such as `192.0.2.0/24`; host bits are cleared.
    ///
    /// # Errors
    /// Returns [`ParseNetworkError`] if the string is not an IPv4 address with a prefix length of 0
    /// to 32.
    fn from_str(cidr: &str) -> Result<Self, ParseNetworkError> {
        let (address, len) = cidr.split_once('/').ok_or(ParseNetworkError)?;
        let host_bits = 32_u32.checked_sub(length(len, 2).ok_or(ParseNetworkError)?);
        let mask = u32::MAX.checked_shl(host_bits.ok_or(ParseNetworkError)?);
        let mask = mask.unwrap_or(0);
        let address = address.parse::<Ipv4Addr>().map_err(|_| ParseNetworkError)?;
        Ok(Self {
            address: u32::from(address) & mask,
            mask,
        })
    }
}

impl FromStr for Ipv6Network {
    type Err = ParseNetworkError;

    /// Parses a network in CIDR notation, such as `2001:db8::/32`; host bits are cleared.
    ///
    /// # Errors
    /// Returns [`ParseNetworkError`] if the string is not an IPv6 address with a prefix length of 0
    /// to 128.
    fn from_str(cidr: &str) -> Result<Self, ParseNetworkError> {
        let (address, len) = cidr.split_once('/').ok_or(ParseNetworkError)?;
        let host_bits = 128_u32.checked_sub(length(len, 3).ok_or(ParseNetworkError)?);
        let mask = u128::MAX.checked_shl(host_bits.ok_or(ParseNetworkError)?);
        let mask = mask.unwrap_or(0);
        let address = address.parse::<Ipv6Addr>().map_err(|_| ParseNetworkError)?;
        Ok(Self {
            address: u128::from(address) & mask,
            mask,
        })
    }
}

impl Ipv4Network {
    /// Returns whether an address is in the network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask == self.address
    }

    /// Returns whether an address, with or without `/length`, is in the network.
    #[must_use]
    pub fn contains_text(&self, text: &str) -> bool {
        match address_of(text, 2) {
            Some(IpAddr::V4(address)) => self.contains(address),
            _ => false,
        }
    }
}

impl Ipv6Network {
    /// Returns whether an address is in the network.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & self.mask == self.address
    }

    /// Returns whether an address, with or without `/length`, is in the network.
    ///
    /// ```
    /// use skylib::filter::Ipv6Network;
    /// let network: Ipv6Network = "2001:db8::/32".parse()?;
    /// assert!(network.contains_text("2001:db8:7::1/64"));
    /// assert!(!network.contains_text("fe80::1"));
    /// # Ok::<(), skylib::filter::ParseNetworkError>(())
    /// ```
    #[must_use]
    pub fn contains_text(&self, text: &str) -> bool {
        match address_of(text, 3) {
            Some(IpAddr::V6(address)) => self.contains(address),
            _ => false,
        }
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv4Addr::from(self.address);
        write!(f, "{address}/{}", self.mask.count_ones())
    }
}

impl fmt::Display for Ipv6Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        write!(f, "{address}/{}", self.mask.count_ones())
    }
}

/// Returns the address in `address` or `address/length`; the length has at most `digits` digits.
pub(super) fn address_of(text: &str, digits: usize) -> Option<IpAddr> {
    let (address, len) = text.split_once('/').unwrap_or((text, "0"));
    length(len, digits)?;
    address.parse().ok()
}

/// Parses a prefix length of at most `digits` digits.
fn length(text: &str, digits: usize) -> Option<u32> {
    let is_number = (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_mask_host_bits() {
        let network = "192.0.2.77/24".parse::<Ipv4Network>().unwrap();
        for inside in ["192.0.2.1", "192.0.2.255/24", "192.0.2.0/99"] {
            assert!(network.contains_text(inside), "{inside}");
        }
        for outside in [
            "192.0.3.1",
            "192.0.2.1/",
            "192.0.2.1/x",
            "::1",
            "192.0.2.01",
        ] {
            assert!(!network.contains_text(outside), "{outside}");
        }
        let all = "0.0.0.0/0".parse::<Ipv4Network>().unwrap();
        assert!(all.contains_text("255.1.2.3"));
        for bad in ["192.0.2.0", "192.0.2.0/33", "::/0", "x/8", "1.2.3.4/+8"] {
            assert!(bad.parse::<Ipv4Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_of_ipv6_mask_host_bits() {
        let network = "2001:DB8::7/32".parse::<Ipv6Network>().unwrap();
        assert_eq!(network.to_string(), "2001:db8::/32");
        for inside in ["2001:db8::1", "2001:DB8:ffff::/128"] {
            assert!(network.contains_text(inside), "{inside}");
        }
        for outside in [
            "2001:db9::1",
            "2001:db8::1/",
            "192.0.2.1",
            "x",
            "::ffff:1.2.3.4",
        ] {
            assert!(!network.contains_text(outside), "{outside}");
        }
        let all = "::/0".parse::<Ipv6Network>().unwrap();
        assert!(all.contains_text("fe80::1") && !all.contains_text("192.0.2.1"));
        for bad in ["2001:db8::", "::/129", "192.0.2.0/24", "::/0128", "::/+8"] {
            assert!(bad.parse::<Ipv6Network>().is_err(), "{bad}");
        }
    }
}
