//! What clients create and the daemon keeps: captures, alerts, rules, workflows, injections.
//!
//! A [`Resource`] is read from a client's JSON, validated, given an id and put into a
//! [`ResourceStore`], which keeps it in a [`DocStore`](crate::store::DocStore) until it is deleted
//! or its time to live is over. Nothing here reads a clock: `now` is an argument.

pub mod address;
mod alert;
mod capture;
mod edge_rule;
mod error;
pub mod go_json;
mod graph_resource;
mod injection;
mod node_rule;
mod patch;
mod resource;
mod rfc3339;
#[cfg(test)]
mod tests;
mod workflow;

pub use alert::AlertSpec;
pub use capture::{CaptureAbilities, CaptureSpec, CaptureType};
pub use edge_rule::EdgeRule;
pub use error::{PatchError, ResourceError, ValidationError};
pub use graph_resource::{GraphResource, read_element};
pub use injection::Injection;
pub use node_rule::NodeRule;
pub use patch::{JsonPatch, JsonPatchError, MAX_OPERATIONS};
pub use resource::{Defaults, ExpressionChecker, NodeFinder, Resource, ResourceStore, Unreadable};
pub use rfc3339::Date;
pub use workflow::{Workflow, WorkflowChoice, WorkflowParameter, workflow_parameters};
