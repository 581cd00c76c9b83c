//! `Row`: the columns of a row of OVSDB (RFC 7047 section 5.1).
//!
//! A value is an atom, a set of atoms, or a map. A set with one element is written as an atom.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Columns of a row by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row(pub(super) serde_json::Map<String, Json>);

impl Row {
    /// Returns the only string of a column; `None` if the column is an empty set.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        let atom = self.atoms(column).first()?;
        atom.as_str().filter(|text| !text.is_empty())
    }

    /// Returns all strings of a column.
    pub(super) fn texts(&self, column: &str) -> Vec<&str> {
        self.atoms(column).iter().filter_map(Json::as_str).collect()
    }

    /// Returns the only number of a column; `None` if the column is an empty set.
    pub(super) fn number(&self, column: &str) -> Option<i64> {
        self.atoms(column).first()?.as_i64()
    }

    /// Returns all numbers of a column.
    pub(super) fn numbers(&self, column: &str) -> Vec<i64> {
        self.atoms(column).iter().filter_map(Json::as_i64).collect()
    }

    /// Returns whether a column is written as an atom.
    pub(super) fn is_atom(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|value| !value.is_array())
    }

    /// Returns the rows that a column refers to.
    pub(super) fn references(&self, column: &str) -> Vec<&str> {
        match self.0.get(column) {
            // A set with one element.
            Some(Json::Array(pair)) if is_tagged(pair, "uuid") => {
                pair[1].as_str().into_iter().collect()
            }
            _ => {
                let atoms = self.atoms(column).iter();
                let references = atoms.filter_map(|atom| match atom {
                    Json::Array(pair) if is_tagged(pair, "uuid") => pair[1].as_str(),
                    _ => None,
                });
                references.collect()
            }
        }
    }

    /// Returns a column that is a map; numbers are written as text.
    pub(super) fn map(&self, column: &str) -> BTreeMap<&str, String> {
        let Some(Json::Array(pair)) = self.0.get(column) else {
            return BTreeMap::new();
        };
        let entries = match pair.get(1) {
            Some(Json::Array(entries)) if is_tagged(pair, "map") => entries,
            _ => return BTreeMap::new(),
        };
        entries.iter().filter_map(map_entry).collect()
    }

    /// Returns the atoms of a column that is an atom or a set.
    fn atoms(&self, column: &str) -> &[Json] {
        match self.0.get(column) {
            Some(Json::Array(pair)) if is_tagged(pair, "set") => {
                pair[1].as_array().map(Vec::as_slice).unwrap_or_default()
            }
            Some(Json::Array(_)) | None => &[],
            Some(atom) => std::slice::from_ref(atom),
        }
    }
}

fn map_entry(entry: &Json) -> Option<(&str, String)> {
    match entry.as_array()?.as_slice() {
        [Json::String(key), Json::String(value)] => Some((key, value.clone())),
        [Json::String(key), value] => Some((key, value.to_string())),
        _ => None,
    }
}

/// Returns whether an array is a pair of a tag and a value.
fn is_tagged(pair: &[Json], tag: &str) -> bool {
    matches!(pair, [Json::String(found), _] if found == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        serde_json::from_str(json).map(Row).unwrap()
    }

    #[test]
    fn atoms_and_sets_have_the_same_elements() {
        let row = row(
            r#"{"one":5,"none":["set",[]],"two":["set",[5,6]],"name":"br0","empty":"",
                "names":["set",["a","b"]],"odd":["set",5],"odder":["what"]}"#,
        );
        assert_eq!((row.number("one"), row.number("none")), (Some(5), None));
        assert_eq!(row.numbers("two"), [5, 6]);
        assert!(row.is_atom("one") && !row.is_atom("two") && !row.is_atom("absent"));
        assert_eq!((row.text("name"), row.text("empty")), (Some("br0"), None));
        assert_eq!(row.texts("names"), ["a", "b"]);
        assert_eq!(row.numbers("odd").len() + row.numbers("odder").len(), 0);
    }

    #[test]
    fn references_and_maps_are_read() {
        let row = row(
            r#"{"one":["uuid","u1"],"two":["set",[["uuid","u1"],["uuid","u2"],["x"]]],
                "map":["map",[["k","v"],["n",5],["bad"]]],"not":["set",[]]}"#,
        );
        assert_eq!(row.references("one"), ["u1"]);
        assert_eq!(row.references("two"), ["u1", "u2"]);
        let map: Vec<_> = row.map("map").into_iter().collect();
        assert_eq!(map, [("k", "v".to_owned()), ("n", "5".to_owned())]);
        assert!(row.map("not").is_empty() && row.map("absent").is_empty());
    }
}
