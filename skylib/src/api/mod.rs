//! What clients create and the daemon keeps: captures now, alerts and rules on the same ground.
//!
//! A [`Resource`] is read from a client's JSON, validated, given an id and put into a
//! [`ResourceStore`], which keeps it in a [`DocStore`](crate::store::DocStore) until it is deleted
//! or its time to live is over. Nothing here reads a clock: `now` is an argument.

pub mod address;
mod capture;
pub mod duration;
pub mod json;
mod resource;

pub use crate::flow::LayerKeyMode;
pub use capture::{CaptureAbilities, CaptureSpec, CaptureType, ExpressionChecker};
pub use resource::{Resource, ResourceError, ResourceStore, Unreadable};

/// A resource that a client sent breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", field.map(|name| format!("{name}: ")).unwrap_or_default())]
pub struct ValidationError {
    /// The field at fault, if it is one field.
    pub field: Option<&'static str>,
    /// The rule, in the words of the original.
    pub message: String,
}
