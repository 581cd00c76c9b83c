//! `CollectorOptions`: settings of a collector of flow exports.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::filter::{Ipv4Network, Ipv6Network};

/// Settings of a socket that receives flow exports.
///
/// ```
/// use skylib::engine::CollectorOptions;
/// let options = CollectorOptions::new("0.0.0.0:2055".parse()?);
/// assert!(options.allows("10.0.0.1".parse()?));
/// assert!(!options.allows("203.0.113.1".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CollectorOptions {
    /// Address of the socket.
    pub listen: SocketAddr,
    /// Networks from which datagrams are accepted; `None`: private and loopback addresses.
    pub allow: Option<Vec<AllowedNetwork>>,
    /// Size of the receive buffer in the kernel, in bytes.
    pub receive_buffer: usize,
    /// Whether packets and bytes are multiplied by the sampling rate.
    pub scale: bool,
    /// Sampling rate of exporters that do not announce it and are not in `rates`.
    pub default_rate: Option<u64>,
    /// Sampling rates of exporters that do not announce them.
    pub rates: HashMap<IpAddr, u64>,
    /// Names of exporters.
    pub names: HashMap<IpAddr, String>,
    /// Names of interfaces, by exporter and index.
    pub interface_names: HashMap<(IpAddr, u32), String>,
    /// Time after which the nodes of a silent exporter are deleted.
    pub node_timeout: Duration,
}

/// Network from which datagrams are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "IP has two versions")]
pub enum AllowedNetwork {
    /// IPv4 network.
    V4(Ipv4Network),
    /// IPv6 network.
    V6(Ipv6Network),
}

impl CollectorOptions {
    /// Returns the default settings of a socket.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allow: None,
            receive_buffer: 8 << 20,
            scale: false,
            default_rate: None,
            rates: HashMap::new(),
            names: HashMap::new(),
            interface_names: HashMap::new(),
            node_timeout: Duration::from_secs(24 * 3600),
        }
    }

    /// Returns whether datagrams of a sender are accepted.
    #[must_use]
    pub fn allows(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical();
        match &self.allow {
            None => is_local_network(sender),
            Some(networks) => networks.iter().any(|network| match (network, sender) {
                (AllowedNetwork::V4(network), IpAddr::V4(sender)) => network.contains(sender),
                (AllowedNetwork::V6(network), IpAddr::V6(sender)) => network.contains(sender),
                _ => false,
            }),
        }
    }

    /// Returns the sampling rate of an exporter that does not announce it.
    pub(super) fn rate_of(&self, exporter: IpAddr) -> Option<u64> {
        self.rates.get(&exporter).copied().or(self.default_rate)
    }
}

/// Returns whether an address is private (RFC 1918, RFC 4193), link-local, or that of the same host.
fn is_local_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_senders_are_accepted() {
        let mut options = CollectorOptions::new("[::]:2055".parse().unwrap());
        let allows =
            |options: &CollectorOptions, sender: &str| options.allows(sender.parse().unwrap());
        for sender in [
            "10.1.2.3",
            "192.168.1.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(allows(&options, sender), "{sender}");
        }
        assert!(
            allows(&options, "::ffff:10.0.0.1"),
            "an IPv4 sender of an IPv6 socket"
        );
        assert!(!allows(&options, "2001:db8::1"));
        let network = AllowedNetwork::V4("192.0.2.0/24".parse().unwrap());
        options.allow = Some(vec![network]);
        assert!(allows(&options, "192.0.2.9") && !allows(&options, "10.1.2.3"));
    }
}
