//! `AlertSpec`: an expression that the server watches, and the action when its result changes.

use super::json_object::{json_object, read_and_ignore, uuid_is_id};
use super::{Defaults, ExpressionChecker, Resource, ResourceError, Rfc3339, ValidationError};
use crate::go_duration;

json_object! {
    /// Alert: an expression, the trigger of its evaluation, and the action when its result changes.
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
    #[derive(Eq)]
    pub struct AlertSpec {
        /// Identifier, assigned by the server.
        pub uuid: String = "UUID";
        /// Name shown to users.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = "Name", with_name;
        /// Description shown to users.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub description: String = "Description", with_description;
        /// Expression to evaluate: a Gremlin query, or JavaScript.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub expression: String = "Expression", with_expression;
        /// Receiver of the result: an `http:`, `https:`, or `file:` URL; empty to notify
        /// subscribers only.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub action: String = "Action", with_action;
        /// Trigger of the evaluation: `graph` or empty after every change to the graph,
        /// `duration:5s` every five seconds.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub trigger: String = "Trigger", with_trigger;
        /// Time of creation.
        pub create_time: Rfc3339 = "CreateTime", with_create_time;
        /// Error of the last evaluation; empty if it succeeded. Computed for each response; the server
        /// ignores the value that a client sends.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub error: String = "Error" via read_and_ignore;
    }
}

impl AlertSpec {
    /// Returns an alert that evaluates an expression after every change to the graph.
    ///
    /// ```
    /// use skylib::api::AlertSpec;
    /// let alert = AlertSpec::new("G.V().Has('State', 'DOWN')").with_trigger("duration:5s");
    /// assert_eq!(alert.trigger, "duration:5s");
    /// ```
    #[must_use]
    pub fn new(expression: impl Into<String>) -> Self {
        Self::default().with_expression(expression)
    }

    /// Checks that the expression is either a Gremlin query or JavaScript.
    fn check_expression(&self, expressions: &dyn ExpressionChecker) -> Result<(), ValidationError> {
        let refuse = |message: String| Err(ValidationError::of_field("Expression", message));
        if self.expression.is_empty() {
            return refuse("zero value".to_owned());
        }
        let Err(gremlin) = expressions.check_gremlin(&self.expression) else {
            return Ok(());
        };
        match expressions.check_script(&self.expression) {
            Ok(()) => Ok(()),
            Err(script) => refuse(format!(
                "neither Gremlin ({gremlin}) nor JavaScript ({script})"
            )),
        }
    }

    fn check_trigger(&self) -> Result<(), ValidationError> {
        let refuse = |message: String| Err(ValidationError::of_field("Trigger", message));
        match self.trigger.strip_prefix("duration:") {
            // COMPAT: the pattern of Skydive requires a character after the colon.
            Some("") => refuse(MISMATCH.to_owned()),
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

    uuid_is_id!();

    fn name(&self) -> &str {
        &self.name
    }

    fn initial(defaults: &Defaults) -> Self {
        Self::default().with_create_time(defaults.now)
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        self.check_expression(expressions)?;
        let schemes = ["http://", "https://", "file://"];
        if !self.action.is_empty() && !schemes.iter().any(|s| self.action.starts_with(s)) {
            return Err(ValidationError::of_field("Action", MISMATCH).into());
        }
        if self.action.starts_with("file://") && !expressions.allows_alert_scripts() {
            let text = "programs are disabled on this server (analyzer.alert.scripts)";
            return Err(ValidationError::of_field("Action", text).into());
        }
        Ok(self.check_trigger()?)
    }
}

/// Message for a field that does not match its pattern. COMPAT: the message of Skydive.
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
                r#"{"Expression":"nonsense"}"#,
                "Expression: neither Gremlin (expected `G`) nor JavaScript (SyntaxError: no sense)",
            ),
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
                "Trigger: regular expression mismatch",
            ),
            (
                r#"{"Expression":"x","Trigger":"duration:5"}"#,
                "Trigger: missing unit in duration \"5\"",
            ),
            (
                r#"{"Expression":"x","Trigger":"duration:0s"}"#,
                "Trigger: a period above zero expected",
            ),
            (
                r#"{"Expression":"x","CreateTime":"noon"}"#,
                "CreateTime: invalid value: string \"noon\", expected a date in RFC 3339 format",
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
