//! `EdgeRule`: an edge to create between the results of two queries.

use super::json_object::{json_object, uuid_is_id};
use super::{ExpressionChecker, Resource, ResourceError};
use crate::graph::{Metadata, schema};

json_object! {
    /// Rule that links the first node of one query to the first node of another query.
    ///
    /// ```
    /// use skylib::api::{Defaults, EdgeRule, Resource};
    /// let text = r#"{"Src":"G.V('a')","Dst":"G.V('b')","Metadata":{"RelationType":"layer2"}}"#;
    /// let rule = EdgeRule::read(text, &Defaults::default())?;
    /// assert_eq!(rule.dst, "G.V('b')");
    /// # Ok::<(), skylib::api::go_json::JsonError>(())
    /// ```
    pub struct EdgeRule {
        /// Identifier, assigned by the server.
        pub uuid: String = "UUID";
        /// Name shown to users.
        pub name: String = "Name", with_name;
        /// Description shown to users.
        pub description: String = "Description", with_description;
        /// Gremlin query of the parent node.
        pub src: String = "Src", with_src;
        /// Gremlin query of the child node.
        pub dst: String = "Dst", with_dst;
        /// Metadata of the edge, which includes its `RelationType`.
        pub metadata: Option<Metadata> = "Metadata", with_metadata;
    }
}

impl EdgeRule {
    /// Returns a rule that links the first node of one Gremlin query to the first of another.
    ///
    /// ```
    /// use skylib::api::EdgeRule;
    /// use skylib::graph::Metadata;
    /// let layer2 = Metadata::from_iter([("RelationType", "layer2")]);
    /// let rule = EdgeRule::new("G.V('a')", "G.V('b')", layer2).with_name("uplink");
    /// assert_eq!((rule.src.as_str(), rule.dst.as_str()), ("G.V('a')", "G.V('b')"));
    /// ```
    #[must_use]
    pub fn new(src: impl Into<String>, dst: impl Into<String>, metadata: Metadata) -> Self {
        Self::default()
            .with_src(src)
            .with_dst(dst)
            .with_metadata(metadata)
    }
}

impl Resource for EdgeRule {
    const KIND: &'static str = "edgerule";

    uuid_is_id!();

    fn name(&self) -> &str {
        &self.name
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        expressions.check_query("Src", &self.src)?;
        expressions.check_query("Dst", &self.dst)?;
        let none = Metadata::new();
        schema::check_edge_metadata(self.metadata.as_ref().unwrap_or(&none))?;
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
            (
                "{}",
                r#"Src: Not a valid Gremlin expression: found "", expected `G`"#,
            ),
            (
                r#"{"Src":"G","Dst":"nonsense"}"#,
                "Dst: Not a valid Gremlin expression: expected `G`",
            ),
            (
                r#"{"Src":"G","Dst":"G"}"#,
                "invalid schema: (root): Must validate all the schemas (allOf)\n\
                 Metadata: Must validate all the schemas (allOf)\n\
                 Metadata: RelationType is required",
            ),
            (
                r#"{"Src":["G"]}"#,
                "Src: invalid type: sequence, expected a string",
            ),
        ] {
            assert_eq!(refusal::<EdgeRule>(json), text);
        }
    }

    #[test]
    fn all_members_are_shown() {
        let json = concat!(
            r#"{"UUID":"u","Name":"n","Description":"d","Src":"G","Dst":"G.V()","#,
            r#""Metadata":{"RelationType":"x"}}"#
        );
        assert_eq!(accepts::<EdgeRule>(json), json);
    }
}
