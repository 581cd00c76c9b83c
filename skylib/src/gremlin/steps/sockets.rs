//! `Sockets`: sockets of processes, found by node or by flow.

use std::ops::ControlFlow;

use hashbrown::HashMap;

use crate::filter::{Filter, Predicate};
use crate::flow::{Flow, FlowProtocol};
use crate::graph::{ElementKey, NodeRef};
use crate::gremlin::budget::{Budget, Room};
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::gremlin::steps::values;
use crate::value::{Text, Value};

/// Returns the sockets of each node that has any, by node id.
pub(in crate::gremlin) fn of_nodes(
    nodes: &[NodeRef],
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Vec<Value>)>, QueryError> {
    let mut room = budget.room();
    let mut found = Vec::new();
    for node in nodes {
        budget.tick()?;
        if let Some(value) = node.metadata.get(KEY) {
            let sockets = list(value)?;
            for socket in sockets {
                room.add(size_of::<Value>() + socket.heap_bytes())?;
            }
            found.push((Text::from(node.id.to_string()), sockets.to_vec()));
        }
    }
    Ok(found)
}

/// Returns the sockets in the graph to which TCP and UDP flows belong, by flow UUID.
///
/// A hash join: the endpoints of the flows are hashed, then each socket is looked up once.
pub(in crate::gremlin) fn of_flows(
    scope: &Scope<'_>,
    flows: &[Flow],
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Vec<Value>)>, QueryError> {
    let mut wanted: HashMap<Ends, Vec<Value>> = flows
        .iter()
        .filter_map(Ends::of_flow)
        .flat_map(|ends| [ends.reversed(), ends])
        .map(|ends| (ends, Vec::new()))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut room = budget.room();
    let mut failed = Ok(());
    let holders =
        Filter::test(KEY, Predicate::Present).map_keys(&mut |key: &Text| ElementKey::parse(key));
    scope.visit_nodes(&holders, budget, &mut |node| {
        failed = budget
            .tick()
            .and_then(|()| take(&node, &mut wanted, &mut room));
        if failed.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed?;
    let mut found = Vec::new();
    for flow in flows {
        let Some(ends) = Ends::of_flow(flow) else {
            continue;
        };
        let both = [&ends.reversed(), &ends];
        let sockets: Vec<Value> = both
            .into_iter()
            .filter_map(|e| wanted.get(e))
            .flatten()
            .cloned()
            .collect();
        if !sockets.is_empty() {
            found.push((flow.uuid.clone(), sockets));
        }
    }
    Ok(found)
}

/// Adds the sockets of a node whose endpoints are wanted.
fn take(
    node: &NodeRef,
    wanted: &mut HashMap<Ends, Vec<Value>>,
    room: &mut Room<'_, '_>,
) -> Result<(), QueryError> {
    for socket in node.metadata.get(KEY).map_or(Ok(&[][..]), list)? {
        if let Some(found) = Ends::of_socket(socket).and_then(|ends| wanted.get_mut(&ends)) {
            room.add(size_of::<Value>())?;
            found.push(socket.clone());
        }
    }
    Ok(())
}

/// Returns the sockets that match a filter. Nodes and flows without any are dropped.
pub(in crate::gremlin) fn filter(
    sockets: Vec<(Text, Vec<Value>)>,
    filter: &Filter,
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Vec<Value>)>, QueryError> {
    let mut remaining = Vec::new();
    for (id, list) in sockets {
        let list = values::filter_list(list, filter, budget)?;
        if !list.is_empty() {
            remaining.push((id, list));
        }
    }
    Ok(remaining)
}

/// Returns the value of a field of every socket.
///
/// # Errors
/// Returns an error if sockets have no such field.
pub(in crate::gremlin) fn values(
    sockets: &[(Text, Vec<Value>)],
    key: &str,
) -> Result<Vec<Value>, QueryError> {
    let value = |socket: &Value| {
        let found = socket.as_map().and_then(|map| map.get(key)).cloned();
        match found {
            Some(value) => Ok(value),
            // COMPAT: Skydive reads the fields of a structure, which always has all of them.
            None if NUMBERS.contains(&key) => Ok(Value::Int(0)),
            None if FIELDS.contains(&key) => Ok(Value::from("")),
            None => Err(QueryError::execute("Field not found")),
        }
    };
    sockets
        .iter()
        .flat_map(|(_, list)| list)
        .map(value)
        .collect()
}

/// Returns the sockets in a metadata value.
fn list(value: &Value) -> Result<&[Value], QueryError> {
    value
        .as_list()
        .ok_or_else(|| QueryError::execute("wrong sockets type"))
}

/// Endpoints of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ends {
    is_tcp: bool,
    local: (Text, i64),
    remote: (Text, i64),
}

impl Ends {
    /// Returns the endpoints of a TCP or UDP flow, end A as local.
    fn of_flow(flow: &Flow) -> Option<Self> {
        let (network, transport) = (flow.network.as_ref()?, flow.transport.as_ref()?);
        let is_tcp = match transport.protocol {
            FlowProtocol::Tcp => true,
            FlowProtocol::Udp => false,
            _ => return None,
        };
        let local = (network.a.clone(), transport.a);
        Some(Self {
            is_tcp,
            local,
            remote: (network.b.clone(), transport.b),
        })
    }

    /// Returns the endpoints of a TCP or UDP socket.
    fn of_socket(socket: &Value) -> Option<Self> {
        let map = socket.as_map()?;
        let text = |key: &str| map.get(key).and_then(Value::as_text);
        let is_tcp = match text("Protocol")? {
            "TCP" => true,
            "UDP" => false,
            _ => return None,
        };
        let end = |address: &str, port: &str| {
            Some((Text::from(text(address)?), map.get(port)?.to_int()?))
        };
        let local = end("LocalAddress", "LocalPort")?;
        Some(Self {
            is_tcp,
            local,
            remote: end("RemoteAddress", "RemotePort")?,
        })
    }

    /// Returns the endpoints as the other side sees them.
    fn reversed(&self) -> Self {
        Self {
            is_tcp: self.is_tcp,
            local: self.remote.clone(),
            remote: self.local.clone(),
        }
    }
}

const KEY: &str = "Sockets";
const NUMBERS: [&str; 3] = ["Pid", "LocalPort", "RemotePort"];
const FIELDS: [&str; 9] = [
    "Process",
    "Pid",
    "Name",
    "LocalAddress",
    "LocalPort",
    "RemoteAddress",
    "RemotePort",
    "Protocol",
    "State",
];
