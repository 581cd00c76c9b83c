//! Round-trip times of a flow (rules B1 to B12 of `docs/flows.md`): from a request (a SYN or an
//! echo request) to its answer.
//!
//! The state of a flow with one plain request is in its entry: `hot.pending`, `cold.number`, and
//! the `END_REQUEST_*` bits. Only state that does not fit there, such as a second outstanding echo
//! request, is in [`Rare`], within a byte budget for the whole table.

use super::FlowTable;
use super::control::Control;
use super::echoes::{EchoRequest, Echoes};
use super::entry::{
    END_REQUEST, END_REQUEST_ANSWERED, END_REQUEST_KNOWN, END_REQUEST_OF_B, END_REQUEST_PENDING,
    END_REQUEST_RARE, END_REQUEST_REPEATED, END_REQUEST_STAMP, Entry, HAS_ICMP, HOT_SAMPLED, NONE,
    Rare,
};
use super::handshake::{
    Attempt, AttemptState, Handshake, HandshakeSegment, HandshakeStep, Request,
};
use super::pending::Pending;
use crate::decode::TcpFlags;
use crate::flow::record::RttMetric;

/// Statistics of the round-trip times of a flow, and the outstanding SYN-ACKs of its handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundTrips {
    /// Number of samples.
    samples: i64,
    /// Minimum, maximum, and latest sample, and sum of the samples, in nanoseconds.
    min: i64,
    max: i64,
    last: i64,
    sum: i64,
    /// Interarrival jitter of the samples, in 1/16 ns (RFC 3550, section 6.4.1 and appendix A.8).
    jitter: i64,
    /// Latest sample of A's requests and of B's, in nanoseconds: from the capture point to the
    /// other end and back to the capture point.
    ways: [i64; 2],
    /// Number of different requests.
    requests: i64,
    /// Number of requests no longer tracked: too many were outstanding, or a later SYN replaced a SYN.
    given_up: i64,
    /// Sequence numbers of the echo requests seen from each end.
    seen: [SeenNumbers; 2],
    /// SYN-ACK of each end, as a request that waits for the first acknowledgment of its number.
    syn_acks: Handshake,
    /// Latest round-trip time measured with the third packet of a handshake, in nanoseconds.
    third: i64,
}

/// Sequence numbers of the echo requests seen from an end: the highest number and the 64 numbers up
/// to it.
#[derive(Clone, Copy, Debug, Default)]
struct SeenNumbers {
    largest: u16,
    bits: u64,
}

impl SeenNumbers {
    /// Adds a number; returns whether it is new.
    fn add(&mut self, number: u16) -> bool {
        let ahead = number.wrapping_sub(self.largest).cast_signed();
        if self.bits == 0 || ahead >= 64 || ahead <= -64 {
            (self.largest, self.bits) = (number, 1);
            return true;
        }
        if ahead > 0 {
            self.bits = self.bits << ahead | 1;
            self.largest = number;
            return true;
        }
        let bit = 1 << -ahead;
        let is_new = self.bits & bit == 0;
        self.bits |= bit;
        is_new
    }
}

impl RoundTrips {
    /// Returns the round-trip time of the connection, in nanoseconds; 0 if unknown.
    pub(super) const fn of_connection(&self) -> i64 {
        self.last + self.third
    }

    fn add(&mut self, side: usize, sample: i64) {
        if self.samples == 0 {
            (self.min, self.max) = (sample, sample);
        } else {
            let change = sample.saturating_sub(self.last).saturating_abs();
            self.jitter = self
                .jitter
                .saturating_add(change)
                .saturating_sub((self.jitter + 8) >> 4);
        }
        self.samples += 1;
        self.min = self.min.min(sample);
        self.max = self.max.max(sample);
        self.sum = self.sum.saturating_add(sample);
        self.last = sample;
        self.ways[side] = sample;
    }

    /// Measures with the third packet of a handshake: from the SYN-ACK of an end to the first
    /// acknowledgment of its number.
    pub(super) fn add_segment(&mut self, side: usize, segment: &HandshakeSegment) {
        let has = |flag| segment.flags.contains(flag);
        if !has(TcpFlags::ACK) {
            return;
        }
        if has(TcpFlags::SYN) {
            self.syn_acks.request(side, segment);
        } else if let Some(sample) = self.syn_acks.answer(1 - side, segment)
            && sample >= 0
        {
            self.third = sample;
            self.ways[1 - side] = sample;
        }
    }
}

impl FlowTable {
    /// Updates the handshake of a TCP flow with a segment of an end; the segment has SYN or RST.
    pub(super) fn track_handshake(&mut self, record: u32, segment: &HandshakeSegment, side: usize) {
        let step = match plain_step(self.arena.get_mut(record), segment, side) {
            Some(step) => step,
            None => {
                let mut handshake = self.handshake(self.arena.get(record));
                let step = handshake.add(side, segment);
                self.store_handshake(record, handshake);
                step
            }
        };
        if step.is_new_request
            && let Some(round_trips) = self.round_trips(record)
        {
            round_trips.requests += 1;
            round_trips.given_up += i64::from(step.is_replacement);
        }
        if let Some((side, sample)) = step.sample {
            self.add_sample(record, side, sample);
        }
    }

    /// Updates the outstanding echo requests of a flow with a request or reply.
    pub(super) fn track_echo(
        &mut self,
        record: u32,
        pending: &Pending,
        control: &Control,
        side: usize,
    ) {
        let mut echoes = self.echoes(self.arena.get(record));
        let (number, at) = (control.number(), pending.timestamp.as_ns());
        if pending.is_request() {
            let is_given_up = echoes.request(side, number, at);
            if let Some(round_trips) = self.round_trips(record) {
                round_trips.given_up += i64::from(is_given_up);
                round_trips.requests += i64::from(round_trips.seen[side].add(number));
            }
        } else if let Some(sample) = echoes.reply(side, number, at) {
            self.add_sample(record, 1 - side, sample);
        }
        self.store_echoes(record, echoes);
    }

    /// Records a round-trip time measured with a request of an end. A negative time is only counted
    /// as a packet back (B12); for a file, the packet clock counts it.
    fn add_sample(&mut self, record: u32, side: usize, sample: i64) {
        if sample < 0 {
            self.stats.time_back += u64::from(!self.is_replay);
            return;
        }
        let hot = &mut self.arena.get_mut(record).hot;
        hot.rtt = sample;
        hot.flags |= HOT_SAMPLED;
        if let Some(round_trips) = self.round_trips(record) {
            round_trips.add(side, sample);
        }
    }

    /// Returns the metric of a flow; `None` if no option selects it, or if there was neither a
    /// request nor a sample.
    pub(super) fn rtt_metric(&self, entry: &Entry, rare: &Rare) -> Option<RttMetric> {
        let round_trips = rare.round_trips.as_deref()?;
        let [ab_rtt, ba_rtt] = round_trips.ways;
        let has_values = round_trips.requests > 0 || ab_rtt > 0 || ba_rtt > 0;
        if !self.options.extra_rtt_metric || !has_values && round_trips.samples == 0 {
            return None;
        }
        let outstanding = if entry.cold.layers & HAS_ICMP == 0 {
            self.handshake(entry).unanswered()
        } else {
            match (entry.hot.ends & END_REQUEST, &rare.echoes) {
                (END_REQUEST_PENDING | END_REQUEST_REPEATED, _) => 1,
                (END_REQUEST_RARE, Some(echoes)) => echoes.outstanding().len() as i64,
                _ => 0,
            }
        };
        Some(RttMetric {
            samples: round_trips.samples,
            min: round_trips.min,
            max: round_trips.max,
            last: round_trips.last,
            sum: round_trips.sum,
            jitter: round_trips.jitter / 16,
            requests: round_trips.requests,
            unanswered: outstanding + round_trips.given_up,
            ab_rtt,
            ba_rtt,
        })
    }

    /// Returns the statistics of a flow, if they are recorded.
    fn round_trips(&mut self, record: u32) -> Option<&mut RoundTrips> {
        let rare = self.arena.get(record).cold.rare;
        self.rare.get_mut(rare)?.round_trips.as_deref_mut()
    }

    /// Returns the handshake of a TCP flow.
    pub(super) fn handshake(&self, entry: &Entry) -> Handshake {
        let (hot, cold) = (&entry.hot, &entry.cold);
        let request = |is_repeated| Request {
            first: hot.pending,
            payload_len: 0,
            is_repeated,
            stamps: [
                None,
                None,
                (hot.ends & END_REQUEST_STAMP != 0).then_some((hot.pending, cold.icmp)),
            ],
        };
        let state = match hot.ends & END_REQUEST {
            END_REQUEST_KNOWN => AttemptState::Known,
            END_REQUEST_PENDING => AttemptState::Pending(request(false)),
            END_REQUEST_REPEATED => AttemptState::Pending(request(true)),
            END_REQUEST_ANSWERED => AttemptState::Answered,
            END_REQUEST_RARE => {
                let rare = self.rare.get(cold.rare);
                return rare
                    .and_then(|rare| rare.handshake.as_deref().copied())
                    .unwrap_or_default();
            }
            _ => return Handshake::default(),
        };
        let mut handshake = Handshake::default();
        let side = usize::from(hot.ends & END_REQUEST_OF_B != 0);
        handshake.sides[side] = Some(Attempt {
            number: cold.number,
            state,
        });
        handshake
    }

    /// Stores the handshake of a TCP flow.
    fn store_handshake(&mut self, record: u32, handshake: Handshake) {
        let entry = self.arena.get_mut(record);
        let was_rare = entry.hot.ends & END_REQUEST == END_REQUEST_RARE;
        let is_plain = put_handshake(entry, &handshake);
        if is_plain {
            if was_rare && let Some(rare) = self.rare.get_mut(entry.cold.rare) {
                rare.handshake = None;
                self.request_bytes -= HANDSHAKE_BYTES;
            }
            return;
        }
        if !was_rare && !self.takes_request_bytes(HANDSHAKE_BYTES) {
            return;
        }
        if let Some(rare) = self.make_rare(record) {
            rare.handshake = Some(Box::new(handshake));
            self.arena.get_mut(record).hot.ends |= END_REQUEST_RARE;
        }
    }

    /// Returns whether an echo request of an end with this sequence number waits for its reply.
    pub(super) fn has_request(&self, entry: &Entry, side: usize, number: u16) -> bool {
        let echoes = self.echoes(entry);
        echoes.position(side, number).is_some()
    }

    /// Returns the outstanding echo requests of a flow.
    fn echoes(&self, entry: &Entry) -> Echoes {
        let (hot, cold) = (&entry.hot, &entry.cold);
        let is_repeated = match hot.ends & END_REQUEST {
            END_REQUEST_PENDING => false,
            END_REQUEST_REPEATED => true,
            END_REQUEST_RARE => {
                let rare = self.rare.get(cold.rare);
                let echoes = rare.and_then(|rare| rare.echoes.as_deref().copied());
                return echoes.unwrap_or_default();
            }
            _ => return Echoes::default(),
        };
        let mut echoes = Echoes::default();
        echoes.put(EchoRequest {
            at: hot.pending,
            number: cold.number as u16,
            side: u8::from(hot.ends & END_REQUEST_OF_B != 0),
            is_repeated,
        });
        echoes
    }

    /// Stores the outstanding echo requests of a flow.
    fn store_echoes(&mut self, record: u32, echoes: Echoes) {
        let entry = self.arena.get_mut(record);
        let hot = &mut entry.hot;
        let was_rare = hot.ends & END_REQUEST == END_REQUEST_RARE;
        if !was_rare {
            hot.ends &= !(END_REQUEST | END_REQUEST_OF_B);
            match echoes.outstanding() {
                [] => return,
                [request] => {
                    hot.pending = request.at;
                    hot.ends |= if request.is_repeated {
                        END_REQUEST_REPEATED
                    } else {
                        END_REQUEST_PENDING
                    };
                    if request.side == 1 {
                        hot.ends |= END_REQUEST_OF_B;
                    }
                    entry.cold.number = request.number.into();
                    return;
                }
                _ => {}
            }
            if !self.takes_request_bytes(ECHOES_BYTES) {
                return;
            }
        }
        // The state is not moved back to the entry: a flow that once had two outstanding requests
        // will probably have them again.
        if let Some(rare) = self.make_rare(record) {
            **rare.echoes.get_or_insert_default() = echoes;
            self.arena.get_mut(record).hot.ends |= END_REQUEST_RARE;
        }
    }

    /// Charges bytes to the budget for requests. Returns `false` and counts an unmeasured request
    /// if the budget is exhausted.
    const fn takes_request_bytes(&mut self, bytes: usize) -> bool {
        let fits = self.request_bytes + bytes <= self.request_limit;
        if fits {
            self.request_bytes += bytes;
        } else {
            self.stats.requests_unmeasured += 1;
        }
        fits
    }

    /// Returns the rare data of a flow, created if needed; `None` if all slots are in use.
    pub(super) fn make_rare(&mut self, record: u32) -> Option<&mut Rare> {
        let cold = &mut self.arena.get_mut(record).cold;
        if cold.rare == NONE {
            cold.rare = self.rare.insert(Rare::default());
        }
        self.rare.get_mut(cold.rare)
    }
}

impl Rare {
    /// Returns the bytes that a flow has charged to the budget for requests.
    pub(super) fn request_bytes(&self) -> usize {
        let handshake = self.handshake.as_ref().map_or(0, |_| HANDSHAKE_BYTES);
        handshake + self.echoes.as_ref().map_or(0, |_| ECHOES_BYTES)
    }
}

/// Does what [`Handshake::add`] does, at a fraction of its cost, for the first SYN of a flow and
/// for the answer to it, which are all that most connections need. For other segments, returns
/// `None` and changes nothing.
fn plain_step(entry: &mut Entry, segment: &HandshakeSegment, side: usize) -> Option<HandshakeStep> {
    let has = |flag| segment.flags.contains(flag);
    let (hot, cold) = (&mut entry.hot, &mut entry.cold);
    let state = hot.ends & END_REQUEST;
    if state == 0 && has(TcpFlags::SYN) && !has(TcpFlags::ACK) && segment.payload_len == 0 {
        let mut ends = END_REQUEST_PENDING;
        if side == 1 {
            ends |= END_REQUEST_OF_B;
        }
        if let Some((value, _)) = segment.stamp {
            ends |= END_REQUEST_STAMP;
            cold.icmp = value;
        }
        hot.ends = hot.ends & !(END_REQUEST_OF_B | END_REQUEST_STAMP) | ends;
        (hot.pending, cold.number) = (segment.at, segment.sequence);
        return Some(HandshakeStep {
            is_new_request: true,
            ..HandshakeStep::default()
        });
    }
    let asked = usize::from(hot.ends & END_REQUEST_OF_B != 0);
    let is_answer = state == END_REQUEST_PENDING
        && asked != side
        && has(TcpFlags::ACK)
        && (has(TcpFlags::SYN) || has(TcpFlags::RST))
        && segment.acknowledgment == cold.number.wrapping_add(1);
    is_answer.then(|| {
        hot.ends = hot.ends & !(END_REQUEST | END_REQUEST_STAMP) | END_REQUEST_ANSWERED;
        HandshakeStep {
            sample: Some((asked, segment.at.saturating_sub(hot.pending))),
            ..HandshakeStep::default()
        }
    })
}

/// Stores a handshake in an entry. Returns `false`, and stores nothing, if it does not fit.
fn put_handshake(entry: &mut Entry, handshake: &Handshake) -> bool {
    let (hot, cold) = (&mut entry.hot, &mut entry.cold);
    hot.ends &= !(END_REQUEST | END_REQUEST_OF_B | END_REQUEST_STAMP);
    let (side, attempt) = match handshake.sides {
        [None, None] => return true,
        [Some(attempt), None] => (0, attempt),
        [None, Some(attempt)] => (1, attempt),
        [Some(_), Some(_)] => return false,
    };
    let mut ends = if side == 1 { END_REQUEST_OF_B } else { 0 };
    match attempt.state {
        AttemptState::Known => ends |= END_REQUEST_KNOWN,
        AttemptState::Answered => ends |= END_REQUEST_ANSWERED,
        AttemptState::Pending(request) => {
            let stamp = match request.stamps {
                [None, None, None] => None,
                [None, None, Some((at, stamp))] if at == request.first => Some(stamp),
                _ => return false,
            };
            if request.payload_len > 0 || stamp.is_some() && request.is_repeated {
                return false;
            }
            ends |= if request.is_repeated {
                END_REQUEST_REPEATED
            } else {
                END_REQUEST_PENDING
            };
            if let Some(stamp) = stamp {
                ends |= END_REQUEST_STAMP;
                cold.icmp = stamp;
            }
            hot.pending = request.first;
        }
    }
    hot.ends |= ends;
    cold.number = attempt.number;
    true
}

/// Bytes charged to the budget for a handshake outside its entry.
const HANDSHAKE_BYTES: usize = size_of::<Handshake>() + size_of::<Rare>();
/// Bytes charged to the budget for the outstanding echo requests of a flow.
const ECHOES_BYTES: usize = size_of::<Echoes>() + size_of::<Rare>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut seen = SeenNumbers::default();
        let new: Vec<bool> = [65_534, 65_535, 0, 65_534, 5, 3, 3, 300, 300]
            .into_iter()
            .map(|number| seen.add(number))
            .collect();
        assert_eq!(
            new,
            [true, true, true, false, true, true, false, true, false]
        );
    }

    #[test]
    fn a_timestamp_tells_which_syn_ack_was_acknowledged() {
        const MS: i64 = 1_000_000;
        let segment = |at: i64, flags: u8, stamp| HandshakeSegment {
            flags: TcpFlags(flags),
            sequence: 500,
            acknowledgment: 501,
            payload_len: 0,
            stamp,
            at: at * MS,
        };
        // Timestamp values of the SYN-ACKs, and the echo of the acknowledgment.
        let cases = [
            ([None, None], None, 0),
            ([Some((7, 0)), Some((1007, 0))], Some((1, 1007)), 10),
            ([Some((7, 0)), Some((1007, 0))], Some((1, 7)), 1010),
            ([Some((7, 0)), Some((1007, 0))], Some((1, 8)), 0),
        ];
        for (sent, echo, wanted) in cases {
            let mut round_trips = RoundTrips::default();
            round_trips.add_segment(1, &segment(0, 0x12, sent[0]));
            round_trips.add_segment(1, &segment(1_000, 0x12, sent[1]));
            round_trips.add_segment(0, &segment(1_010, 0x10, echo));
            // Later acknowledgments of the number measure nothing.
            round_trips.add_segment(0, &segment(2_000, 0x10, echo));
            assert_eq!(round_trips.ways, [0, wanted * MS]);
            assert_eq!(round_trips.of_connection(), wanted * MS);
        }
    }

    #[test]
    fn what_an_entry_holds_is_what_was_stored() {
        let table = FlowTable::new(crate::flow::FlowTableOptions::default());
        let request = |is_repeated, stamp| Request {
            first: 77,
            payload_len: 0,
            is_repeated,
            stamps: [None, None, stamp],
        };
        let states = [
            AttemptState::Known,
            AttemptState::Answered,
            AttemptState::Pending(request(false, None)),
            AttemptState::Pending(request(true, None)),
            AttemptState::Pending(request(false, Some((77, 9)))),
        ];
        for (side, state) in states.iter().flat_map(|state| [(0, state), (1, state)]) {
            let mut handshake = Handshake::default();
            handshake.sides[side] = Some(Attempt {
                number: 4_000_000_000,
                state: *state,
            });
            let mut entry = Entry::vacant();
            assert!(put_handshake(&mut entry, &handshake));
            assert_eq!(table.handshake(&entry), handshake);
        }
    }

    #[test]
    fn a_plain_step_is_that_of_the_handshake() {
        let table = FlowTable::new(crate::flow::FlowTableOptions::default());
        let mut plain = 0;
        for flags in [0x02, 0x12, 0x14, 0x04, 0x06] {
            for bits in 0..256_u32 {
                let bit = |at: u32| bits >> at & 1;
                let first = HandshakeSegment {
                    flags: TcpFlags(if bit(0) == 0 { 0x02 } else { 0x12 }),
                    sequence: 7,
                    acknowledgment: 99,
                    payload_len: 0,
                    stamp: (bit(1) == 1).then_some((5, 6)),
                    at: 1_000,
                };
                let next = HandshakeSegment {
                    flags: TcpFlags(flags),
                    sequence: 7 + bit(2),
                    acknowledgment: 8 + bit(3),
                    payload_len: bit(4),
                    stamp: (bit(5) == 1).then_some((9, 5)),
                    at: 1_500,
                };
                let mut entry = Entry::vacant();
                let mut handshake = Handshake::default();
                if bit(6) == 1 {
                    handshake.add(0, &first);
                    assert!(put_handshake(&mut entry, &handshake));
                }
                let side = bit(7) as usize;
                let before = (entry.hot.ends, table.handshake(&entry));
                let step = handshake.add(side, &next);
                match plain_step(&mut entry, &next, side) {
                    Some(got) => {
                        assert_eq!((got, table.handshake(&entry)), (step, handshake));
                        plain += 1;
                    }
                    None => assert_eq!((entry.hot.ends, table.handshake(&entry)), before),
                }
            }
        }
        assert!(plain > 100, "{plain}");
    }
}
