//! Tables of aligned columns, printed while rows are received.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::printable::printable;

/// Column: its title, and the location of its cells in the JSON of an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    /// Title.
    pub(super) title: &'static str,
    /// JSON pointers; the first that refers to a value is used.
    pub(super) pointers: &'static [&'static str],
}

impl Column {
    /// Returns the cell of an element.
    fn cell(&self, element: &Value) -> String {
        let found = self
            .pointers
            .iter()
            .find_map(|pointer| element.pointer(pointer));
        found.map_or_else(String::new, |value| shorten(&text(value)).into_owned())
    }
}

/// Columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Columns {
    /// Columns of a kind of element.
    Of(&'static [Column]),
    /// Members of the rows, by name.
    Members(Vec<String>),
}

impl Columns {
    fn len(&self) -> usize {
        match self {
            Self::Of(columns) => columns.len(),
            Self::Members(names) => names.len(),
        }
    }

    fn titles(&self) -> Vec<String> {
        match self {
            Self::Of(columns) => columns
                .iter()
                .map(|column| column.title.to_owned())
                .collect(),
            Self::Members(names) => names
                .iter()
                .map(|name| printable(name).into_owned())
                .collect(),
        }
    }

    /// Returns the cells of an element.
    fn cells(&self, element: &Value) -> Vec<String> {
        let member = |name: &String| {
            let value = element.get(name).map(text).unwrap_or_default();
            shorten(&value).into_owned()
        };
        match self {
            Self::Of(columns) => columns.iter().map(|column| column.cell(element)).collect(),
            Self::Members(names) => names.iter().map(member).collect(),
        }
    }
}

/// Table that is written once enough rows have been received to choose the widths of the columns.
///
/// The first [`SAMPLE`] rows determine the widths; wider cells of later rows shift the rest of
/// their row.
pub(super) struct Table {
    columns: Columns,
    /// Rows that have not been written, beginning with the titles.
    waiting: Vec<Vec<String>>,
    /// Widths in terminal cells; empty until chosen.
    widths: Vec<usize>,
}

impl Table {
    /// Creates a table.
    pub(super) fn new(columns: Columns) -> Self {
        Self {
            waiting: vec![columns.titles()],
            columns,
            widths: Vec::new(),
        }
    }

    /// Returns the columns.
    pub(super) const fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Adds the row of an element.
    ///
    /// # Errors
    /// Returns an error if the output cannot be written.
    pub(super) fn push(&mut self, element: &Value, out: &mut dyn Write) -> io::Result<()> {
        self.waiting.push(self.columns.cells(element));
        if !self.widths.is_empty() || self.waiting.len() > SAMPLE {
            self.flush(out)?;
        }
        Ok(())
    }

    /// Writes the rows that have not been written.
    ///
    /// # Errors
    /// Returns an error if the output cannot be written.
    pub(super) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_empty() {
            self.widths = (0..self.columns.len())
                .map(|number| {
                    let cells = self.waiting.iter().filter_map(|row| row.get(number));
                    cells.map(|cell| cell.width()).max().unwrap_or(0)
                })
                .collect();
        }
        for row in self.waiting.drain(..) {
            write_row(&row, &self.widths, out)?;
        }
        Ok(())
    }
}

fn write_row(row: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        let padding = width.saturating_sub(cell.width()) + GAP;
        line.extend(std::iter::repeat_n(' ', padding));
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes an object as one line for each value, with the dotted path of its key.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub(super) fn write_object(object: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = Vec::new();
    flatten(String::new(), object, &mut rows);
    let width = rows.iter().map(|[key, _]| key.width()).max().unwrap_or(0);
    for row in rows {
        write_row(&row, &[width, 0], out)?;
    }
    Ok(())
}

fn flatten(key: String, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let name = printable(name);
                let key = match key.is_empty() {
                    true => name.into_owned(),
                    false => format!("{key}.{name}"),
                };
                flatten(key, value, rows);
            }
        }
        value => rows.push([key, text(value)]),
    }
}

/// Returns a value as a string: strings unchanged, lists of scalars without brackets, and all other
/// values as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text).into_owned(),
        Value::Array(items)
            if items
                .iter()
                .all(|item| !item.is_array() && !item.is_object()) =>
        {
            items.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        other => printable(&other.to_string()).into_owned(),
    }
}

/// Returns a string, or its beginning if the string is wider than [`MAX_CELL`].
fn shorten(text: &str) -> Cow<'_, str> {
    if text.width() <= MAX_CELL {
        return Cow::Borrowed(text);
    }
    let mut width = 0;
    let end = text.char_indices().find(|(_, letter)| {
        width += letter.encode_utf8(&mut [0; 4]).width();
        width >= MAX_CELL
    });
    let end = end.map_or(text.len(), |(position, _)| position);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Number of lines from which the widths of the columns are chosen.
const SAMPLE: usize = 200;
/// Number of spaces between columns.
const GAP: usize = 2;
/// Maximum width of a cell; the formats json and ndjson show complete values.
const MAX_CELL: usize = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column {
            title: "NAME",
            pointers: &["/Metadata/Name", "/Name"],
        },
        Column {
            title: "TYPE",
            pointers: &["/Type"],
        },
    ];

    fn table(elements: &[Value]) -> String {
        let (mut table, mut out) = (Table::new(Columns::Of(COLUMNS)), Vec::new());
        for element in elements {
            table.push(element, &mut out).unwrap();
        }
        table.flush(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_by_the_width_on_a_terminal() {
        let elements = [
            json!({"Name": "日本", "Type": "a"}),
            json!({"Metadata": {"Name": "eth0"}, "Name": "no", "Type": ["b", 2]}),
            json!({"Type": {"x": null}}),
        ];
        let wanted = "NAME  TYPE\n日本  a\neth0  b 2\n      {\"x\":null}\n";
        assert_eq!(table(&elements), wanted);
        assert_eq!(table(&[]), "NAME  TYPE\n");
    }

    #[test]
    fn long_and_hostile_cells_are_cut_and_shown() {
        let name = format!("\u{1b}[2J{}", "x".repeat(100));
        let shown = table(&[json!({ "Name": name })]);
        assert!(shown.contains("\n\\u{1b}[2Jxx"), "{shown}");
        assert!(shown.ends_with("x…\n"), "{shown}");
        assert_eq!(shown.lines().nth(1).unwrap().width(), MAX_CELL);
    }

    #[test]
    fn rows_are_written_before_the_last_one_is_known() {
        let (mut table, mut out) = (Table::new(Columns::Of(COLUMNS)), Vec::new());
        for number in 0..SAMPLE {
            table.push(&json!({ "Name": number }), &mut out).unwrap();
        }
        let lines = out.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, SAMPLE + 1);
        table
            .push(&json!({"Name": "a longer one"}), &mut out)
            .unwrap();
        assert!(out.ends_with(b"\na longer one\n"));
    }

    #[test]
    fn objects_are_shown_by_path() {
        let mut out = Vec::new();
        let object = json!({"A": {"B": 1, "\u{7}": []}, "C": "t", "D": [{"x": 1}], "E": {}});
        write_object(&object, &mut out).unwrap();
        let wanted = "A.\\u{7}\nA.B      1\nC        t\nD        [{\"x\":1}]\nE        {}\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
