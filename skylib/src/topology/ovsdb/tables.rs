//! `Tables`: a copy of the monitored tables of an OVSDB server, and the messages that update it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::row::Row;

/// A message that violates the protocol (RFC 7047) or reports an error, or a table with too many
/// rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OvsdbError {
    /// A message is not JSON.
    #[error("a message of the OVSDB server is malformed: {0}")]
    Malformed(String),
    /// The server has rejected a request.
    #[error("the OVSDB server rejects the request: {0}")]
    Rejected(String),
    /// A table has too many rows.
    #[error("the table {0} has more than {MAX_ROWS} rows")]
    TooManyRows(String),
}

/// Rows by table and UUID.
///
/// ```
/// use skylib::topology::ovsdb::{Tables, Reply};
///
/// let mut tables = Tables::default();
/// let update = br#"{"method":"update","id":null,"params":[null,
///     {"Bridge":{"u1":{"new":{"name":"br0"}}}}]}"#;
/// assert_eq!(tables.receive(update)?, Reply::Changed);
/// assert_eq!(tables.row_count(), 1);
/// # Ok::<(), skylib::topology::ovsdb::OvsdbError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tables {
    rows: BTreeMap<String, BTreeMap<String, Row>>,
}

/// Consequence of a message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Rows have changed.
    Changed,
    /// The message has to be sent to the server.
    Send(String),
    /// Nothing.
    Nothing,
}

impl Tables {
    /// Returns the request for the schema, which is the first message to the server.
    pub(super) fn schema_request() -> String {
        json!({"method": "get_schema", "params": [DATABASE], "id": SCHEMA}).to_string()
    }

    /// Returns a request that the server answers immediately, to find out whether it is alive.
    pub(super) fn echo_request() -> String {
        json!({"method": "echo", "params": [], "id": ECHO}).to_string()
    }

    /// Returns the number of rows of all tables.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum()
    }

    /// Returns the rows of a table by UUID.
    pub(super) fn rows(&self, table: &str) -> impl Iterator<Item = (&str, &Row)> {
        let rows = self.rows.get(table).into_iter().flatten();
        rows.map(|(id, row)| (id.as_str(), row))
    }

    pub(super) fn row(&self, table: &str, id: &str) -> Option<&Row> {
        self.rows.get(table)?.get(id)
    }

    /// Applies a message of the server: the schema, the initial rows, a change, or an echo request.
    ///
    /// # Errors
    /// Returns [`OvsdbError`] if the message is malformed or an error.
    pub fn receive(&mut self, message: &[u8]) -> Result<Reply, OvsdbError> {
        let malformed = |error: &dyn std::fmt::Display| OvsdbError::Malformed(error.to_string());
        let message: Json = serde_json::from_slice(message).map_err(|error| malformed(&error))?;
        let id = message.get("id").unwrap_or(&Json::Null);
        match message.get("method").and_then(Json::as_str) {
            Some("update") => {
                let updates = message.pointer("/params/1");
                self.apply(updates.ok_or_else(|| malformed(&"an update without tables"))?)?;
                return Ok(Reply::Changed);
            }
            Some("echo") => {
                let params = message.get("params").unwrap_or(&Json::Null);
                let reply = json!({"result": params, "error": null, "id": id});
                return Ok(Reply::Send(reply.to_string()));
            }
            Some(_) => return Ok(Reply::Nothing),
            None => {}
        }
        if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
            let text = error.get("error").and_then(Json::as_str);
            let text = text.map_or_else(|| error.to_string(), str::to_owned);
            return Err(OvsdbError::Rejected(text));
        }
        let result = message.get("result").unwrap_or(&Json::Null);
        match id.as_str() {
            Some(SCHEMA) => Ok(Reply::Send(monitor_request(result))),
            Some(MONITOR) => {
                self.rows.clear();
                self.apply(result)?;
                Ok(Reply::Changed)
            }
            _ => Ok(Reply::Nothing),
        }
    }

    /// Applies the rows of a `<table-updates>` (RFC 7047 section 4.1.6).
    fn apply(&mut self, updates: &Json) -> Result<(), OvsdbError> {
        for (table, rows) in updates.as_object().into_iter().flatten() {
            if !COLUMNS.iter().any(|(name, _)| name == table) {
                continue;
            }
            let known = self.rows.entry(table.clone()).or_default();
            for (id, change) in rows.as_object().into_iter().flatten() {
                match change.get("new") {
                    Some(Json::Object(columns)) => {
                        known.insert(id.clone(), Row(columns.clone()));
                    }
                    _ => drop(known.remove(id)),
                }
            }
            if known.len() > MAX_ROWS {
                return Err(OvsdbError::TooManyRows(table.clone()));
            }
        }
        Ok(())
    }
}

/// Returns the request to monitor all known columns that the schema has: older switches lack some.
fn monitor_request(schema: &Json) -> String {
    let mut requests = serde_json::Map::new();
    for (table, columns) in COLUMNS {
        let existing = schema.pointer(&format!("/tables/{table}/columns"));
        let Some(existing) = existing.and_then(Json::as_object) else {
            continue;
        };
        let wanted: BTreeSet<&str> = columns
            .iter()
            .copied()
            .filter(|column| existing.contains_key(*column))
            .collect();
        requests.insert(table.to_owned(), json!({"columns": wanted}));
    }
    json!({"method": "monitor", "params": [DATABASE, null, requests], "id": MONITOR}).to_string()
}

/// Monitored tables and columns.
const COLUMNS: [(&str, &[&str]); 4] = [
    (
        "Open_vSwitch",
        &["db_version", "external_ids", "other_config", "ovs_version"],
    ),
    (
        "Bridge",
        &["external_ids", "name", "other_config", "ports", "protocols"],
    ),
    (
        "Port",
        &[
            "bond_mode",
            "external_ids",
            "interfaces",
            "lacp",
            "name",
            "other_config",
            "tag",
            "trunks",
            "vlan_mode",
        ],
    ),
    (
        "Interface",
        &[
            "error",
            "external_ids",
            "ifindex",
            "mac_in_use",
            "name",
            "ofport",
            "options",
            "other_config",
            "statistics",
            "status",
            "type",
        ],
    ),
];

/// Name of the database of a switch.
pub(super) const DATABASE: &str = "Open_vSwitch";

// Identifiers of requests.
const SCHEMA: &str = "schema";
const MONITOR: &str = "monitor";
const ECHO: &str = "alive";

/// Maximum number of rows of a table.
const MAX_ROWS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_determines_what_is_monitored() {
        let schema = json!({"id": "schema", "error": null, "result": {"tables": {
            "Bridge": {"columns": {"name": {}, "ports": {}, "stp_enable": {}}}}}});
        let reply = Tables::default()
            .receive(schema.to_string().as_bytes())
            .unwrap();
        let Reply::Send(request) = reply else {
            panic!("{reply:?}")
        };
        let request: Json = serde_json::from_str(&request).unwrap();
        let wanted = json!(["Open_vSwitch", null, {"Bridge": {"columns": ["name", "ports"]}}]);
        assert_eq!(request["params"], wanted);
    }

    #[test]
    fn rows_are_added_replaced_and_deleted() {
        let mut tables = Tables::default();
        let first = json!({"id": "monitor", "error": null, "result": {
            "Bridge": {"b": {"new": {"name": "br0"}}}, "Mirror": {"m": {"new": {}}}}});
        assert_eq!(
            tables.receive(first.to_string().as_bytes()),
            Ok(Reply::Changed)
        );
        assert_eq!(tables.row_count(), 1, "other tables are ignored");
        let update = |change: Json| {
            json!({"method": "update", "id": null, "params": [null, {"Bridge": change}]})
                .to_string()
        };
        let change = update(json!({"b": {"old": {"name": "br0"}, "new": {"name": "br1"}}}));
        tables.receive(change.as_bytes()).unwrap();
        assert_eq!(tables.row("Bridge", "b").unwrap().text("name"), Some("br1"));
        let deletion = update(json!({"b": {"old": {"name": "br1"}}}));
        tables.receive(deletion.as_bytes()).unwrap();
        assert_eq!(tables.row_count(), 0);
        tables.receive(first.to_string().as_bytes()).unwrap();
        let again = json!({"id": "monitor", "error": null, "result": {}});
        tables.receive(again.to_string().as_bytes()).unwrap();
        assert_eq!(tables.row_count(), 0, "the initial rows replace all others");
    }

    #[test]
    fn echoes_are_answered_and_errors_reported() {
        let mut tables = Tables::default();
        let echo = tables
            .receive(br#"{"method":"echo","params":["x"],"id":"echo"}"#)
            .unwrap();
        let Reply::Send(reply) = echo else {
            panic!("{echo:?}")
        };
        let reply: Json = serde_json::from_str(&reply).unwrap();
        assert_eq!(reply, json!({"id": "echo", "error": null, "result": ["x"]}));
        let answer = br#"{"id":"alive","result":[],"error":null}"#;
        assert_eq!(tables.receive(answer), Ok(Reply::Nothing));
        let refusal = br#"{"id":"monitor","result":null,"error":{"error":"unknown database"}}"#;
        let refused = OvsdbError::Rejected("unknown database".to_owned());
        assert_eq!(tables.receive(refusal), Err(refused));
        for wrong in ["", "[]x", r#"{"method":"update","params":[]}"#] {
            let error = tables.receive(wrong.as_bytes()).unwrap_err();
            assert!(
                matches!(error, OvsdbError::Malformed(_)),
                "{wrong}: {error}"
            );
        }
    }
}
