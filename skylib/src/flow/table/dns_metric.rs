//! Counters of the DNS messages of a flow: queries, responses, failures, and what is unanswered.
//!
//! A ring holds the latest queries by a hash of identifier and question, so a message costs a scan
//! of at most [`RING`] words.

use crate::decode::DnsMessage;
use crate::flow::extra_layers::dns;
use crate::flow::extra_layers::records::{DnsFailure, DnsMetric};

/// DNS counters of a flow.
#[derive(Clone, Debug, Default)]
pub(super) struct DnsCounters {
    queries: u64,
    responses: u64,
    failures: u64,
    /// Queries that left the ring without an answer.
    forgotten: u64,
    /// Latest queries; only the first `len` are set.
    ring: [Query; RING],
    len: u8,
    /// Index that the next query replaces when the ring is full.
    next: u8,
    last_failure: Option<Box<DnsFailure>>,
}

/// Query of the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Query {
    hash: u32,
    is_answered: bool,
}

/// Largest number of outstanding queries.
const RING: usize = 16;

impl DnsCounters {
    /// Counts a message; one without a complete header is ignored.
    pub(super) fn count(&mut self, message: &[u8]) {
        let Some(header) = DnsMessage::new(message) else {
            return;
        };
        let hash = question_hash(message);
        let known = self
            .ring
            .iter_mut()
            .take(self.len.into())
            .find(|query| query.hash == hash);
        if header.flags() & RESPONSE == 0 {
            self.queries += 1;
            if known.is_none_or(|query| query.is_answered) {
                self.push(hash, false);
            }
            return;
        }
        match known {
            // A repeat.
            Some(query) if query.is_answered => return,
            Some(query) => query.is_answered = true,
            None => self.push(hash, true),
        }
        self.responses += 1;
        match dns::response_code_of(message) {
            Some((code, text)) if code != 0 => {
                self.failures += 1;
                self.last_failure = Some(Box::new(failure(message, text)));
            }
            _ => {}
        }
    }

    fn push(&mut self, hash: u32, is_answered: bool) {
        let index = usize::from(self.next) % RING;
        if let Some(slot) = self.ring.get_mut(index) {
            self.forgotten += u64::from(usize::from(self.len) == RING && !slot.is_answered);
            *slot = Query { hash, is_answered };
        }
        self.next = self.next.wrapping_add(1);
        self.len = (self.len + 1).min(RING as u8);
    }

    /// Returns the record; `None` without a message.
    pub(super) fn record(&self) -> Option<DnsMetric> {
        if self.queries + self.responses == 0 {
            return None;
        }
        let number = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        let queries = self.ring.iter().take(self.len.into());
        let open = queries.filter(|query| !query.is_answered).count() as u64;
        Some(DnsMetric {
            queries: number(self.queries),
            responses: number(self.responses),
            failures: number(self.failures),
            unanswered: number(self.forgotten + open),
            last_failure: self.last_failure.as_deref().cloned(),
        })
    }
}

/// Returns the record of a failed response.
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

/// Returns a hash (FNV-1a) of the identifier and the first question, in lower case.
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

/// Bit QR of the flags.
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
        assert_eq!(counters.record(), None);
        for name in *b"abc" {
            counters.count(&message(name, 0x0100, name));
        }
        // The case of names is random in some clients (0x20 encoding).
        counters.count(&message(b'a', 0x8183, b'A'));
        counters.count(&message(b'a', 0x8183, b'A'));
        counters.count(&message(b'b', 0x8180, b'b'));
        let metric = counters.record().unwrap();
        assert_eq!((metric.queries, metric.responses), (3, 2));
        assert_eq!((metric.failures, metric.unanswered), (1, 1));
        let failure = metric.last_failure.unwrap();
        assert_eq!((&*failure.name, &*failure.kind), ("A", "A"));
        assert_eq!(&*failure.response_code, "Non-Existent Domain");
    }

    #[test]
    fn queries_that_leave_the_ring_stay_unanswered() {
        let mut counters = DnsCounters::default();
        for id in 0..40 {
            counters.count(&message(id, 0x0100, b'a'));
        }
        assert_eq!(counters.record().unwrap().unanswered, 40);
        for len in 0..27 {
            counters.count(&message(1, 0x8180, b'a')[..len]);
        }
    }
}
