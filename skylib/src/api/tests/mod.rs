//! Support for the tests of resource kinds.

pub(super) mod support;
