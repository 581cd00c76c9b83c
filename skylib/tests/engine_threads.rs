//! Threads of an engine, counted in a process of its own: other tests start engines, too.
#![cfg(feature = "engine")]

use std::fs;

use skylib::engine::{Engine, EngineOptions};

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

#[test]
fn no_thread_remains_after_the_last_handle_of_an_engine_is_dropped() {
    let before = thread_names();
    let engines: Vec<Engine> = (0..5)
        .map(|n| Engine::start(EngineOptions::new(format!("host-{n}"))).unwrap())
        .collect();
    let clones = engines.clone();
    let client = engines[0].live_client(1);
    drop(engines);
    let running = thread_names();
    for name in [
        "dispatch",
        "live",
        "flow-batch",
        "reconciler",
        "housekeeping",
    ] {
        let count = running.iter().filter(|running| *running == name).count();
        assert_eq!(
            count, 5,
            "threads {name} while a handle exists: {running:?}"
        );
    }
    drop(clones);
    assert_eq!(thread_names(), before);
    drop(client);
}
