//! Application names by port; a flow without a named port has the name of its last layer.

use hashbrown::HashMap;

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

    /// Returns the name as a shared text.
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
}
