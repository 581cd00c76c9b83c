//! What must hold of the flows of any capture file.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use skylib::capture::{PcapFile, Replay};
use skylib::flow::{Flow, FlowTableOptions, FlowTableStats};

/// Panics if reading or a table does, if two threads find anything that one does not, or if a flow
/// gets lost. Times of packets that hold it up show as the fuzzer's timeout.
pub(crate) fn check(input: &[u8]) {
    let (Some(one), Some(two)) = (flows(input, 1), flows(input, 2)) else {
        return;
    };
    assert_eq!(one.0, two.0);
    assert!(one.1 == two.1, "{:?}\n{:?}", one.1, two.1);
    assert_eq!(one.0.created, one.1.len() as u64);
}

/// What so many threads find, in an order that they do not change; none if this is no capture file.
fn flows(input: &[u8], threads: usize) -> Option<(FlowTableStats, Vec<Flow>)> {
    let mut file = PcapFile::from_reader("bytes", Cursor::new(input.to_vec())).ok()?;
    let options = FlowTableOptions::default()
        .with_final_only(true)
        .with_seed(1);
    let replay = Replay::new(options).with_threads(NonZeroUsize::new(threads)?);
    let mut flows: Vec<Flow> = Vec::new();
    let mut go_on = || ControlFlow::Continue(());
    let (mut stats, _damage) = replay.run(&mut file, &mut flows, &mut go_on);
    // Memory is another matter.
    stats.bytes = 0;
    flows.sort_by_key(|flow| (flow.uuid.clone(), flow.start, flow.last));
    Some((stats, flows))
}
