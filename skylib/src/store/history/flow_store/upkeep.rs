//! Upkeep: seals tables, merges and checks segments, and enforces the limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Frozen, LocalFlowStore, TABLE};
use crate::store::history::counters::{DropReason, TableCounters};
use crate::store::history::flow_segment::FlowSegment;
use crate::store::history::names::Name;
use crate::store::history::outage::Operation;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::retention::Part;
use crate::store::history::worker::{Maintain, Signals};
use crate::store::history::{flow_merge, flow_segment, merge_policy, segment_folder};
use crate::time::Timestamp;

impl LocalFlowStore {
    /// Writes frozen tables as segments, oldest first, until one fails. `now` decides about retries
    /// after a failure of the disk; without it, an attempt is made at once.
    pub(super) fn seal_frozen(&self, now: Option<Timestamp>) {
        let _sealing = self.sealing.lock();
        while now.is_none_or(|now| self.outage.may_try(Operation::Seal, now)) {
            let frozen = {
                let mut state = self.state.write();
                let first = state.frozen.first().cloned();
                state.being_sealed = first.as_ref().map(|first| first.generation);
                first
            };
            let Some(frozen) = frozen else {
                self.succeed(Operation::Seal);
                self.succeed(Operation::KeepUp);
                break;
            };
            let sealed = self.seal_one(&frozen);
            let counters = &self.folder.flow_counters;
            TableCounters::count(match &sealed {
                Ok(()) => &counters.seals,
                Err(_) => &counters.failures,
            });
            self.wake_writers();
            if let Err(error) = sealed {
                self.state.write().being_sealed = None;
                self.fail(Operation::Seal, &error);
                break;
            }
        }
        self.remove_stale_logs();
        self.measure();
        self.wake_writers();
    }

    fn wake_writers(&self) {
        let _waiting = self.waiting.lock();
        self.sealed.notify_all();
    }

    /// Removes the logs of tables that were dropped.
    fn remove_stale_logs(&self) {
        let stale = std::mem::take(&mut self.state.write().stale_logs);
        for generation in stale {
            if self.folder.remove_log(&self.path, generation).is_err() {
                self.state.write().stale_logs.push(generation);
            }
        }
    }

    pub(super) fn seal_one(&self, frozen: &Arc<Frozen>) -> io::Result<()> {
        let generation = frozen.generation;
        if !frozen.flows.is_empty() {
            let name = Name::Segment(generation, generation);
            let path = self.segment_path(name);
            let unfinished = self.folder.unfinished(&format!("{TABLE}-{name}"));
            let host = &self.folder.options.host;
            segment_folder::commit(self.disk(), &unfinished, &path, |folder| {
                flow_segment::write(self.disk(), folder, &frozen.flows, host, generation)
            })?;
            let segment = FlowSegment::open(self.disk(), &path, name)?;
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
            state.segments.push(Arc::new(segment));
        } else {
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
        }
        self.inbox.lock().forget(generation);
        if frozen.is_log_damaged {
            let log = self.path.join(Name::Log(generation).to_string());
            self.folder.set_aside(&log, TABLE)?;
            return Ok(());
        }
        // If this fails, the next start finds a log that the segment replaces.
        drop(self.folder.remove_log(&self.path, generation));
        Ok(())
    }

    /// Merges the segments of every hour that has ended or has too many of them.
    pub(super) fn merge_hours(&self, now: Timestamp) {
        while self.outage.may_try(Operation::Merge, now) {
            let due = due_segments(&self.state.read().segments, now);
            let Some(segments) = due else {
                self.succeed(Operation::Merge);
                return;
            };
            if let Err(error) = self.merge(&segments, now) {
                self.fail(Operation::Merge, &error);
                return;
            }
        }
    }

    /// Replaces consecutive segments by one.
    pub(super) fn merge(&self, segments: &[Arc<FlowSegment>], now: Timestamp) -> io::Result<()> {
        let _tidying = self.tidying.lock();
        let Some(name) = flow_merge::merged_name(segments) else {
            return Ok(());
        };
        let path = self.segment_path(name);
        let unfinished = self.folder.unfinished(&format!("{TABLE}-{name}"));
        let host = &self.folder.options.host;
        let written = segment_folder::commit(self.disk(), &unfinished, &path, |folder| {
            flow_merge::write(self.disk(), folder, segments, host)
        });
        if let Err(error) = written {
            TableCounters::count(&self.folder.flow_counters.failures);
            self.set_damaged_aside(segments, &error);
            return Err(error);
        }
        let merged = Arc::new(FlowSegment::open(self.disk(), &path, name)?);
        {
            let mut state = self.state.write();
            let is_merged = |segment: &Arc<FlowSegment>| {
                segments.iter().any(|merged| Arc::ptr_eq(merged, segment))
            };
            let at = state
                .segments
                .iter()
                .position(is_merged)
                .unwrap_or_default();
            state.segments.retain(|segment| !is_merged(segment));
            state.segments.insert(at, merged);
        }
        for segment in segments {
            let bytes = segment.flow_bytes() + segment.packet_bytes();
            // If this fails, the next start finds a segment that the new one replaces.
            drop(self.folder.replace(&segment.folder, bytes, now));
        }
        TableCounters::count(&self.folder.flow_counters.merges);
        self.measure();
        Ok(())
    }

    /// Moves damaged segments to the folder `damaged` after a failed read.
    pub(super) fn set_damaged_aside(&self, segments: &[Arc<FlowSegment>], error: &io::Error) {
        if is_damage(error) {
            segments
                .iter()
                .for_each(|segment| self.check_content(segment));
        }
    }

    /// Compares the content of all segments with their checksums, and moves damaged ones to the
    /// folder `damaged`.
    pub fn check(&self) {
        let segments = self.state.read().segments.clone();
        segments
            .iter()
            .for_each(|segment| self.check_content(segment));
    }

    /// Moves a segment to the folder `damaged` if its content differs from its checksums.
    pub(super) fn check_content(&self, segment: &Arc<FlowSegment>) {
        match segment_folder::check(self.disk(), &segment.folder) {
            Err(damage) if is_damage(&damage) => self.set_aside(segment, &damage),
            Ok(()) | Err(_) => {}
        }
    }

    /// Moves a damaged segment to the folder `damaged`; queries no longer read it.
    pub(super) fn set_aside(&self, segment: &Arc<FlowSegment>, damage: &io::Error) {
        if !self.drop_segment(segment) {
            // Another thread has found the damage, too.
            return;
        }
        let (start, last) = (segment.span.start, segment.span.last);
        self.lost.lock().add(start, last);
        let counters = &self.folder.flow_counters;
        counters.drop_rows(DropReason::Damage, segment.flow.rows());
        self.folder.report_damage(&segment.folder, TABLE, damage);
    }

    /// Checks the content of one segment that has not been checked since the store was opened.
    pub(super) fn check_next(&self) {
        let _tidying = self.tidying.lock();
        let next = self.unchecked.lock().pop();
        if let Some(segment) = next.and_then(|segment| segment.upgrade()) {
            self.check_content(&segment);
        }
    }

    /// Removes a segment from the list that queries read. Returns whether the list contained it.
    pub(super) fn drop_segment(&self, segment: &Arc<FlowSegment>) -> bool {
        let mut state = self.state.write();
        let before = state.segments.len();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
        state.segments.len() < before
    }

    /// Removes segments older than the retention, then the oldest segments or raw packets while the
    /// history exceeds the limits on size and free space.
    pub(super) fn enforce_limits(&self, now: Timestamp) {
        let _tidying = self.tidying.lock();
        let too_old = now.saturating_sub(self.folder.options.max_age).as_ms();
        loop {
            let oldest = self.state.read().segments.first().cloned();
            let Some(oldest) = oldest.filter(|oldest| oldest.span.updated.1 < too_old) else {
                break;
            };
            let bytes = oldest.flow_bytes() + oldest.packet_bytes();
            if self.folder.replace(&oldest.folder, bytes, now).is_err() {
                break;
            }
            self.evicted(&oldest, DropReason::Age);
        }
        self.measure();
        while let Some(part) = self.folder.over() {
            let done = match part {
                Part::Flow => self.remove_oldest(),
                Part::Packet => self.remove_oldest_packets(),
                Part::Graph => false,
            };
            if !done {
                break;
            }
            self.measure();
        }
        if self.folder.over() != Some(Part::Packet) {
            self.succeed(Operation::Packets);
        }
    }

    pub(super) fn remove_oldest(&self) -> bool {
        let Some(oldest) = self.state.read().segments.first().cloned() else {
            return false;
        };
        let is_removed = self.disk().remove(&oldest.folder).is_ok();
        if is_removed {
            self.evicted(&oldest, DropReason::Size);
        }
        is_removed
    }

    pub(super) fn evicted(&self, segment: &Arc<FlowSegment>, reason: DropReason) {
        self.drop_segment(segment);
        let counters = &self.folder.flow_counters;
        counters.drop_rows(reason, segment.flow.rows());
        let mut state = self.state.write();
        state.counts.evicted += segment.flow.rows() as u64;
        let since = Timestamp::from_ms(segment.span.updated.1);
        state.counts.complete_since = state.counts.complete_since.max(Some(since));
    }

    /// Removes the raw packets of the oldest segment that has any.
    pub(in crate::store::history) fn remove_oldest_packets(&self) -> bool {
        let segments = self.state.read().segments.clone();
        let Some(oldest) = segments.iter().find(|segment| segment.packet.is_some()) else {
            return false;
        };
        if !self.outage.may_try(Operation::Packets, self.now()) {
            return false;
        }
        match self.remove_packets(oldest) {
            Ok(()) => self.succeed(Operation::Packets),
            Err(error) => {
                self.fail(Operation::Packets, &error);
                return false;
            }
        }
        true
    }

    pub(super) fn remove_packets(&self, segment: &Arc<FlowSegment>) -> io::Result<()> {
        let folder = &segment.folder;
        let mut sums = segment_folder::read_sums(self.disk(), folder)?;
        sums.retain(|sum| sum.name != flow_segment::PACKET_FILE);
        // A crash in between leaves a file that is not in the sums, which nothing reads.
        segment_folder::replace_sums(self.disk(), folder, &sums)?;
        self.disk()
            .remove(&folder.join(flow_segment::PACKET_FILE))?;
        let without = FlowSegment::open(self.disk(), folder, segment.name)?;
        let mut state = self.state.write();
        for other in &mut state.segments {
            if Arc::ptr_eq(other, segment) {
                *other = Arc::new(without);
                break;
            }
        }
        Ok(())
    }

    /// Continues in a new folder if the folder was removed; the records in its files are lost.
    pub(super) fn check_folder(&self, now: Timestamp) {
        if !self.folder.restore_table(&self.path) {
            return;
        }
        let segments = self.state.read().segments.clone();
        for segment in &segments {
            self.evicted(segment, DropReason::Damage);
        }
        // The logs were removed, too: what is in memory is written at once.
        self.freeze();
        self.seal_frozen(Some(now));
    }

    /// Updates the sizes that the limits apply to.
    pub(super) fn measure(&self) {
        let log = self.inbox.lock().log_bytes;
        let state = self.state.read();
        let log = log + state.frozen_log_bytes();
        let flows: u64 = state
            .segments
            .iter()
            .map(|segment| segment.flow_bytes())
            .sum();
        let packets: u64 = state
            .segments
            .iter()
            .map(|segment| segment.packet_bytes())
            .sum();
        self.folder.set_usage(Part::Flow, flows + log);
        self.folder.set_usage(Part::Packet, packets);
    }
}

impl Maintain for LocalFlowStore {
    fn write(&self, now: Timestamp) {
        self.now.store(now.as_ms(), Ordering::Relaxed);
        self.flush(now);
    }

    fn seal_due(&self, now: Timestamp) {
        let is_due = {
            let state = self.state.read();
            let is_old = |since: Timestamp| since.saturating_add(self.folder.options.seal) <= now;
            // While tables cannot be sealed, the next one grows to its limit.
            state.frozen.is_empty() && state.recent.since().is_some_and(is_old)
        };
        if is_due {
            self.freeze();
        }
        self.seal_frozen(Some(now));
    }

    fn tidy(&self, now: Timestamp) {
        self.check_folder(now);
        self.merge_hours(now);
        self.check_next();
        self.enforce_limits(now);
        self.folder.remove_replaced(now);
    }

    fn set_background(&self) {
        self.has_worker.store(true, Ordering::Relaxed);
    }

    fn signals(&self) -> &Signals {
        &self.signals
    }
}

/// Returns the oldest segments that are to be merged into one, all of one hour.
fn due_segments(segments: &[Arc<FlowSegment>], now: Timestamp) -> Option<Vec<Arc<FlowSegment>>> {
    let hour = |segment: &FlowSegment| merge_policy::hour(segment.span.updated.1);
    let mut groups = segments.chunk_by(|a, b| hour(a) == hour(b));
    let is_due = |group: &&[Arc<FlowSegment>]| {
        let first = group.first();
        first.is_some_and(|first| merge_policy::is_due(hour(first), group.len(), now))
    };
    groups.find(is_due).map(<[_]>::to_vec)
}
