//! Replays the corpus of the fuzz targets without a fuzzer, one file per kind of input.
//!
//! `UPDATE_CORPUS=1` writes the seeds of these files to the corpus; inputs that a fuzzer finds are
//! added by hand.

use std::fs;
use std::path::PathBuf;

mod exports;
mod files;
#[cfg(feature = "history")]
mod history;
mod messages;
mod packets;
#[cfg(feature = "netlink")]
mod probes;
mod queries;
mod resources;
#[cfg(feature = "scripting")]
mod scripts;
#[cfg(feature = "spp")]
mod spp_requests;

/// Seeds of a target and their names.
type Seeds = [(&'static str, Vec<u8>)];

fn replay(target: &str, check: fn(&[u8]), seeds: &Seeds) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for (name, bytes) in seeds {
        assert_eq!(
            &fs::read(folder.join(name)).unwrap(),
            bytes,
            "{target}/{name} is as written"
        );
    }
    for entry in fs::read_dir(&folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
