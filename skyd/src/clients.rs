//! Who is connected to which endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use skylib::time::Timestamp;

/// Endpoints whose clients are kept apart. Complete by definition.
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
}

/// The clients of all endpoints. A client's id is taken at most once in each.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clients: Mutex<BTreeMap<(Endpoint, String), ClientStatus>>,
    next_id: AtomicU64,
    dropped: AtomicU64,
}

/// Identity that a client declares in its WebSocket handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    /// Its identity within the endpoint; address and port of its socket if it gives none.
    pub(crate) host_id: String,
    /// Its kind; required.
    pub(crate) client_type: String,
    /// `json`, `protobuf`, or empty for JSON; as it was written.
    pub(crate) protocol: String,
}

/// What the status shows of a client.
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
    /// Takes a client's id in an endpoint; `None` if somebody has it.
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
            client_protocol: identity.protocol.clone(),
            addr: peer.ip().to_string(),
            port: peer.port(),
            is_connected: false,
            connect_time: now.to_rfc3339(),
            remote_host: identity.host_id.clone(),
        };
        clients.insert(key.clone(), status);
        // Zero is no connection.
        let id = 1 + self.0.next_id.fetch_add(1, Ordering::Relaxed);
        Some(Registration {
            pools: self.clone(),
            key,
            id,
        })
    }

    /// Whether somebody has this id.
    pub(crate) fn is_taken(&self, endpoint: Endpoint, host_id: &str) -> bool {
        self.0
            .clients()
            .contains_key(&(endpoint, host_id.to_owned()))
    }

    /// The clients of an endpoint by their ids.
    pub(crate) fn status(&self, endpoint: Endpoint) -> BTreeMap<String, ClientStatus> {
        let clients = self.0.clients();
        let of_endpoint = clients.iter().filter(|((of, _), _)| *of == endpoint);
        of_endpoint
            .map(|((_, id), status)| (id.clone(), status.clone()))
            .collect()
    }

    /// How many clients an endpoint has.
    pub(crate) fn count(&self, endpoint: Endpoint) -> usize {
        let clients = self.0.clients();
        clients.keys().filter(|(of, _)| *of == endpoint).count()
    }

    /// Counts messages of clients that were not understood or not allowed.
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.0.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// How many messages of clients were not understood or not allowed.
    pub(crate) fn messages_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<(Endpoint, String), ClientStatus>> {
        // No code that can panic runs under this lock, so a poisoned one still holds a whole map.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place in an endpoint; dropping it frees the id.
pub(crate) struct Registration {
    pools: Clients,
    key: (Endpoint, String),
    id: u64,
}

impl Registration {
    /// Names this connection among all, for the events it causes.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// The client counts as connected from now on.
    pub(crate) fn join(&self) {
        if let Some(status) = self.pools.0.clients().get_mut(&self.key) {
            status.is_connected = true;
        }
    }

    /// See [`Clients::count_dropped`].
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.pools.count_dropped(messages);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.pools.0.clients().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: &str) -> (ClientIdentity, SocketAddr) {
        let identity = ClientIdentity {
            host_id: id.to_owned(),
            client_type: "agent".to_owned(),
            protocol: "protobuf".to_owned(),
        };
        (identity, "10.1.0.7:40122".parse().unwrap())
    }

    #[test]
    fn an_id_is_taken_once_in_each_endpoint_and_freed_at_the_end() {
        let pools = Clients::default();
        let (said, peer) = identity("node-7");
        let reserve = |endpoint| pools.reserve(endpoint, &said, peer, Timestamp::ZERO);
        let first = reserve(Endpoint::Subscriber).unwrap();
        assert!(reserve(Endpoint::Subscriber).is_none());
        let other = reserve(Endpoint::Publisher).unwrap();
        assert_ne!(first.id(), other.id());
        assert!(pools.is_taken(Endpoint::Subscriber, "node-7"));
        drop(first);
        assert!(!pools.is_taken(Endpoint::Subscriber, "node-7"));
        assert!(reserve(Endpoint::Subscriber).is_some());
    }

    #[test]
    fn the_status_has_the_keys_of_the_original() {
        let pools = Clients::default();
        let (said, peer) = identity("node-7");
        let now = Timestamp::from_ms(1_738_573_811_500);
        let place = pools
            .reserve(Endpoint::Publisher, &said, peer, now)
            .unwrap();
        place.join();
        let status = serde_json::to_string(&pools.status(Endpoint::Publisher)).unwrap();
        assert_eq!(
            status,
            concat!(
                r#"{"node-7":{"ServiceType":"agent","ClientProtocol":"protobuf","#,
                r#""Addr":"10.1.0.7","Port":40122,"IsConnected":true,"#,
                r#""ConnectTime":"2025-02-03T09:10:11.5Z","RemoteHost":"node-7"}}"#
            )
        );
        assert!(pools.status(Endpoint::Subscriber).is_empty());
    }
}
