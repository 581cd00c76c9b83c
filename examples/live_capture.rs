//! Prints the flows of a live interface when they are updated and when they end, for one minute;
//! requires root:
//! `cargo run --example live_capture -- eth0`

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skylib::capture::{AfPacket, CaptureOptions};
use skylib::flow::{Flow, FlowSink, FlowTableOptions};
use skylib::time::SystemClock;
use skylib::{Capture, FlowTable};

struct Printer;

impl FlowSink for Printer {
    fn flows(&mut self, flows: Vec<Flow>) {
        for flow in flows {
            println!("{}", serde_json::to_string(&flow).unwrap_or_default());
        }
    }
}

fn main() -> anyhow::Result<()> {
    let interface = std::env::args()
        .nth(1)
        .context("usage: live_capture INTERFACE")?;
    let source = AfPacket::open(&CaptureOptions::new(&interface))?;
    let table =
        FlowTable::new(FlowTableOptions::default().with_update_interval(Duration::from_secs(5)));
    let capture = Capture::start(&interface, source, table, Printer, Arc::new(SystemClock))?;
    std::thread::sleep(Duration::from_secs(60));
    let report = capture.stop()?;
    eprintln!(
        "{} packets received, {} dropped",
        report.packets.received, report.packets.dropped
    );
    Ok(())
}
