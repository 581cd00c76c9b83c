//! Parameters of steps, converted to parts of operations.

use super::Page;
use crate::filter::Filter;
use crate::flow::FlowField;
use crate::gremlin::ast::{Param, Step};
use crate::gremlin::steps::packet_path::PathTarget;
use crate::gremlin::{go_format, predicate};
use crate::value::Text;

/// Returns the page of `Limit` or `Range`. Negative positions count as 0.
pub(super) fn page(step: &Step) -> Result<Option<Page>, String> {
    let position = |param: &Param| match param {
        Param::Int(number) => Ok(u64::try_from(*number).unwrap_or(0)),
        other => Err(format!("{} is not an integer", go_format::string(other))),
    };
    match step {
        Step::Limit(count) => Ok(Some(Page {
            from: 0,
            to: position(count)?,
        })),
        Step::Range(from, to) => Ok(Some(Page {
            from: position(from)?,
            to: position(to)?,
        })),
        _ => Ok(None),
    }
}

/// Returns a parameter that is a string.
pub(super) fn text(param: &Param) -> Option<Text> {
    match param {
        Param::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the key of `Sum`, if it has one; `no_text` is the error if it is not a string.
pub(super) fn sum_key(params: &[Param], no_text: &str) -> Result<Option<Text>, String> {
    match params {
        [] => Ok(None),
        [Param::Text(key)] => Ok(Some(key.clone())),
        [_] => Err(no_text.to_owned()),
        _ => Err("Sum requires 1 parameter".to_owned()),
    }
}

/// Returns the destination of `PathTo`, whose parameter is a string or `Metadata(…)`.
pub(super) fn path_target(param: &Param) -> PathTarget {
    match param {
        Param::Text(text) => match text.parse() {
            Ok(address) => PathTarget::Address(address),
            Err(_) => PathTarget::Node(text.clone()),
        },
        Param::Metadata(pairs) => PathTarget::Matching(predicate::exactly(pairs)),
        _ => PathTarget::Matching(Filter::everything()),
    }
}

/// Returns the filter of an optional `Metadata(…)` parameter.
pub(super) fn metadata(param: Option<&Param>) -> Result<Filter, String> {
    match param {
        None => Ok(Filter::everything()),
        Some(Param::Metadata(pairs)) => Ok(predicate::exactly(pairs)),
        Some(_) => Err("Error while executing the query".to_owned()),
    }
}

/// Returns the field of flows with a name.
pub(super) fn flow_field(name: &Text) -> Result<FlowField, String> {
    FlowField::parse(name).ok_or_else(|| "Field not found".to_owned())
}
