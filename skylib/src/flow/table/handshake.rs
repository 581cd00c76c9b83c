//! TCP requests of a flow: a SYN without ACK, until the answer that acknowledges it.
//!
//! A handshake is the state of rules B2 to B8 of `docs/flows.md`: the SYN of each end that waits
//! for an answer, and its time. This module is pure logic; `round_trip.rs` stores the state, almost
//! always in the entry of the flow.

use crate::decode::TcpFlags;

/// TCP segment in the form that the handshake processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HandshakeSegment {
    pub(super) flags: TcpFlags,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    /// Payload length, in bytes.
    pub(super) payload_len: u32,
    /// Timestamp option: value and echo reply.
    pub(super) stamp: Option<(u32, u32)>,
    /// Capture time, in Unix nanoseconds.
    pub(super) at: i64,
}

/// SYN segments from each end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    pub(super) sides: [Option<Attempt>; 2],
}

/// Sequence number of an end's SYN, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) state: AttemptState,
}

/// State of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptState {
    /// Only the answer was seen, not the SYN.
    Known,
    /// The SYN waits for its answer.
    Pending(Request),
    /// The SYN was answered; later answers yield no round-trip time.
    Answered,
}

/// SYN that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Capture time of the first SYN with this number, in Unix nanoseconds.
    pub(super) first: i64,
    /// Payload length of the SYN, in bytes (RFC 7413).
    pub(super) payload_len: u32,
    /// Whether the SYN was sent again.
    pub(super) is_repeated: bool,
    /// Times and timestamp values of the latest SYNs with a timestamp option.
    pub(super) stamps: [Option<(i64, u32)>; 3],
}

/// Effect of a segment on the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HandshakeStep {
    /// End whose request was answered, and the round-trip time in nanoseconds; negative if the
    /// timestamps go backward.
    pub(super) sample: Option<(usize, i64)>,
    /// Whether the segment is a request with a new sequence number.
    pub(super) is_new_request: bool,
    /// Whether the request replaces a request of the same end that was not answered.
    pub(super) is_replacement: bool,
}

impl Handshake {
    /// Updates the handshake with a segment of an end; the segment has SYN or RST.
    pub(super) fn add(&mut self, side: usize, segment: &HandshakeSegment) -> HandshakeStep {
        let has = |flag| segment.flags.contains(flag);
        let (syn, ack, rst) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::RST));
        if syn && !ack {
            return self.request(side, segment);
        }
        if !(ack && (syn || rst)) {
            return HandshakeStep::default();
        }
        let other = 1 - side;
        let sample = self.answer(other, segment);
        if syn && self.sides[other].is_none() {
            self.sides[other] = Some(Attempt {
                number: segment.acknowledgment.wrapping_sub(1),
                state: AttemptState::Known,
            });
        }
        HandshakeStep {
            sample: sample.map(|sample| (other, sample)),
            ..HandshakeStep::default()
        }
    }

    /// Returns the sequence number of an end's SYN; `None` if no SYN is known.
    pub(super) fn number(&self, side: usize) -> Option<u32> {
        self.sides[side].map(|attempt| attempt.number)
    }

    /// Returns the number of requests without an answer.
    pub(super) fn unanswered(&self) -> i64 {
        let is_pending = |attempt: &&Attempt| matches!(attempt.state, AttemptState::Pending(_));
        self.sides.iter().flatten().filter(is_pending).count() as i64
    }

    /// Adds the request of an end: a SYN, or a SYN-ACK that waits for its acknowledgment.
    pub(super) fn request(&mut self, side: usize, segment: &HandshakeSegment) -> HandshakeStep {
        let stamp = segment.stamp.map(|(value, _)| (segment.at, value));
        match &mut self.sides[side] {
            Some(Attempt { number, state }) if *number == segment.sequence => match state {
                AttemptState::Answered => return HandshakeStep::default(),
                AttemptState::Pending(request) => {
                    // A sender does not repeat a SYN this soon (RFC 6298, section 2.1): the segment
                    // is a copy.
                    if segment.at.saturating_sub(request.first) > COPY_NS {
                        request.is_repeated = true;
                        if stamp.is_some() {
                            request.stamps.rotate_left(1);
                            request.stamps[2] = stamp;
                        }
                    }
                    return HandshakeStep::default();
                }
                AttemptState::Known => {}
            },
            _ => {}
        }
        let request = Request {
            first: segment.at,
            payload_len: segment.payload_len,
            is_repeated: false,
            stamps: [None, None, stamp],
        };
        let former = self.sides[side].replace(Attempt {
            number: segment.sequence,
            state: AttemptState::Pending(request),
        });
        let is_pending = |former: Attempt| matches!(former.state, AttemptState::Pending(_));
        HandshakeStep {
            sample: None,
            is_new_request: true,
            is_replacement: former.is_some_and(is_pending),
        }
    }

    /// Ends the request of an end if the segment of the other end acknowledges it. Returns the
    /// round-trip time in nanoseconds, if the answered request is known.
    pub(super) fn answer(&mut self, side: usize, segment: &HandshakeSegment) -> Option<i64> {
        let attempt = self.sides[side].as_mut()?;
        let AttemptState::Pending(request) = attempt.state else {
            return None;
        };
        let beyond = segment
            .acknowledgment
            .wrapping_sub(attempt.number)
            .wrapping_sub(1);
        if beyond > request.payload_len {
            return None;
        }
        attempt.state = AttemptState::Answered;
        if !request.is_repeated {
            return Some(segment.at.saturating_sub(request.first));
        }
        // Karn's rule (RFC 6298, section 3), unless a timestamp identifies the SYN that was
        // answered.
        let (_, echo) = segment.stamp?;
        let mut stamps = request.stamps.iter().flatten();
        let (at, _) = stamps.find(|(_, value)| *value == echo)?;
        Some(segment.at.saturating_sub(*at))
    }
}

/// Time after a request within which a repetition is considered a copy from a mirror port, in
/// nanoseconds.
pub(super) const COPY_NS: i64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const RST: TcpFlags = TcpFlags::RST;
    const MS: i64 = 1_000_000;

    fn segment(at: i64, flags: u8, sequence: u32, acknowledgment: u32) -> HandshakeSegment {
        HandshakeSegment {
            flags: TcpFlags(flags),
            sequence,
            acknowledgment,
            at: at * MS,
            ..HandshakeSegment::default()
        }
    }

    /// Returns the samples, in milliseconds, of segments: side, time in milliseconds, flags, and
    /// numbers.
    fn samples(segments: &[(usize, i64, u8, u32, u32)]) -> Vec<(usize, i64)> {
        let mut handshake = Handshake::default();
        let steps = segments
            .iter()
            .filter_map(|(side, at, flags, sequence, ack)| {
                handshake
                    .add(*side, &segment(*at, *flags, *sequence, *ack))
                    .sample
            });
        steps.map(|(side, ns)| (side, ns / MS)).collect()
    }

    #[test]
    fn a_syn_is_answered_by_what_acknowledges_it() {
        let (s, sa, r, ra) = (SYN.0, SYN.0 | ACK.0, RST.0, RST.0 | ACK.0);
        assert_eq!(samples(&[(0, 0, s, 9, 0), (1, 10, sa, 5, 10)]), [(0, 10)]);
        assert_eq!(samples(&[(0, 0, s, 9, 0), (1, 15, ra, 0, 10)]), [(0, 15)]);
        // Another number, no acknowledgment, or the same side: not an answer (B2, B6).
        let strangers = [(1, 5, ra, 0, 77), (1, 6, r, 10, 10), (0, 7, ra, 9, 10)];
        for stranger in strangers {
            let answer = (1, 20, sa, 5, 10);
            assert_eq!(samples(&[(0, 0, s, 9, 0), stranger, answer]), [(0, 20)]);
        }
        // The number wraps around.
        assert_eq!(
            samples(&[(1, 0, s, u32::MAX, 0), (0, 3, sa, 5, 0)]),
            [(1, 3)]
        );
    }

    #[test]
    fn a_repeat_measures_nothing_but_a_copy_does_no_harm() {
        let (s, sa) = (SYN.0, SYN.0 | ACK.0);
        let answer = (1, 1010, sa, 5, 10);
        assert_eq!(samples(&[(0, 0, s, 9, 0), (0, 1000, s, 9, 0), answer]), []);
        let copied = [(0, 0, s, 9, 0), (0, 100, s, 9, 0), answer, answer];
        assert_eq!(samples(&copied), [(0, 1010)]);
        // One sample per number (B3); another number is another attempt (B2).
        let again = [
            (0, 0, s, 9, 0),
            answer,
            (0, 2000, s, 9, 0),
            (1, 2001, sa, 5, 10),
        ];
        assert_eq!(samples(&again), [(0, 1010)]);
        let renewed = [(0, 0, s, 8, 0), (0, 1000, s, 9, 0), answer];
        assert_eq!(samples(&renewed), [(0, 10)]);
    }

    #[test]
    fn a_syn_that_another_one_replaces_stays_unanswered() {
        let replacements = |segments: &[(usize, u8, u32, u32)]| {
            let mut handshake = Handshake::default();
            let steps = segments.iter().map(|(side, flags, sequence, ack)| {
                let step = handshake.add(*side, &segment(0, *flags, *sequence, *ack));
                usize::from(step.is_replacement)
            });
            let replaced: usize = steps.sum();
            (replaced, handshake.unanswered())
        };
        let (s, sa) = (SYN.0, SYN.0 | ACK.0);
        let three = [
            (0, s, 100, 0),
            (0, s, 200, 0),
            (0, s, 200, 0),
            (0, s, 300, 0),
        ];
        assert_eq!(replacements(&three), (2, 1));
        let answered = [(0, s, 100, 0), (1, sa, 5, 101), (0, s, 200, 0)];
        assert_eq!(replacements(&answered), (0, 1));
        assert_eq!(replacements(&[(0, s, 100, 0), (1, s, 5, 0)]), (0, 2));
    }

    #[test]
    fn a_timestamp_says_which_syn_was_answered() {
        let mut handshake = Handshake::default();
        for (at, value) in [(0, 100), (1000, 1100)] {
            let syn = HandshakeSegment {
                stamp: Some((value, 0)),
                ..segment(at, SYN.0, 9, 0)
            };
            handshake.add(0, &syn);
        }
        let answer = HandshakeSegment {
            stamp: Some((7, 1100)),
            ..segment(1010, SYN.0 | ACK.0, 5, 10)
        };
        assert_eq!(handshake.add(1, &answer).sample, Some((0, 10 * MS)));
    }

    #[test]
    fn both_sides_may_open() {
        let (s, sa) = (SYN.0, SYN.0 | ACK.0);
        let open = [
            (0, 0, s, 9, 0),
            (1, 1, s, 5, 0),
            (0, 8, sa, 9, 6),
            (1, 9, sa, 5, 10),
        ];
        assert_eq!(samples(&open), [(1, 7), (0, 9)]);
    }
}
