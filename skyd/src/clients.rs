//! Registry of connected WebSocket clients by endpoint and host id.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use skylib::time::Timestamp;

/// WebSocket endpoint; each endpoint has its own set of client ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    /// `/ws/subscriber`
    Subscriber,
    /// `/ws/publisher`
    Publisher,
    /// `/ws/pubsub`
    Pubsub,
    /// `/ws/subscriber/flow`
    Flow,
    /// `/ws/agent/topology`
    Agent,
    /// `/ws/agent/flow`
    AgentFlow,
    /// `/ws/replication`
    Replication,
}

/// Registered clients of all endpoints. A host id is registered at most once per endpoint. Clones share
/// the registry.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clients: Mutex<BTreeMap<(Endpoint, String), ClientStatus>>,
    /// Number of connections so far; ids begin at 1.
    connections: AtomicU64,
    dropped: AtomicU64,
}

/// Identity that a client declares in its WebSocket handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    /// Identity within the endpoint; address and port of the socket if the client declares none.
    pub(crate) host_id: String,
    /// Type of the client, such as `agent`; empty if the client declares none.
    pub(crate) client_type: String,
    /// Requested encoding, unparsed: `json`, `protobuf`, or empty for JSON.
    pub(crate) protocol: String,
}

impl ClientIdentity {
    /// Returns the length of the longest member, in bytes.
    pub(crate) fn longest(&self) -> usize {
        let texts = [&self.host_id, &self.client_type, &self.protocol];
        texts.map(String::len).into_iter().max().unwrap_or_default()
    }
}

/// Entry of a client in `/api/status`.
///
/// COMPAT: the member names of Skydive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClientStatus {
    service_type: String,
    client_protocol: String,
    addr: String,
    port: u16,
    is_connected: bool,
    connect_time: String,
    remote_host: String,
}

impl Clients {
    /// Registers a client as not yet connected. Returns `None` if its host id is already
    /// registered.
    pub(crate) fn reserve(
        &self,
        endpoint: Endpoint,
        identity: &ClientIdentity,
        peer: SocketAddr,
        now: Timestamp,
    ) -> Option<Registration> {
        let key = (endpoint, identity.host_id.clone());
        let mut clients = self.0.clients();
        if clients.contains_key(&key) {
            return None;
        }
        let status = ClientStatus {
            service_type: identity.client_type.clone(),
            client_protocol: match identity.protocol.as_str() {
                "" => "json".to_owned(),
                protocol => protocol.to_owned(),
            },
            addr: peer.ip().to_string(),
            port: peer.port(),
            is_connected: false,
            connect_time: now.to_rfc3339(),
            remote_host: identity.host_id.clone(),
        };
        clients.insert(key.clone(), status);
        let id = self.next_connection();
        Some(Registration {
            clients: self.clone(),
            key,
            id,
        })
    }

    /// Returns the id of a new connection, which is unique among all connections.
    pub(crate) fn next_connection(&self) -> u64 {
        // As the author of an event, 0 means no connection.
        1 + self.0.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns whether a host id is registered at an endpoint.
    pub(crate) fn is_taken(&self, endpoint: Endpoint, host_id: &str) -> bool {
        self.0
            .clients()
            .contains_key(&(endpoint, host_id.to_owned()))
    }

    /// Returns the clients of an endpoint by their host ids.
    pub(crate) fn status(&self, endpoint: Endpoint) -> BTreeMap<String, ClientStatus> {
        let clients = self.0.clients();
        let of_endpoint = clients.iter().filter(|((of, _), _)| *of == endpoint);
        of_endpoint
            .map(|((_, id), status)| (id.clone(), status.clone()))
            .collect()
    }

    /// Returns the number of clients of an endpoint.
    pub(crate) fn count(&self, endpoint: Endpoint) -> usize {
        let clients = self.0.clients();
        clients.keys().filter(|(of, _)| *of == endpoint).count()
    }

    /// Counts messages that were dropped as invalid or not permitted.
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.0.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Returns the number of messages dropped as invalid or not permitted.
    pub(crate) fn messages_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<(Endpoint, String), ClientStatus>> {
        // No code that can panic runs under this lock, so a poisoned one is consistent.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a registered client; dropping it releases the host id.
pub(crate) struct Registration {
    clients: Clients,
    key: (Endpoint, String),
    id: u64,
}

impl Registration {
    /// Returns the unique id of the connection, which identifies it as the author of graph events.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Marks the client as connected.
    pub(crate) fn set_connected(&self) {
        if let Some(status) = self.clients.0.clients().get_mut(&self.key) {
            status.is_connected = true;
        }
    }

    /// Counts messages of this client that were dropped as invalid or not permitted.
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.clients.count_dropped(messages);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clients.0.clients().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(id: &str) -> (ClientIdentity, SocketAddr) {
        let identity = ClientIdentity {
            host_id: id.to_owned(),
            client_type: "agent".to_owned(),
            protocol: "protobuf".to_owned(),
        };
        (identity, "10.1.0.7:40122".parse().unwrap())
    }

    #[test]
    fn an_id_is_registered_once_per_endpoint_until_dropped() {
        let clients = Clients::default();
        let (identity, peer) = declared("node-7");
        let reserve = |endpoint| clients.reserve(endpoint, &identity, peer, Timestamp::ZERO);
        let first = reserve(Endpoint::Subscriber).unwrap();
        assert!(reserve(Endpoint::Subscriber).is_none());
        let other = reserve(Endpoint::Publisher).unwrap();
        assert_ne!(first.id(), other.id());
        assert!(clients.is_taken(Endpoint::Subscriber, "node-7"));
        drop(first);
        assert!(!clients.is_taken(Endpoint::Subscriber, "node-7"));
        assert!(reserve(Endpoint::Subscriber).is_some());
    }

    #[test]
    fn the_status_has_the_member_names_of_skydive() {
        let clients = Clients::default();
        let (identity, peer) = declared("node-7");
        let now = Timestamp::from_ms(1_738_573_811_500);
        let registration = clients
            .reserve(Endpoint::Publisher, &identity, peer, now)
            .unwrap();
        registration.set_connected();
        let status = serde_json::to_string(&clients.status(Endpoint::Publisher)).unwrap();
        assert_eq!(
            status,
            concat!(
                r#"{"node-7":{"ServiceType":"agent","ClientProtocol":"protobuf","#,
                r#""Addr":"10.1.0.7","Port":40122,"IsConnected":true,"#,
                r#""ConnectTime":"2025-02-03T09:10:11.5Z","RemoteHost":"node-7"}}"#
            )
        );
        assert!(clients.status(Endpoint::Subscriber).is_empty());
    }
}
