//! `NodeRule`: a node to create, or metadata to set on nodes.

use super::alert::MISMATCH;
use super::json_object::{json_object, uuid_is_id};
use super::{ExpressionChecker, Resource, ResourceError, ValidationError};
use crate::graph::{Metadata, schema, typed_keys};

json_object! {
    /// Rule that creates a node, or sets metadata of the nodes that a query returns.
    ///
    /// ```
    /// use skylib::api::{Defaults, NodeRule, Resource};
    /// let text = r#"{"Action":"create","Metadata":{"Name":"TOR1","Type":"fabric"}}"#;
    /// let rule = NodeRule::read(text, &Defaults::default())?;
    /// assert_eq!(rule.metadata.as_ref().map(|metadata| metadata.len()), Some(2));
    /// # Ok::<(), skylib::api::go_json::JsonError>(())
    /// ```
    pub struct NodeRule {
        /// Identifier, assigned by the server.
        pub uuid: String = "UUID";
        /// Name shown to users.
        pub name: String = "Name", with_name;
        /// Description shown to users.
        pub description: String = "Description", with_description;
        /// Metadata of the new node, or metadata to set.
        pub metadata: Option<Metadata> = "Metadata", with_metadata;
        /// Action: `create` or `update`.
        pub action: String = "Action", with_action;
        /// Gremlin query of the nodes to update.
        pub query: String = "Query", with_query;
    }
}

impl NodeRule {
    /// Returns a rule that creates a node with this metadata.
    ///
    /// ```
    /// use skylib::api::NodeRule;
    /// use skylib::graph::Metadata;
    /// let rule = NodeRule::create(Metadata::from_iter([("Name", "TOR1"), ("Type", "switch")]));
    /// assert_eq!(rule.action, "create");
    /// ```
    #[must_use]
    pub fn create(metadata: Metadata) -> Self {
        Self::default()
            .with_action("create")
            .with_metadata(metadata)
    }

    /// Returns a rule that sets metadata of the nodes that a Gremlin query returns.
    #[must_use]
    pub fn update(query: impl Into<String>, metadata: Metadata) -> Self {
        Self::default()
            .with_action("update")
            .with_query(query)
            .with_metadata(metadata)
    }
}

impl Resource for NodeRule {
    const KIND: &'static str = "noderule";

    uuid_is_id!();

    fn name(&self) -> &str {
        &self.name
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        if !matches!(self.action.as_str(), "create" | "update") {
            return Err(ValidationError::of_field("Action", MISMATCH).into());
        }
        if !self.query.is_empty() {
            expressions.check_query("Query", &self.query)?;
        }
        let none = Metadata::new();
        let metadata = self.metadata.as_ref().unwrap_or(&none);
        typed_keys::check(metadata)
            .map_err(|error| ValidationError::of_field("Metadata", error.to_string()))?;
        if self.action == "create" {
            schema::check_node_metadata(metadata)?;
            // The schema allows namespaces without a type, but the ID of the node requires a type
            // and a name.
            for (key, text) in [
                ("Type", "invalid schema: Metadata: Type is required"),
                ("Name", "invalid schema: Metadata: Name is required"),
            ] {
                let value = metadata.get(key).and_then(|value| value.as_text());
                if value.is_none_or(str::is_empty) {
                    return Err(ValidationError::of_resource(text).into());
                }
            }
        } else if metadata.get("Type").is_some() || metadata.get("Name").is_some() {
            let text = "Name and Type fields can not be changed";
            return Err(ValidationError::of_resource(text).into());
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
                "invalid schema: (root): Must validate all the schemas (allOf)\n\
                 (root): Must validate at least one schema (anyOf)\n\
                 Metadata: Must validate all the schemas (allOf)\n\
                 Metadata: Name is required\n\
                 Metadata: Type is required",
            ),
            (
                r#"{"Action":"update","Metadata":{"LastUpdateMetric":7},"Query":"G"}"#,
                "Metadata: metadata key LastUpdateMetric must be an object of integers",
            ),
            (
                r#"{"Action":"create","Metadata":{"Name":"n","Path":"/x"}}"#,
                "invalid schema: Metadata: Type is required",
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
