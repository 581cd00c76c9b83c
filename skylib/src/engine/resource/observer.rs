//! `Observer`: a part of the engine that acts on the resources of one kind.

use std::sync::Arc;

use crate::time::Timestamp;

/// Component that acts on changes to the resources of one kind.
///
/// [`Resources`](super::Resources) calls its observers in the order of their registration, on the
/// thread that made the change and after the change is durable. Observers must not block.
pub(crate) trait Observer<R>: Send + Sync {
    /// Handles the creation of a resource. The resource expires at `expires_at`, or up to a second
    /// later; with `None`, it never expires.
    fn created(&self, _resource: &R, _expires_at: Option<Timestamp>) {}

    /// Handles a change to a resource by a client, even if the content remains the same.
    fn updated(&self, _resource: &R) {}

    /// Handles the deletion of a resource by a client or by its expiry.
    fn deleted(&self, _resource: &R) {}

    /// Returns the resources with their current state filled in, for clients that read them.
    fn decorate(&self, resources: Vec<Arc<R>>) -> Vec<Arc<R>> {
        resources
    }
}
