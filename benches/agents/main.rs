//! Load of many agents on one analyzer: simulated agents that change their graphs and send flows.
//!
//! Measures CPU time, memory for each node and flow, the latency of five queries during ingestion,
//! losses, and the time until the graph is complete after a restart of the analyzer with all agents
//! reconnecting.
//!
//! Environment: `SKYD` is the path of the program, `AGENTS` is the number of agents (1000),
//! `AGENT_NODES` is the number of nodes of each agent (50), `AGENT_FLOWS` and `AGENT_CHANGES` are
//! the numbers of flow updates and node changes per second of each agent (200, 1), `AGENT_SECONDS`
//! is the duration of the ingestion (30). See `make bench-agents`.

#![expect(clippy::disallowed_methods, reason = "a benchmark uses the real clock")]

mod agent;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent::Agent;
use server::Server;

/// Parameters of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    agents: usize,
    nodes: usize,
    flows_per_second: usize,
    changes_per_second: usize,
    seconds: u64,
}

/// Counters that the simulated agents share.
#[derive(Default)]
pub(crate) struct Sent {
    stop: AtomicBool,
    flows: AtomicU64,
    changes: AtomicU64,
}

fn main() {
    // `cargo test` only checks that benchmarks start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if std::env::var_os("SKYD").is_none() {
        println!("agents: skipped, because SKYD is not set; use `make bench-agents`");
        return;
    }
    let load = Load {
        agents: number("AGENTS", 1_000),
        nodes: number("AGENT_NODES", 50),
        flows_per_second: number("AGENT_FLOWS", 200),
        changes_per_second: number("AGENT_CHANGES", 1),
        seconds: number("AGENT_SECONDS", 30) as u64,
    };
    println!("{load:?}");
    server::raise_descriptor_limit();
    let server = Server::start(None);
    let server = ingest(server, load);
    restart(server, load);
}

/// Measures the time until all agents are connected, and the ingestion of their changes and flows.
fn ingest(server: Server, load: Load) -> Server {
    let empty = server.resident_bytes();
    let began = Instant::now();
    let agents = connect(&server, load);
    wait_for_graph(&server, load, began);
    let (nodes, resident) = (load.agents * load.nodes, server.resident_bytes());
    println!(
        "arrival: {nodes} nodes after {:.1} s, {:.0} bytes of memory for each node",
        began.elapsed().as_secs_f64(),
        resident.saturating_sub(empty) as f64 / nodes as f64
    );
    let sent = Arc::<Sent>::default();
    let cpu = server.cpu_seconds();
    let began = Instant::now();
    let workers = run_agents(agents, load, &sent);
    let latencies = measure_queries(&server, Duration::from_secs(load.seconds));
    sent.stop.store(true, Ordering::Relaxed);
    let agents: Vec<Agent> = workers
        .into_iter()
        .flat_map(|worker| worker.join().expect("a worker"))
        .collect();
    let took = began.elapsed().as_secs_f64();
    let used = server.cpu_seconds() - cpu;
    let flows = sent.flows.load(Ordering::Relaxed);
    let changes = sent.changes.load(Ordering::Relaxed);
    println!(
        "ingestion: {:.0} flows/s, {:.0} changes/s, {:.2} cores",
        flows as f64 / took,
        changes as f64 / took,
        used / took
    );
    let arrived = server.wait_for_flows(flows);
    let status = server.status();
    let dropped = &status["Queues"]["FlowsDropped"];
    println!(
        "losses: {} of {flows} flows not received, {dropped} dropped",
        flows - arrived
    );
    let stored = status["History"]["Flows"]["Flows"]
        .as_u64()
        .unwrap_or(0)
        .max(1);
    let bytes = status["History"]["Flows"]["Bytes"].as_u64().unwrap_or(0);
    println!(
        "memory: {} bytes for each of {stored} stored flows",
        bytes / stored
    );
    for (query, mut times) in latencies {
        times.sort_unstable();
        let p99 = times
            .get(times.len() * 99 / 100)
            .copied()
            .unwrap_or_default();
        println!("query {query}: p99 {p99:.1?} of {}", times.len());
    }
    drop(agents);
    server
}

/// Measures the time until all agents have reconnected to a restarted analyzer.
fn restart(server: Server, load: Load) {
    let port = server.port();
    drop(server);
    let server = Server::start(Some(port));
    let began = Instant::now();
    let agents = connect(&server, load);
    wait_for_graph(&server, load, began);
    println!(
        "restart: graph complete after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    drop(agents);
}

fn connect(server: &Server, load: Load) -> Vec<Agent> {
    let agents = (0..load.agents).map(|number| Agent::connect(server, number, load.nodes));
    agents.collect()
}

fn wait_for_graph(server: &Server, load: Load, began: Instant) {
    let all = (load.agents * load.nodes) as u64;
    while server.query("G.V().Count()").as_u64() != Some(all) {
        assert!(began.elapsed() < TIMEOUT, "the graph is not complete");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

type Worker = std::thread::JoinHandle<Vec<Agent>>;

/// Runs the agents on a few threads until they are stopped.
fn run_agents(agents: Vec<Agent>, load: Load, sent: &Arc<Sent>) -> Vec<Worker> {
    let mut shares: Vec<Vec<Agent>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (position, agent) in agents.into_iter().enumerate() {
        shares[position % WORKERS].push(agent);
    }
    let start = |mut agents: Vec<Agent>| {
        let sent = Arc::clone(sent);
        std::thread::spawn(move || {
            let began = Instant::now();
            while !sent.stop.load(Ordering::Relaxed) {
                let elapsed = began.elapsed().as_secs_f64();
                for agent in &mut agents {
                    agent.advance(elapsed, load, &sent);
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
            agents
        })
    };
    shares.into_iter().map(start).collect()
}

/// Runs five queries in turn and returns their latencies.
fn measure_queries(server: &Server, time: Duration) -> Vec<(&'static str, Vec<Duration>)> {
    let mut latencies: Vec<_> = QUERIES.iter().map(|query| (*query, Vec::new())).collect();
    let began = Instant::now();
    while began.elapsed() < time {
        for (query, times) in &mut latencies {
            let start = Instant::now();
            server.query(query);
            times.push(start.elapsed());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    latencies
}

const QUERIES: [&str; 5] = [
    "G.V().Count()",
    "G.V().Has('Type', 'host').Count()",
    "G.V().Has('Name', 'host-7').Out()",
    "G.V().Has('TID', 'host-7-3')",
    "G.V().Has('TID', 'host-7-3').Flows().Count()",
];

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}"))
    })
}

/// Number of threads of the simulated agents.
const WORKERS: usize = 4;
/// Timeout of each wait, after which the benchmark fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
