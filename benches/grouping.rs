//! Grouping of 500 000 flows by address pair, for `peers/grouping.py`.
//!
//! `cargo bench --bench grouping -- FILE` writes the records to FILE as CSV. For each line on
//! standard input, the benchmark then runs the query once and prints the time in seconds; at the
//! end, it prints the answer.

use std::io::{self, BufRead, BufWriter, Write};
use std::time::Instant;

use skylib::flow::{Flow, FlowLayer, FlowMetric, FlowSet};
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::time::Timestamp;

const FLOWS: u64 = 500_000;
const QUERY: &str = "G.Flows().GroupBy('Network.A','Network.B').Sum('Metric.ABBytes')";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    let Some(path) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        println!("grouping: expected the name of the CSV file to write");
        return Ok(());
    };
    let flows = flows();
    write_csv(&path, &flows)?;
    let set = FlowSet::from_flows(flows);
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    let limits = Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX);
    let context = Context::new(&view, &set, Timestamp::ZERO).with_limits(limits);
    let query = Query::parse(QUERY).expect("the query is valid");
    let mut answer = None;
    println!("ready");
    for _ in io::stdin().lock().lines() {
        let began = Instant::now();
        answer = Some(query.run(&context).expect("the query runs"));
        println!("{}", began.elapsed().as_secs_f64());
    }
    if let Some(answer) = answer {
        println!("{answer}");
    }
    Ok(())
}

/// Returns flows between some 40 000 address pairs; every fifth connection was captured twice.
fn flows() -> Vec<Flow> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut flows: Vec<Flow> = Vec::new();
    while (flows.len() as u64) < FLOWS {
        let number = flows.len() as u64;
        let (client, server) = (random(2_000), random(200) * random(200) / 200);
        let network = FlowLayer {
            a: format!("10.{}.{}.7", client / 250, client % 250).into(),
            b: format!("192.0.2.{server}").into(),
            ..FlowLayer::default()
        };
        let packets = 1 + i64::try_from(random(1_000)).unwrap_or(0);
        let metric = FlowMetric::default()
            .with_ab_packets(packets)
            .with_ab_bytes(packets * 700);
        let start = i64::try_from(number / 50).unwrap_or(0);
        let flow = Flow::default()
            .with_uuid(format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .with_l3_tracking_id(format!("{:x}", number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)))
            .with_node_tid("t1")
            .with_times(start, start + 1_000)
            .with_network(network)
            .with_metric(metric);
        if number.is_multiple_of(5) {
            let missed = FlowMetric::default()
                .with_ab_packets(packets - 1)
                .with_ab_bytes((packets - 1) * 700);
            flows.push(flow.clone().with_node_tid("t2").with_metric(missed));
        }
        flows.push(flow);
    }
    flows
}

/// Writes the columns that the query reads.
fn write_csv(path: &str, flows: &[Flow]) -> io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    writeln!(out, "l3,node,a,b,packets,bytes")?;
    for flow in flows {
        let network = flow.network.as_ref().expect("every flow has addresses");
        let metric = flow.metric.as_ref().expect("every flow has counters");
        writeln!(
            out,
            "{},{},{},{},{},{}",
            flow.l3_tracking_id,
            flow.node_tid,
            network.a,
            network.b,
            metric.ab_packets,
            metric.ab_bytes
        )?;
    }
    out.flush()
}
