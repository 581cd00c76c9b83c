//! Flow queries that an analyzer sends to an agent: `TableQuery` and its answer, `TableResult`.
//!
//! Peers that use protobuf receive protobuf, and peers that use JSON receive JSON. Both forms are
//! accepted from every peer: Skydive releases differ in which of them they send.

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::flow::{MAX_WEIGHT, decode_flow_set};
use super::wire_filter::WireFilter;
use super::{Encoding, Message, Object, ProtoError};
use crate::api::go_json::JsonError;
use crate::flow::{FlowField, FlowQuery, FlowSet, SortOrder};

/// Namespace of flow queries.
pub const FLOW_TABLE: &str = "Flow";

/// Type of a query for flows.
const SEARCH_QUERY: &str = "SearchQuery";
/// Status of a successful answer.
const OK: i32 = 200;
/// Status of the answer to a query that failed.
const FAILED: i32 = 500;

/// Returns the message that requests flows from an agent.
///
/// The answer may contain more flows than the query selects if [`is_exact`] returns `false`, so
/// the receiver applies the query again.
#[must_use]
pub fn table_query(encoding: Encoding, uuid: &str, query: &FlowQuery) -> Message {
    let query = TableQuery {
        kind: SEARCH_QUERY.to_owned(),
        query: Some(SearchQuery::of(query)),
    };
    let object = encoded(encoding, &query, query.encode_to_vec());
    Message::new(FLOW_TABLE, "TableQuery", object)
        .with_uuid(uuid)
        .with_status(200)
}

/// Returns whether the filter of a query can be expressed in a `TableQuery`.
#[must_use]
pub fn is_exact(query: &FlowQuery) -> bool {
    WireFilter::of(&query.filter).is_some()
}

/// Decodes the object of a `TableQuery`; returns `None` if it requests nothing, which is answered
/// with an empty result.
///
/// # Errors
/// Returns [`ProtoError`] if the object has another form, or the filter is invalid.
pub fn decode_table_query(object: &Object) -> Result<Option<FlowQuery>, ProtoError> {
    let query = match decoded::<TableQuery>(object) {
        // COMPAT: analyzers before v0.27.
        Err(_) if matches!(object, Object::Protobuf(_)) => {
            decoded::<NamedOrderQuery>(object)?.into()
        }
        query => query?,
    };
    match query.query {
        Some(search) if query.kind == SEARCH_QUERY => search.into_query().map(Some),
        _ => Ok(None),
    }
}

/// Returns the answer to a `TableQuery` with this identifier.
#[must_use]
pub fn table_result(encoding: Encoding, uuid: &str, sets: &[FlowSet]) -> Message {
    let sets = sets.iter().map(FlowSet::encode_to_vec).collect();
    result_message(encoding, uuid, &TableResult { status: OK, sets })
}

/// Returns the answer to a `TableQuery` with this identifier that failed, so that the analyzer does
/// not wait for flows.
#[must_use]
pub fn table_failure(encoding: Encoding, uuid: &str) -> Message {
    let sets = Vec::new();
    let status = FAILED;
    result_message(encoding, uuid, &TableResult { status, sets })
}

fn result_message(encoding: Encoding, uuid: &str, result: &TableResult) -> Message {
    let status = result.status.into();
    let object = encoded(encoding, result, result.encode_to_vec());
    Message::new(FLOW_TABLE, "TableResult", object)
        .with_uuid(uuid)
        .with_status(status)
}

/// Decodes the object of a `TableResult`: one set for each flow table.
///
/// # Errors
/// Returns [`ProtoError`] if the object or a set is malformed, the status is not 200, or the flows
/// exceed a limit.
pub fn decode_table_result(object: &Object) -> Result<Vec<FlowSet>, ProtoError> {
    let result: TableResult = decoded(object)?;
    if result.status != OK {
        return Err(ProtoError::Status(result.status.into()));
    }
    let mut budget = MAX_WEIGHT;
    let sets = result.sets.iter();
    sets.map(|bytes| decode_flow_set(bytes, &mut budget))
        .collect()
}

fn encoded(encoding: Encoding, object: &impl Serialize, protobuf: Vec<u8>) -> Object {
    match encoding {
        Encoding::Protobuf => Object::Protobuf(protobuf.into()),
        Encoding::Json => Object::Json(serde_json::to_vec(object).unwrap_or_default().into()),
    }
}

fn decoded<T: prost::Message + Default + for<'a> Deserialize<'a>>(
    object: &Object,
) -> Result<T, ProtoError> {
    match object {
        Object::Protobuf(bytes) => Ok(T::decode(bytes.clone())?),
        Object::Json(_) if object.json()?.trim_ascii() == "null" => Ok(T::default()),
        Object::Json(_) => {
            let read = serde_json::from_str(object.json()?);
            Ok(read.map_err(JsonError::Syntax)?)
        }
    }
}

/// Skydive's message `flow.TableQuery`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
struct TableQuery {
    #[prost(string, tag = "1")]
    #[serde(rename = "Type")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "Query")]
    query: Option<SearchQuery>,
}

/// Skydive's message `flow.TableReply`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
struct TableResult {
    #[prost(int32, tag = "1")]
    #[serde(rename = "Status")]
    status: i32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    #[serde(rename = "FlowSetBytes", with = "base64_list")]
    sets: Vec<Vec<u8>>,
}

/// Skydive's message `filters.SearchQuery`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SearchQuery {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<WireFilter>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination_range: Option<Range>,
    #[prost(bool, tag = "3")]
    sort: bool,
    #[prost(bool, tag = "4")]
    dedup: bool,
    #[prost(string, tag = "5")]
    dedup_by: String,
    #[prost(string, tag = "6")]
    sort_by: String,
    #[prost(int32, tag = "7")]
    sort_order: i32,
}

/// `TableQuery` of Skydive before v0.27, in which the sort order is a name.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
struct NamedOrderQuery {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    query: Option<NamedOrderSearch>,
}

/// `SearchQuery` of Skydive before v0.27.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default)]
struct NamedOrderSearch {
    #[prost(message, optional, tag = "1")]
    filter: Option<WireFilter>,
    #[prost(message, optional, tag = "2")]
    pagination_range: Option<Range>,
    #[prost(bool, tag = "3")]
    sort: bool,
    #[prost(bool, tag = "4")]
    dedup: bool,
    #[prost(string, tag = "5")]
    dedup_by: String,
    #[prost(string, tag = "6")]
    sort_by: String,
    #[prost(string, tag = "7")]
    sort_order: String,
}

impl From<NamedOrderQuery> for TableQuery {
    fn from(old: NamedOrderQuery) -> Self {
        let search = |old: NamedOrderSearch| SearchQuery {
            filter: old.filter,
            pagination_range: old.pagination_range,
            sort: old.sort,
            dedup: old.dedup,
            dedup_by: old.dedup_by,
            sort_by: old.sort_by,
            sort_order: match old.sort_order.as_str() {
                "DESC" => DESCENDING,
                _ => ASCENDING,
            },
        };
        Self {
            kind: old.kind,
            query: old.query.map(search),
        }
    }
}

/// Skydive's message `filters.Range`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Range {
    #[prost(int64, tag = "1")]
    from: i64,
    #[prost(int64, tag = "2")]
    to: i64,
}

/// Values of `filters.SortOrder`.
const ASCENDING: i32 = 1;
const DESCENDING: i32 = 2;

impl SearchQuery {
    /// Returns the wire form of a query. A query with a filter that cannot be expressed completely
    /// has no range, because the receiver applies the filter before the range. Only a query for a part
    /// of the flows is sorted by the agent, because the analyzer sorts the flows of all agents anyway,
    /// and agents before v0.27 reject the number of the order.
    fn of(query: &FlowQuery) -> Self {
        let nodes = query.node_tids.as_deref().map(WireFilter::of_nodes);
        let is_exact = is_exact(query);
        let number = |position| i64::try_from(position).unwrap_or(i64::MAX);
        let range = query.range.filter(|_| is_exact);
        let dedup = query.dedup.filter(|_| is_exact);
        let sort = query.sort.filter(|_| range.is_some() || dedup.is_some());
        Self {
            filter: WireFilter::all(nodes, WireFilter::weakened(&query.filter)),
            pagination_range: range.map(|(from, to)| Range {
                from: number(from),
                to: number(to),
            }),
            sort: sort.is_some(),
            dedup: dedup.is_some(),
            dedup_by: dedup.map(name).unwrap_or_default(),
            sort_by: sort.map(|(field, _)| name(field)).unwrap_or_default(),
            sort_order: match sort {
                None => 0,
                Some((_, SortOrder::Ascending)) => ASCENDING,
                Some((_, SortOrder::Descending)) => DESCENDING,
            },
        }
    }

    fn into_query(self) -> Result<FlowQuery, ProtoError> {
        let mut query = FlowQuery::default();
        if let Some(filter) = self.filter {
            query.filter = filter.into_filter()?;
        }
        let position = |number| u64::try_from(number).unwrap_or(0);
        query.range = self
            .pagination_range
            .map(|range| (position(range.from), position(range.to)));
        if self.sort {
            let order = match self.sort_order {
                DESCENDING => SortOrder::Descending,
                _ => SortOrder::Ascending,
            };
            query.sort = Some((field(&self.sort_by, FlowField::LAST)?, order));
        }
        if self.dedup {
            query.dedup = Some(field(&self.dedup_by, FlowField::TRACKING_ID)?);
        }
        Ok(query)
    }
}

fn name(field: FlowField) -> String {
    field.to_string()
}

/// Returns the field with a name; `default` for an empty name.
fn field(name: &str, default: FlowField) -> Result<FlowField, ProtoError> {
    match name {
        "" => Ok(default),
        _ => FlowField::parse(name).ok_or_else(|| ProtoError::UnknownField(name.to_owned())),
    }
}

/// Lists of bytes as strings in base64, as Go writes them; `null` is an empty list.
mod base64_list {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        list: &[Vec<u8>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| STANDARD.encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
        let decode = |text: String| STANDARD.decode(text).map_err(de::Error::custom);
        list.into_iter().map(decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Filter, Predicate};
    use crate::flow::Flow;

    fn sorted_icmp() -> FlowQuery {
        let icmp = Filter::test("Application", Predicate::Text("ICMPv4".into()));
        FlowQuery::default()
            .with_filter(Filter::All(vec![icmp]))
            .with_sort(FlowField::LAST, SortOrder::Ascending)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_query_has_the_bytes_of_the_original() {
        let first = sorted_icmp().with_range(0, 1);
        let message = table_query(Encoding::Protobuf, "u", &first);
        let Object::Protobuf(bytes) = &message.object else {
            panic!("{message:?}")
        };
        assert_eq!(
            hex(bytes),
            "0a0b5365617263685175657279122d0a1d421b080112170a150a0b4170706c69636174696f6e\
             120649434d50763412021001180132044c6173743801"
        );
        let query = decode_table_query(&message.object).unwrap().unwrap();
        assert_eq!(query.sort, first.sort);
        assert_eq!(query.filter, first.filter);
    }

    fn bytes(hex: &str) -> Object {
        let pairs = (0..hex.len()).step_by(2);
        let bytes: Vec<u8> = pairs
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        Object::Protobuf(bytes.into())
    }

    /// An agent of v0.26.0 answers with three pings, and errors from another host.
    #[test]
    fn an_answer_of_the_original_is_decoded() {
        let text = include_str!("../../tests/data/table-result-v0.26.0.hex");
        let Object::Protobuf(frame) = bytes(&text.replace('\n', "")) else {
            panic!("{text}")
        };
        let message = Message::decode(&frame, Encoding::Protobuf).unwrap();
        let sets = decode_table_result(&message.object).unwrap();
        let flows: Vec<_> = sets.iter().flat_map(|set| &set.flows).collect();
        assert_eq!(flows.len(), 2);
        let ping = serde_json::to_value(flows[0]).unwrap();
        assert_eq!(ping["LayersPath"], "Ethernet/IPv4/ICMPv4");
        assert_eq!(ping["Network"]["A"], "10.88.0.11");
        assert_eq!(ping["Network"]["B"], "10.88.0.12");
        assert_eq!(ping["Metric"]["ABPackets"], 3);
        assert_eq!(ping["Metric"]["BAPackets"], 3);
        assert_eq!(ping["RawPacketsCaptured"], 1);
    }

    /// The agent returns all flows, so the analyzer sorts them; agents before v0.27 reject the number
    /// of the order.
    #[test]
    fn a_query_for_all_flows_does_not_request_an_order() {
        let message = table_query(Encoding::Protobuf, "u", &sorted_icmp());
        let query = decode_table_query(&message.object).unwrap().unwrap();
        assert_eq!((query.sort, query.filter), (None, sorted_icmp().filter));
    }

    /// `TableQuery` of `G.Flows().Has('Application', 'ICMPv4').Sort()` as an analyzer of v0.26.0 sends
    /// it, and the same query with descending order.
    #[test]
    fn the_order_may_be_a_name() {
        let ascending = "0a0b5365617263685175657279122c0a1d421b080112170a150a0b4170706c69636174696f6e\
                         120649434d507634180132044c6173743a03415343";
        let descending = "0a0b5365617263685175657279122d0a1d421b080112170a150a0b4170706c69636174696f6e\
                          120649434d507634180132044c6173743a0444455343";
        for (text, order) in [
            (ascending, SortOrder::Ascending),
            (descending, SortOrder::Descending),
        ] {
            let query = decode_table_query(&bytes(text)).unwrap().unwrap();
            assert_eq!(query.sort, Some((FlowField::LAST, order)));
            assert_eq!(query.filter, sorted_icmp().filter);
        }
        let garbage = Object::Protobuf(b"\x12\x02\x3d\x00".to_vec().into());
        assert!(decode_table_query(&garbage).is_err());
    }

    #[test]
    fn both_forms_are_accepted() {
        let query = sorted_icmp()
            .with_range(2, 5)
            .with_dedup(FlowField::TRACKING_ID);
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let message = table_query(encoding, "u", &query);
            let read = decode_table_query(&message.object).unwrap().unwrap();
            assert_eq!(
                (read.range, read.sort, read.dedup),
                (query.range, query.sort, query.dedup)
            );
            let set = FlowSet::from_flows(vec![Flow::default().with_uuid("f")]);
            let answer = table_result(encoding, "u", &[set.clone(), FlowSet::default()]);
            let read = decode_table_result(&answer.object).unwrap();
            assert_eq!(read, [set, FlowSet::default()]);
        }
        for text in ["null", "{}", r#"{"Type":"Other","query":{}}"#] {
            let object = Object::Json(text.to_owned().into());
            assert!(decode_table_query(&object).unwrap().is_none(), "{text}");
        }
        assert!(
            decode_table_query(&Object::Protobuf("".into()))
                .unwrap()
                .is_none()
        );
        let empty = table_result(Encoding::Protobuf, "u", &[]);
        assert_eq!(
            empty.object,
            Object::Protobuf(b"\x08\xc8\x01".to_vec().into())
        );
    }

    #[test]
    fn nodes_become_alternatives_before_the_filter() {
        let query = sorted_icmp().with_node_tids(vec!["t2".into(), "t1".into()]);
        let message = table_query(Encoding::Json, "u", &query);
        let text = message.object.json().unwrap();
        let nodes = r#""BoolFilter":{"Op":1,"Filters":[{"BoolFilter":{"Op":0,"Filters":[{"TermStringFilter":{"Key":"NodeTID","Value":"t1"}}"#;
        assert!(text.contains(nodes), "{text}");
        let read = decode_table_query(&message.object).unwrap().unwrap();
        let flow = Flow::default().with_uuid("f");
        assert!(read.answer(vec![flow]).unwrap().flows.is_empty());
    }

    #[test]
    fn a_filter_that_cannot_be_expressed_is_weakened_and_has_no_range() {
        let address = Filter::test("Network.A", Predicate::Address("::1".parse().unwrap()));
        let dns = Filter::test("Application", Predicate::Text("DNS".into()));
        let query = FlowQuery::default()
            .with_filter(Filter::All(vec![address, dns.clone()]))
            .with_range(0, 1);
        assert!(!is_exact(&query));
        let message = table_query(Encoding::Protobuf, "u", &query);
        let read = decode_table_query(&message.object).unwrap().unwrap();
        assert_eq!((read.filter, read.range), (Filter::All(vec![dns]), None));
    }

    #[test]
    fn malformed_and_failed_answers_are_errors() {
        let json = |text: &str| Object::Json(text.to_owned().into());
        for object in [
            json(r#"{"Status":500}"#),
            json("[]"),
            json(r#"{"Status":200,"FlowSetBytes":["!"]}"#),
            json(r#"{"Status":200,"FlowSetBytes":["Cv8="]}"#),
            Object::Protobuf(b"\x08\xc8\x01\x12\xff".to_vec().into()),
            Object::Protobuf("".into()),
        ] {
            assert!(decode_table_result(&object).is_err(), "{object:?}");
        }
        for text in [
            r#"{"Type":"SearchQuery","query":{"Sort":true,"SortBy":"Nothing"}}"#,
            r#"{"Type":"SearchQuery","query":{"Filter":{"RegexFilter":{"Key":"A","Value":"["}}}}"#,
        ] {
            assert!(decode_table_query(&json(text)).is_err(), "{text}");
        }
    }
}
