//! What clients can do to every kind of resource.

use std::sync::Arc;

use serde::Serialize;

use crate::api::{PatchError, ResourceError};

/// Resources of one kind, as clients create, read, change and delete them by their ids.
///
/// What a call has changed is durable when it returns.
pub trait Collection: Send + Sync {
    /// A resource; serialising gives the API's JSON.
    type Item: Serialize + Send + Sync + 'static;

    /// Path segment in the API.
    const KIND: &'static str;

    /// Reads a resource from JSON, validates and keeps it, with a time to live such as `5s`.
    ///
    /// # Errors
    /// When it is invalid, like another, one too many, or cannot be kept; nothing has changed then.
    fn create(&self, json: &str, ttl: Option<&str>) -> Result<Arc<Self::Item>, ResourceError>;

    /// One resource.
    fn get(&self, id: &str) -> Option<Arc<Self::Item>>;

    /// All resources.
    ///
    /// # Errors
    /// When they change so much meanwhile that they cannot be shown as of one moment.
    fn all(&self) -> Result<Vec<Arc<Self::Item>>, ResourceError>;

    /// The identifier of a resource.
    fn id_of(item: &Self::Item) -> String;

    /// Changes a resource by a JSON patch; `None` where nothing changed.
    ///
    /// # Errors
    /// When there is none of that id, the patch fails, or what comes out breaks a rule.
    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<Self::Item>>, PatchError>;

    /// Deletes a resource; `false` if there is none of that id.
    ///
    /// # Errors
    /// When the store fails.
    fn delete(&self, id: &str) -> Result<bool, ResourceError>;
}
