//! Counts the threads of an engine in a separate process, because other tests start engines, too.
#![cfg(feature = "engine")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use skylib::engine::{Engine, EngineOptions};
use skylib::time::{Clock, SystemClock};

/// Returns the names of this process's threads, sorted.
fn thread_names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/proc/self/task")
        .unwrap()
        // A thread may end between the two reads.
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Waits until the names of the threads meet a condition: a new thread names itself, and the kernel
/// lists a thread for a moment after it was joined.
fn wait_until(condition: impl Fn(&[String]) -> bool) {
    let start = SystemClock.now();
    loop {
        let names = thread_names();
        if condition(&names) {
            return;
        }
        let waited = SystemClock.now().duration_since(start);
        assert!(waited.as_secs() < 20, "not within 20 s: {names:?}");
        std::thread::yield_now();
    }
}

#[test]
fn no_thread_remains_after_the_last_handle_of_an_engine_is_dropped() {
    let before = thread_names();
    let engines: Vec<Engine> = (0..5)
        .map(|n| Engine::start(EngineOptions::new(format!("host-{n}"))).unwrap())
        .collect();
    let clones = engines.clone();
    let client = engines[0].live_client(1);
    drop(engines);
    for expected in [
        "dispatch",
        "live",
        "flow-batch",
        "reconciler",
        "housekeeping",
    ] {
        wait_until(|names| names.iter().filter(|name| *name == expected).count() == 5);
    }
    drop(clones);
    wait_until(|names| names == before);
    drop(client);
}
