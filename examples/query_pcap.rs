//! Answers a question about a capture file: `cargo run --example query_pcap -- trace.pcap`

use anyhow::Context;
use skylib::Graph;
use skylib::capture::{PcapFile, Replay};
use skylib::time::{Clock, SystemClock};

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1);
    let path = path.context("usage: query_pcap FILE")?;
    let flows = Replay::default().collect(&mut PcapFile::open(path)?)?;
    let graph = Graph::new();
    let dns = graph.traversal().flows().has("Application", "DNS");
    let servers = dns.sort_desc("Metric.ABBytes").values("Network.B");
    println!(
        "{servers}\n  {}",
        servers.run_with(&flows, SystemClock.now())?
    );
    Ok(())
}
