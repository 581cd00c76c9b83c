//! Integration tests of the library, one binary.

#[cfg(test)]
mod gremlin_cases;
mod layering;
