//! `SwitchExports`: sFlow, NetFlow, and mirrors that captures configure on a switch.
//!
//! Each row that a capture adds has the key [`MARK`] in its external ids, with the identifier of the
//! capture. Rows with other owners are never changed, so that the configuration of an administrator
//! remains.

use std::collections::BTreeSet;
use std::io;

use serde_json::{Map as JsonMap, Value as Json, json};

use super::client::transact;
use super::row::Row;
use crate::topology::ServerAddress;

/// A switch, by the address of its OVSDB server.
#[derive(Clone, Debug)]
pub(crate) struct SwitchExports(ServerAddress);

/// Kind of data that a bridge exports. A bridge has at most one export of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BridgeExport {
    /// Sampled packets.
    Sflow {
        /// Number of bytes of each sampled packet.
        header: i64,
        /// One of this number of packets is sampled.
        sampling: i64,
        /// Interval of the counters, in seconds; 0: none.
        polling: i64,
    },
    /// Records of flows.
    NetFlow {
        /// Interval of the records of a flow that continues, in seconds.
        active_timeout: i64,
    },
}

impl BridgeExport {
    /// Returns the table of the export and the column of the bridge that refers to it.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Sflow { .. } => ("sFlow", "sflow"),
            Self::NetFlow { .. } => ("NetFlow", "netflow"),
        }
    }

    fn row(self, target: &str, owner: &str) -> Json {
        let mut row = match self {
            Self::Sflow {
                header,
                sampling,
                polling,
            } => json!({"agent": "lo", "header": header, "sampling": sampling, "polling": polling}),
            // The numbers of Skydive's engine.
            Self::NetFlow { active_timeout } => json!({"add_id_to_interface": true, "engine_id": 1,
                "engine_type": 10, "active_timeout": active_timeout}),
        };
        row["targets"] = json!(target);
        row["external_ids"] = mark(owner);
        row
    }
}

impl SwitchExports {
    /// Returns the switch whose OVSDB server has this address.
    pub(crate) const fn new(address: ServerAddress) -> Self {
        Self(address)
    }

    /// Makes a bridge export to a target (`address:port`) on behalf of `owner`.
    ///
    /// # Errors
    /// Returns an error if the bridge does not exist, or already exports for someone else.
    pub(crate) fn start_export(
        &self,
        bridge: &str,
        export: BridgeExport,
        target: &str,
        owner: &str,
    ) -> io::Result<()> {
        let (table, column) = export.names();
        let found = self.select(&[("Bridge", &["name", column]), (table, &["external_ids"])])?;
        let [bridges, exports] = &found[..] else {
            return Err(incomplete());
        };
        let row = bridges.iter().find(|row| id_of(row) == Some(bridge));
        let row =
            row.ok_or_else(|| io::Error::other(format!("no bridge has the UUID {bridge}")))?;
        let mine = marked(exports, |_| true);
        if row.references(column).iter().any(|id| !mine.contains(*id)) {
            let name = row.text("name").unwrap_or_default();
            return Err(io::Error::other(format!(
                "bridge {name} already has another {table} export: remove it with ovs-vsctl clear \
                 bridge {name} {column}"
            )));
        }
        // Fails if another client has configured an export since.
        let unchanged = json!({"op": "wait", "timeout": 0, "table": "Bridge", "where": [is(bridge)],
            "columns": [column], "until": "==", "rows": [{column: row.0.get(column)}]});
        let insert = json!({"op": "insert", "table": table, "row": export.row(target, owner),
            "uuid-name": "export"});
        let refer = json!({"op": "update", "table": "Bridge", "where": [is(bridge)],
            "row": {column: ["named-uuid", "export"]}});
        transact(&self.0, &[unchanged, insert, refer]).map(|_| ())
    }

    /// Mirrors the packets of a port, in both directions, to a new internal interface, and returns
    /// its name, which begins with `mir`.
    ///
    /// # Errors
    /// Returns an error if the port does not exist, or is itself the output of a mirror.
    pub(crate) fn start_mirror(&self, port: &str, owner: &str) -> io::Result<String> {
        let found = self.select(&[
            ("Bridge", &["ports"]),
            ("Port", &["name", "external_ids"]),
            ("Interface", &["name"]),
        ])?;
        let [bridges, ports, interfaces] = &found[..] else {
            return Err(incomplete());
        };
        if marked(ports, |_| true).contains(port) {
            let text = "Mirror on mirrored interface is not allowed";
            return Err(io::Error::other(text));
        }
        let bridge = bridges
            .iter()
            .find(|row| row.references("ports").contains(&port));
        let bridge = bridge.and_then(id_of);
        let bridge =
            bridge.ok_or_else(|| io::Error::other(format!("no port has the UUID {port}")))?;
        let used = ports
            .iter()
            .chain(interfaces)
            .filter_map(|row| row.text("name"));
        let name = mirror_name(port, &used.collect());
        let external = mark(owner);
        let operations = [
            json!({"op": "insert", "table": "Interface", "uuid-name": "interface",
                "row": {"name": name, "type": "internal", "external_ids": external}}),
            json!({"op": "insert", "table": "Port", "uuid-name": "port", "row": {"name": name,
                "interfaces": ["named-uuid", "interface"], "external_ids": external}}),
            json!({"op": "insert", "table": "Mirror", "uuid-name": "mirror", "row": {"name": name,
                "select_src_port": ["uuid", port], "select_dst_port": ["uuid", port],
                "output_port": ["named-uuid", "port"], "external_ids": external}}),
            json!({"op": "mutate", "table": "Bridge", "where": [is(bridge)], "mutations": [
                ["ports", "insert", ["named-uuid", "port"]],
                ["mirrors", "insert", ["named-uuid", "mirror"]]]}),
        ];
        transact(&self.0, &operations)?;
        Ok(name)
    }

    /// Removes everything that was configured on behalf of the selected owners.
    pub(crate) fn remove(&self, is_selected: impl Fn(&str) -> bool) -> io::Result<()> {
        let found = self.select(&[
            ("Bridge", &["sflow", "netflow", "mirrors", "ports"]),
            ("sFlow", &["external_ids"]),
            ("NetFlow", &["external_ids"]),
            ("Mirror", &["external_ids"]),
            ("Port", &["external_ids"]),
        ])?;
        let Some((bridges, tables)) = found.split_first() else {
            return Err(incomplete());
        };
        let mine: BTreeSet<&str> = tables
            .iter()
            .flat_map(|rows| marked(rows, &is_selected))
            .collect();
        let mut operations = Vec::new();
        for bridge in bridges {
            // Rows to which nothing refers are deleted by the server.
            let mutations: Vec<Json> = ["sflow", "netflow", "mirrors", "ports"]
                .into_iter()
                .filter_map(|column| {
                    let ids = bridge.references(column).into_iter();
                    let ids: Vec<Json> = ids
                        .filter(|id| mine.contains(id))
                        .map(|id| json!(["uuid", id]))
                        .collect();
                    (!ids.is_empty()).then(|| json!([column, "delete", ["set", ids]]))
                })
                .collect();
            if let Some(id) = id_of(bridge).filter(|_| !mutations.is_empty()) {
                operations.push(json!({"op": "mutate", "table": "Bridge", "where": [is(id)],
                    "mutations": mutations}));
            }
        }
        if operations.is_empty() {
            return Ok(());
        }
        transact(&self.0, &operations).map(|_| ())
    }

    /// Returns the rows of tables, with some columns and the UUID.
    fn select(&self, tables: &[(&str, &[&str])]) -> io::Result<Vec<Vec<Row>>> {
        let operations: Vec<Json> = tables
            .iter()
            .map(|(table, columns)| {
                let columns: Vec<&str> = columns.iter().copied().chain(["_uuid"]).collect();
                json!({"op": "select", "table": table, "where": [], "columns": columns})
            })
            .collect();
        let results = transact(&self.0, &operations)?;
        let rows = |result: Json| {
            let rows = result.get("rows").and_then(Json::as_array).cloned();
            let rows = rows.unwrap_or_default().into_iter();
            rows.filter_map(|row| serde_json::from_value::<JsonMap<String, Json>>(row).ok())
                .map(Row)
                .collect()
        };
        Ok(results.into_iter().map(rows).collect())
    }
}

/// Returns the name of a mirror: `mir` and the beginning of the UUID of the port, as in Skydive, or a
/// longer part of it if another interface has this name.
fn mirror_name(port: &str, used: &BTreeSet<&str>) -> String {
    let digits: String = port.chars().filter(char::is_ascii_hexdigit).collect();
    let name = |length: usize| format!("mir{}", digits.get(..length).unwrap_or(&digits));
    let short = name(SHORT_DIGITS);
    if used.contains(short.as_str()) {
        name(LONG_DIGITS)
    } else {
        short
    }
}

/// Returns the UUIDs of the rows of selected owners.
fn marked(rows: &[Row], is_selected: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let is_mine = |row: &&Row| {
        row.map("external_ids")
            .get(MARK)
            .is_some_and(|o| is_selected(o))
    };
    rows.iter().filter(is_mine).filter_map(id_of).collect()
}

fn id_of(row: &Row) -> Option<&str> {
    row.references("_uuid").first().copied()
}

/// Returns the condition that a row has a UUID.
fn is(id: &str) -> Json {
    json!(["_uuid", "==", ["uuid", id]])
}

/// Returns the external ids of a row. COMPAT: Skydive's agents have the first key.
fn mark(owner: &str) -> Json {
    json!(["map", [["skydive-probe-id", owner], [MARK, owner]]])
}

fn incomplete() -> io::Error {
    io::Error::other("the OVSDB server returned fewer results than requested")
}

/// External id of the rows that captures add; its value is the owner.
const MARK: &str = "skyd-capture";

/// Number of digits of the UUID in the name of a mirror.
const SHORT_DIGITS: usize = 5;

/// The same for a name that is in use; the kernel allows names of 15 characters.
const LONG_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_have_short_names_unless_they_are_used() {
        let port = "3e0c2f2a-9a59-4d5c-9a39-0b4d4e2e8f6d";
        assert_eq!(mirror_name(port, &BTreeSet::new()), "mir3e0c2");
        let name = mirror_name(port, &BTreeSet::from(["mir3e0c2"]));
        assert_eq!((name.as_str(), name.len()), ("mir3e0c2f2a9a59", 15));
        assert_eq!(mirror_name("", &BTreeSet::new()), "mir");
    }

    #[test]
    fn only_rows_with_the_mark_are_found() {
        let row = |id: &str, external: Json| {
            let row = json!({"_uuid": ["uuid", id], "external_ids": external});
            Row(row.as_object().unwrap().clone())
        };
        let skydive = json!(["map", [["skydive-probe-id", "x"]]]);
        let rows = [
            row("a", mark("c1/n")),
            row("b", skydive),
            row("c", mark("c2/n")),
        ];
        assert_eq!(marked(&rows, |_| true), BTreeSet::from(["a", "c"]));
        assert_eq!(
            marked(&rows, |owner| owner == "c2/n"),
            BTreeSet::from(["c"])
        );
    }

    #[test]
    fn exports_are_rows_of_their_tables() {
        let sflow = BridgeExport::Sflow {
            header: 256,
            sampling: 1,
            polling: 10,
        };
        let row = sflow.row("127.0.0.1:6345", "c1/n");
        assert_eq!(
            (&row["targets"], &row["header"]),
            (&json!("127.0.0.1:6345"), &json!(256))
        );
        let netflow = BridgeExport::NetFlow { active_timeout: 60 };
        assert_eq!(netflow.names(), ("NetFlow", "netflow"));
        assert_eq!(netflow.row("h:1", "c")["active_timeout"], json!(60));
    }
}
