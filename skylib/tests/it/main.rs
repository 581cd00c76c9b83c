//! Integration tests of the library in one binary.
//!
//! `gremlin_cases` and `flow_cases` run recorded cases of Skydive, and `pipes_cases` recorded exports of
//! flows: those in `tests/data`, or in the file that the environment variable `GREMLIN_CASES`,
//! `FLOW_CASES`, or `PIPES_CASES` names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
#[cfg(feature = "engine")]
mod collector;
mod cookbook;
// libpcap compiles the filters.
#[cfg(feature = "pcap")]
mod flow_cases;
mod flow_scenarios;
mod flow_table;
mod fuzz_corpus;
mod graph_memory;
mod gremlin_cases;
mod gremlin_guide;
mod grouping;
mod history;
#[cfg(feature = "history")]
mod history_day;
mod interrupts;
mod language;
mod layering;
mod one_way_paths;
mod pipes_cases;
mod shared_captures;
