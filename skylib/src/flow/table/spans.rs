//! Assignment of a packet to one of the entries with its key, or to a new one (rules C11 to C13, D1
//! to D3, E1, and E2 of `docs/flows.md`).
//!
//! A flow accepts packets from its start minus its hold to its last packet plus its hold. The hold
//! is the expiry interval, the timeout of its application, or 15 s once TCP has ended the flow. The
//! end of a flow thus depends only on its own packets, not on timers or packets of other flows.
//!
//! The index holds up to two flows with the same key, for packets with a wrong timestamp and
//! captures joined in any order. In addition to an open connection, it holds at most one attempt to
//! open another. A flow that makes room for another flow is retired: it remains in the table until
//! the timers remove it, but no packet finds it.
//!
//! Most packets belong to the only flow with their key, and follow its previous packet within the
//! shortest hold; [`needs_choice`] finds the others.

use super::FlowTable;
use super::control::Control;
use super::entry::{
    END_IDENTIFIED, Entry, HAS_TCP, HAS_TRANSPORT, HOT_ANSWERED, HOT_FINISHING, HOT_PAIRED, Hot,
    IS_ATTEMPT, IS_RETIRED,
};
use super::pending::Pending;
use crate::decode::TcpFlags;
use crate::flow::options::FlowTableOptions;
use crate::flow::record::FinishType;

/// Holds: the maximum idle time of a flow, by age queue, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    /// By age queue: the expiry interval, then the timeouts of applications.
    classes: Vec<i64>,
    /// Minimum of all holds; `u64::MAX` if holds are not used.
    shortest: u64,
}

impl Holds {
    /// Returns the holds of a table; none with `recorded`.
    pub(super) fn new(options: &FlowTableOptions) -> Self {
        let ms =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let timeouts = options.application_timeouts.iter();
        let timeouts = timeouts
            .take(super::MAX_TIMEOUTS)
            .map(|(_, time)| ms(*time));
        let classes: Vec<i64> = std::iter::once(ms(options.expiry_interval))
            .chain(timeouts)
            .collect();
        let shortest = classes.iter().fold(FINISHED_HOLD_MS, |a, b| a.min(*b));
        Self {
            shortest: if options.recorded {
                u64::MAX
            } else {
                shortest.unsigned_abs()
            },
            classes,
        }
    }

    /// Returns the hold of a flow.
    pub(super) fn of(&self, entry: &Entry) -> i64 {
        if entry.hot.finish != FinishType::NotFinished {
            return FINISHED_HOLD_MS;
        }
        let class = usize::from(entry.cold.class);
        self.classes.get(class).copied().unwrap_or(i64::MAX)
    }
}

/// Assignment of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The packet is counted in this record.
    Record(u32),
    /// The packet begins a flow.
    New,
    /// The packet begins the connection that follows a finished connection (C11).
    Connection,
    /// The packet begins an attempt in addition to an open connection.
    Attempt,
}

/// Records of flows with the same key, and the attempt to open a connection in addition to them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SameKey {
    pub(super) flows: Records,
    pub(super) attempt: Option<u32>,
}

/// Up to [`MAX_SAME`] records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Records {
    records: [u32; MAX_SAME],
    len: usize,
}

impl Records {
    pub(super) fn add(&mut self, record: u32) {
        if let Some(slot) = self.records.get_mut(self.len) {
            *slot = record;
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        self.records[..self.len].iter().copied()
    }
}

/// Returns whether a packet may belong to an entry other than the entry found by its key. `now` is
/// its time, in Unix milliseconds.
#[inline(always)]
pub(super) fn needs_choice(hot: &Hot, holds: &Holds, part: &Pending, now: i64) -> bool {
    // As an unsigned number, the difference to a packet before the latest one is far above the
    // hold.
    let silence = now.wrapping_sub(hot.last).cast_unsigned();
    let is_opening = part.tcp.0 & (TcpFlags::SYN.0 | TcpFlags::ACK.0) == TcpFlags::SYN.0;
    (silence > holds.shortest) | (hot.flags & HOT_PAIRED != 0) | is_opening
}

impl FlowTable {
    /// Chooses the entry of a packet; at least one entry has the packet's key.
    #[cold]
    pub(super) fn choose(&mut self, found: u32, part: &Pending, control: &Control) -> Choice {
        if self.options.recorded {
            return Choice::Record(found);
        }
        let now = part.timestamp.as_ms();
        let same = self.same_key(part);
        let nearest = same
            .flows
            .iter()
            .filter_map(|record| Some((self.distance(record, now)?, record)))
            .min_by_key(|(distance, record)| {
                (*distance, -i128::from(self.arena.get(*record).cold.start))
            });
        let choice = match nearest {
            Some((_, record)) => self.connection(record, same.attempt, part, control),
            None => Choice::New,
        };
        self.make_room(choice, same, now);
        self.mark_paired(part, choice);
        choice
    }

    /// Extends the flow of a packet to its time, or retires other flows of its key, so that a new
    /// flow has room.
    pub(super) fn make_room(&mut self, choice: Choice, same: SameKey, now: i64) {
        if !matches!(choice, Choice::Record(_)) {
            self.next_occurrence = self.occurrence(same, now);
        }
        match choice {
            Choice::Record(record) => self.extend_start(record, now),
            Choice::New | Choice::Connection if same.flows.len >= MAX_SPANS => {
                let stale = same
                    .flows
                    .iter()
                    .max_by_key(|record| self.staleness(*record));
                if let Some(stale) = stale {
                    self.store_ends(stale);
                    self.retire(stale);
                }
            }
            Choice::New | Choice::Connection | Choice::Attempt => {}
        }
        // If the connection is finished, an attempt in addition to it no longer waits for an
        // answer.
        if matches!(choice, Choice::New | Choice::Connection)
            && let Some(attempt) = same.attempt
        {
            self.store_ends(attempt);
            self.retire(attempt);
        }
    }

    /// Returns the number that distinguishes a new flow from the earlier flows with its key (A18).
    /// Flows that begin in the order of time differ by their start. The number is 0 for them, until
    /// a flow begins no later than another one: from then on, flows that are no longer in the index
    /// may have the same start, so that every flow has a different number.
    fn occurrence(&self, same: SameKey, now: i64) -> u32 {
        let mut numbers = 0;
        let mut is_latest = true;
        for record in same.flows.iter().chain(same.attempt) {
            numbers = self.side_numbers(record).occurrence.max(numbers);
            is_latest &= self.uuid_start(self.arena.get(record)) < now;
        }
        if is_latest && numbers == 0 {
            0
        } else {
            numbers.wrapping_add(1).max(1)
        }
    }

    /// Returns the order in which flows with the same key are retired: finished flows first, then
    /// flows farther from the clock, which a wrong timestamp does not move.
    fn staleness(&self, record: u32) -> (bool, i64) {
        let hot = &self.arena.get(record).hot;
        let distance = hot.last.saturating_sub(self.timers.now());
        let has_ended = hot.finish != FinishType::NotFinished;
        (has_ended, distance.saturating_abs())
    }

    /// Marks the entries of a key as paired, if there will be more than one.
    fn mark_paired(&mut self, part: &Pending, choice: Choice) {
        let same = self.same_key(part);
        let len = same.flows.len + usize::from(same.attempt.is_some());
        let is_paired = len > usize::from(matches!(choice, Choice::Record(_)));
        for record in same.flows.iter().chain(same.attempt) {
            let hot = &mut self.arena.get_mut(record).hot;
            hot.flags &= !HOT_PAIRED;
            if is_paired {
                hot.flags |= HOT_PAIRED;
            }
        }
        self.begins_paired = is_paired;
    }

    /// Returns the entries with the key of a packet.
    fn same_key(&self, part: &Pending) -> SameKey {
        let mode = self.options.layer_key_mode;
        let mut same = SameKey::default();
        self.index.find(part.hash, |record| {
            let entry = self.arena.get(record);
            if !entry.key.is_same(&part.key, mode) {
                return false;
            }
            if entry.cold.layers & IS_ATTEMPT != 0 {
                same.attempt = Some(record);
            } else {
                same.flows.add(record);
            }
            false
        });
        same
    }

    /// Returns the flow with the key of a packet that is nearest in time, even beyond its hold.
    pub(super) fn nearest(&self, part: &Pending) -> Option<u32> {
        let now = part.timestamp.as_ms();
        let same = self.same_key(part);
        let records = same.flows.iter().chain(same.attempt);
        records.min_by_key(|record| self.arena.get(*record).distance(now))
    }

    /// Returns the distance in milliseconds from a flow to a time; `None` beyond its hold.
    pub(super) fn distance(&self, record: u32, now: i64) -> Option<i64> {
        let entry = self.arena.get(record);
        let distance = entry.distance(now);
        (distance <= self.holds.of(entry)).then_some(distance)
    }

    /// Applies the rules of TCP connections to a packet of a flow.
    pub(super) fn connection(
        &mut self,
        record: u32,
        attempt: Option<u32>,
        part: &Pending,
        control: &Control,
    ) -> Choice {
        let entry = self.arena.get(record);
        if entry.cold.layers & HAS_TRANSPORT != HAS_TCP {
            return Choice::Record(record);
        }
        let has = |flag| part.tcp.contains(flag);
        let is_opening = has(TcpFlags::SYN) && !has(TcpFlags::ACK);
        if let Some(attempt) = attempt
            && self.takes_attempt(attempt, part, control)
        {
            if has(TcpFlags::SYN) && has(TcpFlags::ACK) {
                self.replace(record);
                self.arena.get_mut(attempt).cold.layers &= !IS_ATTEMPT;
            }
            return Choice::Record(attempt);
        }
        let side = usize::from(!entry.is_a_to_b(part.flags));
        let known = self.handshake(entry).number(side);
        if !is_opening || known == Some(control.sequence) {
            return Choice::Record(record);
        }
        let is_answered = entry.hot.flags & HOT_ANSWERED != 0;
        if entry.hot.finish != FinishType::NotFinished {
            // C11: a new connection begins a new flow immediately.
            self.retire(record);
            Choice::Connection
        } else if !is_answered {
            // C12: unanswered attempts are one flow.
            Choice::Record(record)
        } else {
            // C13: at most one attempt in addition to the open connection.
            attempt.map_or(Choice::Attempt, Choice::Record)
        }
    }

    /// Returns whether a packet belongs to an attempt: a repetition of its SYN, or an answer to it.
    fn takes_attempt(&self, attempt: u32, part: &Pending, control: &Control) -> bool {
        let entry = self.arena.get(attempt);
        let has = |flag| part.tcp.contains(flag);
        let (syn, ack, rst) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::RST));
        let side = usize::from(!entry.is_a_to_b(part.flags));
        let handshake = self.handshake(entry);
        if syn && !ack {
            return handshake.number(side) == Some(control.sequence);
        }
        let asked = handshake
            .number(1 - side)
            .map(|number| number.wrapping_add(1));
        ack && (syn || rst) && asked == Some(control.acknowledgment)
    }

    /// Returns whether a flow is an attempt beside a connection that accepts packets at a time, in
    /// Unix milliseconds. Such an attempt accepts further attempts, however long it was idle itself
    /// (C13).
    pub(super) fn is_open_attempt(&self, record: u32, now: i64) -> bool {
        let attempt = self.arena.get(record);
        if attempt.cold.layers & (IS_ATTEMPT | IS_RETIRED) != IS_ATTEMPT {
            return false;
        }
        let mode = self.options.layer_key_mode;
        let connection = self.index.find(attempt.key.hash(self.seed, mode), |other| {
            let entry = self.arena.get(other);
            other != record
                && entry.key.is_same(&attempt.key, mode)
                && now.saturating_sub(entry.hot.last) <= self.holds.of(entry)
        });
        connection.is_some()
    }

    /// Ends a connection whose ports a new connection uses (C13).
    fn replace(&mut self, record: u32) {
        if self.arena.get(record).hot.touched != self.timers.interval() {
            self.begin_interval(record);
        }
        let hot = &mut self.arena.get_mut(record).hot;
        if hot.finish == FinishType::NotFinished {
            hot.finish = FinishType::Replaced;
            if hot.flags & HOT_FINISHING == 0 {
                hot.flags |= HOT_FINISHING;
                self.finishing.push(record);
            }
        }
        self.retire(record);
    }

    /// Removes a flow from the index, so that it receives no more packets.
    fn retire(&mut self, record: u32) {
        let mode = self.options.layer_key_mode;
        let entry = self.arena.get_mut(record);
        if entry.cold.layers & IS_RETIRED != 0 {
            return;
        }
        entry.cold.layers |= IS_RETIRED;
        // Packets of the current batch may already have found the entry.
        entry.hot.flags |= HOT_PAIRED;
        let hash = entry.key.hash(self.seed, mode);
        self.index.remove(hash, record);
        self.retired += 1;
    }

    /// Moves the start of a flow back to an earlier packet (E2). The UUID does not change if it was
    /// used.
    pub(super) fn extend_start(&mut self, record: u32, now: i64) {
        let is_used = {
            let entry = self.arena.get(record);
            if now >= entry.cold.start {
                return;
            }
            let was_sent = !self.options.final_only && entry.cold.born != self.timers.interval();
            was_sent || entry.hot.ends & END_IDENTIFIED != 0
        };
        let former = std::mem::replace(&mut self.arena.get_mut(record).cold.start, now);
        if is_used && let Some(rare) = self.make_rare(record) {
            rare.uuid_start.get_or_insert(former);
        }
    }
}

/// Time for which a finished flow remains in the table for late packets, in milliseconds.
pub(super) const FINISHED_HOLD_MS: i64 = 15_000;
/// Maximum number of flows with the same key in the index, without an attempt.
const MAX_SPANS: usize = 2;
/// Maximum number of records in a list of [`SameKey`].
const MAX_SAME: usize = MAX_SPANS + 1;
