//! Tests of `Capture`, and frames for other tests.

mod capture;
pub(crate) mod frames;
