//! `Collection`: the operations of clients on all kinds of resources.

use std::sync::Arc;

use serde::Serialize;

use crate::api::{PatchError, ResourceError};

/// Resources of one kind that clients create, read, change, and delete by id.
///
/// When a call returns successfully, its change is durable.
///
/// ```
/// use skylib::engine::{Collection, Engine, EngineOptions};
///
/// /// Returns the ids of all resources of a kind.
/// fn ids<C: Collection>(resources: &C) -> skylib::Result<Vec<String>> {
///     Ok(resources.all()?.iter().map(|item| C::id_of(item)).collect())
/// }
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// let alert = engine.alerts().create(r#"{"Expression": "G.V()"}"#, Some("1h"))?;
/// assert_eq!(ids(engine.alerts())?, [alert.uuid.clone()]);
/// # Ok::<(), skylib::Error>(())
/// ```
pub trait Collection: Send + Sync {
    /// A resource; serialized, it is the JSON document of the API.
    type Item: Serialize + Send + Sync + 'static;

    /// Name of the kind, which is its path segment in the API.
    const KIND: &'static str;

    /// Creates a resource from JSON and returns it. `ttl` is a time to live as a Go duration, such
    /// as `5s`, after which the resource is deleted.
    ///
    /// # Errors
    /// Returns an error if the document or `ttl` is invalid, the resource duplicates another one, a
    /// limit is reached, or the store fails. In these cases, nothing has changed.
    fn create(&self, json: &str, ttl: Option<&str>) -> Result<Arc<Self::Item>, ResourceError>;

    /// Returns the resource with this id.
    fn get(&self, id: &str) -> Option<Arc<Self::Item>>;

    /// Returns all resources.
    ///
    /// # Errors
    /// Returns an error if the resources change so quickly that no consistent snapshot of them can
    /// be read.
    fn all(&self) -> Result<Vec<Arc<Self::Item>>, ResourceError>;

    /// Returns the id of a resource.
    fn id_of(item: &Self::Item) -> String;

    /// Applies a JSON patch (RFC 6902) to a resource and returns the resource; `None` if the patch
    /// changed nothing.
    ///
    /// # Errors
    /// Returns an error if no resource has this id, the patch cannot be applied, or the patched
    /// document is invalid.
    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<Self::Item>>, PatchError>;

    /// Deletes a resource. Returns `false` if no resource has this id.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    fn delete(&self, id: &str) -> Result<bool, ResourceError>;
}
