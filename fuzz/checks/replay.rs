//! Checks of the flows of a capture file.

use std::io::Cursor;
use std::num::NonZeroUsize;

use skylib::capture::{PcapFile, Replay};
use skylib::flow::{Flow, FlowTableOptions, FlowTableStats};

/// Panics if reading or a flow table panics, if two threads produce a different result than one
/// thread, or if a flow is lost. Packet times that slow the replay down cause a timeout of the
/// fuzzer.
pub(crate) fn check(input: &[u8]) {
    let (Some(one), Some(two)) = (flows(input, 1), flows(input, 2)) else {
        return;
    };
    assert_eq!(one.0, two.0);
    assert!(one.1 == two.1, "{:?}\n{:?}", one.1, two.1);
    assert_eq!(one.0.created, one.1.len() as u64);
}

/// Returns the flows found by a number of threads, in an order that does not depend on that number;
/// `None` if the input is not a capture file.
fn flows(input: &[u8], threads: usize) -> Option<(FlowTableStats, Vec<Flow>)> {
    let mut file = PcapFile::from_reader("bytes", Cursor::new(input.to_vec())).ok()?;
    let options = FlowTableOptions::default()
        .with_final_only(true)
        .with_seed(1);
    let replay = Replay::new(options).with_threads(NonZeroUsize::new(threads)?);
    let mut flows: Vec<Flow> = Vec::new();
    let outcome = replay.run(&mut file, &mut flows);
    let mut stats = outcome.unwrap_or_else(|damage| *damage.stats());
    // Memory use depends on the number of threads.
    stats.bytes = 0;
    flows.sort_by_key(|flow| (flow.uuid.clone(), flow.start, flow.last));
    Some((stats, flows))
}
