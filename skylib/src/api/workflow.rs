//! `Workflow`: a script with parameters, as clients bring it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use super::go_json::{JsonError, Members};
use super::{Defaults, ExpressionChecker, Resource, ResourceError, ValidationError};

/// A script that clients call with parameters; its source is not looked into here.
///
/// ```
/// use skylib::api::{Defaults, Resource, Workflow};
/// let text = r#"{"name":"Ping","parameters":[{"Name":"to","Type":"node"}],"Source":"function(){}"}"#;
/// let workflow = Workflow::read(text, &Defaults::default())?;
/// assert_eq!(workflow.parameters.as_ref().map(|all| all[0].name.as_str()), Some("to"));
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Workflow {
    /// Identifier, given by the server.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// What it is called; no two have the same name.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people, in short.
    pub r#abstract: String,
    /// For people.
    pub description: String,
    /// What it is called with, in this order.
    pub parameters: Option<Vec<WorkflowParameter>>,
    /// The script.
    pub source: String,
}

/// One parameter of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkflowParameter {
    /// What it is called.
    pub name: String,
    /// For people.
    pub description: String,
    /// `string`, `date`, `integer`, `boolean`, `node`, `choice`.
    pub r#type: String,
    /// Its value where the caller gives none.
    pub default: Json,
    /// What a `choice` is made from.
    pub values: Option<Vec<WorkflowChoice>>,
}

/// One value that a parameter may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkflowChoice {
    /// The value.
    pub value: String,
    /// For people.
    pub description: String,
}

impl Resource for Workflow {
    const KIND: &'static str = "workflow";
    const IS_UPDATABLE: bool = true;

    fn id(&self) -> &str {
        &self.uuid
    }

    fn set_id(&mut self, id: String) {
        self.uuid = id;
    }

    fn read(text: &str, _: &Defaults) -> Result<Self, JsonError> {
        let members = Members::first_of(text)?;
        let mut workflow = Self::default();
        members.read("UUID", &mut workflow.uuid)?;
        members.read("Name", &mut workflow.name)?;
        members.read("Title", &mut workflow.title)?;
        members.read("Abstract", &mut workflow.r#abstract)?;
        members.read("Description", &mut workflow.description)?;
        members.read("Parameters", &mut workflow.parameters)?;
        members.read("Source", &mut workflow.source)?;
        Ok(workflow)
    }

    fn validate(&self, _: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        if self.name.is_empty() {
            return Err(ValidationError::of("Name", "zero value").into());
        }
        if BUILT_IN.contains(&self.name.as_str()) {
            return Err(duplicate(&self.name));
        }
        Ok(())
    }

    fn conflict_with(&self, other: &Self) -> Option<ResourceError> {
        (self.name == other.name).then(|| duplicate(&self.name))
    }
}

fn duplicate(name: &str) -> ResourceError {
    ValidationError::whole(format!("Duplicate workflow, name={name}")).into()
}

/// Names that clients of the original expect to stand for what came with it.
const BUILT_IN: [&str; 4] = [
    "CheckConnectivity",
    "CheckMTU",
    "FlowMatrix",
    "FlowValidation",
];

impl<'de> Deserialize<'de> for WorkflowParameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        let mut parameter = Self::default();
        let read = || {
            members.read("Name", &mut parameter.name)?;
            members.read("Description", &mut parameter.description)?;
            members.read("Type", &mut parameter.r#type)?;
            members.read("Default", &mut parameter.default)?;
            members.read("Values", &mut parameter.values)
        };
        read_into(read)?;
        Ok(parameter)
    }
}

impl<'de> Deserialize<'de> for WorkflowChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        let mut choice = Self::default();
        let read = || {
            members.read("Value", &mut choice.value)?;
            members.read("Description", &mut choice.description)
        };
        read_into(read)?;
        Ok(choice)
    }
}

fn read_into<E: serde::de::Error>(read: impl FnOnce() -> Result<(), JsonError>) -> Result<(), E> {
    read().map_err(E::custom)
}

/// Reads the parameters that a workflow is called with: `{"Params":[…]}`.
///
/// ```
/// use skylib::api::workflow_parameters;
/// assert_eq!(workflow_parameters(r#"{"Params":["a",1]}"#)?.len(), 2);
/// assert!(workflow_parameters("{}")?.is_empty());
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
///
/// # Errors
/// When the text is no JSON object, or `Params` no list.
pub fn workflow_parameters(text: &str) -> Result<Vec<Json>, JsonError> {
    let mut parameters = Vec::new();
    Members::first_of(text)?.read("Params", &mut parameters)?;
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::{accepts, refusal};
    use super::*;

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        for (json, text) in [
            ("{}", "Name: zero value"),
            (
                r#"{"Name":"CheckMTU"}"#,
                "Duplicate workflow, name=CheckMTU",
            ),
            (
                r#"{"Name":"x","Parameters":[{"Name":5}]}"#,
                "Parameters: Name: invalid type: integer `5`, expected a string",
            ),
            (
                r#"{"Name":"x","Parameters":[{"Values":[{"Value":1}]}]}"#,
                "Parameters: Values: Value: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"Name":"x","Parameters":{}}"#,
                "Parameters: invalid type: map, expected a sequence",
            ),
        ] {
            assert_eq!(refusal::<Workflow>(json), text);
        }
        let named = |name: &str| Workflow {
            name: name.to_owned(),
            ..Workflow::default()
        };
        let conflict = named("a").conflict_with(&named("a")).unwrap();
        assert_eq!(conflict.to_string(), "Duplicate workflow, name=a");
        assert!(named("a").conflict_with(&named("b")).is_none());
    }

    #[test]
    fn all_members_are_shown_in_any_case_read() {
        let json = concat!(
            r#"{"UUID":"","Name":"n","Title":"t","Abstract":"a","Description":"d","Parameters":["#,
            r#"{"Name":"p","Description":"","Type":"choice","Default":{"any":[1]},"#,
            r#""Values":[{"Value":"v","Description":"w"}]}],"Source":"s"}"#
        );
        assert_eq!(accepts::<Workflow>(json), json);
        let lower = json
            .replace("Parameters", "parameters")
            .replace("Value\"", "value\"");
        assert_eq!(accepts::<Workflow>(&lower), json);
        let shown = accepts::<Workflow>(r#"{"Name":"n","Parameters":[{}]}"#);
        let empty = r#"[{"Name":"","Description":"","Type":"","Default":null,"Values":null}]"#;
        assert!(
            shown.contains(&format!(r#""Parameters":{empty}"#)),
            "{shown}"
        );
        assert!(accepts::<Workflow>(r#"{"Name":"n"}"#).contains(r#""Parameters":null"#));
    }
}
