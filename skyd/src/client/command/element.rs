//! Common parts of the commands about nodes and edges.

use anyhow::bail;
use clap::{ArgAction, Args};
use serde_json::Value;

use super::super::args::go_bool;
use super::super::format::FormatArgs;
use super::super::metadata;
use super::super::rest::Rest;
use super::resource;

/// Arguments of `update`.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// IDs of the nodes or edges.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    /// Metadata to set; a value that is not JSON is a string. Repeatable.
    #[arg(long = "add", short = 'a', value_name = "KEY=VALUE")]
    added: Vec<String>,

    /// Metadata key to remove; repeatable.
    #[arg(long = "remove", short = 'r', value_name = "KEY")]
    removed: Vec<String>,

    #[command(flatten)]
    format: FormatArgs,
}

impl UpdateArgs {
    /// Changes the metadata of elements and prints the last element.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, kind: &'static str, rest: &mut Rest) -> anyhow::Result<()> {
        let patch = metadata::patch(&self.added, &self.removed)?;
        resource::update(kind, &self.ids, &patch, &self.format, rest).await
    }
}

/// Arguments of `delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// IDs of the nodes or edges, or queries with --gremlin.
    #[arg(required = true, value_name = "ID|QUERY")]
    words: Vec<String>,

    /// Interpret the words as Gremlin queries for the elements to delete.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    gremlin: bool,
}

impl DeleteArgs {
    /// Deletes elements.
    ///
    /// # Errors
    /// Returns an error if a query fails or returns other elements, or an element could not be
    /// deleted.
    pub(super) async fn run(self, kind: &'static str, rest: &mut Rest) -> anyhow::Result<()> {
        if !self.gremlin {
            return resource::delete(kind, &self.words, rest).await;
        }
        let mut ids = Vec::new();
        for query in &self.words {
            let result = rest.query_value(query).await?;
            for (found, id) in elements(&result)? {
                if found != kind {
                    bail!(
                        "{query} returns an element that is not of kind {kind}; nothing was deleted"
                    );
                }
                ids.push(id);
            }
        }
        resource::delete(kind, &ids, rest).await
    }
}

/// Returns the kinds and identifiers of the nodes and edges of a query result, without duplicates;
/// edges before nodes, because edges are deleted with their nodes.
///
/// # Errors
/// Returns an error if the result contains other values.
pub(super) fn elements(result: &Value) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut found = std::collections::BTreeSet::new();
    add_elements(result, &mut found)?;
    Ok(found.into_iter().collect())
}

fn add_elements(
    value: &Value,
    found: &mut std::collections::BTreeSet<(&'static str, String)>,
) -> anyhow::Result<()> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| add_elements(item, found));
    }
    if let (Some(nodes), Some(edges)) = (value.get("Nodes"), value.get("Edges")) {
        return [nodes, edges]
            .iter()
            .filter(|list| !list.is_null())
            .try_for_each(|list| add_elements(list, found));
    }
    let id = value.get("ID").and_then(Value::as_str);
    let (Some(id), true) = (id, value.get("Metadata").is_some()) else {
        bail!("the query returns values other than nodes and edges; nothing was deleted");
    };
    let is_edge = value.get("Parent").is_some();
    found.insert((if is_edge { "edge" } else { "node" }, id.to_owned()));
    Ok(())
}

/// Returns the name of this machine, for the origin of new elements.
pub(super) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edges_precede_nodes_and_each_element_is_found_once() {
        let node = |id: &str| json!({"ID": id, "Metadata": {}});
        let edge = json!({"ID": "x", "Metadata": {}, "Parent": "a", "Child": "b"});
        let graph = json!([{"Nodes": [node("b"), node("a")], "Edges": [edge]}, node("a")]);
        let wanted = [("edge", "x"), ("node", "a"), ("node", "b")];
        let found = elements(&graph).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(kind, id)| (*kind, id.as_str()))
            .collect();
        assert_eq!(found, wanted);
        assert_eq!(elements(&json!([])).unwrap(), []);
        assert_eq!(
            elements(&json!([{"Nodes": null, "Edges": null}])).unwrap(),
            []
        );
        assert_eq!(elements(&json!([[node("a")]])).unwrap().len(), 1, "a path");
    }

    #[test]
    fn results_of_other_kinds_delete_nothing() {
        for result in [json!(5), json!(["a"]), json!([{"UUID": "f"}]), json!(null)] {
            assert!(elements(&result).is_err(), "{result}");
        }
    }
}
