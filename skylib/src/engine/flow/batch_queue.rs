//! Flows on their way to the batcher: a bounded queue whose senders never wait.
//!
//! What finds no room is dropped and counted: of a parcel that does not fit whole, as many flows
//! as fit are kept. Flows are bounded in number and in bytes, since one with its raw packets may
//! weigh as much as thousands without.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::flow::{Flow, FlowStats};

/// Flows, or statistics of a capture, handed over together.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) flows: Vec<Flow>,
    pub(super) stats: Option<FlowStats>,
    /// Whether others captured it: no table of this process knows these flows.
    pub(super) is_foreign: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Parcels {
    sender: Sender<(Parcel, usize)>,
    receiver: Receiver<(Parcel, usize)>,
    max_flows: usize,
    max_bytes: usize,
    flows: AtomicUsize,
    bytes: AtomicUsize,
    dropped: AtomicU64,
    closed: AtomicBool,
}

impl Parcels {
    pub(super) fn new(max_flows: usize, max_bytes: usize) -> Self {
        // The channel is unbounded, what is in it is not: a parcel of one flow and one of a whole
        // table must not count the same.
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self {
            sender,
            receiver,
            max_flows,
            max_bytes,
            flows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes what there is room for.
    pub(super) fn push(&self, mut parcel: Parcel) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut bytes = 0;
        let mut taken = 0;
        for flow in &parcel.flows {
            let weight = flow.weight();
            if !claim(&self.flows, 1, self.max_flows) {
                break;
            }
            if !claim(&self.bytes, weight, self.max_bytes) {
                self.flows.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            taken += 1;
            bytes += weight;
        }
        if taken < parcel.flows.len() {
            let dropped = parcel.flows.len() - taken;
            self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
            parcel.flows.truncate(taken);
        }
        // Statistics count as a flow while they wait.
        if parcel.stats.is_some() && !claim(&self.flows, 1, self.max_flows) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            parcel.stats = None;
        }
        let count = parcel.count();
        if count > 0 && self.sender.send((parcel, bytes)).is_err() {
            self.release(count, bytes);
        }
    }

    /// Waits for the next parcel; what it took of the queue is free again.
    pub(super) fn receive(&self, timeout: Duration) -> Option<Parcel> {
        let (parcel, bytes) = self.receiver.recv_timeout(timeout).ok()?;
        self.release(parcel.count(), bytes);
        Some(parcel)
    }

    /// Takes nothing more: those who send do not all end before the queue does.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Flows, and messages of statistics, that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn release(&self, flows: usize, bytes: usize) {
        self.flows.fetch_sub(flows, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Parcel {
    fn count(&self) -> usize {
        self.flows.len() + usize::from(self.stats.is_some())
    }
}

/// Takes `more` of what there may be, if it is there.
fn claim(used: &AtomicUsize, more: usize, limit: usize) -> bool {
    let before = used.fetch_add(more, Ordering::Relaxed);
    let fits = before.saturating_add(more) <= limit;
    if !fits {
        used.fetch_sub(more, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::RawPacket;

    fn parcel(flows: Vec<Flow>) -> Parcel {
        Parcel {
            flows,
            stats: None,
            is_foreign: false,
        }
    }

    fn flows(count: usize) -> Vec<Flow> {
        let flow = |i: usize| Flow {
            uuid: i.to_string().as_str().into(),
            ..Flow::default()
        };
        (0..count).map(flow).collect()
    }

    fn next(parcels: &Parcels) -> usize {
        let parcel = parcels.receive(Duration::ZERO);
        parcel.map_or(0, |parcel| parcel.flows.len())
    }

    #[test]
    fn what_fits_of_a_parcel_is_kept_and_the_rest_counted() {
        let parcels = Parcels::new(100, usize::MAX);
        parcels.push(parcel(flows(60)));
        parcels.push(parcel(flows(60)));
        parcels.push(parcel(flows(60)));
        assert_eq!(
            (next(&parcels), next(&parcels), next(&parcels)),
            (60, 40, 0)
        );
        assert_eq!(parcels.dropped(), 80);
        parcels.push(parcel(flows(100)));
        assert_eq!(next(&parcels), 100, "there is room again");
    }

    #[test]
    fn heavy_flows_fill_the_queue_as_many_light_ones_do() {
        let packet = RawPacket {
            data: vec![0; 1 << 20].into(),
            ..RawPacket::default()
        };
        let heavy = Flow {
            last_raw_packets: vec![packet],
            ..Flow::default()
        };
        let parcels = Parcels::new(100, 10 << 20);
        parcels.push(parcel(vec![heavy; 20]));
        assert_eq!(next(&parcels), 9);
        assert_eq!(parcels.dropped(), 11);
    }

    #[test]
    fn statistics_take_a_place_too() {
        let parcels = Parcels::new(1, usize::MAX);
        let stats = || Parcel {
            stats: Some(FlowStats::default()),
            ..parcel(Vec::new())
        };
        parcels.push(stats());
        parcels.push(stats());
        assert!(parcels.receive(Duration::ZERO).unwrap().stats.is_some());
        assert!(parcels.receive(Duration::ZERO).is_none());
        assert_eq!(parcels.dropped(), 1);
    }

    #[test]
    fn a_closed_queue_gives_what_is_in_it_and_takes_nothing() {
        let parcels = Parcels::new(100, usize::MAX);
        parcels.push(parcel(flows(1)));
        parcels.close();
        parcels.push(parcel(flows(1)));
        assert_eq!((next(&parcels), next(&parcels)), (1, 0));
    }
}
