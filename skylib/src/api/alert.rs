//! `AlertSpec`: what to watch for, as clients ask for it.

use serde::Serialize;

use super::go_json::{JsonError, Members};
use super::{Date, Defaults, ExpressionChecker, Resource, ResourceError, ValidationError};
use crate::go_duration;

/// An alert: an expression, when it is evaluated, and what is done when its result changes.
///
/// ```
/// use skylib::api::{AlertSpec, Defaults, Resource};
/// use skylib::time::Timestamp;
/// let defaults = Defaults::default().with_now(Timestamp::from_ms(1_738_573_811_500));
/// let alert = AlertSpec::read(r#"{"Expression":"G.V()","Trigger":"graph"}"#, &defaults)?;
/// let json = concat!(r#"{"UUID":"","Expression":"G.V()","Trigger":"graph","#,
///                    r#""CreateTime":"2025-02-03T09:10:11.5Z"}"#);
/// assert_eq!(serde_json::to_string(&alert)?, json);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertSpec {
    /// Identifier, given by the server.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// For people.
    #[serde(rename = "Name", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For people.
    #[serde(rename = "Description", skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// A query, or else a script.
    #[serde(rename = "Expression", skip_serializing_if = "String::is_empty")]
    pub expression: String,
    /// Where the result goes: an address or a program; empty for subscribers only.
    #[serde(rename = "Action", skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// `graph` or empty for each change of the graph, `duration:5s` for each five seconds.
    #[serde(rename = "Trigger", skip_serializing_if = "String::is_empty")]
    pub trigger: String,
    /// When it was made.
    #[serde(rename = "CreateTime")]
    pub create_time: Date,
}

impl AlertSpec {
    fn check_trigger(&self) -> Result<(), ValidationError> {
        let refuse = |message: String| Err(ValidationError::of("Trigger", message));
        match self.trigger.strip_prefix("duration:") {
            Some(period) => match go_duration::parse(period) {
                Ok(period) if period.is_zero() => refuse("a period above zero expected".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => refuse(error.to_string()),
            },
            None if matches!(self.trigger.as_str(), "" | "graph") => Ok(()),
            None => refuse(MISMATCH.to_owned()),
        }
    }
}

impl Resource for AlertSpec {
    const KIND: &'static str = "alert";
    const IS_UPDATABLE: bool = true;

    fn id(&self) -> &str {
        &self.uuid
    }

    fn set_id(&mut self, id: String) {
        self.uuid = id;
    }

    fn read(text: &str, defaults: &Defaults) -> Result<Self, JsonError> {
        let members = Members::first_of(text)?;
        let mut alert = Self {
            create_time: Date::of(defaults.now),
            ..Self::default()
        };
        members.read("UUID", &mut alert.uuid)?;
        members.read("Name", &mut alert.name)?;
        members.read("Description", &mut alert.description)?;
        members.read("Expression", &mut alert.expression)?;
        members.read("Action", &mut alert.action)?;
        members.read("Trigger", &mut alert.trigger)?;
        members.read("CreateTime", &mut alert.create_time)?;
        Ok(alert)
    }

    fn validate(&self, _: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        if self.expression.is_empty() {
            return Err(ValidationError::of("Expression", "zero value").into());
        }
        let schemes = ["http://", "https://", "file://"];
        if !self.action.is_empty() && !schemes.iter().any(|s| self.action.starts_with(s)) {
            return Err(ValidationError::of("Action", MISMATCH).into());
        }
        Ok(self.check_trigger()?)
    }
}

/// What the original says of a text that has not the form it should have.
pub(super) const MISMATCH: &str = "regular expression mismatch";

#[cfg(test)]
mod tests {
    use super::super::tests::support::{accepts, refusal};
    use super::*;

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        for (json, text) in [
            (r#"{"Trigger":"graph"}"#, "Expression: zero value"),
            (
                r#"{"Expression":"x","Action":"ftp://x"}"#,
                "Action: regular expression mismatch",
            ),
            (
                r#"{"Expression":"x","Trigger":"now"}"#,
                "Trigger: regular expression mismatch",
            ),
            (
                r#"{"Expression":"x","Trigger":"duration:"}"#,
                "Trigger: invalid duration \"\"",
            ),
            (
                r#"{"Expression":"x","Trigger":"duration:0s"}"#,
                "Trigger: a period above zero expected",
            ),
            (
                r#"{"Expression":"x","CreateTime":"noon"}"#,
                "CreateTime: invalid value: string \"noon\", expected a time as RFC 3339 writes it",
            ),
            (
                r#"{"Expression":7}"#,
                "Expression: invalid type: integer `7`, expected a string",
            ),
        ] {
            assert_eq!(refusal::<AlertSpec>(json), text);
        }
    }

    #[test]
    fn every_form_of_action_and_trigger_is_taken() {
        for more in [
            r#""Action":"","Trigger":"""#,
            r#""Action":"http://h:1/x","Trigger":"graph""#,
            r#""Action":"https://h","Trigger":"duration:+1s""#,
            r#""Action":"file:///bin/true","Trigger":"duration:5m30s""#,
            r#""Name":"n","Description":"d","CreateTime":"2030-01-02T03:04:05.678+01:00""#,
        ] {
            accepts::<AlertSpec>(&format!(r#"{{"Expression":"not a query",{more}}}"#));
        }
    }
}
