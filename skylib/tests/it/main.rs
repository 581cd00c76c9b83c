//! Integration tests of the library, one binary.
//!
//! `gremlin_cases` and `flow_cases` run the recorded cases of the originals, of `tests/data` or of
//! the file that the variable `GREMLIN_CASES` or `FLOW_CASES` names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
// Filters are compiled by libpcap.
#[cfg(feature = "pcap")]
mod flow_cases;
mod flow_scenarios;
mod flow_table;
mod fuzz_corpus;
mod graph_memory;
mod gremlin_cases;
mod gremlin_guide;
mod history;
mod language;
mod layering;
mod shared_captures;
