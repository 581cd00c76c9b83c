//! `ServiceAddress`: the addresses of services in the configuration and the API.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Host and port.
///
/// COMPAT: a port alone (`8082` or `:8082`) means `localhost`, not every address of the machine;
/// existing configurations rely on it. `0.0.0.0:8082` listens everywhere.
///
/// ```
/// use skylib::api::address::{AddressError, ServiceAddress};
/// assert_eq!(":8082".parse::<ServiceAddress>()?.to_string(), "localhost:8082");
/// assert_eq!("[::1]:8082".parse::<ServiceAddress>()?.host, "::1");
/// # Ok::<(), AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Host name or IP address; an IPv6 address has no brackets.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
}

impl FromStr for ServiceAddress {
    type Err = AddressError;

    /// Parses `host:port`, `[v6]:port`, `port`, or `:port`.
    ///
    /// # Errors
    /// Returns [`AddressError`] if the string has another form.
    fn from_str(text: &str) -> Result<Self, AddressError> {
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

/// Error returned if a string is not a valid [`ServiceAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address; expected host:port, [v6]:port, :port, or port")]
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
                text.parse::<ServiceAddress>().unwrap().to_string(),
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
            assert!(text.parse::<ServiceAddress>().is_err(), "{text}");
        }
    }
}
