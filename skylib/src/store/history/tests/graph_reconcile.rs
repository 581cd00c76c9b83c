//! After an outage of the disk, or damage, the history has the present topology again.

use proptest::prelude::*;

use super::faulty_disk::FaultyDisk;
use super::graph_history::{OnDisk, Recorded, Step, names_at};
use super::{ms, options};
use crate::graph::history::History as _;
use crate::store::history::HistoryOptions;
use crate::time::When;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Bound of the memory: some twenty changes.
fn small() -> HistoryOptions {
    options().with_memory(10 << 10)
}

/// Lets a second pass.
fn tick(recorded: &mut Recorded) {
    recorded.now += 1000;
    recorded.disk().maintain(ms(recorded.now));
}

/// Lets the disk recover, and checks that the present on the disk is the present.
fn recover(recorded: &mut Recorded, disk: &FaultyDisk) {
    disk.fail_every(0, EIO);
    for _ in 0..2 {
        recorded.now += 100_000;
        recorded.disk().maintain(ms(recorded.now));
    }
    recorded.check(When::At(ms(recorded.now)));
    recorded.reopen();
    recorded.check(When::At(ms(recorded.now)));
}

#[test]
fn what_was_dropped_during_an_outage_is_recorded_again_with_its_time() {
    for error in [EIO, ENOSPC] {
        let disk = FaultyDisk::default();
        let mut recorded = Recorded::on(disk.clone(), small());
        for node in 0..10 {
            recorded.apply(&Step::Node(node, 0));
        }
        recorded.apply(&Step::Edge(0, 1, 2));
        recorded.apply(&Step::Edge(1, 3, 4));
        recorded.apply(&Step::Seal);
        disk.fail_every(1, error);
        tick(&mut recorded);
        // These changes are dropped; the elements do not change afterwards.
        recorded.apply(&Step::Node(1, 3));
        recorded.apply(&Step::DeleteNode(3));
        recorded.apply(&Step::DeleteEdge(0));
        recorded.apply(&Step::Node(20, 1));
        // Known by their counters alone on the disk.
        recorded.apply(&Step::Node(5, 3));
        let changed = recorded.now;
        for number in 0..100 {
            tick(&mut recorded);
            recorded.apply(&Step::Node(9, number));
            recorded.disk().make_room();
        }
        recorded.apply(&Step::Count(5, 7));
        let oldest = recorded.disk().status().oldest.unwrap();
        assert!(
            oldest.as_ms() > changed,
            "the outage is marked as incomplete"
        );
        assert!(recorded.disk().status().evicted > 0);
        let end = recorded.now;
        recover(&mut recorded, &disk);
        // The changes have their own times, not that of the recovery.
        recorded.check(When::At(ms(end)));
    }
}

#[test]
fn damage_of_the_newest_segment_does_not_falsify_the_present() {
    let mut recorded = Recorded::on(FaultyDisk::default(), options());
    recorded.apply(&Step::Node(1, 0));
    recorded.apply(&Step::Node(2, 0));
    recorded.apply(&Step::Seal);
    for file in recorded.folder.files("graph", "") {
        if file.ends_with("event.parquet") || file.ends_with("element.parquet") {
            let mut content = std::fs::read(&file).unwrap();
            content[8] ^= 0x10;
            std::fs::write(&file, content).unwrap();
        }
    }
    recorded.disk().check();
    recorded.now += 1000;
    let on_disk = |recorded: &Recorded| names_at(&OnDisk(recorded.disk()), recorded.now);
    assert!(on_disk(&recorded).is_empty());
    recorded.disk().maintain(ms(recorded.now));
    assert_eq!(on_disk(&recorded), ["n1", "n2"]);
    recorded.reopen();
    assert_eq!(on_disk(&recorded), ["n1", "n2"]);
}

#[derive(Clone, Debug)]
enum Event {
    Change(Step),
    Fail(i32),
    Recover,
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..12_u8, 0..4_u8).prop_map(|(node, state)| Event::Change(Step::Node(node, state))),
        4 => (0..12_u8, 0..200_u8).prop_map(|(node, count)| Event::Change(Step::Count(node, count))),
        2 => (0..12_u8).prop_map(|node| Event::Change(Step::DeleteNode(node))),
        2 => (0..4_u8, 0..12_u8, 0..12_u8)
            .prop_map(|(edge, a, b)| Event::Change(Step::Edge(edge, a, b))),
        1 => (0..4_u8).prop_map(|edge| Event::Change(Step::DeleteEdge(edge))),
        1 => Just(Event::Fail(EIO)),
        1 => Just(Event::Fail(ENOSPC)),
        1 => Just(Event::Recover),
        3 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_outages_the_present_on_the_disk_is_the_present(
        events in proptest::collection::vec(event(), 1..250),
    ) {
        let disk = FaultyDisk::default();
        let mut recorded = Recorded::on(disk.clone(), small());
        for event in &events {
            match event {
                Event::Change(step) => {
                    recorded.apply(step);
                    recorded.disk().make_room();
                }
                Event::Fail(error) => disk.fail_every(1, *error),
                Event::Recover => disk.fail_every(0, EIO),
                Event::Tick => tick(&mut recorded),
            }
        }
        recover(&mut recorded, &disk);
    }
}
