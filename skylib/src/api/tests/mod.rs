//! Tests of the resource store, and support for the tests of resource kinds.

mod resource_store;
pub(super) mod support;
