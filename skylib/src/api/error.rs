//! Why clients' changes are refused.

use super::go_json::JsonError;
use super::patch::JsonPatchError;
use crate::go_duration::GoDurationError;
use crate::graph::GraphError;
use crate::graph::schema::SchemaError;
use crate::store::StoreError;

/// A resource that a client sent breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", field.map(|name| format!("{name}: ")).unwrap_or_default())]
pub struct ValidationError {
    /// The field at fault, if it is one field.
    pub field: Option<&'static str>,
    /// The rule, in the words of the original.
    pub message: String,
}

impl ValidationError {
    /// One field breaks a rule.
    pub(super) fn of(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            message: message.into(),
        }
    }

    /// The resource as a whole breaks a rule.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }
}

/// Why a resource was not created or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// It cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It breaks a rule.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// It does not look like what it is to be.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The graph does not take it.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// There is one like it. COMPAT: clients of the original know this text.
    #[error("duplicated resource")]
    Duplicate,
    /// Resources of this kind stay as they are. COMPAT: clients of the original know this text.
    #[error("resource not updatable")]
    NotUpdatable,
    /// There are as many as there may be.
    #[error("there are {limit} {kind} resources already, as many as may be, delete one first")]
    Full {
        /// Which resources.
        kind: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// They take as much room as they may.
    #[error("the {kind} resources take {limit} bytes already, as much as may be, delete one first")]
    TooLarge {
        /// Which resources.
        kind: &'static str,
        /// How many bytes they may take.
        limit: usize,
    },
    /// The time to live cannot be read.
    #[error("invalid ttl")]
    Ttl(#[from] GoDurationError),
    /// A change of the graph could not be written down.
    #[error("cannot keep the element: {0}")]
    Unkept(String),
    /// It could not be kept.
    #[error("cannot keep the resource")]
    Store(#[from] StoreError),
}

/// Why a patch changed nothing. COMPAT: clients of the original know these texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Nothing has this id.
    #[error("not found")]
    NotFound,
    /// The body is no patch.
    #[error("incorrect JSON patch")]
    Incorrect(#[source] JsonPatchError),
    /// The patch cannot be applied.
    #[error("applying JSON patch to resource")]
    Applying(#[source] JsonPatchError),
    /// What came out cannot be read.
    #[error("creating a new resource from the patched JSON body")]
    Creating(#[source] ResourceError),
    /// What came out breaks a rule.
    #[error("validating patched resource")]
    Validating(#[source] ResourceError),
    /// What came out was not taken.
    #[error("updating resource with patched version")]
    Updating(#[source] ResourceError),
}
