//! Limits of what clients may do, from the keys `http.limits.*` and `http.ws.*`.

use std::time::Duration;

use crate::config::Config;

/// Limits of clients. Each field is the value of the configuration key in its comment.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// `http.limits.header_bytes`
    pub(crate) header_bytes: usize,
    /// `http.limits.header_timeout`
    pub(crate) header_timeout: Duration,
    /// `http.limits.body_bytes`
    pub(crate) body_bytes: usize,
    /// `http.limits.body_timeout`
    pub(crate) body_timeout: Duration,
    /// `http.limits.write_timeout`
    pub(crate) write_timeout: Duration,
    /// `http.limits.query_timeout`
    pub(crate) query_timeout: Duration,
    /// `http.ws.ping_delay`
    pub(crate) ping_delay: Duration,
    /// `http.ws.pong_timeout`
    pub(crate) pong_timeout: Duration,
    /// `http.limits.ws_message_bytes`
    pub(crate) ws_message_bytes: usize,
    /// `http.limits.ws_queue_bytes`
    pub(crate) ws_queue_bytes: usize,
    /// `http.ws.queue_size`
    pub(crate) ws_queue_messages: usize,
    /// `http.limits.queries`
    pub(crate) queries: usize,
    /// `http.limits.live_queries`
    pub(crate) live_queries: usize,
}

impl Limits {
    /// Returns the limits of a configuration.
    pub(crate) fn from_config(config: &Config) -> Self {
        Self {
            header_bytes: config.bytes("http.limits.header_bytes"),
            header_timeout: config.duration("http.limits.header_timeout"),
            body_bytes: config.bytes("http.limits.body_bytes"),
            body_timeout: config.duration("http.limits.body_timeout"),
            write_timeout: config.duration("http.limits.write_timeout"),
            query_timeout: config.duration("http.limits.query_timeout"),
            ping_delay: config.duration("http.ws.ping_delay"),
            pong_timeout: config.duration("http.ws.pong_timeout"),
            ws_message_bytes: config.bytes("http.limits.ws_message_bytes"),
            ws_queue_bytes: config.bytes("http.limits.ws_queue_bytes"),
            ws_queue_messages: config.count("http.ws.queue_size"),
            queries: config.count("http.limits.queries"),
            live_queries: config.count("http.limits.live_queries"),
        }
    }
}
