//! Counters of the DNS messages of a flow: queries, responses, failures, and unanswered queries.
//!
//! Rings hold a hash of the identifier and question of outstanding queries and of the latest
//! responses, so that a message costs a scan of at most 2 × [`RING`] words.

use crate::decode::DnsMessage;
use crate::flow::extra_layers::dns;
use crate::flow::extra_layers::records::{DnsFailure, DnsMetric};

/// DNS counters of a flow.
#[derive(Clone, Debug, Default)]
pub(super) struct DnsCounters {
    queries: u64,
    responses: u64,
    failures: u64,
    /// Number of queries no longer tracked because too many were outstanding.
    given_up: u64,
    /// Queries without an answer.
    outstanding: Ring,
    /// Questions of the latest responses, to detect repeated responses.
    answered: Ring,
    last_failure: Option<Box<DnsFailure>>,
}

/// Latest question hashes, oldest first; only the first `len` are set.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    hashes: [u32; RING],
    len: u8,
}

/// Maximum number of hashes in a [`Ring`].
const RING: usize = 16;

impl Ring {
    fn contains(&self, hash: u32) -> bool {
        self.hashes[..usize::from(self.len)].contains(&hash)
    }

    /// Appends a hash; returns whether the oldest hash was removed to make room.
    fn push(&mut self, hash: u32) -> bool {
        let is_full = usize::from(self.len) == RING;
        if is_full {
            self.hashes.rotate_left(1);
            self.len -= 1;
        }
        self.hashes[usize::from(self.len)] = hash;
        self.len += 1;
        is_full
    }

    /// Removes a hash; returns whether the ring contained it.
    fn remove(&mut self, hash: u32) -> bool {
        let used = &mut self.hashes[..usize::from(self.len)];
        let Some(at) = used.iter().position(|other| *other == hash) else {
            return false;
        };
        used[at..].rotate_left(1);
        self.len -= 1;
        true
    }
}

impl DnsCounters {
    /// Counts a message; a message without a complete header is ignored.
    pub(super) fn count(&mut self, message: &[u8]) {
        let Some(header) = DnsMessage::new(message) else {
            return;
        };
        let hash = question_hash(message);
        if header.flags() & RESPONSE == 0 {
            self.queries += 1;
            self.answered.remove(hash);
            if !self.outstanding.contains(hash) {
                self.given_up += u64::from(self.outstanding.push(hash));
            }
            return;
        }
        if !self.outstanding.remove(hash) && self.answered.contains(hash) {
            // A repeated response.
            return;
        }
        self.answered.push(hash);
        self.responses += 1;
        match dns::response_code_of(message) {
            Some((code, text)) if code != 0 => {
                self.failures += 1;
                self.last_failure = Some(Box::new(failure(message, text)));
            }
            _ => {}
        }
    }

    /// Returns the counters as the message of a flow record.
    pub(super) fn record(&self) -> DnsMetric {
        let number = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        DnsMetric {
            queries: number(self.queries),
            responses: number(self.responses),
            failures: number(self.failures),
            unanswered: number(self.given_up + u64::from(self.outstanding.len)),
            last_failure: self.last_failure.as_deref().cloned(),
        }
    }
}

/// Returns the message for a failed response in a flow record.
fn failure(message: &[u8], response_code: crate::value::Text) -> DnsFailure {
    let mut parser = DnsMessage::new(message);
    let id = parser.as_ref().map_or(0, DnsMessage::id);
    let question = parser.as_mut().and_then(DnsMessage::question);
    DnsFailure {
        id: id.into(),
        kind: question
            .as_ref()
            .map(|question| dns::type_text(question.kind))
            .unwrap_or_default(),
        name: question
            .map(|question| question.name.into())
            .unwrap_or_default(),
        response_code,
    }
}

/// Returns a hash (FNV-1a) of the identifier and the first question, in lowercase.
fn question_hash(message: &[u8]) -> u32 {
    let mut end = 12;
    while let Some(length @ 1..64) = message.get(end).copied() {
        end += 1 + usize::from(length);
    }
    let question = message.get(12..end + 5).unwrap_or_default();
    let id = message.get(..2).unwrap_or_default();
    let bytes = id.iter().chain(question);
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

/// Bit of the flags that marks a response (QR).
const RESPONSE: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u8, flags: u16, name: u8) -> Vec<u8> {
        let mut message = vec![0, id];
        message.extend(flags.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0, 0, 0, 1, name, 0, 0, 1, 0, 1]);
        message
    }

    #[test]
    fn queries_and_answers_are_matched_and_repeats_count_once() {
        let mut counters = DnsCounters::default();
        for name in *b"abc" {
            counters.count(&message(name, 0x0100, name));
        }
        // Some clients send names in random case (0x20 encoding).
        counters.count(&message(b'a', 0x8183, b'A'));
        counters.count(&message(b'a', 0x8183, b'A'));
        counters.count(&message(b'b', 0x8180, b'b'));
        let metric = counters.record();
        assert_eq!((metric.queries, metric.responses), (3, 2));
        assert_eq!((metric.failures, metric.unanswered), (1, 1));
        let failure = metric.last_failure.unwrap();
        assert_eq!((&*failure.name, &*failure.kind), ("A", "A"));
        assert_eq!(&*failure.response_code, "Non-Existent Domain");
    }

    #[test]
    fn answers_between_do_not_push_out_a_query_and_a_question_may_come_again() {
        let mut counters = DnsCounters::default();
        counters.count(&message(0, 0x0100, b'a'));
        for id in 1..40 {
            counters.count(&message(id, 0x0100, b'b'));
            counters.count(&message(id, 0x8180, b'b'));
        }
        counters.count(&message(0, 0x8180, b'a'));
        assert_eq!(counters.record().unanswered, 0);
        assert_eq!(counters.record().responses, 40);
        for flags in [0x0100, 0x8180, 0x8180] {
            counters.count(&message(0, flags, b'a'));
        }
        assert_eq!(
            (counters.record().queries, counters.record().responses),
            (41, 41)
        );
    }

    #[test]
    fn queries_that_leave_the_ring_stay_unanswered() {
        let mut counters = DnsCounters::default();
        for id in 0..40 {
            counters.count(&message(id, 0x0100, b'a'));
        }
        assert_eq!(counters.record().unanswered, 40);
        let message = message(1, 0x8180, b'a');
        for len in 0..message.len() {
            counters.count(&message[..len]);
        }
    }
}
