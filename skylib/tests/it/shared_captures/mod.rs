//! Tests on captures that are not in the repository.
//!
//! They are ignored by default. `make test` runs them if the folder `SHARED_PCAP`, or else
//! `shared/pcap` next to the repository, contains captures. To run them manually:
//! `SHARED_PCAP=FOLDER cargo test -p skylib --all-features --test it -- --ignored`.

mod flow_table;
mod reading;

use std::path::{Path, PathBuf};

/// Returns the path of a folder next to the repository.
fn shared(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(folder)
}

/// Returns the folder of the captures.
fn folder() -> PathBuf {
    std::env::var_os("SHARED_PCAP").map_or_else(|| shared("pcap"), PathBuf::from)
}

/// Returns all capture files in the folder and its subfolders, sorted; panics if there are too few.
fn captures() -> Vec<PathBuf> {
    let folder = folder();
    let mut found = Vec::new();
    collect(&folder, &mut found);
    assert!(
        found.len() >= FEWEST_CAPTURES,
        "{} captures in {}, at least {FEWEST_CAPTURES} expected (SHARED_PCAP)",
        found.len(),
        folder.display()
    );
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "pcap" || extension == "pcapng")
        {
            found.push(path);
        }
    }
}

/// Minimum number of captures in the shared folder.
const FEWEST_CAPTURES: usize = 14;
