//! `ControlTraffic`: the messages of this program itself, which captures on interfaces exclude.
//!
//! Without the exclusion, a capture whose flows are sent over the captured interface would cause
//! traffic forever: each message about flows is a packet of another flow.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::graph::{SharedGraph, namespace_of};
use crate::graph::{Graph, GraphAccess};
use crate::time::Timestamp;
use crate::value::Value;

/// Services of this program, and services to which it connects.
#[derive(Debug, Default)]
pub(crate) struct ControlTraffic {
    services: Vec<SocketAddr>,
    /// Newest expression, and the time at which it was derived from the addresses of this host.
    newest: Mutex<Option<(Timestamp, String)>>,
}

impl ControlTraffic {
    /// Returns the traffic of services; an unspecified address stands for all addresses of this host.
    pub(crate) fn new(services: Vec<SocketAddr>) -> Self {
        Self {
            services,
            newest: Mutex::default(),
        }
    }

    /// Returns an expression that the control traffic matches; empty if there is none. `origin` is
    /// that of the nodes of this host.
    pub(super) fn expression(&self, graph: &SharedGraph, origin: &str, now: Timestamp) -> String {
        let mut newest = self.newest.lock();
        if let Some((time, expression)) = &*newest
            && now.duration_since(*time) < REFRESH
            && now >= *time
        {
            return expression.clone();
        }
        let mut own = Vec::new();
        if self
            .services
            .iter()
            .any(|service| service.ip().is_unspecified())
        {
            graph.read(&mut |graph| own = own_addresses(graph, origin));
        }
        let expression = expression_of(&self.services, &own);
        *newest = Some((now, expression.clone()));
        expression
    }
}

/// Returns the addresses of the interfaces in the namespace of this host, at most
/// [`MAX_ADDRESSES`].
fn own_addresses(graph: &Graph, origin: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for node in graph.nodes().filter(|node| &*node.origin == origin) {
        let lists = ["IPV4", "IPV6"].map(|key| node.metadata.get(key).and_then(Value::as_list));
        let texts = lists
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(Value::as_text);
        let addresses: Vec<IpAddr> = texts
            .filter_map(|text| text.split('/').next()?.parse().ok())
            .collect();
        if !addresses.is_empty() && namespace_of(graph, &node.id, origin).is_none() {
            found.extend(addresses);
        }
    }
    found.sort();
    found.dedup();
    found.truncate(MAX_ADDRESSES);
    found
}

fn expression_of(services: &[SocketAddr], own: &[IpAddr]) -> String {
    let mut expression = String::new();
    let mut add = |hosts: &str, port: u16| {
        if !expression.is_empty() {
            expression.push_str(" or ");
        }
        // Writing to a string cannot fail.
        let _written = write!(expression, "(port {port} and ({hosts}))");
    };
    let hosts = own.iter().map(|address| format!("host {address}"));
    let hosts = hosts.collect::<Vec<_>>().join(" or ");
    for service in services.iter().filter(|service| service.port() != 0) {
        match service.ip().is_unspecified() {
            true if own.is_empty() => {}
            true => add(&hosts, service.port()),
            false => add(&format!("host {}", service.ip()), service.port()),
        }
    }
    expression
}

/// Time after which the addresses of this host are read again.
const REFRESH: Duration = Duration::from_secs(10);

/// Maximum number of addresses of this host in an expression, which the kernel evaluates for each
/// packet.
const MAX_ADDRESSES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_excluded_by_address_and_port() {
        let services = ["127.0.0.1:8082", "[::1]:8082", "0.0.0.0:2055", "10.0.0.1:0"];
        let services: Vec<SocketAddr> = services.map(|text| text.parse().unwrap()).into();
        assert_eq!(
            expression_of(&services, &[]),
            "(port 8082 and (host 127.0.0.1)) or (port 8082 and (host ::1))"
        );
        let own: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
        assert_eq!(
            expression_of(&services[2..], &own),
            "(port 2055 and (host 127.0.0.1 or host 10.0.0.5))"
        );
        assert_eq!(expression_of(&[], &own), "");
    }
}
