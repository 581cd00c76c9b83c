//! Target `graph_query`: a small graph, its history, and a query.

#![no_main]

#[path = "../checks/graph_query.rs"]
mod graph_query;

libfuzzer_sys::fuzz_target!(|input: &[u8]| graph_query::check(input));
