//! Checks of the sealed files of the history.

#[allow(clippy::duplicate_mod, reason = "each fuzz target is a separate crate")]
#[path = "history_folder.rs"]
mod history_folder;

use self::history_folder::{Folder, fill, open, questions};

/// Files of a segment, by the first byte of an input.
const FILES: [&str; 6] = [
    "flow/seg-0000000001-0000000001/flow.parquet",
    "flow/seg-0000000001-0000000001/metric.parquet",
    "flow/seg-0000000001-0000000001/packet.parquet",
    "graph/seg-0000000001-0000000001/event.parquet",
    "graph/seg-0000000001-0000000001/counter.parquet",
    "graph/snap-0000000001/element.parquet",
];

/// Opens a history in which a sealed file has this content, after a byte that selects the file.
/// Panics if a reader panics.
pub(crate) fn check(input: &[u8]) {
    let Some((file, content)) = input.split_first() else {
        return;
    };
    let file = FILES[usize::from(*file) % FILES.len()];
    let folder = Folder::new("segment");
    fill(&folder);
    if !folder.replace(file, content) {
        return;
    }
    let (flows, graph) = open(&folder).expect("the folder can be written");
    questions(&flows, &graph);
    let now = skylib::time::Timestamp::from_ms(10_000_000);
    // Fails if the file is damaged.
    drop(flows.compact(now));
    drop(graph.compact(now));
    flows.check();
    graph.check();
    questions(&flows, &graph);
}
