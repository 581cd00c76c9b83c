//! Integration tests: the daemon as a process, over raw sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "a daemon runs by the real clock")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "literals read better without a borrow"
)]

mod agent;
mod auth;
mod cancel;
mod captures;
mod client;
mod command_line;
mod config;
mod daemon;
mod durability;
mod elements;
mod fleet;
mod flows_page;
mod history;
mod history_kill;
mod hostile;
mod hostile_websocket;
mod http;
mod ingestion;
mod keystone;
mod layering;
mod live;
mod memory;
mod metrics;
mod page;
mod pcap;
mod process;
mod publisher;
mod replication;
mod resources;
mod shared_captures;
mod spp;
mod subscriber;
mod systemd_unit;
mod tls;
mod truth_cases;
mod web_pages;
mod websocket;
