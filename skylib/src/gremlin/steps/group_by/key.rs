//! `GroupKey`: what `GroupBy` groups flows by.

use std::net::IpAddr;

use super::ends::{End, Ends, Owner};
use super::table::Part;
use crate::flow::{Flow, FlowField, FlowProtocol, IntField, ObjectField, PlainInt, TextField};
use crate::nearest::nearest;
use crate::value::{Text, Value};

/// Key of a grouping, with its name as written in the query.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) struct GroupKey {
    pub(super) name: Text,
    source: Source,
}

/// End of a flow whose group is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Field(FlowField),
    /// Network of an address.
    Prefix(TextField, Lengths),
    /// A field of end A and the same field of end B: both ends are grouped.
    EitherEnd([FlowField; 2], Option<Lengths>),
    /// Port of the end that accepted the connection.
    Port,
    /// Name of a node in the graph.
    Node(Owner, End),
}

/// Prefix lengths of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    ipv4: u8,
    ipv6: u8,
}

/// Prefix length of an IPv6 subnet (RFC 7421).
const IPV6_SUBNET: u8 = 64;

impl GroupKey {
    /// Parses the name of a field, of a layer, or of a kind of node; addresses can have a prefix
    /// length, as in `Network.A/24` or, with a length for IPv6, `Network.A/24/56`.
    ///
    /// # Errors
    /// Returns a message with the nearest name if there is no such key.
    pub(in crate::gremlin) fn parse(name: &Text) -> Result<Self, String> {
        let source = source(name).ok_or_else(|| {
            let names = FlowField::names().iter().copied().chain(EXTRA_NAMES);
            match nearest(name, names) {
                Some(near) => {
                    format!("flows cannot be grouped by {name:?}; did you mean {near:?}?")
                }
                None => format!("flows cannot be grouped by {name:?}: no flow has this field"),
            }
        })?;
        let name = name.clone();
        Ok(Self { name, source })
    }

    /// Returns whether the key describes the capture point, not the traffic.
    pub(super) const fn names_capture_point(&self) -> bool {
        match &self.source {
            Source::Node(_, End::Capture) => true,
            Source::Field(FlowField::Text(field)) => matches!(
                field,
                TextField::Uuid | TextField::NodeTid | TextField::CaptureId | TextField::ParentUuid
            ),
            // `Wire` includes the interface.
            Source::Field(FlowField::Detail(_)) => true,
            _ => false,
        }
    }

    pub(super) const fn is_either_end(&self) -> bool {
        matches!(self.source, Source::EitherEnd(..))
    }

    pub(super) const fn reads_graph(&self) -> bool {
        matches!(self.source, Source::Node(..))
    }

    /// Returns the value of a flow.
    pub(super) fn of(&self, flow: &Flow, side: Side, ends: &Ends) -> Part {
        match &self.source {
            Source::Field(field) => part(flow, field),
            Source::Prefix(field, lengths) => lengths.apply(part(flow, &FlowField::Text(*field))),
            Source::EitherEnd(fields, lengths) => {
                let value = match side {
                    Side::A => part(flow, &fields[0]),
                    Side::B => part(flow, &fields[1]),
                };
                lengths.map_or(value.clone(), |lengths| lengths.apply(value))
            }
            Source::Port => service_port(flow).map_or(Part::Missing, Part::Int),
            Source::Node(owner, end) => ends.name(*owner, *end, flow),
        }
    }
}

/// Names of keys that are not fields of flows.
const EXTRA_NAMES: [&str; 16] = [
    "Port",
    "Network",
    "Link",
    "Transport",
    "Node",
    "Node.A",
    "Node.B",
    "Namespace",
    "Namespace.A",
    "Namespace.B",
    "Container",
    "Container.A",
    "Container.B",
    "Host",
    "Host.A",
    "Host.B",
];

fn source(name: &str) -> Option<Source> {
    if name == "Port" {
        return Some(Source::Port);
    }
    if let Some(source) = node_source(name) {
        return Some(source);
    }
    let (name, lengths) = match name.split_once('/') {
        Some((name, lengths)) => (name, Some(Lengths::parse(lengths)?)),
        None => (name, None),
    };
    match (FlowField::parse(name)?, lengths) {
        (FlowField::Object(object), lengths) => {
            let fields = ends_of(object)?;
            let is_address = object == ObjectField::Network;
            (is_address || lengths.is_none()).then_some(Source::EitherEnd(fields, lengths))
        }
        (field, None) => Some(Source::Field(field)),
        (FlowField::Text(field @ (TextField::NetworkA | TextField::NetworkB)), Some(lengths)) => {
            Some(Source::Prefix(field, lengths))
        }
        _ => None,
    }
}

fn node_source(name: &str) -> Option<Source> {
    let (owner, end) = name.split_once('.').unwrap_or((name, ""));
    let owner = match owner {
        "Node" => Owner::Node,
        "Namespace" => Owner::Namespace,
        "Container" => Owner::Container,
        "Host" => Owner::Host,
        _ => return None,
    };
    let end = match end {
        "" => End::Capture,
        "A" => End::A,
        "B" => End::B,
        _ => return None,
    };
    Some(Source::Node(owner, end))
}

/// Returns the fields of both ends at a layer.
const fn ends_of(object: ObjectField) -> Option<[FlowField; 2]> {
    use {IntField::Plain, TextField as T};
    match object {
        ObjectField::Link => Some([FlowField::Text(T::LinkA), FlowField::Text(T::LinkB)]),
        ObjectField::Network => Some([FlowField::Text(T::NetworkA), FlowField::Text(T::NetworkB)]),
        ObjectField::Transport => Some([
            FlowField::Int(Plain(PlainInt::TransportA)),
            FlowField::Int(Plain(PlainInt::TransportB)),
        ]),
        _ => None,
    }
}

impl Lengths {
    /// Parses `24`, `64` (of IPv6 only), or `24/64`.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u8>().ok();
        let (ipv4, ipv6) = match text.split_once('/') {
            Some((ipv4, ipv6)) => (number(ipv4)?, number(ipv6)?),
            None => match number(text)? {
                ipv6 @ 33.. => (32, ipv6),
                ipv4 => (ipv4, IPV6_SUBNET),
            },
        };
        (ipv4 <= 32 && ipv6 <= 128).then_some(Self { ipv4, ipv6 })
    }

    /// Returns the network of an address.
    fn apply(self, part: Part) -> Part {
        let Part::Text(text) = part else {
            return Part::Missing;
        };
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.ipv4.min(32));
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                let network = (u32::from(address) & mask).to_be_bytes();
                Part::Prefix(IpAddr::from(network), self.ipv4)
            }
            Ok(IpAddr::V6(address)) => {
                let host_bits = 128 - u32::from(self.ipv6.min(128));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                let network = (u128::from(address) & mask).to_be_bytes();
                Part::Prefix(IpAddr::from(network), self.ipv6)
            }
            Err(_) => Part::Text(text),
        }
    }
}

/// Returns the value of a field; missing if it is absent or an object.
fn part(flow: &Flow, field: &FlowField) -> Part {
    if let FlowField::Text(field) = field
        && let Some(text) = shared_text(flow, *field)
    {
        return match text.is_empty() {
            true => Part::Missing,
            false => Part::Text(text.clone()),
        };
    }
    match flow.value(field) {
        Some(Value::Int(number)) => Part::Int(number),
        Some(Value::Text(text)) if !text.is_empty() => Part::Text(text),
        Some(Value::Bool(bool)) => Part::Int(bool.into()),
        Some(list @ Value::List(_)) => {
            Part::Text(Text::from(serde_json::to_string(&list).unwrap_or_default()))
        }
        _ => Part::Missing,
    }
}

/// Returns a string field that can be cloned without allocation; `None` if the field is absent or
/// has another form.
fn shared_text(flow: &Flow, field: TextField) -> Option<&Text> {
    match field {
        TextField::Uuid => Some(&flow.uuid),
        TextField::Application => Some(&flow.application),
        TextField::NodeTid => Some(&flow.node_tid),
        TextField::CaptureId => Some(&flow.capture_id),
        TextField::LayersPath => Some(&flow.layers_path),
        TextField::LinkA => flow.link.as_ref().map(|link| &link.a),
        TextField::LinkB => flow.link.as_ref().map(|link| &link.b),
        TextField::NetworkA => flow.network.as_ref().map(|network| &network.a),
        TextField::NetworkB => flow.network.as_ref().map(|network| &network.b),
        _ => None,
    }
}

/// Returns the port of the end that accepted the connection: that of end B if A opened it, and the
/// smaller port if this is unknown.
fn service_port(flow: &Flow) -> Option<i64> {
    let transport = flow.transport.as_ref()?;
    let has_ports = matches!(
        transport.protocol,
        FlowProtocol::Tcp | FlowProtocol::Udp | FlowProtocol::Sctp
    );
    let opener = flow
        .initiator
        .as_ref()
        .map(|initiator| initiator.side.as_str());
    has_ports.then_some(match opener {
        Some("A") => transport.b,
        Some("B") => transport.a,
        _ => transport.a.min(transport.b),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowLayer, TransportLayer};

    fn value(name: &str, flow: &Flow, side: Side) -> Value {
        let key = GroupKey::parse(&name.into()).unwrap();
        key.of(flow, side, &Ends::default()).to_value()
    }

    fn flow(a: &str, b: &str) -> Flow {
        let network = FlowLayer {
            protocol: FlowProtocol::Ipv4,
            a: a.into(),
            b: b.into(),
            id: 0,
        };
        let transport = TransportLayer {
            protocol: FlowProtocol::Tcp,
            a: 40_000,
            b: 443,
            id: 0,
        };
        Flow::default()
            .with_network(network)
            .with_transport(transport)
    }

    #[test]
    fn addresses_are_grouped_by_their_network() {
        let flow4 = flow("192.0.2.77", "198.51.100.7");
        let flow6 = flow("2001:db8:1:2:3::4", "::1");
        for (name, ipv4, ipv6) in [
            ("Network.A", "192.0.2.77", "2001:db8:1:2:3::4"),
            ("Network.A/24", "192.0.2.0/24", "2001:db8:1:2::/64"),
            ("Network.A/48", "192.0.2.77/32", "2001:db8:1::/48"),
            ("Network.A/8/32", "192.0.0.0/8", "2001:db8::/32"),
            ("Network/0/0", "0.0.0.0/0", "::/0"),
        ] {
            assert_eq!(value(name, &flow4, Side::A), Value::from(ipv4), "{name}");
            assert_eq!(value(name, &flow6, Side::A), Value::from(ipv6), "{name}");
        }
        assert_eq!(
            value("Network", &flow4, Side::B),
            Value::from("198.51.100.7")
        );
        assert_eq!(
            value("Network.A/24", &Flow::default(), Side::A),
            Value::Null
        );
    }

    #[test]
    fn the_port_is_that_of_the_accepting_end() {
        let opened_by = |side: &str| Flow {
            initiator: serde_json::from_value(serde_json::json!({"Side": side, "By": "SYN"})).ok(),
            ..flow("10.0.0.1", "10.0.0.2")
        };
        assert_eq!(value("Port", &opened_by("A"), Side::A), Value::Int(443));
        assert_eq!(value("Port", &opened_by("B"), Side::A), Value::Int(40_000));
        assert_eq!(value("Port", &flow("a", "b"), Side::A), Value::Int(443));
        assert_eq!(
            value("Transport.A", &flow("a", "b"), Side::B),
            Value::Int(40_000)
        );
        assert_eq!(value("Port", &Flow::default(), Side::A), Value::Null);
    }

    #[test]
    fn an_unknown_key_is_rejected_with_the_nearest_name() {
        let error = |name: &str| GroupKey::parse(&name.into()).unwrap_err();
        assert!(
            error("Network.C").contains("Network.A"),
            "{}",
            error("Network.C")
        );
        assert!(
            error("Namspace").contains("\"Namespace\""),
            "{}",
            error("Namspace")
        );
        for wrong in [
            "Network.A/33/64",
            "Network.A/x",
            "Application/24",
            "Link/24",
            "Metric",
        ] {
            assert!(
                error(wrong).starts_with("flows cannot be grouped by"),
                "{wrong}"
            );
        }
    }
}
