//! Integration tests of the library, one binary.

#[cfg(test)]
mod gremlin_cases;
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod flow_cases;
mod layering;
