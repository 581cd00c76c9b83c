//! When flows are sent and when they leave.

use std::time::Duration;

use super::FlowTable;
use super::entry::{HOT_FINISHING, HOT_LISTED, HOT_USED};
use crate::flow::query::FlowSink;
use crate::flow::record::{FinishType, Flow};
use crate::packet::PacketBatch;
use crate::time::Timestamp;

/// The two clocks of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    update: Period,
    expire: Period,
    /// Number of updates so far; packets are counted in the interval of this number.
    interval: u32,
    /// Time of the previous update and of the one before, Unix ms; 0: there was none.
    updated: [i64; 2],
    /// Time of the previous expiry, Unix ms; 0: there was none.
    expired: i64,
}

#[derive(Clone, Copy, Debug)]
struct Period {
    length: Duration,
    due: Option<Timestamp>,
}

impl Timers {
    pub(super) fn new(update: Duration, expire: Duration) -> Self {
        let period = |length: Duration| Period {
            length: length.max(SHORTEST),
            due: None,
        };
        Self {
            update: period(update),
            expire: period(expire),
            interval: 0,
            updated: [0; 2],
            expired: 0,
        }
    }

    /// The current interval between updates.
    #[inline]
    pub(super) const fn interval(&self) -> u32 {
        self.interval
    }

    /// Time of the latest update and of the one before it, Unix ms.
    pub(super) const fn updated(&self) -> [i64; 2] {
        self.updated
    }
}

impl Period {
    /// The time to run at, if that has come; the next one is then a period later.
    fn take(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due = self.due.filter(|due| *due <= now)?;
        let next = due.saturating_add(self.length);
        // At the end of time there is no next one, however often it is asked for.
        if next == due {
            return None;
        }
        self.due = Some(next);
        // A little late is now; much late makes up for what was missed.
        Some(if next > now { now } else { due })
    }

    /// Goes on from now without making up for anything, in step with before.
    fn skip(&mut self, now: Timestamp) {
        if let Some(due) = self.due.filter(|due| *due <= now) {
            let late = now.duration_since(due).as_nanos() % self.length.as_nanos();
            let late = Duration::from_nanos(u64::try_from(late).unwrap_or(0));
            self.due = Some(now.saturating_sub(late).saturating_add(self.length));
        }
    }
}

impl FlowTable {
    /// Lets the timers run that are due: sends what an update or an expiry sends. The first call
    /// starts them; evicted flows are sent at every call.
    ///
    /// After a long pause what was missed is made up for, as far as it changes anything.
    pub fn tick(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
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

    /// When a timer is due; none before the first [`FlowTable::tick`].
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.timers.update.due.min(self.timers.expire.due)
    }

    /// Counts packets of the past, the timers following their times.
    pub fn replay(&mut self, batch: &PacketBatch<'_>, sink: &mut dyn FlowSink) {
        let mut headers = batch.headers;
        while let Some(first) = headers.first() {
            self.tick(first.timestamp, sink);
            let due = self.due();
            let is_later = |time| due.is_some_and(|due| due <= time);
            let later = headers.iter().position(|header| is_later(header.timestamp));
            // The first one never waits: its time has just been ticked.
            let (now, later) = headers.split_at(later.unwrap_or(headers.len()).max(1));
            self.process(&PacketBatch {
                headers: now,
                ..*batch
            });
            headers = later;
        }
        self.send_evicted(sink);
    }

    /// Sends every flow that had packets since the previous update; removes those that ended or
    /// were silent for as long as their application may.
    pub fn update(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        self.expire_fragments(Some(now));
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
        self.drop_finished(now, &mut out);
        for class in 1..self.queues.len() {
            self.time_out(class, now, &mut out);
        }
        out.send();
        self.timers.interval = self.timers.interval.wrapping_add(1);
        self.timers.updated = [now, self.timers.updated[0]];
    }

    /// Sends and removes every flow whose last packet came before the previous expiry.
    pub fn expire(&mut self, now: Timestamp, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        let mut out = Outbox::new(sink);
        let before = self.timers.expired;
        for class in 0..self.queues.len() {
            while self.queues[class].has_marked() {
                let Some(record) = self.queues[class].front() else {
                    break;
                };
                if self.arena.get(record).hot.last < before {
                    self.finish(record, &mut out);
                } else {
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

    /// Sends and removes all flows: what the end of a capture does.
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

    /// Ends all flows where they are: for a table that is only asked from now on. Queries find
    /// what [`FlowTable::flush`] would send.
    pub fn end(&mut self, sink: &mut dyn FlowSink) {
        self.send_evicted(sink);
        self.expire_fragments(None);
        self.has_ended = true;
    }

    fn send_evicted(&mut self, sink: &mut dyn FlowSink) {
        if !self.evicted.is_empty() {
            sink.flows(std::mem::take(&mut self.evicted));
        }
    }

    /// Removes flows that ended a while ago; updates have sent them.
    fn drop_finished(&mut self, now: i64, out: &mut Outbox<'_>) {
        let mut finishing = std::mem::take(&mut self.finishing);
        finishing.retain(|record| {
            let entry = self.arena.get_mut(*record);
            let has_ended = entry.is_alive() && entry.hot.finish != FinishType::NotFinished;
            if has_ended && now.saturating_sub(entry.hot.last) < HOLD_MS {
                return true;
            }
            entry.hot.flags &= !HOT_FINISHING;
            if has_ended {
                if self.options.leaving_only {
                    out.push(self.leaving_flow(*record));
                }
                self.remove(*record);
            }
            false
        });
        self.finishing = finishing;
    }

    /// Removes the flows of one application that have been silent for too long.
    fn time_out(&mut self, class: usize, now: i64, out: &mut Outbox<'_>) {
        let timeouts = &self.options.application_timeouts;
        let Some((_, timeout)) = timeouts.get(class - 1) else {
            return;
        };
        let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let mut next = self.queues[class].front();
        while let Some(record) = next {
            next = self.queues[class].after(&self.arena, record);
            let hot = &mut self.arena.get_mut(record).hot;
            let is_silent = hot.touched != self.timers.interval
                && now.saturating_sub(hot.last) > timeout
                && hot.finish == FinishType::NotFinished;
            if is_silent {
                hot.finish = FinishType::Timeout;
                out.push(self.timed_out_flow(record, now));
                self.remove(record);
            }
        }
    }

    /// Sends and removes a flow that expires.
    fn finish(&mut self, record: u32, out: &mut Outbox<'_>) {
        let hot = &mut self.arena.get_mut(record).hot;
        let was_finished = hot.finish != FinishType::NotFinished;
        let is_unsent = hot.touched == self.timers.interval && !self.options.recorded;
        if !was_finished {
            hot.finish = FinishType::Timeout;
        }
        if !was_finished || is_unsent || self.options.leaving_only {
            out.push(self.leaving_flow(record));
        }
        self.remove(record);
    }
}

/// Flows on their way to a sink, some at a time.
struct Outbox<'a> {
    sink: &'a mut dyn FlowSink,
    flows: Vec<Flow>,
}

impl<'a> Outbox<'a> {
    fn new(sink: &'a mut dyn FlowSink) -> Self {
        Self {
            sink,
            flows: Vec::new(),
        }
    }

    fn push(&mut self, flow: Flow) {
        self.flows.push(flow);
        if self.flows.len() >= AT_A_TIME {
            self.sink.flows(std::mem::take(&mut self.flows));
        }
    }

    fn send(self) {
        if !self.flows.is_empty() {
            self.sink.flows(self.flows);
        }
    }
}

/// How long a finished flow waits for stragglers, ms.
const HOLD_MS: i64 = 15_000;
/// The most flows handed to a sink in one call.
const AT_A_TIME: usize = 4096;
/// No timer runs more often.
const SHORTEST: Duration = Duration::from_millis(1);
