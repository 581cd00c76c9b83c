//! Answers as columns: an Arrow stream or a Parquet file (feature `history`).
//!
//! | Answer | Columns |
//! |---|---|
//! | nodes, edges | `ID` `Host` `Origin` `CreatedAt` `UpdatedAt` `DeletedAt` `Revision`, of edges `Parent` `Child`; `Name` `Type` `TID` `RelationType`; `Metadata` as JSON |
//! | flows | the fields of flows: `Network.A`, `Metric.ABBytes`, … |
//! | metrics | `Owner` and the counters |
//! | values | `Value`; of objects, a column for each key |
//! | a number | `Value` |

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Answer;
use crate::graph::{Edge, Metadata, Node};
use crate::gremlin::error::QueryError;
use crate::store::history::flow_batch;
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// Format of an answer in columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnFormat {
    /// Arrow IPC stream.
    ArrowStream,
    /// Parquet file.
    Parquet,
}

impl Answer {
    /// Returns the answer in columns.
    ///
    /// # Errors
    /// Returns an error, whose message clients receive, if the answer has no rows: a graph, paths,
    /// groups, sockets, next hops, or raw packets.
    ///
    /// ```
    /// use skylib::gremlin::{Answer, ColumnFormat};
    /// let file = Answer::Number(5).to_columns(ColumnFormat::Parquet)?;
    /// assert!(file.starts_with(b"PAR1"));
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    pub fn to_columns(&self, format: ColumnFormat) -> Result<Vec<u8>, QueryError> {
        let batch = match self {
            Self::Nodes(nodes) => node_batch(nodes),
            Self::Edges(edges) => edge_batch(edges),
            Self::Flows(set) => flow_batch(&set.flows),
            Self::Metrics(metrics) => {
                let rows = metrics.iter().flat_map(|(owner, list)| {
                    list.iter().map(move |metric| {
                        let json = serde_json::to_value(metric);
                        let map = json.and_then(serde_json::from_value::<Map>);
                        map.unwrap_or_default().with("Owner", owner.as_str())
                    })
                });
                object_batch(&rows.collect::<Vec<_>>())
            }
            Self::Value(Value::List(list)) => value_batch(list.iter()),
            Self::Value(Value::Null) => value_batch(std::iter::empty()),
            Self::Value(value) => value_batch(std::iter::once(value)),
            Self::Number(number) => value_batch(std::iter::once(&Value::Int(*number))),
            _ => {
                return Err(QueryError::execute(format!(
                    "an answer of {} cannot be written in columns; expected nodes, edges, flows, \
                     metrics, values, or a number",
                    self.kind()
                )));
            }
        };
        encode(&batch, format)
            .map_err(|error| QueryError::execute(format!("cannot write columns: {error}")))
    }
}

fn encode(
    batch: &RecordBatch,
    format: ColumnFormat,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    match format {
        ColumnFormat::ArrowStream => {
            let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
            writer.write(batch)?;
            Ok(writer.into_inner()?)
        }
        ColumnFormat::Parquet => {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                .build();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
            writer.write(batch)?;
            Ok(writer.into_inner()?)
        }
    }
}

/// Columns under construction.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn push(&mut self, name: &str, data_type: DataType, array: ArrayRef) {
        self.fields.push(Field::new(name, data_type, true));
        self.arrays.push(array);
    }

    fn texts(&mut self, name: &str, values: impl Iterator<Item = Option<String>>) {
        let array: StringArray = values
            .map(|text| text.filter(|text| !text.is_empty()))
            .collect();
        self.push(name, DataType::Utf8, Arc::new(array));
    }

    fn numbers(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        let array: Int64Array = values.collect();
        self.push(name, DataType::Int64, Arc::new(array));
    }

    fn times(&mut self, name: &str, values: impl Iterator<Item = Option<Timestamp>>) {
        self.numbers(name, values.map(|time| time.map(Timestamp::as_ms)));
    }

    /// Adds the metadata: frequently used keys, and everything as JSON.
    fn metadata<'a>(&mut self, keys: &[&str], all: impl Iterator<Item = &'a Metadata> + Clone) {
        for key in keys {
            let values = all.clone().map(|metadata| match metadata.get(key) {
                Some(Value::Text(text)) => Some(text.to_string()),
                _ => None,
            });
            self.texts(key, values);
        }
        self.texts(
            "Metadata",
            all.map(|metadata| serde_json::to_string(metadata).ok()),
        );
    }

    fn finish(self) -> RecordBatch {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
            .expect("the arrays have the types and the length of the fields")
    }
}

fn node_batch(nodes: &[Arc<Node>]) -> RecordBatch {
    let mut columns = Columns::default();
    let all = || nodes.iter();
    columns.texts("ID", all().map(|node| Some(node.id.to_string())));
    columns.texts("Host", all().map(|node| Some(node.host.to_string())));
    columns.texts("Origin", all().map(|node| Some(node.origin.to_string())));
    columns.times("CreatedAt", all().map(|node| Some(node.created_at)));
    columns.times("UpdatedAt", all().map(|node| Some(node.updated_at)));
    columns.times("DeletedAt", all().map(|node| node.deleted_at));
    columns.numbers("Revision", all().map(|node| Some(node.revision)));
    columns.metadata(&["Name", "Type", "TID"], all().map(|node| &node.metadata));
    columns.finish()
}

fn edge_batch(edges: &[Arc<Edge>]) -> RecordBatch {
    let mut columns = Columns::default();
    let all = || edges.iter();
    columns.texts("ID", all().map(|edge| Some(edge.id.to_string())));
    columns.texts("Host", all().map(|edge| Some(edge.host.to_string())));
    columns.texts("Origin", all().map(|edge| Some(edge.origin.to_string())));
    columns.times("CreatedAt", all().map(|edge| Some(edge.created_at)));
    columns.times("UpdatedAt", all().map(|edge| Some(edge.updated_at)));
    columns.times("DeletedAt", all().map(|edge| edge.deleted_at));
    columns.numbers("Revision", all().map(|edge| Some(edge.revision)));
    columns.texts("Parent", all().map(|edge| Some(edge.parent.to_string())));
    columns.texts("Child", all().map(|edge| Some(edge.child.to_string())));
    columns.metadata(&["RelationType"], all().map(|edge| &edge.metadata));
    columns.finish()
}

/// Returns a column of values, or a column for each key if all values are objects.
fn value_batch<'a>(values: impl Iterator<Item = &'a Value> + Clone) -> RecordBatch {
    let objects: Option<Vec<Map>> = values
        .clone()
        .map(|value| match value {
            Value::Map(map) => Some(map.clone()),
            _ => None,
        })
        .collect();
    match objects {
        Some(objects) if !objects.is_empty() => object_batch(&objects),
        _ => {
            let mut columns = Columns::default();
            add_values(&mut columns, "Value", values.map(Some));
            columns.finish()
        }
    }
}

/// Returns a column for each key of objects, in the order of their first occurrence.
fn object_batch(objects: &[Map]) -> RecordBatch {
    let mut keys: Vec<&str> = Vec::new();
    let mut known = hashbrown::HashSet::new();
    for (key, _) in objects.iter().flat_map(Map::iter) {
        if known.insert(key.as_str()) {
            keys.push(key);
        }
    }
    let mut columns = Columns::default();
    for key in keys {
        add_values(
            &mut columns,
            key,
            objects.iter().map(|object| object.get(key)),
        );
    }
    columns.finish()
}

/// Adds a column whose type fits all values: integers, numbers, Booleans, or text; other values are
/// written as JSON.
fn add_values<'a>(
    columns: &mut Columns,
    name: &str,
    values: impl Iterator<Item = Option<&'a Value>> + Clone,
) {
    let present = || {
        values
            .clone()
            .flatten()
            .filter(|value| !matches!(value, Value::Null))
    };
    let is_number = |value: &Value| matches!(value, Value::Int(_) | Value::Float(_));
    if present().next().is_some() && present().all(|value| matches!(value, Value::Int(_))) {
        columns.numbers(
            name,
            values.map(|value| match value {
                Some(Value::Int(number)) => Some(*number),
                _ => None,
            }),
        );
    } else if present().next().is_some() && present().all(is_number) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the column has floating-point numbers"
        )]
        let array: Float64Array = values
            .map(|value| match value {
                Some(Value::Int(number)) => Some(*number as f64),
                Some(Value::Float(number)) => Some(*number),
                _ => None,
            })
            .collect();
        columns.push(name, DataType::Float64, Arc::new(array));
    } else if present().next().is_some() && present().all(|value| matches!(value, Value::Bool(_))) {
        let array: BooleanArray = values
            .map(|value| match value {
                Some(Value::Bool(bool)) => Some(*bool),
                _ => None,
            })
            .collect();
        columns.push(name, DataType::Boolean, Arc::new(array));
    } else {
        let array: StringArray = values
            .map(|value| match value {
                None | Some(Value::Null) => None,
                Some(Value::Text(text)) => Some(text.to_string()),
                Some(other) => serde_json::to_string(other).ok(),
            })
            .collect();
        columns.push(name, DataType::Utf8, Arc::new(array));
    }
}

#[cfg(test)]
mod tests {
    use arrow_ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    use super::*;
    use crate::flow::{Flow, FlowSet};

    /// Returns the names and the values of the columns, from both formats.
    fn columns(answer: &Answer) -> Vec<(String, String)> {
        let file = answer.to_columns(ColumnFormat::Parquet).unwrap();
        let reader = ParquetRecordBatchReader::try_new(bytes::Bytes::from(file), 1000).unwrap();
        let from_parquet: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
        let stream = answer.to_columns(ColumnFormat::ArrowStream).unwrap();
        let reader = StreamReader::try_new(&stream[..], None).unwrap();
        let from_arrow: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
        if from_arrow[0].num_rows() > 0 {
            assert_eq!(from_parquet, from_arrow);
        }
        let batch = &from_arrow[0];
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let values = batch.columns().iter().map(|array| {
            let text = format!("{array:?}");
            let (_, values) = text.split_once('[').unwrap();
            values.split_whitespace().collect::<String>()
        });
        names.zip(values).collect()
    }

    #[test]
    fn values_have_the_type_that_fits_all() {
        let values = |json: &str| {
            let value: Value = serde_json::from_str(json).unwrap();
            columns(&Answer::Value(value)).remove(0).1
        };
        assert_eq!(values("[1,2]"), "1,2,]");
        assert_eq!(values("[1,0.5]"), "1.0,0.5,]");
        assert_eq!(values("[true]"), "true,]");
        assert_eq!(values(r#"["a",1,null,[2]]"#), r#""a","1",null,"[2]",]"#);
        assert_eq!(values("null"), "]");
        assert_eq!(columns(&Answer::Number(7))[0].1, "7,]");
        let objects: Value = serde_json::from_str(r#"[{"A":1},{"B":"x"}]"#).unwrap();
        let wanted = [("A", "1,null,]"), ("B", r#"null,"x",]"#)];
        let wanted = wanted.map(|(name, values)| (name.to_owned(), values.to_owned()));
        assert_eq!(columns(&Answer::Value(objects)), wanted);
    }

    #[test]
    fn elements_and_flows_have_their_fields() {
        let metadata = Metadata::from_iter([("Name", "eth0")]);
        let node = Node::new("n", metadata.clone(), Timestamp::from_ms(5));
        let found = columns(&Answer::Nodes(vec![Arc::new(node)]));
        let of = |found: &[(String, String)], name: &str| {
            let column = found.iter().find(|(column, _)| column == name);
            column.map(|(_, values)| values.clone())
        };
        assert_eq!(of(&found, "ID").as_deref(), Some(r#""n",]"#));
        assert_eq!(of(&found, "Name").as_deref(), Some(r#""eth0",]"#));
        assert_eq!(of(&found, "DeletedAt").as_deref(), Some("null,]"));
        let edge = Edge::new("e", "a", "b", metadata, Timestamp::from_ms(5));
        let found = columns(&Answer::Edges(vec![Arc::new(edge)]));
        assert_eq!(of(&found, "Child").as_deref(), Some(r#""b",]"#));
        let flow = Flow::default().with_uuid("f1").with_times(1, 2);
        let found = columns(&Answer::Flows(FlowSet::from_flows(vec![flow])));
        assert_eq!(of(&found, "UUID").as_deref(), Some(r#""f1",]"#));
        assert_eq!(of(&found, "Last").as_deref(), Some("2,]"));
        assert_eq!(of(&found, "Updated"), None, "a column of the store");
        let error = Answer::Paths(vec![])
            .to_columns(ColumnFormat::Parquet)
            .unwrap_err();
        assert!(error.message().starts_with("an answer of paths"), "{error}");
    }
}
