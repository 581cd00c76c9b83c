//! `EdgeRule`: nodes to link, as clients ask for it.

use serde::Serialize;

use super::go_json::{JsonError, Members};
use super::{Defaults, ExpressionChecker, Resource, ResourceError};
use crate::graph::{Metadata, schema};

/// A rule that links the first node of one query to the first of another.
///
/// ```
/// use skylib::api::{Defaults, EdgeRule, Resource};
/// let text = r#"{"Src":"G.V('a')","Dst":"G.V('b')","Metadata":{"RelationType":"layer2"}}"#;
/// let rule = EdgeRule::read(text, &Defaults::default())?;
/// assert_eq!(rule.dst, "G.V('b')");
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EdgeRule {
    /// Identifier, given by the server.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// For people.
    #[serde(rename = "Name")]
    pub name: String,
    /// For people.
    #[serde(rename = "Description")]
    pub description: String,
    /// Where the edge starts.
    #[serde(rename = "Src")]
    pub src: String,
    /// Where it ends.
    #[serde(rename = "Dst")]
    pub dst: String,
    /// Metadata of the edge, with its `RelationType`.
    #[serde(rename = "Metadata")]
    pub metadata: Option<Metadata>,
}

impl Resource for EdgeRule {
    const KIND: &'static str = "edgerule";

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
        members.read("Src", &mut rule.src)?;
        members.read("Dst", &mut rule.dst)?;
        members.read("Metadata", &mut rule.metadata)?;
        Ok(rule)
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
            ("{}", "Src: Not a valid Gremlin expression: it is empty"),
            (
                r#"{"Src":"G","Dst":"nonsense"}"#,
                "Dst: Not a valid Gremlin expression: expected `G`",
            ),
            (
                r#"{"Src":"G","Dst":"G"}"#,
                "invalid schema: Metadata: RelationType is required",
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
