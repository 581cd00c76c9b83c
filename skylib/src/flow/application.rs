//! Application names by port; a flow without a named port has the name of its last layer.

use std::str::FromStr;

use hashbrown::HashMap;

use super::field::UnknownNameError;
use super::record::FlowProtocol;
use crate::value::Text;

/// Application names by TCP and UDP port.
///
/// ```
/// use skylib::flow::{ApplicationPorts, FlowProtocol};
/// let mut ports = ApplicationPorts::default();
/// ports.set(FlowProtocol::Tcp, 443, "https");
/// assert_eq!(ports.name(FlowProtocol::Tcp, 40_000, 443), Some("HTTPS"));
/// assert_eq!(ports.name(FlowProtocol::Udp, 40_000, 443), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ApplicationPorts {
    tcp: HashMap<u16, Text>,
    udp: HashMap<u16, Text>,
}

impl ApplicationPorts {
    /// Sets the name of a TCP or UDP port, in upper case; does nothing for other transports.
    pub fn set(&mut self, protocol: FlowProtocol, port: u16, name: &str) {
        if let Some(names) = match protocol {
            FlowProtocol::Tcp => Some(&mut self.tcp),
            FlowProtocol::Udp => Some(&mut self.udp),
            _ => None,
        } {
            names.insert(port, name.to_uppercase().into());
        }
    }

    /// Returns the name of the source port, or else of the destination port.
    #[must_use]
    pub fn name(&self, protocol: FlowProtocol, source: u16, destination: u16) -> Option<&str> {
        self.text(protocol, source, destination).map(Text::as_str)
    }

    /// Returns the name as a [`Text`].
    pub(super) fn text(
        &self,
        protocol: FlowProtocol,
        source: u16,
        destination: u16,
    ) -> Option<&Text> {
        let names = match protocol {
            FlowProtocol::Tcp => &self.tcp,
            FlowProtocol::Udp => &self.udp,
            _ => return None,
        };
        if names.is_empty() {
            return None;
        }
        names.get(&source).or_else(|| names.get(&destination))
    }
}

impl FromStr for ApplicationPorts {
    type Err = UnknownNameError;

    /// Parses names separated by commas: `tcp:8443=https,udp:5353=mdns,9000=app`. A name without a
    /// protocol applies to the TCP port and to the UDP port.
    ///
    /// ```
    /// use skylib::flow::{ApplicationPorts, FlowProtocol};
    /// let ports: ApplicationPorts = "tcp:8443=https,9000=app".parse()?;
    /// assert_eq!(ports.name(FlowProtocol::Tcp, 40_000, 8443), Some("HTTPS"));
    /// assert_eq!(ports.name(FlowProtocol::Udp, 40_000, 9000), Some("APP"));
    /// # Ok::<(), skylib::flow::UnknownNameError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ports = Self::default();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let (protocols, port, name) = port_name(entry).ok_or_else(|| {
                UnknownNameError::new(
                    "port name",
                    entry,
                    "expected tcp:PORT=NAME or udp:PORT=NAME",
                )
            })?;
            for protocol in protocols {
                ports.set(*protocol, port, name);
            }
        }
        Ok(ports)
    }
}

/// Parses one entry: the protocols, the port, and its name; `None` if it is invalid.
fn port_name(entry: &str) -> Option<(&'static [FlowProtocol], u16, &str)> {
    let (port, name) = entry.split_once('=')?;
    let (protocols, port): (&[_], _) = match port.split_once(':') {
        None => (&[FlowProtocol::Tcp, FlowProtocol::Udp], port),
        Some(("tcp" | "TCP", port)) => (&[FlowProtocol::Tcp], port),
        Some(("udp" | "UDP", port)) => (&[FlowProtocol::Udp], port),
        Some(_) => return None,
    };
    let name = name.trim();
    Some((protocols, port.trim().parse().ok()?, name)).filter(|_| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_port_takes_precedence() {
        let mut ports = ApplicationPorts::default();
        ports.set(FlowProtocol::Udp, 53, "dns");
        ports.set(FlowProtocol::Udp, 5353, "mdns");
        ports.set(FlowProtocol::Sctp, 53, "no");
        assert_eq!(ports.name(FlowProtocol::Udp, 5353, 53), Some("MDNS"));
        assert_eq!(ports.name(FlowProtocol::Udp, 1, 53), Some("DNS"));
        assert_eq!(ports.name(FlowProtocol::Udp, 1, 2), None);
        assert_eq!(ports.name(FlowProtocol::Sctp, 53, 53), None);
    }

    #[test]
    fn names_without_port_protocol_or_name_are_refused() {
        for text in [
            "8443",
            "tcp:https=8443",
            "tcp:65536=x",
            "sctp:1=x",
            "tcp:1=",
        ] {
            let error = text.parse::<ApplicationPorts>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("unknown port name {text:?}; expected tcp:PORT=NAME or udp:PORT=NAME")
            );
        }
        assert!("".parse::<ApplicationPorts>().is_ok());
    }
}
