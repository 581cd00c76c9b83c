//! `Workflow`: a script with parameters.

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::go_json::{JsonError, Members};
use super::json_object::{deserialize_object, json_object, uuid_is_id};
use super::{ExpressionChecker, Resource, ResourceError, ValidationError};

json_object! {
    /// Script that clients call with parameters; its source is not checked when it is stored.
    ///
    /// ```
    /// use skylib::api::{Defaults, Resource, Workflow};
    /// let text = r#"{"name":"Ping","parameters":[{"Name":"to","Type":"node"}],"Source":"function(){}"}"#;
    /// let workflow = Workflow::read(text, &Defaults::default())?;
    /// assert_eq!(workflow.parameters.as_ref().map(|all| all[0].name.as_str()), Some("to"));
    /// # Ok::<(), skylib::api::go_json::JsonError>(())
    /// ```
    pub struct Workflow {
        /// Identifier, assigned by the server.
        pub uuid: String = "UUID";
        /// Name, unique among all workflows.
        pub name: String = "Name", with_name;
        /// Title shown to users.
        pub title: String = "Title", with_title;
        /// Short description shown to users.
        pub summary: String = "Abstract", with_summary;
        /// Description shown to users.
        pub description: String = "Description", with_description;
        /// Parameters, in the order of the script's arguments.
        pub parameters: Option<Vec<WorkflowParameter>> = "Parameters", with_parameters;
        /// Source code of the script.
        pub source: String = "Source", with_source;
    }
}

json_object! {
    /// Parameter of a [`Workflow`].
    pub struct WorkflowParameter {
        /// Name of the parameter.
        pub name: String = "Name", with_name;
        /// Description shown to users.
        pub description: String = "Description", with_description;
        /// Type: `string`, `date`, `integer`, `boolean`, `node`, or `choice`.
        pub parameter_type: String = "Type", with_parameter_type;
        /// Value of the argument if the caller omits it.
        pub default: Json = "Default", with_default;
        /// Possible values of a `choice`.
        pub values: Option<Vec<WorkflowChoice>> = "Values", with_values;
    }
}

json_object! {
    /// Possible value of a [`WorkflowParameter`] of type `choice`.
    #[derive(Eq)]
    pub struct WorkflowChoice {
        /// The value.
        pub value: String = "Value", with_value;
        /// Description shown to users.
        pub description: String = "Description", with_description;
    }
}

impl Workflow {
    /// Returns a workflow without parameters.
    ///
    /// ```
    /// use skylib::api::{Workflow, WorkflowParameter};
    /// let to = WorkflowParameter::default().with_name("to").with_parameter_type("node");
    /// let workflow = Workflow::new("Ping", "function ping(to) {}").with_parameters(vec![to]);
    /// assert_eq!(workflow.name, "Ping");
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self::default().with_name(name).with_source(source)
    }
}

impl Resource for Workflow {
    const KIND: &'static str = "workflow";
    const IS_UPDATABLE: bool = true;

    uuid_is_id!();

    fn name(&self) -> &str {
        &self.name
    }

    fn validate(&self, _: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        if self.name.is_empty() {
            return Err(ValidationError::of_field("Name", "zero value").into());
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
    ValidationError::of_resource(format!("Duplicate workflow, name={name}")).into()
}

/// Names of the built-in workflows. COMPAT: Skydive has them, and its clients rely on them.
const BUILT_IN: [&str; 4] = [
    "CheckConnectivity",
    "CheckMTU",
    "FlowMatrix",
    "FlowValidation",
];

impl<'de> Deserialize<'de> for WorkflowParameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_object(deserializer)
    }
}

impl<'de> Deserialize<'de> for WorkflowChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_object(deserializer)
    }
}

/// Returns the arguments of a workflow call, whose body is `{"Params":[…]}`.
///
/// ```
/// use skylib::api::workflow_arguments;
/// assert_eq!(workflow_arguments(r#"{"Params":["a",1]}"#)?.len(), 2);
/// assert!(workflow_arguments("{}")?.is_empty());
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
///
/// # Errors
/// Returns [`JsonError`] if the string is not a JSON object, or `Params` is not a list.
pub fn workflow_arguments(text: &str) -> Result<Vec<Json>, JsonError> {
    let mut arguments = Vec::new();
    Members::parse_first(text)?.read("Params", &mut arguments)?;
    Ok(arguments)
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
