//! Limits on clients, from the configuration keys `http.limits.*` and `http.ws.*`.

use std::time::Duration;

use crate::config::Config;

/// Limits on clients. Each field is the value of the configuration key in its comment.
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
    /// `http.limits.transfer_rate`, in bytes per second; 0 for none.
    pub(crate) transfer_rate: u64,
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
            transfer_rate: config.bytes("http.limits.transfer_rate") as u64,
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

    /// Returns the time, from the start of a body, until which more than `received` bytes must have
    /// arrived.
    pub(crate) fn time_for_body(&self, received: usize) -> Duration {
        match (received as u64).checked_div(self.transfer_rate) {
            Some(seconds) => (BODY_GRACE + Duration::from_secs(seconds)).min(self.body_timeout),
            None => self.body_timeout,
        }
    }
}

/// Time at the start of a body during which the minimum transfer rate is not enforced.
const BODY_GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_arrive_at_the_lowest_rate() {
        let seconds = |yaml: &str, received| {
            let config = Config::parse("test", yaml).unwrap();
            Limits::from_config(&config)
                .time_for_body(received)
                .as_secs()
        };
        let rate = "{http: {limits: {transfer_rate: 1000}}}";
        assert_eq!(
            [0, 999, 5_000].map(|bytes| seconds(rate, bytes)),
            [10, 10, 15]
        );
        assert_eq!(seconds(rate, 1 << 40), 60, "http.limits.body_timeout");
        assert_eq!(seconds("{http: {limits: {transfer_rate: 0}}}", 0), 60);
        assert_eq!(seconds("{http: {limits: {body_timeout: 2}}}", 0), 2);
    }
}
