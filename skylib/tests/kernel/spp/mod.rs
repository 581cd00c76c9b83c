//! Recordings of `PcapProcess` and `SppCtl` on interfaces of the kernel.

mod files;
mod lifecycle;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use skylib::pcap_file::CaptureReader;
use skylib::spp::{PcapProcess, PcapSpec, PcapStats, Ports};
use skylib::time::SystemClock;

use crate::support::frames::{frame, udp};
use crate::support::{Folder, Sender};

/// Timeout of waits; a test that reaches it has failed.
const LONG: Duration = Duration::from_secs(60);

fn spec(folder: &Folder, writers: u32) -> PcapSpec {
    let mut spec = PcapSpec::new(1, "phy:0".parse().unwrap()).with_out_dir(folder.path());
    spec.cores = (1..3 + writers).collect();
    spec
}

fn process(spec: PcapSpec) -> PcapProcess {
    PcapProcess::new(spec, &Ports::new(["right"]), Arc::new(SystemClock)).unwrap()
}

fn status(process: &PcapProcess) -> &'static str {
    process.status().status
}

fn stats(process: &PcapProcess) -> PcapStats {
    process.status().stats.packets
}

/// Sends a frame; retries while the queue is full.
fn send(socket: &Sender, frame: &[u8]) {
    while let Err(error) = socket.send(frame) {
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)),
            "{error}"
        );
        thread::yield_now();
    }
}

/// Returns a frame of one of 100 flows, with its number in its last bytes.
fn numbered(number: u32) -> Vec<u8> {
    let mut frame = frame(0x0800, &udp(1_000 + (number % 100) as u16, 2_000, 40));
    let end = frame.len() - 4;
    frame[end..].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number_of(data: &[u8]) -> u32 {
    u32::from_be_bytes(*data.last_chunk().unwrap())
}

/// Returns the packets of a file with their timestamps in nanoseconds.
fn read(path: &Path) -> Vec<(Vec<u8>, i64)> {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(batch.iter().map(|p| (p.data.to_vec(), p.timestamp.as_ns())));
    }
    found
}

/// Returns the packets of all files.
fn read_all(folder: &Folder) -> Vec<(Vec<u8>, i64)> {
    let files = folder.names();
    files
        .iter()
        .flat_map(|name| read(&folder.path().join(name)))
        .collect()
}
