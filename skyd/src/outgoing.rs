//! Registry of the connections that the daemon opens, for its status.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use skylib::api::address::ServiceAddress;
use skylib::time::{Clock, SystemClock};

/// Connections to other daemons, in the order of their configuration. Clones share the registry.
#[derive(Clone, Default)]
pub(crate) struct Outgoing(Arc<Mutex<Vec<OutgoingStatus>>>);

/// Entry of a connection in `/api/status`.
///
/// COMPAT: the member names of Skydive; `Error` is an addition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OutgoingStatus {
    service_type: &'static str,
    client_protocol: &'static str,
    addr: String,
    port: u16,
    is_connected: bool,
    connect_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remote_host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remote_service_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_master: Option<bool>,
    /// Reason why the last attempt to connect failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Outgoing {
    /// Adds a connection that is not open yet; returns its number.
    pub(crate) fn add(
        &self,
        service_type: &'static str,
        client_protocol: &'static str,
        address: &ServiceAddress,
    ) -> usize {
        let mut entries = self.entries();
        entries.push(OutgoingStatus {
            service_type,
            client_protocol,
            addr: address.host.clone(),
            port: address.port,
            is_connected: false,
            // COMPAT: the start of the client, not of the connection.
            connect_time: SystemClock.now().to_rfc3339(),
            remote_host: String::new(),
            remote_service_type: String::new(),
            is_master: None,
            error: None,
        });
        entries.len() - 1
    }

    /// Marks a connection as open.
    pub(crate) fn set_connected(&self, index: usize, host: &str, service: &str) {
        self.change(index, |entry| {
            entry.is_connected = true;
            host.clone_into(&mut entry.remote_host);
            service.clone_into(&mut entry.remote_service_type);
            entry.error = None;
        });
    }

    /// Marks a connection as closed, with the reason.
    pub(crate) fn set_closed(&self, index: usize, reason: &str) {
        self.change(index, |entry| {
            entry.is_connected = false;
            entry.error = Some(reason.to_owned());
        });
    }

    /// Marks the connection to the master, if there is one.
    pub(crate) fn set_master(&self, master: Option<usize>) {
        for (index, entry) in self.entries().iter_mut().enumerate() {
            entry.is_master = Some(master == Some(index));
        }
    }

    /// Returns the connections by the identity of the other end; before it is known, by address.
    pub(crate) fn status(&self) -> std::collections::BTreeMap<String, OutgoingStatus> {
        let key = |entry: &OutgoingStatus| match entry.remote_host.as_str() {
            "" => format!("{}:{}", entry.addr, entry.port),
            host => host.to_owned(),
        };
        let entries = self.entries();
        let mut status = std::collections::BTreeMap::new();
        for entry in entries.iter() {
            // Two addresses of the same host: the open connection is shown.
            let held = status.entry(key(entry)).or_insert_with(|| entry.clone());
            if entry.is_connected {
                *held = entry.clone();
            }
        }
        status
    }

    /// Returns the number of open connections.
    pub(crate) fn connected(&self) -> usize {
        self.entries()
            .iter()
            .filter(|entry| entry.is_connected)
            .count()
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut OutgoingStatus)) {
        if let Some(entry) = self.entries().get_mut(index) {
            change(entry);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<OutgoingStatus>> {
        // No code that can panic runs under this lock, so a poisoned one is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_shown_by_its_address_until_the_host_is_known() {
        let outgoing = Outgoing::default();
        let address: ServiceAddress = "an.example:8082".parse().unwrap();
        let index = outgoing.add("agent", "protobuf", &address);
        outgoing.set_closed(index, "refused");
        let status = serde_json::to_value(outgoing.status()).unwrap();
        assert_eq!(status["an.example:8082"]["Error"], "refused");
        outgoing.set_connected(index, "an1", "analyzer");
        outgoing.set_master(Some(index));
        let status = serde_json::to_value(outgoing.status()).unwrap();
        let entry = &status["an1"];
        assert_eq!(
            (&entry["IsConnected"], &entry["IsMaster"]),
            (&true.into(), &true.into())
        );
        assert_eq!(entry["RemoteServiceType"], "analyzer");
        assert_eq!(
            (entry["Port"].as_u64(), outgoing.connected()),
            (Some(8082), 1)
        );
    }
}
