//! Support for the tests of every resource kind.

use super::super::{Defaults, ExpressionChecker, Resource};

/// A checker that rejects one word in each language.
pub(in crate::api) struct WordChecker;

impl ExpressionChecker for WordChecker {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        match query {
            "" => Err(r#"found "", expected `G`"#.to_owned()),
            "nonsense" => Err("expected `G`".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_script(&self, source: &str) -> Result<(), String> {
        match source {
            "nonsense" => Err("SyntaxError: no sense".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_bpf(&self, filter: &str) -> Result<(), String> {
        if filter == "err_port" {
            Err("syntax error".to_owned())
        } else {
            Ok(())
        }
    }
}

/// Returns the error message for a body that must be rejected.
pub(in crate::api) fn refusal<R: Resource>(json: &str) -> String {
    match R::read(json, &Defaults::default()) {
        Ok(resource) => resource.validate(&WordChecker).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

/// Returns the serialized form of a body that must be accepted, and checks that it parses to the
/// same resource.
pub(in crate::api) fn accepts<R: Resource + PartialEq>(json: &str) -> String {
    let resource = R::read(json, &Defaults::default()).unwrap();
    resource.validate(&WordChecker).unwrap();
    let shown = serde_json::to_string(&resource).unwrap();
    assert!(
        R::read(&shown, &Defaults::default()).unwrap() == resource,
        "{shown}"
    );
    shown
}
