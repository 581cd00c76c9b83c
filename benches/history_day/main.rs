//! 24 simulated hours of a site with 1 000 flow updates and 100 topology changes per second.
//!
//! `cargo bench --bench history_day -- FOLDER [HOURS]` writes an empty folder and prints one line for
//! each simulated hour: bytes on disk, memory of the process, share of one CPU (CPU time divided by
//! simulated time), and the slowest query so far. It fails if a size exceeds its limit.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../support/history_day.rs"]
mod simulation;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use skylib::store::history::HistoryOptions;

use self::simulation::{Day, Site};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let (folder, hours) = match &arguments[..] {
        [folder] => (folder, 24),
        [folder, hours] => (folder, hours.parse().expect("a number of hours")),
        _ => {
            eprintln!("usage: history_day FOLDER [HOURS]");
            return;
        }
    };
    let site = Site {
        updates: 1000,
        changes: 100,
        interfaces: 2000,
        upkeep: 1,
    };
    let options = HistoryOptions::default().with_min_free(Some(0));
    let limit = options.max_bytes;
    let mut day = Day::new(Path::new(folder), site, options);
    let mut slowest = (Duration::ZERO, "");
    let mut queries_cpu = Duration::ZERO;
    println!("hour    disk MiB  rss MiB  % of a CPU  slowest query");
    for hour in 1..=hours {
        for _ in 0..3600 {
            day.step();
        }
        let before = cpu();
        for (name, query) in day.queries() {
            let began = Instant::now();
            let found = query();
            let took = began.elapsed();
            if took > slowest.0 {
                slowest = (took, name);
            }
            if hour == hours {
                println!("{name}: {found} in {:.1} ms", took.as_secs_f64() * 1e3);
            }
        }
        queries_cpu += cpu() - before;
        let bytes = day.store.status().bytes;
        let share = (cpu() - queries_cpu).as_secs_f64() / f64::from(hour * 3600) * 100.0;
        println!(
            "{hour:>4} {:>11.1} {:>8} {share:>11.2}  {} ({:.1} ms)",
            bytes as f64 / 1_048_576.0,
            resident_mib(),
            slowest.1,
            slowest.0.as_secs_f64() * 1e3,
        );
        assert!(bytes <= limit, "{bytes} bytes exceed the limit of {limit}");
    }
    println!(
        "{} flow updates, {} topology events",
        day.updates, day.events
    );
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Returns the memory of the process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
