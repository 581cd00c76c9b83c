//! The flows of a capture file, the largest first:
//! `cargo run --example flows_from_pcap -- trace.pcap`

use std::ops::ControlFlow;

use anyhow::Context;
use skylib::capture::{PcapFile, Replay};
use skylib::flow::{Flow, FlowTableOptions};

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: flows_from_pcap FILE")?;
    let mut file = PcapFile::open(path)?;
    let options = FlowTableOptions::default().with_final_only(true);
    let mut flows: Vec<Flow> = Vec::new();
    let (stats, end) =
        Replay::new(options).run(&mut file, &mut flows, &mut || ControlFlow::Continue(()));

    let bytes = |flow: &Flow| flow.metric.as_ref().map_or(0, |m| m.ab_bytes + m.ba_bytes);
    flows.sort_by_key(|flow| std::cmp::Reverse(bytes(flow)));
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
    println!("{} flows, {} packets", flows.len(), stats.packets);
    // What came before the damage has been shown.
    Ok(end?)
}
