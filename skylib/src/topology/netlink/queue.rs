//! Queueing disciplines of links and what they have dropped (`tc`), as `Queues` of a link.

use std::collections::{BTreeMap, HashMap};

use super::wire::{attributes, u32_at};
use crate::value::{Map, Value};

/// A queueing discipline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    index: u32,
    handle: u32,
    parent: u32,
    kind: String,
    /// Values of `struct gnet_stats_queue`: length, backlog, drops, requeues, overlimits.
    statistics: [u32; 5],
}

impl Queue {
    /// Parses an `RTM_NEWQDISC` payload; `None` if the header or the kind is missing.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut queue = Self {
            index: u32_at(payload, 4)?,
            handle: u32_at(payload, 8)?,
            parent: u32_at(payload, 12)?,
            ..Self::default()
        };
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                TCA_KIND => queue.kind = attribute.text().to_string(),
                TCA_STATS2 => {
                    let statistics = attribute.nested().find(|a| a.kind() == TCA_STATS_QUEUE);
                    let bytes = statistics.map(|a| a.bytes()).unwrap_or_default();
                    for (position, slot) in queue.statistics.iter_mut().enumerate() {
                        *slot = u32_at(bytes, position * 4).unwrap_or(0);
                    }
                }
                _ => {}
            }
        }
        (!queue.kind.is_empty()).then_some(queue)
    }

    /// Returns the metadata value; zeros are omitted.
    fn to_map(&self) -> Map {
        let mut map = Map::from_iter([
            ("Kind", self.kind.clone()),
            ("Handle", name_of(self.handle)),
            ("Parent", name_of(self.parent)),
        ]);
        let names = ["Length", "Backlog", "Drops", "Requeues", "Overlimits"];
        for (name, count) in names
            .iter()
            .zip(self.statistics)
            .filter(|(_, count)| *count > 0)
        {
            map.set(name, count);
        }
        map
    }
}

/// Returns the metadata value of each link that has queues.
pub(crate) fn by_link(queues: Vec<Queue>) -> HashMap<u32, Value> {
    let mut links: BTreeMap<u32, Vec<Queue>> = BTreeMap::new();
    for queue in queues.into_iter().filter(|queue| queue.kind != "noqueue") {
        let known = links.entry(queue.index).or_default();
        if known.len() < MAX_QUEUES {
            known.push(queue);
        }
    }
    let value = |queues: Vec<Queue>| Value::list(queues.iter().map(Queue::to_map));
    links
        .into_iter()
        .map(|(index, queues)| (index, value(queues)))
        .collect()
}

/// Returns the queues of a link without the counters that depend on its current load.
pub(crate) fn without_load(queues: Option<&Value>) -> Vec<Map> {
    let queues = queues.and_then(Value::as_list).unwrap_or_default();
    let rest = |queue: &Map| {
        let mut queue = queue.clone();
        for name in ["Length", "Backlog", "Requeues", "Overlimits"] {
            queue.remove(name);
        }
        queue
    };
    queues.iter().filter_map(Value::as_map).map(rest).collect()
}

/// Returns the name of a discipline or a class, as `tc` prints it.
fn name_of(handle: u32) -> String {
    match handle {
        ROOT => "root".to_owned(),
        INGRESS => "ingress".to_owned(),
        _ if handle.trailing_zeros() >= 16 => format!("{:x}:", handle >> 16),
        _ => format!("{:x}:{:x}", handle >> 16, handle & 0xffff),
    }
}

/// Length of `struct tcmsg`, in bytes.
const HEADER: usize = 20;

// Attributes of `linux/rtnetlink.h` and `linux/gen_stats.h`.
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;

// Handles of `linux/pkt_sched.h`.
const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;

/// Maximum number of queues that a link shows; a card has one for each of its hardware queues.
const MAX_QUEUES: usize = 256;

#[cfg(test)]
#[expect(clippy::host_endian_bytes, reason = "route netlink is in host order")]
mod tests {
    use super::*;

    fn message(index: u32, parent: u32, kind: &str, drops: u32) -> Vec<u8> {
        let attribute = |number: u16, content: &[u8]| {
            let length = u16::try_from(content.len() + 4).unwrap();
            let mut bytes = [&length.to_ne_bytes()[..], &number.to_ne_bytes(), content].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let numbers = [0, index, 0x8001_0000, parent, 2];
        let header: Vec<u8> = numbers.iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
        let counts: Vec<u8> = [3, 0, drops, 0, 7]
            .iter()
            .flat_map(|n: &u32| n.to_ne_bytes())
            .collect();
        let statistics = attribute(TCA_STATS_QUEUE, &counts);
        [
            header,
            attribute(TCA_KIND, format!("{kind}\0").as_bytes()),
            attribute(TCA_STATS2, &statistics),
        ]
        .concat()
    }

    #[test]
    fn queues_are_grouped_by_link() {
        let messages = [
            message(2, ROOT, "fq_codel", 5),
            message(2, 0x1_0002, "pfifo", 0),
            message(3, ROOT, "noqueue", 0),
        ];
        let queues = messages
            .iter()
            .filter_map(|bytes| Queue::parse(bytes))
            .collect();
        let links = by_link(queues);
        assert_eq!(links.len(), 1);
        assert_eq!(
            serde_json::to_value(&links[&2]).unwrap(),
            serde_json::json!([
                {"Kind": "fq_codel", "Handle": "8001:", "Parent": "root", "Length": 3,
                    "Drops": 5, "Overlimits": 7},
                {"Kind": "pfifo", "Handle": "8001:", "Parent": "1:2", "Length": 3,
                    "Overlimits": 7}
            ])
        );
    }

    #[test]
    fn truncated_messages_are_ignored_or_incomplete() {
        let bytes = message(2, ROOT, "fq_codel", 5);
        assert_eq!(Queue::parse(&bytes[..15]), None);
        assert_eq!(Queue::parse(&bytes[..20]), None, "no kind");
        let queue = Queue::parse(&bytes[..36]).unwrap();
        assert_eq!(queue.statistics, [0; 5]);
    }
}
