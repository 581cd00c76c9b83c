//! Counting of connections: each connection counts once, however often it was captured.
//!
//! Flows with the same protocol, addresses, and ports (without ports: the same `L3TrackingID`) whose
//! times overlap are captures of the same traffic. The ends are compared without their order, and not
//! by the identifier if there are ports, because the identifier depends on the order of the MAC
//! addresses, which differs on the two sides of a router. The capture point that counted most of
//! the packets represents the traffic; its flows are the connections. Flows of one capture point
//! never represent each other: they are successive connections between the same ports.

use std::cmp::Reverse;
use std::hash::BuildHasher;

use fixedbitset::FixedBitSet;
use hashbrown::{DefaultHashBuilder, HashMap};

use crate::flow::Flow;
use crate::value::Text;

/// Maximum difference between the clocks of two capture points, plus the travel time of a packet,
/// in milliseconds.
const SLACK_MS: i64 = 5_000;

/// A captured flow.
#[derive(Clone, Copy, Debug)]
struct Capture {
    start: i64,
    last: i64,
    /// Packets in both directions.
    packets: i64,
    /// Number of the capture point.
    point: u32,
    groups: GroupPair,
}

/// Groups that a flow belongs to: one or two.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupPair {
    first: u32,
    /// Equal to the first group if there is no second one.
    second: u32,
}

impl GroupPair {
    /// Returns the groups of the two ends of a flow, which may be equal.
    pub(super) const fn new(first: u32, second: u32) -> Self {
        Self { first, second }
    }

    /// Returns the distinct groups.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        let second = (self.second != self.first).then_some(self.second);
        std::iter::once(self.first).chain(second)
    }
}

/// Traffic of a captured flow, by which the captures of a connection are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Traffic {
    /// Hash of protocol, addresses, and ports; without ports, of the tracking ID.
    hash: u64,
    /// Position in [`Captured::captures`].
    at: u32,
}

/// Capture point: `TID` of the node, ID of the capture, and interface in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Point {
    node: Text,
    capture: Text,
    interface: Text,
    if_index: u32,
}

/// All captured flows.
pub(super) struct Captured {
    captures: Vec<Capture>,
    /// Traffic of all flows. Apart from the captures, because it is sorted.
    traffic: Vec<Traffic>,
    /// Measures of all flows: `measures` values for each flow.
    values: Vec<i64>,
    measures: usize,
    points: HashMap<Point, u32>,
    /// Capture point of the previous flow and its number; the next flow often has the same.
    recent: Option<(Point, u32)>,
    hasher: DefaultHashBuilder,
}

impl Captured {
    /// Memory of one flow without its measures, in bytes.
    pub(super) const BYTES_PER_FLOW: usize = size_of::<Capture>() + size_of::<Traffic>();

    pub(super) fn new(measures: usize) -> Self {
        Self {
            captures: Vec::new(),
            traffic: Vec::new(),
            values: Vec::new(),
            measures,
            points: HashMap::new(),
            recent: None,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Returns the hash of the traffic of a flow, equal at every capture point.
    fn traffic_of(&self, flow: &Flow, apart: Option<u32>) -> u64 {
        match (sorted_ends(flow), &flow.transport) {
            (Some(ends), Some(transport)) => {
                let protocol = transport.protocol as i32;
                self.hasher.hash_one((ends, protocol, apart))
            }
            _ => self.hasher.hash_one((id_of(flow), apart)),
        }
    }

    /// Adds a flow. `apart` restricts the search for other captures of its connection to flows with
    /// the same number.
    pub(super) fn add(
        &mut self,
        flow: &Flow,
        groups: GroupPair,
        apart: Option<u32>,
        values: &[i64],
    ) {
        let metric = flow.metric.as_ref();
        let packets = metric.map_or(0, |m| m.ab_packets.saturating_add(m.ba_packets));
        let traffic = Traffic {
            hash: self.traffic_of(flow, apart),
            at: u32::try_from(self.captures.len()).unwrap_or(u32::MAX),
        };
        let capture = Capture {
            start: flow.start,
            last: flow.last,
            packets,
            point: self.point_of(flow),
            groups,
        };
        self.traffic.push(traffic);
        self.captures.push(capture);
        self.values.extend_from_slice(values);
    }

    /// Returns the number of the capture point of a flow.
    fn point_of(&mut self, flow: &Flow) -> u32 {
        let wire = flow.wire.as_ref();
        let interface = wire.map_or("", |wire| wire.interface.as_str());
        let if_index = wire.map_or(0, |wire| wire.if_index);
        let is_same = |point: &Point| {
            point.node == flow.node_tid
                && point.capture == flow.capture_id
                && *point.interface == *interface
                && point.if_index == if_index
        };
        if let Some((point, number)) = &self.recent
            && is_same(point)
        {
            return *number;
        }
        let point = Point {
            node: flow.node_tid.clone(),
            capture: flow.capture_id.clone(),
            interface: interface.into(),
            if_index,
        };
        let next = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        let number = *self.points.entry(point.clone()).or_insert(next);
        self.recent = Some((point, number));
        number
    }

    /// Returns the rank of each capture point by name, so that ties have a deterministic result.
    fn ranks(&self) -> Vec<u32> {
        let mut points: Vec<(&Point, u32)> = self.points.iter().map(|(p, n)| (p, *n)).collect();
        points.sort_unstable();
        let mut ranks = vec![0; points.len()];
        for (rank, (_, number)) in (0..).zip(points) {
            if let Some(slot) = ranks.get_mut(number as usize) {
                *slot = rank;
            }
        }
        ranks
    }

    /// Calls `visit` with the groups and the measures of each connection, in no particular order.
    ///
    /// # Errors
    /// Returns the first error of `visit`.
    pub(super) fn each_connection<E>(
        mut self,
        mut visit: impl FnMut(GroupPair, &[i64]) -> Result<(), E>,
    ) -> Result<(), E> {
        let ranks = self.ranks();
        self.traffic.sort_unstable();
        let mut repeated = FixedBitSet::with_capacity(self.captures.len());
        let mut captures: Vec<(Capture, u32)> = Vec::new();
        for traffic in self.traffic.chunk_by(|a, b| a.hash == b.hash) {
            if traffic.len() == 1 {
                continue;
            }
            captures.clear();
            for Traffic { at, .. } in traffic {
                repeated.insert(*at as usize);
                let capture = self.captures.get(*at as usize);
                captures.extend(capture.map(|capture| (*capture, *at)));
            }
            for (capture, _) in &mut captures {
                capture.point = ranks.get(capture.point as usize).copied().unwrap_or(0);
            }
            captures.sort_unstable_by_key(|(capture, at)| (capture.start, *at));
            for piece in pieces(&captures) {
                let best = best_point(piece);
                for (capture, at) in piece.iter().filter(|(capture, _)| capture.point == best) {
                    visit(capture.groups, self.values_of(*at as usize))?;
                }
            }
        }
        // Most connections were captured once: they are read in the order of their memory.
        for (at, capture) in self.captures.iter().enumerate() {
            if !repeated.contains(at) {
                visit(capture.groups, self.values_of(at))?;
            }
        }
        Ok(())
    }

    /// Returns the measures of a flow.
    fn values_of(&self, at: usize) -> &[i64] {
        let from = at * self.measures;
        self.values
            .get(from..from + self.measures)
            .unwrap_or_default()
    }
}

/// Returns the identifier of the traffic of a flow without ports.
fn id_of(flow: &Flow) -> &Text {
    let ids = [&flow.l3_tracking_id, &flow.tracking_id];
    let known = ids.into_iter().find(|id| !id.is_empty());
    known.unwrap_or(&flow.uuid)
}

/// Returns the addresses and ports of a flow, the lower end first; `None` without ports.
fn sorted_ends(flow: &Flow) -> Option<[(&Text, i64); 2]> {
    let (network, transport) = (flow.network.as_ref()?, flow.transport.as_ref()?);
    let (a, b) = ((&network.a, transport.a), (&network.b, transport.b));
    Some([a.min(b), a.max(b)])
}

/// Divides flows that are sorted by their start at the gaps in time between them.
fn pieces(mut flows: &[(Capture, u32)]) -> impl Iterator<Item = &[(Capture, u32)]> {
    std::iter::from_fn(move || {
        let mut reach = i64::MAX;
        let joins = |(flow, _): &&(Capture, u32)| {
            let joins = flow.start <= reach.saturating_add(SLACK_MS);
            // The end of the first flow is the initial end of the piece.
            reach = if reach == i64::MAX {
                flow.last
            } else {
                reach.max(flow.last)
            };
            joins
        };
        if flows.is_empty() {
            return None;
        }
        let end = flows.iter().take_while(joins).count();
        let (piece, rest) = flows.split_at(end);
        flows = rest;
        Some(piece)
    })
}

/// Returns the capture point that counted most packets.
fn best_point(piece: &[(Capture, u32)]) -> u32 {
    let counted = piece
        .iter()
        .map(|(capture, _)| (capture.point, capture.packets));
    let mut counted: Vec<(u32, i64)> = counted.collect();
    counted.sort_unstable();
    let sums = counted.chunk_by(|a, b| a.0 == b.0).map(|of_point| {
        let sum = of_point
            .iter()
            .fold(0_i64, |sum, (_, packets)| sum.saturating_add(*packets));
        (sum, Reverse(of_point[0].0))
    });
    sums.max().map_or(0, |(_, Reverse(point))| point)
}
