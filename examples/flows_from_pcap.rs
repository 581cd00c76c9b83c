//! Prints the flows of a capture file, the largest first:
//! `cargo run --example flows_from_pcap -- trace.pcap`

use std::cmp::Reverse;

use anyhow::Context;
use skylib::capture::{PcapFile, Replay};
use skylib::flow::Flow;

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: flows_from_pcap FILE")?;
    let mut file = PcapFile::open(path)?;
    let mut flows = Replay::default().flows(&mut file)?;

    let bytes = |flow: &Flow| flow.metric.as_ref().map_or(0, |m| m.ab_bytes + m.ba_bytes);
    flows.sort_by_key(|flow| Reverse(bytes(flow)));
    for flow in flows.iter().take(20) {
        let (a, b) = flow
            .network
            .as_ref()
            .or(flow.link.as_ref())
            .map_or(("", ""), |layer| (&layer.a, &layer.b));
        println!(
            "{:>12} bytes  {:<24} {a} - {b}",
            bytes(flow),
            flow.layers_path.as_str()
        );
    }
    println!("{} flows", flows.len());
    Ok(())
}
