//! API resources of an engine: clients create, read, change, and delete them by id.
//!
//! [`Resources`] contains the resources of one kind, stored in a document store, and notifies
//! [`Observer`]s, such as the capture reconciler. [`GraphElements`] provides the nodes and edges of
//! the graph through the same trait, [`Collection`].

mod activity_recorder;
mod collection;
mod graph_elements;
mod observer;
mod registry;
mod resources;

pub use collection::Collection;
pub use graph_elements::GraphElements;
pub use registry::ResourceLimits;
pub use resources::Resources;

pub(super) use activity_recorder::ActivityRecorder;
pub(super) use observer::Observer;
pub(super) use registry::Registry;
pub(super) use resources::{Expirable, ResourceContext, notify};
