//! `Outbox`: messages that wait for one connection, bounded by number and bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Queue of encoded messages; a message that does not fit is rejected.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Signal that wakes the reader: a message was queued, or the queue was closed.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Bytes>,
    /// Sum of the lengths of `messages`; at most [`MAX_BYTES`].
    bytes: usize,
    closed: bool,
}

/// Maximum number of messages that wait for one agent.
const MAX_MESSAGES: usize = 10_000;
/// Maximum size of the messages that wait for one agent, in bytes.
const MAX_BYTES: usize = 16 << 20;

impl Outbox {
    /// Queues a message. Returns `false` if the queue is full or closed.
    pub(super) fn push(&self, message: Bytes) -> bool {
        let mut state = self.state.lock();
        let fits = state.messages.len() < MAX_MESSAGES
            && state.bytes.saturating_add(message.len()) <= MAX_BYTES;
        if state.closed || !fits {
            return false;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
        drop(state);
        self.filled.notify_one();
        true
    }

    /// Waits for the next message; returns `None` once the queue is closed.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            let filled = self.filled.notified();
            if let Some(message) = self.try_next() {
                return Some(message);
            }
            if self.state.lock().closed {
                return None;
            }
            filled.await;
        }
    }

    /// Removes and returns the next message, if one waits.
    pub(super) fn try_next(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        let message = state.messages.pop_front()?;
        state.bytes -= message.len();
        Some(message)
    }

    /// Ends the queue; waiting messages are dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        (state.messages, state.bytes) = (VecDeque::new(), 0);
        drop(state);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_beyond_the_limits_are_rejected() {
        let outbox = Outbox::default();
        assert!(outbox.push(vec![0; MAX_BYTES].into()));
        assert!(!outbox.push(vec![0; 1].into()), "bytes");
        let outbox = Outbox::default();
        for _ in 0..MAX_MESSAGES {
            assert!(outbox.push(Bytes::new()));
        }
        assert!(!outbox.push(Bytes::new()), "messages");
        outbox.close();
        assert!(!outbox.push(Bytes::new()), "closed");
    }
}
