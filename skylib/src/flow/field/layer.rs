//! `LayerField`: fields of the extra layers and of stored packets, found by the path of their JSON
//! record. They are rarely read, so a lookup converts the layer to JSON.

use std::fmt;

use super::names::NAMES;
use super::to_value;
use crate::filter::Predicate;
use crate::flow::record::Flow;
use crate::value::{Map, Value};

/// Field of a DNS, DHCPv4, or VRRPv2 message, or of a stored packet: an index into the names of all
/// fields, always in range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LayerField(usize);

impl LayerField {
    /// Parses a path such as `DNS.Questions.Name`; `None` if there is no such field. The spelling
    /// of the JSON record, `DNS.questions.name`, is a path too.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let root = name.split('.').next().unwrap_or_default();
        if !ROOTS.contains(&root) {
            return None;
        }
        let found = NAMES.iter().position(|known| is_same(known, name));
        found.map(Self)
    }

    /// Returns the path of the field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self.0]
    }

    /// Returns the value: a list if the flow has several; `None` if it has none.
    pub(super) fn value(self, flow: &Flow) -> Option<Value> {
        let (root, path) = self.name().split_once('.')?;
        let layer = match root {
            "DNS" => to_value(Some(flow.dns.as_ref()?)),
            "DHCPv4" => to_value(Some(flow.dhcpv4.as_ref()?)),
            "VRRPv2" => to_value(Some(flow.vrrpv2.as_ref()?)),
            _ => Value::list(
                flow.last_raw_packets
                    .iter()
                    .map(|packet| to_value(Some(packet))),
            ),
        };
        if path == "Timestamp" && root == "DNS" {
            return unix_ms(&layer);
        }
        let mut found = Vec::new();
        collect(&layer, path, &mut found);
        match found.len() {
            // The record omits false.
            0 => BOOLEANS.contains(&path).then_some(Value::Bool(false)),
            1 => found.pop(),
            _ => Some(Value::from(found)),
        }
    }

    /// Returns whether the value, or an element of a list, satisfies a predicate.
    pub(super) fn test(self, flow: &Flow, predicate: &Predicate) -> bool {
        let value = self.value(flow);
        value.is_some_and(|value| predicate.matches(&value))
    }
}

impl fmt::Debug for LayerField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// First parts of the paths.
const ROOTS: [&str; 4] = ["DNS", "DHCPv4", "VRRPv2", "LastRawPackets"];

/// Fields of [`DnsLayer`](crate::flow::DnsLayer) that are booleans.
const BOOLEANS: [&str; 5] = ["QR", "AA", "TC", "RD", "RA"];

/// Returns whether two names differ only in case and underscores, as the names of a field in Go and
/// in JSON do.
fn is_same(name: &str, other: &str) -> bool {
    let letters = |name: &'_ str| -> Vec<u8> {
        let letters = name.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    name == other || letters(name) == letters(other)
}

/// Adds the values at a dotted path; lists are searched element by element.
fn collect(value: &Value, path: &str, found: &mut Vec<Value>) {
    match value {
        Value::List(list) => list.iter().for_each(|value| collect(value, path, found)),
        value if path.is_empty() => found.push(value.clone()),
        Value::Map(map) => {
            let (key, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(value) = member(map, key) {
                collect(value, rest, found);
            }
        }
        _ => {}
    }
}

fn member<'m>(map: &'m Map, name: &str) -> Option<&'m Value> {
    let mut members = map.iter();
    let found = members.find(|(key, _)| is_same(key, name));
    found.map(|(_, value)| value)
}

/// Returns the time of a DNS message, in Unix milliseconds.
fn unix_ms(layer: &Value) -> Option<Value> {
    let time = layer.as_map()?.get("timestamp")?.as_map()?;
    let number = |key: &str| time.get(key).and_then(Value::to_int).unwrap_or(0);
    let seconds = number("seconds").saturating_mul(1000);
    Some(Value::Int(
        seconds.saturating_add(number("nanos") / 1_000_000),
    ))
}
