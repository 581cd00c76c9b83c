//! What tests of every kind of resource do.

use super::super::{Defaults, ExpressionChecker, Resource};

/// Knows one bad word in each language.
pub(in crate::api) struct Words;

impl ExpressionChecker for Words {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        if query == "nonsense" {
            Err("expected `G`".to_owned())
        } else {
            Ok(())
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

/// Why a text is refused.
pub(in crate::api) fn refusal<R: Resource>(json: &str) -> String {
    match R::read(json, &Defaults::default()) {
        Ok(resource) => resource.validate(&Words).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

/// How a text that is taken is shown; what is shown is taken again as the same.
pub(in crate::api) fn accepts<R: Resource + PartialEq>(json: &str) -> String {
    let resource = R::read(json, &Defaults::default()).unwrap();
    resource.validate(&Words).unwrap();
    let shown = serde_json::to_string(&resource).unwrap();
    assert!(
        R::read(&shown, &Defaults::default()).unwrap() == resource,
        "{shown}"
    );
    shown
}
