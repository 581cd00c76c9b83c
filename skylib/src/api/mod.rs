//! Resources that clients create and the daemon stores: captures, alerts, rules, workflows,
//! injections; and the nodes and edges that clients add to the graph.
//!
//! A [`Resource`] is read from a client's JSON, validated, given an id, and added to a
//! [`ResourceStore`], which stores it in a [`DocStore`](crate::store::DocStore) until it is deleted
//! or its time to live has ended. This module reads no clock: `now` is an argument.
//!
//! A new kind is one file: its fields in one `json_object!` declaration, and its rules in one
//! `impl Resource`.

pub mod address;
mod alert;
mod capture;
mod capture_type;
mod edge_rule;
mod error;
pub mod go_json;
mod graph_resource;
mod injection;
mod injection_request;
mod json_object;
mod json_text;
mod node_rule;
mod patch;
mod resource;
mod resource_store;
mod rfc3339;
#[cfg(test)]
mod tests;
mod workflow;

pub use alert::AlertSpec;
pub use capture::CaptureSpec;
pub use capture_type::{CaptureAbilities, CaptureType, ParseCaptureTypeError};
pub use edge_rule::EdgeRule;
pub use error::{PatchError, ResourceError, ValidationError};
pub use graph_resource::GraphResource;
pub use injection::Injection;
pub use json_object::JsonObject;
pub use json_text::json_text;
pub use node_rule::NodeRule;
pub use patch::{JsonPatch, JsonPatchError, MAX_OPERATIONS};
pub use resource::{Defaults, ExpressionChecker, NodeFinder, Resource};
pub use resource_store::{ResourceStore, UnreadableDocument};
pub use rfc3339::{ParseRfc3339Error, Rfc3339};
pub use workflow::{Workflow, WorkflowChoice, WorkflowParameter, workflow_arguments};
