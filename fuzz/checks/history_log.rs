//! Checks of the logs of the history.

#[allow(clippy::duplicate_mod, reason = "each fuzz target is a separate crate")]
#[path = "history_folder.rs"]
mod history_folder;

use self::history_folder::{Folder, open, questions};

/// Opens a history whose log has this content, after a byte that selects the table. Panics if a
/// reader panics, or if sealing the log changes what is found.
pub(crate) fn check(input: &[u8]) {
    let Some((table, content)) = input.split_first() else {
        return;
    };
    let table = if table % 2 == 0 { "flow" } else { "graph" };
    let folder = Folder::new("log");
    folder.write(&format!("{table}/log-0000000001"), content);
    let (flows, graph) = open(&folder).expect("the folder can be written");
    let before = questions(&flows, &graph);
    flows.seal();
    graph.seal();
    assert_eq!(questions(&flows, &graph), before, "sealed");
    drop((flows, graph));
    let (flows, graph) = open(&folder).expect("the folder can be written");
    assert_eq!(questions(&flows, &graph), before, "after a restart");
}
