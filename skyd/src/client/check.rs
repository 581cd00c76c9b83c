//! Checks of resources before they are sent.

use anyhow::Context;
use serde_json::{Map, Value};
use skylib::api::{Defaults, ExpressionChecker, Resource};
use skylib::capture::BpfCompiler;
use skylib::gremlin::Query;
use skylib::packet::LinkType;

/// Checks members as the server does, and returns the JSON text of the resource with them.
///
/// # Errors
/// Returns an error for the first violated rule, with Skydive's text.
pub(super) fn checked<R: Resource>(members: Map<String, Value>) -> anyhow::Result<String> {
    let resource = R::read(&Value::Object(members).to_string(), &Defaults::default())?;
    resource.validate(&Parsers)?;
    serde_json::to_string(&resource).context("cannot encode the resource")
}

/// Checks Gremlin queries and packet filters by parsing them.
struct Parsers;

impl ExpressionChecker for Parsers {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        let parsed = Query::parse(query);
        parsed.map(drop).map_err(|error| error.to_string())
    }

    fn check_bpf(&self, filter: &str) -> Result<(), String> {
        let compiled = BpfCompiler::default().program(filter, LinkType::ETHERNET, 0, &|| false);
        compiled.map(drop).map_err(|error| error.to_string())
    }
}

/// Returns the members of a JSON object whose values are set.
///
/// Empty strings count as unset, because they are the server's defaults.
pub(super) fn members<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
