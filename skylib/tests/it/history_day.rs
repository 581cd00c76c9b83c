//! 24 simulated hours at a reduced scale: nothing grows beyond its limit, and queries about the past
//! find what was recorded.

#[path = "../../../benches/support/history_day.rs"]
mod simulation;

use std::time::Duration;

use skylib::graph::history::History;
use skylib::store::FlowStore;
use skylib::store::history::HistoryOptions;

use self::simulation::{BEGIN, Day, Site};

#[test]
fn nothing_grows_beyond_its_limit_in_a_day() {
    let folder = std::env::temp_dir().join(format!("skylib-day-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    let site = Site {
        updates: 2,
        changes: 1,
        interfaces: 64,
        upkeep: 5,
    };
    let options = HistoryOptions::default()
        .with_max_age(Duration::from_secs(6 * 3600))
        .with_max_bytes(8 << 20)
        .with_memory(256 << 10)
        .with_sync(Duration::from_secs(60))
        .with_min_free(Some(0));
    let (max_bytes, memory) = (options.max_bytes, options.memory);
    let mut day = Day::new(&folder, site, options);
    let mut peak = 0;
    for hour in 1..=24 {
        for _ in 0..3600 {
            day.step();
        }
        let status = day.store.status();
        peak = peak.max(status.bytes);
        assert!(status.bytes <= max_bytes, "hour {hour}: {status:?}");
        for table in &status.tables {
            // One table is filled, and two wait.
            assert!(table.memory_bytes <= 3 * memory, "hour {hour}: {table:?}");
            assert!(table.segments <= 7 + 60, "hour {hour}: {table:?}");
            assert_eq!(table.failures, 0);
        }
        let age = |oldest: Option<skylib::time::Timestamp>| {
            oldest.map_or(0, |oldest| day.now().as_ms() - oldest.as_ms())
        };
        let longest = (6 + 1) * 3_600_000 + 600_000;
        assert!(
            age(day.flows.status().oldest) <= longest,
            "hour {hour}: {status:?}"
        );
        assert!(
            age(day.graph.status().oldest) <= longest,
            "hour {hour}: {status:?}"
        );
    }
    assert!(peak > 100_000, "{peak} bytes");
    let found = day.queries();
    for (name, query) in &found {
        let count = query();
        match *name {
            "flows of an absent address, 24 h" => assert_eq!(count, 0),
            // Older than the retention: the state at its beginning.
            "a node 20 h ago" | "a name 20 h ago" => assert!(count <= 1, "{name}"),
            _ => assert!(count > 0, "{name}"),
        }
    }
    assert!(day.now().as_ms() == (BEGIN + 86_400) * 1000);
    drop(found);
    drop(day);
    std::fs::remove_dir_all(&folder).unwrap();
}
