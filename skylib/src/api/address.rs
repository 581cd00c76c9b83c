//! Service addresses as the configuration and the API write them.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and a port.
///
/// COMPAT: a port alone (`8082` or `:8082`) means `localhost`, not every address of the machine;
/// existing configurations rely on it. `0.0.0.0:8082` listens everywhere.
///
/// ```
/// use skylib::api::address::ServiceAddress;
/// assert_eq!(ServiceAddress::parse(":8082")?.to_string(), "localhost:8082");
/// assert_eq!(ServiceAddress::parse("[::1]:8082")?.host, "::1");
/// # Ok::<(), skylib::api::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
}

impl ServiceAddress {
    /// Reads `host:port`, `[v6]:port`, `port` or `:port`.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once("]:").ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (host, port)
            }
            None => text.rsplit_once(':').unwrap_or(("", text)),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !text.starts_with('[') && !host.chars().all(is_name) {
            return Err(wrong());
        }
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: host:port, [v6]:port, :port or port expected")]
pub struct AddressError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_configuration_is_read() {
        for (text, shown) in [
            ("127.0.0.1:8082", "127.0.0.1:8082"),
            ("an-1.example:80", "an-1.example:80"),
            ("8082", "localhost:8082"),
            (":8082", "localhost:8082"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(
                ServiceAddress::parse(text).unwrap().to_string(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ":",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:-1",
            "::1:80",
            "[::1]",
            "[x]:80",
            "[::1]80",
            "a b:80",
            "http://h:80",
            "host:+80",
            "h:8 0",
        ] {
            assert!(ServiceAddress::parse(text).is_err(), "{text}");
        }
    }
}
