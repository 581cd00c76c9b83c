//! `NodeRule`: nodes to make, or metadata to give to nodes, as clients ask for it.

use serde::Serialize;

use super::alert::MISMATCH;
use super::go_json::{JsonError, Members};
use super::{Defaults, ExpressionChecker, Resource, ResourceError, ValidationError};
use crate::graph::{Metadata, schema};

/// A rule that makes a node, or sets metadata of the nodes of a query.
///
/// ```
/// use skylib::api::{Defaults, NodeRule, Resource};
/// let text = r#"{"Action":"create","Metadata":{"Name":"TOR1","Type":"fabric"}}"#;
/// let rule = NodeRule::read(text, &Defaults::default())?;
/// assert_eq!(rule.metadata.as_ref().map(|metadata| metadata.len()), Some(2));
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeRule {
    /// Identifier, given by the server.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// For people.
    #[serde(rename = "Name")]
    pub name: String,
    /// For people.
    #[serde(rename = "Description")]
    pub description: String,
    /// Metadata of the new node, or to be set.
    #[serde(rename = "Metadata")]
    pub metadata: Option<Metadata>,
    /// `create` or `update`.
    #[serde(rename = "Action")]
    pub action: String,
    /// The nodes to update.
    #[serde(rename = "Query")]
    pub query: String,
}

impl Resource for NodeRule {
    const KIND: &'static str = "noderule";

    fn id(&self) -> &str {
        &self.uuid
    }

    fn set_id(&mut self, id: String) {
        self.uuid = id;
    }

    fn read(text: &str, _: &Defaults) -> Result<Self, JsonError> {
        let members = Members::first_of(text)?;
        let mut rule = Self::default();
        members.read("UUID", &mut rule.uuid)?;
        members.read("Name", &mut rule.name)?;
        members.read("Description", &mut rule.description)?;
        members.read("Metadata", &mut rule.metadata)?;
        members.read("Action", &mut rule.action)?;
        members.read("Query", &mut rule.query)?;
        Ok(rule)
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        if !matches!(self.action.as_str(), "create" | "update") {
            return Err(ValidationError::of("Action", MISMATCH).into());
        }
        if !self.query.is_empty() {
            expressions.check_query("Query", &self.query)?;
        }
        let none = Metadata::new();
        let metadata = self.metadata.as_ref().unwrap_or(&none);
        if self.action == "create" {
            schema::check_node_metadata(metadata)?;
        } else if metadata.get("Type").is_some() || metadata.get("Name").is_some() {
            let text = "Name and Type fields can not be changed";
            return Err(ValidationError::whole(text).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::{accepts, refusal};
    use super::*;

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        for (json, text) in [
            ("{}", "Action: regular expression mismatch"),
            (
                r#"{"Action":"Create"}"#,
                "Action: regular expression mismatch",
            ),
            (
                r#"{"Action":"update","Query":"nonsense"}"#,
                "Query: Not a valid Gremlin expression: expected `G`",
            ),
            (
                r#"{"Action":"create","Metadata":null}"#,
                "invalid schema: Metadata: Name is required\n\
                 Metadata: Type is required, or Path, or UUID",
            ),
            (
                r#"{"Action":"update","Metadata":{"Type":""},"Query":"G"}"#,
                "Name and Type fields can not be changed",
            ),
            (
                r#"{"Action":"update","Metadata":[]}"#,
                "Metadata: invalid type: sequence, expected an object",
            ),
        ] {
            assert_eq!(refusal::<NodeRule>(json), text);
        }
    }

    #[test]
    fn all_members_are_shown_also_where_they_are_empty() {
        let shown = accepts::<NodeRule>(r#"{"action":"update"}"#);
        let json = concat!(
            r#"{"UUID":"","Name":"","Description":"","Metadata":null,"Action":"update","#,
            r#""Query":""}"#
        );
        assert_eq!(shown, json);
        accepts::<NodeRule>(r#"{"Action":"update","Metadata":{"A":{"B":[1,2.5]}},"Query":"G"}"#);
    }
}
