//! `MacAddress`: the hardware address of an Ethernet interface.

use std::fmt;
use std::str::FromStr;

use super::InjectError;

/// Hardware address of an Ethernet interface.
///
/// ```
/// use skylib::inject::MacAddress;
/// let address: MacAddress = "02-00-00-00-00-0A".parse()?;
/// assert_eq!(address, MacAddress([2, 0, 0, 0, 0, 10]));
/// assert_eq!(address.to_string(), "02:00:00:00:00:0a");
/// # Ok::<(), skylib::inject::InjectError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = InjectError;

    /// Parses six bytes in hexadecimal, grouped by two with colons or hyphens, or by four with
    /// dots.
    ///
    /// # Errors
    /// Returns [`InjectError::Address`] if the string has another form.
    fn from_str(text: &str) -> Result<Self, InjectError> {
        parse(text).map(Self).ok_or_else(|| InjectError::Address {
            text: text.to_owned(),
            expected: "a MAC address of 6 bytes",
        })
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let (separator, digits) = if text.contains(':') {
        (':', 2)
    } else if text.contains('-') {
        ('-', 2)
    } else {
        ('.', 4)
    };
    let mut bytes = Vec::with_capacity(6);
    for part in text.split(separator) {
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for at in (0..digits).step_by(2) {
            bytes.push(u8::from_str_radix(&part[at..at + 2], 16).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_notations_are_accepted() {
        for text in ["02:00:5e:10:00:ff", "02-00-5E-10-00-FF", "0200.5e10.00ff"] {
            let address: MacAddress = text.parse().unwrap();
            assert_eq!(address.0, [2, 0, 0x5e, 0x10, 0, 0xff], "{text}");
        }
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:00:01",
            "0200.5e10",
            "2:0:5e:10:0:ff",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
        assert!("é2:00:5e:10:00:ff".parse::<MacAddress>().is_err());
    }
}
