//! Output of the client commands: responses are printed while they are received.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use serde_json::Value;

use super::columns;
use super::failure::OutputFailed;
use super::format::Format;
use super::http::{Answer, JSON};
use super::json_elements::{Element, JsonElements};
use super::json_text::{JsonText, Layout};
use super::table::{self, Column, Columns, Table};
use crate::printable::printable_lines;

/// Printer of responses in one format.
pub(super) struct Printer {
    format: Format,
    /// Indentation of JSON. COMPAT: tabs for query results, two spaces for everything else.
    indent: &'static str,
    is_terminal: bool,
    out: Box<dyn Write>,
}

/// Kind of a JSON document, which determines its table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Document {
    /// Single object.
    Object,
    /// Object of objects with these columns, by ID.
    Map(&'static [Column]),
    /// Result of a query.
    Result,
}

impl Printer {
    /// Creates a printer to standard output.
    pub(super) fn to_stdout(format: Format) -> Self {
        Self {
            format,
            indent: "  ",
            is_terminal: io::stdout().is_terminal(),
            out: Box::new(io::stdout()),
        }
    }

    /// Sets the indentation of JSON.
    pub(super) fn with_indent(self, indent: &'static str) -> Self {
        Self { indent, ..self }
    }

    /// Returns the media type of the responses to request.
    pub(super) const fn media_type(&self) -> &'static str {
        match self.format {
            Format::Dot => "text/vnd.graphviz",
            Format::Pcap => "application/vnd.tcpdump.pcap",
            Format::Json | Format::Ndjson | Format::Table => JSON,
        }
    }

    /// Returns whether the format shows JSON documents.
    pub(super) const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Ndjson | Format::Table)
    }

    /// Checks that a capture file is not written to a terminal.
    ///
    /// # Errors
    /// Returns an error if standard output is a terminal and the format is binary.
    pub(super) fn check_terminal(&self) -> anyhow::Result<()> {
        if self.is_terminal && self.format == Format::Pcap {
            bail!("a capture file is binary; redirect standard output to a file");
        }
        Ok(())
    }

    /// Prints a response.
    ///
    /// # Errors
    /// Returns an error if the response is not complete, or the output cannot be written.
    pub(super) async fn print(
        &mut self,
        mut answer: Answer,
        document: Document,
    ) -> anyhow::Result<()> {
        let mut sink = self.sink(document);
        while let Some(piece) = answer.piece().await? {
            sink.push(&piece)?;
        }
        sink.finish()
    }

    /// Prints a complete document.
    ///
    /// # Errors
    /// Returns an error if the document is not JSON or the output cannot be written.
    pub(super) fn print_text(&mut self, text: &str, document: Document) -> anyhow::Result<()> {
        let mut sink = self.sink(document);
        sink.push(text.as_bytes())?;
        sink.finish()
    }

    /// Prints a line of text.
    ///
    /// # Errors
    /// Returns an error if the output cannot be written.
    pub(super) fn print_line(&mut self, text: &str) -> anyhow::Result<()> {
        let written = writeln!(self.out, "{}", printable_lines(text));
        Ok(written
            .and_then(|()| self.out.flush())
            .map_err(OutputFailed)?)
    }

    fn sink(&mut self, document: Document) -> Sink<'_> {
        let form = match (self.format, document) {
            (Format::Json, _) => Form::Text(JsonText::new(Layout::Indented(self.indent))),
            (Format::Ndjson, Document::Object) => Form::Text(JsonText::new(Layout::Compact)),
            (Format::Ndjson, Document::Map(_)) => {
                let needs_keys = false;
                Form::Lines(JsonElements::default(), needs_keys)
            }
            (Format::Ndjson, Document::Result) => {
                let needs_keys = true;
                Form::Lines(JsonElements::default(), needs_keys)
            }
            (Format::Table, Document::Object) => Form::Object(Vec::new()),
            (Format::Table, Document::Map(columns)) => {
                let rows = Rows::new(Some(Table::new(Columns::Of(columns))));
                Form::Rows(JsonElements::default(), rows)
            }
            (Format::Table, Document::Result) => {
                Form::Rows(JsonElements::default(), Rows::new(None))
            }
            (Format::Dot, _) if self.is_terminal => Form::Lossy(Vec::new()),
            (Format::Dot | Format::Pcap, _) => Form::Bytes,
        };
        Sink {
            out: &mut *self.out,
            buffer: Vec::new(),
            form,
        }
    }
}

/// Destination of one document.
struct Sink<'a> {
    out: &'a mut dyn Write,
    /// Output that has not been written.
    buffer: Vec<u8>,
    form: Form,
}

/// Conversion of a document.
enum Form {
    Text(JsonText),
    /// Elements, and whether to write their keys; elements of maps contain their ID.
    Lines(JsonElements, bool),
    /// Part of the document received so far.
    Object(Vec<u8>),
    Rows(JsonElements, Rows),
    /// Part of the text for a terminal received so far.
    Lossy(Vec<u8>),
    Bytes,
}

impl Sink<'_> {
    fn push(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let buffer = &mut self.buffer;
        match &mut self.form {
            Form::Text(text) => text.push(bytes, buffer)?,
            Form::Lines(elements, needs_keys) => {
                elements.push(bytes, &mut |element| {
                    write_compact(&element, *needs_keys, buffer)
                })?;
            }
            Form::Object(all) | Form::Lossy(all) => all.extend_from_slice(bytes),
            Form::Rows(elements, rows) => {
                elements.push(bytes, &mut |element| rows.push(&element, buffer))?;
            }
            Form::Bytes => buffer.extend_from_slice(bytes),
        }
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let buffer = &mut self.buffer;
        let result = match &mut self.form {
            Form::Text(text) => text.finish(buffer).map_err(anyhow::Error::from),
            Form::Lines(elements, needs_keys) => {
                elements.finish(&mut |element| write_compact(&element, *needs_keys, buffer))
            }
            Form::Object(all) => write_object(all, buffer),
            Form::Rows(elements, rows) => elements
                .finish(&mut |element| rows.push(&element, buffer))
                .and_then(|()| rows.finish(buffer)),
            Form::Lossy(all) => {
                let text = String::from_utf8_lossy(all);
                buffer.extend_from_slice(printable_lines(&text).as_bytes());
                Ok(())
            }
            Form::Bytes => Ok(()),
        };
        self.write()?;
        result
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        Ok(written
            .and_then(|()| self.out.flush())
            .map_err(OutputFailed)?)
    }
}

/// Writes an element as one line of JSON; with the key if the element has one and `needs_keys` is
/// set.
fn write_compact(element: &Element<'_>, needs_keys: bool, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut text = JsonText::new(Layout::Compact);
    match element.key.filter(|_| needs_keys) {
        None => text.push(element.value, out)?,
        Some(key) => {
            for piece in [b"{", key, b":", element.value, b"}"] {
                text.push(piece, out)?;
            }
        }
    }
    Ok(text.finish(out)?)
}

/// Writes an object with a line for each of its values; any other value as text.
fn write_object(text: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    let value: Value = serde_json::from_slice(text)?;
    match value {
        Value::Object(_) => table::write_object(&value, out)?,
        other => writeln!(out, "{}", table::text(&other))?,
    }
    Ok(())
}

/// Rows of a document; elements of several kinds form several tables.
struct Rows {
    table: Option<Table>,
    /// Whether all elements belong to the first table.
    is_fixed: bool,
    is_empty: bool,
}

impl Rows {
    fn new(table: Option<Table>) -> Self {
        Self {
            is_fixed: table.is_some(),
            table,
            is_empty: true,
        }
    }

    fn push(&mut self, element: &Element<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let value: Value = serde_json::from_slice(element.value)?;
        if self.is_fixed {
            let table = self.table.as_mut();
            return Ok(table.map_or(Ok(()), |table| table.push(&value, out))?);
        }
        let Some(key) = element.key else {
            return self.push_value(&value, out);
        };
        // The result of the query is an object: its members are shown with their keys.
        let key: String = serde_json::from_slice(key)?;
        let object = Value::Object([(key, value)].into_iter().collect());
        self.push_value(&object, out)
    }

    fn push_value(&mut self, value: &Value, out: &mut Vec<u8>) -> anyhow::Result<()> {
        if let Some(columns) = columns::of_result(value) {
            return Ok(self.table_of(columns, out)?.push(value, out)?);
        }
        let list = |key: &str| value.get(key).and_then(Value::as_array);
        if let (Some(nodes), Some(edges)) = (list("Nodes"), list("Edges")) {
            for element in nodes.iter().chain(edges) {
                self.push_value(element, out)?;
            }
            return Ok(());
        }
        self.end_table(out)?;
        match value {
            Value::Object(_) => {
                self.separate(out);
                table::write_object(value, out)?;
            }
            // A path.
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    self.push_value(item, out)?;
                }
                self.end_table(out)?;
            }
            value => writeln!(out, "{}", table::text(value))?,
        }
        self.is_empty = false;
        Ok(())
    }

    /// Returns the table with these columns, after ending a table with other columns.
    fn table_of(&mut self, columns: Columns, out: &mut Vec<u8>) -> anyhow::Result<&mut Table> {
        if self
            .table
            .as_ref()
            .is_some_and(|table| *table.columns() != columns)
        {
            self.end_table(out)?;
        }
        if self.table.is_none() {
            self.separate(out);
            self.is_empty = false;
        }
        Ok(self.table.get_or_insert_with(|| Table::new(columns)))
    }

    fn end_table(&mut self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        if let Some(mut table) = self.table.take() {
            table.flush(out)?;
        }
        Ok(())
    }

    /// Writes an empty line after earlier output.
    fn separate(&self, out: &mut Vec<u8>) {
        if !self.is_empty {
            out.push(b'\n');
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.end_table(out)
    }
}

/// Minimum number of bytes of output per write.
const BUFFER: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::printable::is_safe;

    /// Output that a test reads.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the output for a text received in pieces.
    fn printed(format: Format, document: Document, text: &[u8], size: usize) -> String {
        let memory = Memory::default();
        let mut printer = Printer {
            format,
            indent: "\t",
            is_terminal: true,
            out: Box::new(memory.clone()),
        };
        let mut sink = printer.sink(document);
        let mut result = Ok(());
        for piece in text.chunks(size) {
            result = result.and_then(|()| sink.push(piece));
        }
        // The output before an error is also checked.
        let _result = result.and_then(|()| sink.finish());
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn printed_value(format: Format, document: Document, value: &Value) -> String {
        printed(format, document, value.to_string().as_bytes(), 7)
    }

    #[test]
    fn each_format_shows_a_query_result() {
        let nodes = json!([
            {"ID": "n1", "Metadata": {"Name": "eth0", "Type": "device"}, "Host": "h"},
            {"ID": "n2", "Metadata": {"Name": "lo", "Type": "device", "IPV4": ["a", "b"]}, "Host": "h"},
        ]);
        let table = printed_value(Format::Table, Document::Result, &nodes);
        let wanted = "ID  NAME  TYPE    STATE  HOST  IPV4\n\
                      n1  eth0  device         h\n\
                      n2  lo    device         h     a b\n";
        assert_eq!(table, wanted);
        let lines = printed_value(Format::Ndjson, Document::Result, &nodes);
        let parsed: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(Value::from(parsed), nodes);
        let json = printed_value(Format::Json, Document::Result, &nodes);
        assert!(json.starts_with("[\n\t{\n\t\t\"Host\": \"h\","), "{json}");
    }

    #[test]
    fn results_of_all_shapes_are_tables() {
        let table = |value: Value| printed_value(Format::Table, Document::Result, &value);
        assert_eq!(table(json!(12)), "12\n");
        assert_eq!(table(json!(["a", 2, null])), "a\n2\n\n");
        assert_eq!(table(json!([])), "");
        assert_eq!(table(json!(null)), "");
        let lines = |value: Value| printed_value(Format::Ndjson, Document::Result, &value);
        assert_eq!(lines(json!(null)), "");
        assert_eq!(lines(json!([null])), "null\n");
        assert_eq!(
            table(json!([{"k": [1, 2]}, {"l": {"m": 1}}])),
            "k  1 2\n\nl.m  1\n"
        );
        assert_eq!(table(json!({"a": 1, "b": "x"})), "a  1\n\nb  x\n");
        let node = |id: &str| json!({"ID": id, "Metadata": {}});
        let edge = json!({"ID": "e", "Metadata": {}, "Parent": "n", "Child": "m"});
        let graph = table(json!([{"Nodes": [node("n"), node("m")], "Edges": [edge]}]));
        assert_eq!(graph.lines().count(), 6, "{graph}");
        let paths = table(json!([[node("n"), node("m")], [node("n")]]));
        assert_eq!(paths.matches("ID  NAME").count(), 2, "{paths}");
    }

    #[test]
    fn groups_and_changes_are_rows_of_one_table() {
        let table = |value: Value| printed_value(Format::Table, Document::Result, &value);
        let group = |name: Option<&str>, bytes: i64| {
            json!({"Bytes": bytes, "Connections": 1, "CountedBy": "L3TrackingID", "Flows": 2,
                "Network.A": name})
        };
        let wanted = "Bytes  Network.A   Connections  Flows\n\
                      900    192.0.2.10  1            2\n\
                      7                  1            2\n";
        let groups = json!([group(Some("192.0.2.10"), 900), group(None, 7)]);
        assert_eq!(table(groups), wanted);
        let changes = json!([
            {"Time": 5, "Change": "changed", "Kind": "node", "ID": "n", "Name": "eth0",
                "Type": "veth", "Host": "h", "Keys": [{"Key": "MTU", "Old": 1, "New": 2}]},
            {"Time": 6, "Change": "removed", "Kind": "edge", "ID": "e", "Host": "h",
                "RelationType": "layer2", "Parent": "n", "Child": "m"},
        ]);
        let wanted = "TIME  CHANGE   KIND  NAME  TYPE    HOST  KEYS\n\
                      5     changed  node  eth0  veth    h     [{\"Key\":\"MTU\",\"New\":2,\"Old\":1}]\n\
                      6     removed  edge  e     layer2  h\n";
        assert_eq!(table(changes), wanted);
    }

    #[test]
    fn maps_of_resources_are_rows() {
        let map = json!({"u1": {"UUID": "u1", "Name": "a", "Count": 2, "GremlinQuery": "G"}});
        let document = Document::Map(columns::of_kind("capture"));
        let table = printed_value(Format::Table, document, &map);
        assert_eq!(
            table,
            "UUID  NAME  QUERY  BPF  TYPE  ACTIVE\nu1    a     G                 2\n"
        );
        let line = printed_value(Format::Ndjson, document, &map);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.starts_with("{\"Count\":2,"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_executes_is_printed(
            name in any::<String>(), key in any::<String>(), size in 1_usize..9,
        ) {
            let element = json!({"ID": name, "Metadata": {"Name": name, key: {"x": [name]}}, "LayersPath": name});
            let value = json!([element, name, {"a": name}]);
            let all = [Format::Json, Format::Ndjson, Format::Table, Format::Dot];
            for format in all {
                for document in [Document::Result, Document::Object, Document::Map(columns::of_kind("node"))] {
                    let shown = printed(format, document, value.to_string().as_bytes(), size);
                    prop_assert!(
                        shown.chars().all(|c| is_safe(c) || matches!(c, '\n' | '\t')), "{:?}", shown
                    );
                }
            }
        }

        #[test]
        fn any_bytes_are_harmless(bytes in any::<Vec<u8>>(), size in 1_usize..9) {
            for format in [Format::Json, Format::Ndjson, Format::Table, Format::Dot] {
                for document in [Document::Result, Document::Object] {
                    let shown = printed(format, document, &bytes, size);
                    prop_assert!(shown.chars().all(|c| is_safe(c) || matches!(c, '\n' | '\t')));
                }
            }
        }
    }
}
