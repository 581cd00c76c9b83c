//! Echo requests of a flow, until their replies (rules B9 and B10 of `docs/flows.md`).

use super::handshake::COPY_NS;

/// Outstanding echo requests, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Echoes {
    requests: [EchoRequest; MAX_ECHOES],
    /// Number of requests; at most [`MAX_ECHOES`].
    len: usize,
}

/// Echo request without a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EchoRequest {
    /// Capture time, in Unix nanoseconds.
    pub(super) at: i64,
    /// Sequence number.
    pub(super) number: u16,
    /// End that sent the request: 0 for A, 1 for B.
    pub(super) side: u8,
    /// Whether the request was sent again, so that its reply yields no round-trip time.
    pub(super) is_repeated: bool,
}

impl Echoes {
    /// Adds a request of an end. Returns whether the oldest request was dropped to make room.
    pub(super) fn request(&mut self, side: usize, number: u16, at: i64) -> bool {
        if let Some(known) = self.position(side, number) {
            let known = &mut self.requests[known];
            // The packet is a copy: a sender does not repeat a request this soon.
            if at.saturating_sub(known.at) > COPY_NS {
                (known.at, known.is_repeated) = (at, true);
            }
            return false;
        }
        let is_full = self.len == MAX_ECHOES;
        if is_full {
            self.remove(0);
        }
        self.put(EchoRequest {
            at,
            number,
            side: u8::from(side == 1),
            is_repeated: false,
        });
        is_full
    }

    /// Ends the request to which a reply of an end belongs. Returns the round-trip time, in
    /// nanoseconds; `None` if there was no request, or if the request was sent again.
    pub(super) fn reply(&mut self, side: usize, number: u16, at: i64) -> Option<i64> {
        let known = self.position(1 - side, number)?;
        let request = self.remove(known);
        (!request.is_repeated).then(|| at.saturating_sub(request.at))
    }

    /// Returns the outstanding requests, oldest first.
    pub(super) fn outstanding(&self) -> &[EchoRequest] {
        &self.requests[..self.len]
    }

    /// Appends a request, unless the list is full.
    pub(super) fn put(&mut self, request: EchoRequest) {
        if let Some(slot) = self.requests.get_mut(self.len) {
            *slot = request;
            self.len += 1;
        }
    }

    fn remove(&mut self, at: usize) -> EchoRequest {
        let request = self.requests[at];
        self.requests.copy_within(at + 1..self.len, at);
        self.len -= 1;
        request
    }

    /// Returns the index of a request; `None` if it is not outstanding.
    pub(super) fn position(&self, side: usize, number: u16) -> Option<usize> {
        let is =
            |request: &EchoRequest| usize::from(request.side) == side && request.number == number;
        self.outstanding().iter().position(is)
    }
}

/// Maximum number of outstanding requests of a flow.
pub(super) const MAX_ECHOES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn a_reply_belongs_to_the_request_of_its_number() {
        let mut echoes = Echoes::default();
        for number in 0..3 {
            echoes.request(0, number, i64::from(number) * 1000 * MS);
        }
        assert_eq!(echoes.reply(1, 2, 2004 * MS), Some(4 * MS));
        assert_eq!(echoes.reply(1, 2, 2005 * MS), None, "a second reply");
        assert_eq!(echoes.reply(0, 1, 2005 * MS), None, "of the own side");
        assert_eq!(echoes.reply(1, 9, 2005 * MS), None, "nobody asked");
        assert_eq!(echoes.reply(1, 0, 1200 * MS), Some(1200 * MS));
    }

    #[test]
    fn a_repeat_measures_nothing_but_a_copy_does_no_harm() {
        let mut echoes = Echoes::default();
        echoes.request(0, 1, 0);
        echoes.request(0, 1, 100 * MS);
        assert_eq!(echoes.reply(1, 1, 150 * MS), Some(150 * MS));
        echoes.request(0, 2, 0);
        echoes.request(0, 2, 101 * MS);
        assert_eq!(echoes.reply(1, 2, 150 * MS), None);
    }

    #[test]
    fn the_oldest_is_given_up() {
        let mut echoes = Echoes::default();
        for number in 0..16 {
            assert!(!echoes.request(1, number, 0));
        }
        assert!(echoes.request(1, 16, 0));
        assert_eq!(echoes.reply(0, 0, MS), None);
        assert_eq!(echoes.reply(0, 16, MS), Some(MS));
    }
}
