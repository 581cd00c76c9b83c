//! Timers: when flows are sent (update) and removed (expiry, end of connection, application
//! timeout).
//!
//! Time is an argument; no clock is read. An update visits the flows in the touched list and the
//! queues of applications with a timeout; an expiry visits the flows of an age queue before its
//! mark. Neither scans the table.

use std::time::Duration;

use super::FlowTable;
use super::PacketClock;
use super::entry::{HOT_FINISHING, HOT_LISTED, HOT_USED};
use super::spans::FINISHED_HOLD_MS;
use crate::flow::options::FlowTableOptions;
use crate::flow::query::FlowSink;
use crate::flow::record::{FinishType, Flow};
use crate::packet::PacketBatch;
use crate::time::Timestamp;

/// The update and expiry timers of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    update: Period,
    expire: Period,
    /// Number of updates so far (wrapping), which is also the number of the current interval.
    interval: u32,
    /// Times of the previous update and of the update before it, in Unix milliseconds; 0 if there
    /// was none.
    updated: [i64; 2],
    /// Time of the previous expiry, in Unix milliseconds; 0 if there was none.
    expired: i64,
    /// Latest time passed to the timers, in Unix milliseconds; 0 before the first.
    now: i64,
}

/// Periodic timer.
#[derive(Clone, Copy, Debug)]
struct Period {
    /// Length of a period; at least [`MIN_PERIOD`].
    length: Duration,
    /// Next deadline; `None` before the first tick.
    due: Option<Timestamp>,
}

impl Timers {
    /// Returns timers that start at the first tick.
    pub(super) fn new(update: Duration, expire: Duration) -> Self {
        let period = |length: Duration| Period {
            length: length.max(MIN_PERIOD),
            due: None,
        };
        Self {
            update: period(update),
            expire: period(expire),
            interval: 0,
            updated: [0; 2],
            expired: 0,
            now: 0,
        }
    }

    /// Returns the number of the current update interval.
    #[inline]
    pub(super) const fn interval(&self) -> u32 {
        self.interval
    }

    /// Returns the latest time passed to the timers, in Unix milliseconds; 0 before the first.
    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    /// Returns the times of the latest update and of the update before it, in Unix milliseconds.
    pub(super) const fn updated(&self) -> [i64; 2] {
        self.updated
    }
}

impl Period {
    /// Returns the time at which to run, if the timer is due, and advances the deadline by one
    /// period.
    fn take(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due = self.due.filter(|due| *due <= now)?;
        let next = due.saturating_add(self.length);
        // At the maximum timestamp, the deadline cannot advance, and the timer would run forever.
        if next == due {
            return None;
        }
        self.due = Some(next);
        // Late by less than a period: runs now. Late by more: runs once for each missed period,
        // each time at its own deadline.
        Some(if next > now { now } else { due })
    }

    /// Skips missed periods; the next deadline remains in phase with the earlier ones.
    fn skip(&mut self, now: Timestamp) {
        if let Some(due) = self.due.filter(|due| *due <= now) {
            let late = now.duration_since(due).as_nanos() % self.length.as_nanos();
            let late = Duration::from_nanos(u64::try_from(late).unwrap_or(0));
            self.due = Some(now.saturating_sub(late).saturating_add(self.length));
        }
    }
}

impl FlowTable {
    /// Runs the timers that are due ([`update`](Self::update) and [`expire`](Self::expire)), in the
    /// order of their deadlines. The first call starts them. Every call sends evicted flows.
    ///
    /// After a long pause, the missed runs are repeated until the table is empty.
    pub fn tick(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        self.timers.now = now.as_ms();
        for period in [&mut self.timers.update, &mut self.timers.expire] {
            if period.due.is_none() {
                period.due = Some(now.saturating_add(period.length));
            }
        }
        loop {
            if self.is_empty() {
                self.timers.update.skip(now);
                self.timers.expire.skip(now);
                return;
            }
            if self.timers.update.due <= self.timers.expire.due {
                let Some(at) = self.timers.update.take(now) else {
                    return;
                };
                self.update(at, sink);
            } else {
                let Some(at) = self.timers.expire.take(now) else {
                    return;
                };
                self.expire(at, sink);
            }
        }
    }

    /// Returns the next timer deadline; `None` before the first [`tick`](Self::tick).
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.timers.update.due.min(self.timers.expire.due)
    }

    /// Counts recorded packets, with the timers driven by the packets' timestamps. The time is the
    /// latest time such that 16 consecutive packets were at or after it, so that a single wrong
    /// timestamp has no effect.
    pub fn replay(&mut self, batch: &PacketBatch<'_>, sink: &mut dyn FlowSink) {
        if self.options.recorded {
            self.replay_recorded(batch, sink);
            return;
        }
        self.is_replay = true;
        let (mut counted, mut at) = (0, 0);
        while let Some(rest) = batch.headers.get(at..) {
            let due = self.due();
            let early = self.clock.skip_early(rest, due);
            let Some(header) = rest.get(early) else {
                break;
            };
            at += early + 1;
            if let Some(now) = self.clock.advance(header.timestamp, due) {
                self.process(&PacketBatch {
                    headers: &batch.headers[counted..at],
                    ..*batch
                });
                counted = at;
                self.tick(now, sink);
            }
        }
        self.process(&PacketBatch {
            headers: &batch.headers[counted..],
            ..*batch
        });
        self.send_evicted(sink);
    }

    /// Counts a part of a batch of recorded packets; the caller runs the timers.
    pub(crate) fn replay_part(&mut self, batch: &PacketBatch<'_>, sink: &mut dyn FlowSink) {
        if self.options.recorded {
            self.replay_recorded(batch, sink);
            return;
        }
        self.is_replay = true;
        self.process(batch);
        self.send_evicted(sink);
    }

    /// Returns the clock for replaying a file to a table with these options.
    pub(crate) fn packet_clock(options: &FlowTableOptions) -> PacketClock {
        let jump = options.expiry_interval.as_millis();
        PacketClock::new(i64::try_from(jump).unwrap_or(i64::MAX))
    }

    /// Counts recorded packets, with the timers driven by each timestamp, as Skydive does.
    fn replay_recorded(&mut self, batch: &PacketBatch<'_>, sink: &mut dyn FlowSink) {
        let mut headers = batch.headers;
        while let Some(first) = headers.first() {
            self.tick(first.timestamp, sink);
            let due = self.due();
            let is_later = |time| due.is_some_and(|due| due <= time);
            let later = headers.iter().position(|header| is_later(header.timestamp));
            // At least the first packet is counted: the timers have run up to its timestamp.
            let (now, later) = headers.split_at(later.unwrap_or(headers.len()).max(1));
            self.process(&PacketBatch {
                headers: now,
                ..*batch
            });
            headers = later;
        }
        self.send_evicted(sink);
    }

    /// Sends every flow that had packets since the previous update. Removes flows whose TCP connection
    /// ended at least 15 seconds ago, and flows that were idle for longer than their application's
    /// timeout.
    pub fn update(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        // Fragments are dated by the timestamps of their packets, not by steady time.
        self.expire_fragments(Some(Timestamp::from_ms(
            self.clock_steps.shown(now.as_ms()),
        )));
        let now = now.as_ms();
        let mut out = Outbox::new(sink);
        let mut touched = std::mem::take(&mut self.touched);
        for record in touched.drain(..) {
            let entry = self.arena.get_mut(record);
            entry.hot.flags &= !HOT_LISTED;
            let is_due = entry.is_alive() && entry.hot.touched == self.timers.interval;
            if is_due {
                let flow = self.updated_flow(record, now);
                out.push(flow);
            }
        }
        self.touched = touched;
        self.remove_finished(now, &mut out);
        for class in 1..self.queues.len() {
            self.time_out(class, now, &mut out);
        }
        out.send();
        self.timers.interval = self.timers.interval.wrapping_add(1);
        self.timers.updated = [now, self.timers.updated[0]];
    }

    /// Sends and removes flows that were idle for longer than the expiry interval. Only flows that
    /// were in the table at the previous expiry are visited, so that a flow is removed at the
    /// second expiry after its last packet. The time at which a flow ends depends only on its
    /// packets.
    pub fn expire(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        let mut out = Outbox::new(sink);
        let before = self.timers.expired;
        for class in 0..self.queues.len() {
            while self.queues[class].has_marked() {
                let Some(record) = self.queues[class].front() else {
                    break;
                };
                let entry = self.arena.get(record);
                let is_over = if self.options.recorded {
                    entry.hot.last < before
                } else {
                    now.as_ms().saturating_sub(entry.hot.last) > self.holds.of(entry)
                        && !self.is_open_attempt(record, now.as_ms())
                };
                if is_over {
                    self.finish(record, &mut out);
                } else {
                    // Used since the previous expiry: appended after the mark.
                    let queue = &mut self.queues[class];
                    queue.unlink(&mut self.arena, record);
                    queue.push(&mut self.arena, record);
                    self.arena.get_mut(record).hot.flags &= !HOT_USED;
                }
            }
            self.queues[class].mark();
        }
        out.send();
        self.timers.expired = now.as_ms();
    }

    /// Sends and removes all flows, as at the end of a capture.
    pub fn flush(&mut self, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        self.expire_fragments(None);
        let mut out = Outbox::new(sink);
        for class in 0..self.queues.len() {
            while let Some(record) = self.queues[class].front() {
                self.finish(record, &mut out);
            }
        }
        out.send();
    }

    /// Ends the capture without removing flows: from now on, the table is only queried, and queries
    /// return what [`flush`](Self::flush) would send. Sends evicted flows.
    pub fn end(&mut self, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        self.expire_fragments(None);
        self.has_ended = true;
    }

    /// Sends the flows evicted since the previous call.
    fn send_evicted(&mut self, sink: &mut dyn FlowSink) {
        if !self.evicted.is_empty() {
            sink.flows(std::mem::take(&mut self.evicted));
        }
    }

    /// Removes flows that TCP ended at least [`FINISHED_HOLD_MS`] ago; updates have already sent
    /// them.
    fn remove_finished(&mut self, now: i64, out: &mut Outbox<'_>) {
        let mut finishing = std::mem::take(&mut self.finishing);
        let hold = FINISHED_HOLD_MS + i64::from(!self.options.recorded);
        finishing.retain(|record| {
            let entry = self.arena.get(*record);
            let has_ended = entry.is_alive() && entry.hot.finish != FinishType::NotFinished;
            let silence = now.saturating_sub(entry.hot.last);
            if has_ended && (silence < hold || self.is_open_attempt(*record, now)) {
                return true;
            }
            self.arena.get_mut(*record).hot.flags &= !HOT_FINISHING;
            if has_ended {
                if self.options.final_only {
                    out.push(self.leaving_flow(*record));
                }
                self.store_ends(*record);
                self.remove(*record);
            }
            false
        });
        self.finishing = finishing;
    }

    /// Sends and removes the flows of one application that exceeded its timeout.
    ///
    /// Visits the whole queue, because it is not sorted by the time of the last packet.
    fn time_out(&mut self, class: usize, now: i64, out: &mut Outbox<'_>) {
        let timeouts = &self.options.application_timeouts;
        let Some((_, timeout)) = timeouts.get(class - 1) else {
            return;
        };
        let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let mut next = self.queues[class].front();
        while let Some(record) = next {
            next = self.queues[class].after(&self.arena, record);
            let hot = &self.arena.get(record).hot;
            let is_silent = hot.touched != self.timers.interval
                && now.saturating_sub(hot.last) > timeout
                && hot.finish == FinishType::NotFinished;
            if is_silent && !self.is_open_attempt(record, now) {
                self.arena.get_mut(record).hot.finish = FinishType::Timeout;
                out.push(self.timed_out_flow(record, now));
                self.store_ends(record);
                self.remove(record);
            }
        }
    }

    /// Removes an expired flow; sends it unless an update has already sent its final state.
    fn finish(&mut self, record: u32, out: &mut Outbox<'_>) {
        let hot = &mut self.arena.get_mut(record).hot;
        let was_finished = hot.finish != FinishType::NotFinished;
        let is_unsent = hot.touched == self.timers.interval && !self.options.recorded;
        if !was_finished {
            hot.finish = FinishType::Timeout;
        }
        if !was_finished || is_unsent || self.options.final_only {
            out.push(self.leaving_flow(record));
        }
        self.store_ends(record);
        self.remove(record);
    }
}

/// Batching writer to a sink: passes flows in batches of at most [`SINK_BATCH`] flows.
struct Outbox<'a> {
    sink: &'a mut dyn FlowSink,
    flows: Vec<Flow>,
}

impl<'a> Outbox<'a> {
    /// Returns an empty outbox.
    fn new(sink: &'a mut dyn FlowSink) -> Self {
        Self {
            sink,
            flows: Vec::new(),
        }
    }

    /// Adds a flow; passes a full batch to the sink.
    fn push(&mut self, flow: Flow) {
        self.flows.push(flow);
        if self.flows.len() >= SINK_BATCH {
            let next = Vec::with_capacity(SINK_BATCH);
            self.sink.flows(std::mem::replace(&mut self.flows, next));
        }
    }

    /// Passes the remaining flows to the sink.
    fn send(self) {
        if !self.flows.is_empty() {
            self.sink.flows(self.flows);
        }
    }
}

/// Maximum number of flows passed to a sink in one call.
const SINK_BATCH: usize = 4096;
/// Minimum timer period.
const MIN_PERIOD: Duration = Duration::from_millis(1);
