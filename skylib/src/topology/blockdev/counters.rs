//! The counters of a block device, and the rates that `iostat -dx` computes from them.

use crate::value::Map;

/// Counters of a device since the start of the kernel (`Documentation/block/stat.rst` of Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    reads: Requests,
    writes: Requests,
    /// Time during which there was a request, in milliseconds.
    busy_ms: u64,
    /// Total wait time of all requests (`time_in_queue`), in milliseconds.
    queue_ms: u64,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Requests {
    count: u64,
    merged: u64,
    /// Number of sectors of 512 bytes.
    sectors: u64,
    /// Total wait time of the requests of this direction, in milliseconds.
    ms: u64,
}

impl Counters {
    /// Parses the file `stat` of a device.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers = text.split_whitespace().map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let requests = |numbers: &[u64]| match *numbers {
            [count, merged, sectors, ms] => Some(Requests {
                count,
                merged,
                sectors,
                ms,
            }),
            _ => None,
        };
        Some(Self {
            reads: requests(numbers.get(..4)?)?,
            writes: requests(numbers.get(4..8)?)?,
            busy_ms: *numbers.get(9)?,
            queue_ms: *numbers.get(10)?,
        })
    }

    /// Returns the rates between two readings as `BlockdevMetric`, whole numbers; `None` if a
    /// counter has decreased, because the device was replaced, or if no time has passed.
    pub(super) fn rates_since(&self, former: &Self, start_ms: i64, last_ms: i64) -> Option<Map> {
        let elapsed = u64::try_from(last_ms - start_ms)
            .ok()
            .filter(|ms| *ms > 0)?;
        let reads = self.reads.since(&former.reads)?;
        let writes = self.writes.since(&former.writes)?;
        let busy = self.busy_ms.checked_sub(former.busy_ms)?;
        let queue = self.queue_ms.checked_sub(former.queue_ms)?;
        let per_second = |count: u64| ratio(count, 1000, elapsed);
        let requests = reads.count + writes.count;
        let rates = [
            ("ReadsPerSec", per_second(reads.count)),
            ("WritesPerSec", per_second(writes.count)),
            ("ReadsKBPerSec", per_second(reads.sectors / 2)),
            ("WritesKBPerSec", per_second(writes.sectors / 2)),
            ("ReadsMergedPerSec", per_second(reads.merged)),
            ("WritesMergedPerSec", per_second(writes.merged)),
            (
                "ReadsMerged",
                ratio(reads.merged, 100, reads.merged + reads.count),
            ),
            (
                "WritesMerged",
                ratio(writes.merged, 100, writes.merged + writes.count),
            ),
            ("ReadServiceTime", ratio(reads.ms, 1, reads.count)),
            ("WriteServiceTime", ratio(writes.ms, 1, writes.count)),
            ("AverageQueueSize", ratio(queue, 1, elapsed)),
            ("AverageReadSize", ratio(reads.sectors / 2, 1, reads.count)),
            (
                "AverageWriteSize",
                ratio(writes.sectors / 2, 1, writes.count),
            ),
            ("ServiceTime", ratio(busy, 1, requests)),
            ("Utilization", ratio(busy, 100, elapsed).min(100)),
        ];
        let mut map: Map = rates.into_iter().collect();
        map.set("Start", start_ms);
        map.set("Last", last_ms);
        Some(map)
    }
}

impl Requests {
    fn since(&self, former: &Self) -> Option<Self> {
        Some(Self {
            count: self.count.checked_sub(former.count)?,
            merged: self.merged.checked_sub(former.merged)?,
            sectors: self.sectors.checked_sub(former.sectors)?,
            ms: self.ms.checked_sub(former.ms)?,
        })
    }
}

/// Returns `count * factor / divisor` without its fraction; 0 for the divisor 0.
fn ratio(count: u64, factor: u64, divisor: u64) -> u64 {
    count
        .saturating_mul(factor)
        .checked_div(divisor)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_iostat() {
        let former = Counters::parse("0 0 0 0 0 0 0 0 0 0 0").unwrap();
        let text = "  100 300 8000 500 50 0 400 250 0 1000 750 0 0 0 0";
        let rates = Counters::parse(text)
            .unwrap()
            .rates_since(&former, 5000, 15_000)
            .unwrap();
        let wanted = serde_json::json!({"ReadsPerSec": 10, "WritesPerSec": 5, "ReadsKBPerSec": 400,
            "WritesKBPerSec": 20, "ReadsMergedPerSec": 30, "WritesMergedPerSec": 0,
            "ReadsMerged": 75, "WritesMerged": 0, "ReadServiceTime": 5, "WriteServiceTime": 5,
            "AverageQueueSize": 0, "AverageReadSize": 40, "AverageWriteSize": 4, "ServiceTime": 6,
            "Utilization": 10, "Start": 5000, "Last": 15_000});
        assert_eq!(serde_json::to_value(&rates).unwrap(), wanted);
    }

    #[test]
    fn a_replaced_device_has_no_rates() {
        let old = Counters::parse("9 0 0 0 0 0 0 0 0 0 0").unwrap();
        let new = Counters::parse("1 0 0 0 0 0 0 0 0 0 0").unwrap();
        assert_eq!(new.rates_since(&old, 0, 1000), None);
        assert_eq!(old.rates_since(&new, 1000, 1000), None);
        assert_eq!(Counters::parse("1 2 3"), None);
        assert_eq!(Counters::parse("1 2 3 4 5 6 7 8 9 10 x"), None);
    }
}
