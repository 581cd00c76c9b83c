//! Columns of the tables, by kind of element.

use serde_json::Value;
use skylib::api::{AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, Resource, Workflow};

use super::table::{Column, Columns};

/// Returns the columns for the resources of a kind.
pub(super) fn of_kind(kind: &str) -> &'static [Column] {
    match kind {
        AlertSpec::KIND => ALERTS,
        CaptureSpec::KIND => CAPTURES,
        EdgeRule::KIND => EDGE_RULES,
        Injection::KIND => INJECTIONS,
        NodeRule::KIND => NODE_RULES,
        Workflow::KIND => WORKFLOWS,
        "edge" => EDGES,
        _ => NODES,
    }
}

/// Returns the columns for an element of a query result; `None` if it is not a node, an edge, a
/// flow, a change, or a group of flows.
pub(super) fn of_result(element: &Value) -> Option<Columns> {
    let columns = of_element(element).map(Columns::Of);
    columns.or_else(|| of_group(element).map(Columns::Members))
}

/// Returns the names of the columns for a row of the step `GroupBy`: the keys, sums, and rates
/// before the numbers of connections and flows.
fn of_group(row: &Value) -> Option<Vec<String>> {
    let members = row.as_object()?;
    if !["CountedBy", COUNTS[0], COUNTS[1]]
        .iter()
        .all(|name| members.contains_key(*name))
    {
        return None;
    }
    let is_count = |name: &&str| *name == "CountedBy" || COUNTS.contains(name);
    let names = members.keys().map(String::as_str);
    let names = names.filter(|name| !is_count(name)).chain(COUNTS);
    Some(names.map(str::to_owned).collect())
}

/// Columns of a group of flows that are always present.
const COUNTS: [&str; 2] = ["Connections", "Flows"];

fn of_element(element: &Value) -> Option<&'static [Column]> {
    let has = |key: &str| element.get(key).is_some();
    if has("Change") && has("Kind") && has("Time") {
        Some(CHANGES)
    } else if has("Parent") && has("Child") {
        Some(EDGES)
    } else if has("LayersPath") {
        Some(FLOWS)
    } else if has("ID") && has("Metadata") {
        Some(NODES)
    } else {
        None
    }
}

const fn column(title: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { title, pointers }
}

const UUID: Column = column("UUID", &["/UUID"]);
const NAME: Column = column("NAME", &["/Name"]);
const METADATA: Column = column("METADATA", &["/Metadata"]);

const ALERTS: &[Column] = &[
    UUID,
    NAME,
    column("EXPRESSION", &["/Expression"]),
    column("TRIGGER", &["/Trigger"]),
    column("ACTION", &["/Action"]),
    column("CREATED", &["/CreateTime"]),
];
const CAPTURES: &[Column] = &[
    UUID,
    NAME,
    column("QUERY", &["/GremlinQuery"]),
    column("BPF", &["/BPFFilter"]),
    column("TYPE", &["/Type"]),
    column("ACTIVE", &["/Count"]),
];
const EDGE_RULES: &[Column] = &[
    UUID,
    NAME,
    column("SRC", &["/Src"]),
    column("DST", &["/Dst"]),
    METADATA,
];
const INJECTIONS: &[Column] = &[
    UUID,
    column("TYPE", &["/Type"]),
    column("SRC", &["/Src", "/SrcIP"]),
    column("DST", &["/Dst"]),
    column("DST IP", &["/DstIP"]),
    column("COUNT", &["/Count"]),
    column("INTERVAL", &["/Interval"]),
];
const NODE_RULES: &[Column] = &[
    UUID,
    NAME,
    column("ACTION", &["/Action"]),
    column("QUERY", &["/Query"]),
    METADATA,
];
const WORKFLOWS: &[Column] = &[
    UUID,
    NAME,
    column("TITLE", &["/Title"]),
    column("ABSTRACT", &["/Abstract"]),
];
const NODES: &[Column] = &[
    column("ID", &["/ID"]),
    column("NAME", &["/Metadata/Name"]),
    column("TYPE", &["/Metadata/Type"]),
    column("STATE", &["/Metadata/State"]),
    column("HOST", &["/Host"]),
    column("IPV4", &["/Metadata/IPV4"]),
];
const EDGES: &[Column] = &[
    column("ID", &["/ID"]),
    column("TYPE", &["/Metadata/RelationType"]),
    column("PARENT", &["/Parent"]),
    column("CHILD", &["/Child"]),
    column("HOST", &["/Host"]),
];
const CHANGES: &[Column] = &[
    column("TIME", &["/Time"]),
    column("CHANGE", &["/Change"]),
    column("KIND", &["/Kind"]),
    column("NAME", &["/Name", "/ID"]),
    column("TYPE", &["/RelationType", "/Type"]),
    column("HOST", &["/Host"]),
    column("KEYS", &["/Keys"]),
];
const FLOWS: &[Column] = &[
    column("APPLICATION", &["/Application"]),
    column("A", &["/Network/A", "/Link/A"]),
    column("PORT", &["/Transport/A"]),
    column("B", &["/Network/B", "/Link/B"]),
    column("PORT", &["/Transport/B"]),
    column("PACKETS AB", &["/Metric/ABPackets"]),
    column("BYTES AB", &["/Metric/ABBytes"]),
    column("PACKETS BA", &["/Metric/BAPackets"]),
    column("BYTES BA", &["/Metric/BABytes"]),
    column("TRACKING ID", &["/TrackingID"]),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_of_query_results_are_recognized() {
        let node = json!({"ID": "a", "Metadata": {}, "Host": ""});
        let edge = json!({"ID": "a", "Metadata": {}, "Parent": "b", "Child": "c"});
        let flow = json!({"UUID": "a", "LayersPath": "Ethernet"});
        assert_eq!(of_element(&node), Some(NODES));
        assert_eq!(of_element(&edge), Some(EDGES));
        assert_eq!(of_element(&flow), Some(FLOWS));
        assert_eq!(of_element(&json!({"a": 1})), None);
        assert_eq!(of_element(&json!("text")), None);
        let change = json!({"Time": 1, "Change": "removed", "Kind": "edge", "ID": "e",
            "Parent": "a", "Child": "b", "RelationType": "layer2"});
        assert_eq!(of_element(&change), Some(CHANGES));
        let group = json!({"Bytes": 7, "Connections": 1, "CountedBy": "L3TrackingID", "Flows": 2,
            "Network.A": "192.0.2.1"});
        let columns = ["Bytes", "Network.A", "Connections", "Flows"].map(str::to_owned);
        assert_eq!(of_result(&group), Some(Columns::Members(columns.to_vec())));
    }

    #[test]
    fn columns_of_resources_are_their_members() {
        fn check<R: Resource>() {
            for column in of_kind(R::KIND) {
                for pointer in column.pointers {
                    assert!(R::MEMBERS.contains(&&pointer[1..]), "{} {pointer}", R::KIND);
                }
            }
        }
        check::<AlertSpec>();
        check::<CaptureSpec>();
        check::<EdgeRule>();
        check::<Injection>();
        check::<NodeRule>();
        check::<Workflow>();
    }
}
