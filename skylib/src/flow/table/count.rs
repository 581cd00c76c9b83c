//! Counts packets in their flows: packets, bytes, ends, and the interval of the latest update.

use super::FlowTable;
use super::control::Control;
use super::entry::{
    END_FIN, Entry, HAS_TCP, HAS_TRANSPORT, HOT_ANSWERED, HOT_FINISHING, HOT_LISTED, HOT_SAMPLED,
    HOT_USED, Interval, NONE,
};
use super::pending::{IS_COUNTED, IS_LOCAL, IS_REPLY, IS_REQUEST, Pending};
use super::spans::needs_choice;
use crate::decode::TcpFlags;
use crate::flow::record::FinishType;

/// Returns whether a packet with these TCP flags and `IS_*` flags opens or ends a connection, or is
/// an echo.
#[inline(always)]
pub(super) const fn has_control(tcp: TcpFlags, flags: u8) -> bool {
    let control = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
    tcp.0 & control != 0 || flags & (IS_REQUEST | IS_REPLY) != 0
}

/// Adds a packet to the counters of its flow. Returns its direction: 0 from A to B, 1 from B to A.
#[inline(always)]
fn add(entry: &mut Entry, pending: &Pending, now: i64, recorded: bool, is_first: bool) -> usize {
    let is_a_to_b = entry.is_a_to_b(pending.flags);
    let hot = &mut entry.hot;
    hot.flags |= if is_first {
        HOT_ANSWERED
    } else {
        HOT_USED | HOT_ANSWERED
    };
    hot.last = if recorded { now } else { hot.last.max(now) };
    if pending.flags & IS_COUNTED == 0 {
        return usize::from(!is_a_to_b);
    }
    // COMPAT: recorded values of local traffic, whose ends differ only by port; Skydive compares
    // the ports in the wrong order.
    let is_ab =
        if recorded && pending.flags & IS_LOCAL != 0 && entry.cold.layers & HAS_TRANSPORT != 0 {
            entry.cold.ports[0] > pending.source_port
        } else {
            is_a_to_b
        };
    let direction = usize::from(!is_ab);
    hot.packets[direction] += 1;
    hot.bytes[direction] += pending.bytes;
    direction
}

impl FlowTable {
    /// Counts a packet of a known flow by reading only the entry of the flow. Returns its
    /// direction, as [`count`](Self::count) does. Returns `None`, and does not count the packet, if
    /// it is the first packet of its flow or interval, opens or ends a connection, or may belong to
    /// another flow.
    #[inline(always)]
    pub(super) fn count_known(&mut self, pending: &Pending, now: i64) -> Option<usize> {
        if pending.record == NONE || pending.one_way != 0 || has_control(pending.tcp, pending.flags)
        {
            return None;
        }
        let entry = self.arena.get_mut(pending.record);
        let is_known = entry.key.is_same(&pending.key, self.options.layer_key_mode)
            && !needs_choice(&entry.hot, &self.holds, pending, now)
            && entry.hot.touched == self.timers.interval();
        is_known.then(|| add(entry, pending, now, self.options.recorded, false))
    }

    /// Counts an encapsulation in its flow; `now` is its time, in Unix milliseconds. Returns its
    /// direction: 0 from A to B, 1 from B to A.
    #[inline(always)]
    pub(super) fn count(
        &mut self,
        record: u32,
        pending: &Pending,
        control: &Control,
        now: i64,
        is_first: bool,
    ) -> usize {
        let interval = self.timers.interval();
        let recorded = self.options.recorded;
        let mut entry = self.arena.get_mut(record);
        if entry.hot.touched != interval {
            self.begin_interval(record);
            entry = self.arena.get_mut(record);
        }
        let is_a_to_b = entry.is_a_to_b(pending.flags);
        let was_answered = entry.hot.flags & HOT_ANSWERED != 0;
        let direction = add(entry, pending, now, recorded, is_first);
        if has_control(pending.tcp, pending.flags) {
            if recorded {
                measure_rtt(entry, pending);
            } else {
                self.track_request(record, pending, control, is_a_to_b, was_answered);
            }
            self.track_tcp_flags(record, pending, is_a_to_b, is_first);
        }
        direction
    }

    /// Measures round-trip times. Clears [`HOT_ANSWERED`] again if the packet is an attempt to open
    /// a connection and the flag was not set before.
    fn track_request(
        &mut self,
        record: u32,
        pending: &Pending,
        control: &Control,
        is_a_to_b: bool,
        was_answered: bool,
    ) {
        let side = usize::from(!is_a_to_b);
        if pending.flags & (IS_REQUEST | IS_REPLY) != 0 {
            self.track_echo(record, pending, control, side);
            return;
        }
        let entry = self.arena.get_mut(record);
        // Otherwise, the flow is a tunnel flow, which encloses the flow of the TCP header.
        if entry.cold.layers & HAS_TRANSPORT != HAS_TCP {
            return;
        }
        let has = |flag| pending.tcp.contains(flag);
        let (syn, ack, rst) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::RST));
        let answers = (ack && !rst || control.payload_len > 0) && (ack || !syn);
        if !answers && !was_answered {
            entry.hot.flags &= !HOT_ANSWERED;
        }
        if syn {
            self.store_announced(record, control, side);
        }
        if syn || rst {
            let segment = control.segment(pending);
            self.track_handshake(record, &segment, side);
        }
    }

    /// Saves the counters of the previous intervals, at the first packet of a flow in the current
    /// interval.
    #[cold]
    pub(super) fn begin_interval(&mut self, record: u32) {
        let current = self.timers.interval();
        let entry = self.arena.get_mut(record);
        let totals = entry.counters();
        let former = self
            .intervals
            .get(entry.cold.interval)
            .copied()
            .unwrap_or_default();
        // If the flow was idle during the whole previous interval, that interval added nothing.
        let was_last = entry.hot.touched == current.wrapping_sub(1);
        let interval = Interval {
            base: totals,
            before: if was_last {
                totals.since(former.base)
            } else {
                Default::default()
            },
            rtt: if was_last {
                entry.latest_sample(self.options.recorded)
            } else {
                0
            },
        };
        entry.hot.flags &= !HOT_SAMPLED;
        match self.intervals.get_mut(entry.cold.interval) {
            Some(slot) => *slot = interval,
            None => entry.cold.interval = self.intervals.insert(interval),
        }
        entry.hot.touched = current;
        self.mark_touched(record);
    }

    /// Adds a flow to the list of the next update, unless the options send only final records.
    pub(super) fn mark_touched(&mut self, record: u32) {
        let hot = &mut self.arena.get_mut(record).hot;
        if hot.flags & HOT_LISTED == 0 && !self.options.final_only {
            hot.flags |= HOT_LISTED;
            self.touched.push(record);
        }
    }

    /// Updates the finish type and the TCP times from SYN, FIN, and RST.
    fn track_tcp_flags(&mut self, record: u32, pending: &Pending, is_a_to_b: bool, is_first: bool) {
        let recorded = self.options.recorded;
        let direction = usize::from(!is_a_to_b);
        if self.options.extra_tcp_metric {
            self.record_tcp_times(record, pending, direction);
        }
        let has = |flag| pending.tcp.contains(flag);
        let entry = self.arena.get_mut(record);
        let hot = &mut entry.hot;
        if has(TcpFlags::FIN) {
            hot.ends |= END_FIN[direction];
        }
        let both = END_FIN[0] | END_FIN[1];
        let is_closed = if recorded {
            is_first && has(TcpFlags::FIN)
        } else {
            hot.ends & both == both
        };
        let is_reset = has(TcpFlags::RST) && (is_first || !recorded);
        let ends_now = hot.finish == FinishType::NotFinished && (is_closed || is_reset);
        // Without HAS_TCP, the flow is a tunnel flow, keyed by the TCP header inside the tunnel.
        if ends_now && entry.cold.layers & HAS_TRANSPORT == HAS_TCP {
            hot.finish = if is_reset && !recorded {
                FinishType::TcpRst
            } else if is_closed {
                FinishType::TcpFin
            } else {
                FinishType::TcpRst
            };
            if hot.flags & HOT_FINISHING == 0 {
                hot.flags |= HOT_FINISHING;
                self.finishing.push(record);
            }
        }
    }

    /// Records the times of SYN, FIN, and RST, and the TTL of SYN.
    fn record_tcp_times(&mut self, record: u32, pending: &Pending, direction: usize) {
        let recorded = self.options.recorded;
        let has = |flag| pending.tcp.contains(flag);
        let rare = self.arena.get(record).cold.rare;
        let Some(times) = self.rare.get_mut(rare).and_then(|rare| rare.tcp.as_mut()) else {
            return;
        };
        let now = pending.timestamp.as_ms();
        // COMPAT: Skydive compares only addresses, so that all packets are from A if the addresses
        // are equal.
        let from = if recorded && pending.flags & IS_LOCAL != 0 {
            0
        } else {
            direction
        };
        if has(TcpFlags::SYN) {
            // COMPAT: recorded values of Skydive, which takes A's second SYN for B's.
            let from = if recorded && times.syn[from] != 0 {
                1
            } else {
                from
            };
            if times.syn[from] == 0 {
                times.syn[from] = now;
                times.ttl[from] = pending.hop_limit;
            }
        }
        if has(TcpFlags::FIN) {
            times.fin[from] = now;
        }
        if has(TcpFlags::RST) {
            times.rst[from] = now;
        }
    }
}

/// Measures the round-trip time from a SYN or echo request to its SYN-ACK, RST, or echo reply.
///
/// A repeated request does not restart the measurement.
fn measure_rtt(entry: &mut Entry, pending: &Pending) {
    let hot = &mut entry.hot;
    let now = pending.timestamp.as_ns();
    let has = |flag| pending.tcp.contains(flag);
    let syn = has(TcpFlags::SYN);
    let is_request = syn || pending.flags & IS_REQUEST != 0;
    let is_response =
        syn && has(TcpFlags::ACK) || has(TcpFlags::RST) || pending.flags & IS_REPLY != 0;
    if is_request && hot.pending == 0 {
        hot.pending = now;
    } else if is_response && hot.pending != 0 {
        hot.rtt = now.saturating_sub(hot.pending);
        hot.pending = 0;
    }
}
