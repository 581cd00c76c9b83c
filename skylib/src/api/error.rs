//! Errors from creating, changing, and storing resources.

use super::go_json::JsonError;
use super::patch::JsonPatchError;
use crate::go_duration::GoDurationError;
use crate::graph::GraphError;
use crate::graph::schema::SchemaError;
use crate::memory::MemoryExhausted;
use crate::store::StoreError;

/// Validation rule that a resource violates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", field.map(|name| format!("{name}: ")).unwrap_or_default())]
#[non_exhaustive]
pub struct ValidationError {
    /// JSON key of the invalid field; `None` if the rule concerns several fields.
    pub field: Option<&'static str>,
    /// Message of the rule. COMPAT: equal to the message of Skydive, if Skydive has the rule.
    pub message: String,
}

impl ValidationError {
    /// Returns the error of one field.
    pub(crate) fn of_field(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            message: message.into(),
        }
    }

    /// Returns an error that concerns the resource as a whole.
    pub(super) fn of_resource(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }
}

/// Reason why a resource was not created, changed, or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// The body is not the JSON of a resource.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field violates a validation rule.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// The metadata of a node or an edge violates the schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The graph rejects the node or the edge.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An equivalent resource exists. COMPAT: clients of Skydive match this message.
    #[error("duplicated resource")]
    Duplicate {
        /// ID of the existing resource.
        existing: String,
    },
    /// Resources of this kind cannot be changed. COMPAT: clients of Skydive match this message.
    #[error("resource not updatable")]
    NotUpdatable,
    /// The number of resources of this kind has reached its limit.
    #[error("limit of {limit} {kind} resources reached (http.limits.{kind}s); delete one first")]
    Full {
        /// Kind of the resource.
        kind: &'static str,
        /// Maximum number of resources of this kind.
        limit: usize,
    },
    /// The documents of this kind would exceed the limit on their total size.
    #[error(
        "limit of {limit} bytes for {kind} resources reached (http.limits.resource_bytes); \
             delete one first"
    )]
    TooLarge {
        /// Kind of the resource.
        kind: &'static str,
        /// Maximum total size of the documents of this kind, in bytes.
        limit: usize,
    },
    /// The element was written by probes, and only they can delete it.
    #[error("elements of {origin} can only be deleted by its probes")]
    OfProbes {
        /// Origin of the element.
        origin: String,
    },
    /// The time to live is not a Go duration.
    #[error("invalid ttl")]
    Ttl(#[from] GoDurationError),
    /// The graph has changed, but the change could not be stored durably.
    #[error("cannot store the element: {0}")]
    NotStored(String),
    /// The document store has failed; nothing has changed.
    #[error("cannot store the resource")]
    Store(#[from] StoreError),
}

/// Reason why a patch changed nothing. COMPAT: clients of Skydive match these messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// No resource has this id.
    #[error("not found")]
    NotFound,
    /// The body is not a JSON patch.
    #[error("incorrect JSON patch")]
    Incorrect(#[source] JsonPatchError),
    /// The memory for clients is currently insufficient for the patched document.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
    /// An operation of the patch failed.
    #[error("applying JSON patch to resource")]
    Applying(#[source] JsonPatchError),
    /// The patched document is not the JSON of a resource.
    #[error("creating a new resource from the patched JSON body")]
    Creating(#[source] ResourceError),
    /// The patched resource violates a validation rule.
    #[error("validating patched resource")]
    Validating(#[source] ResourceError),
    /// The patched resource conflicts with another one, exceeds a limit, or could not be stored.
    #[error("updating resource with patched version")]
    Updating(#[source] ResourceError),
}

impl PatchError {
    /// Returns the reason if the same patch may succeed later, when more memory is available.
    #[must_use]
    pub const fn exhausted(&self) -> Option<MemoryExhausted> {
        match self {
            Self::Memory(exhausted) | Self::Applying(JsonPatchError::Memory(exhausted)) => {
                Some(*exhausted)
            }
            _ => None,
        }
    }
}
