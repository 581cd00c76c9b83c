//! Integration tests of the library, one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
mod flow_cases;
mod flow_table;
mod layering;
