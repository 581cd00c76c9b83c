//! Tests of the whole module, and frames for tests.

mod capture;
pub(crate) mod frames;
