//! What clients create and the daemon keeps: captures now, alerts and rules on the same ground.
//!
//! A [`Resource`] is read from a client's JSON, validated, given an id and put into a
//! [`ResourceStore`], which keeps it in a [`DocStore`](crate::store::DocStore) until it is deleted
//! or its time to live is over. Nothing here reads a clock: `now` is an argument.

pub mod address;
mod capture;
pub mod duration;
mod edge;
mod element;
mod error;
pub mod json;
mod node;
mod patch;
mod resource;

pub use crate::flow::LayerKeyMode;
pub use capture::{CaptureAbilities, CaptureSpec, CaptureType, ExpressionChecker};
pub use element::{GraphResource, read_element};
pub use error::{PatchError, ResourceError, ValidationError};
pub use patch::{JsonPatch, JsonPatchError, MAX_OPERATIONS};
pub use resource::{Resource, ResourceStore, Unreadable};
