//! Benchmark of the fanout from one feed to many WebSocket clients, in frames per second: `skyd`
//! compared to gorilla/websocket.
//!
//! Both servers receive numbered messages on `/ws/agent/flow` and send each of them as a text frame
//! of 1 000 bytes to all clients of `/ws/subscriber/flow`. `skyd` decodes statistics of a capture
//! from protobuf and encodes them as JSON; the peer relays the JSON that it receives. Each client
//! checks that it receives all numbers in order. Runs of the two servers alternate; the result is
//! the ratio of two consecutive runs.
//!
//! Environment: `SKYD` and `FANOUT_PEER` are the programs, `FANOUT_PAIRS` is the number of pairs of
//! runs (5), `FANOUT_CLIENTS` is a list of client counts (`1,10,100`). See `make bench-fanout`.

#![expect(clippy::disallowed_methods, reason = "a benchmark uses the real clock")]

mod clients;
mod feed;
mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clients::{Clients, Received};
use feed::Feed;
use server::{Kind, Server};

/// State shared by the feed and the clients.
pub(crate) struct Progress {
    began: Instant,
    /// Send time of each message, in nanoseconds from the start.
    sent: Vec<AtomicU64>,
    /// Number of messages that the slowest client has received.
    arrived: AtomicU64,
}

impl Progress {
    fn new(messages: u64) -> Self {
        Self {
            began: Instant::now(),
            sent: (0..messages).map(|_| AtomicU64::new(0)).collect(),
            arrived: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Send rate of the feed.
#[derive(Clone, Copy)]
enum Pace {
    /// As fast as the slowest client receives, with at most this number of messages in flight.
    Window(u64),
    /// Messages per second.
    Rate(f64),
}

/// Measures one run of one server.
struct Run {
    frames_per_second: f64,
    cpu_us_per_frame: f64,
    p99_ms: f64,
}

fn run(kind: Kind, clients: usize, messages: u64, pace: Pace) -> Run {
    let server = Server::start(kind);
    let mut listening = Clients::connect(&server, clients, None);
    let mut feed = Feed::connect(&server, kind);
    let progress = Arc::new(Progress::new(messages));
    let cpu = server.cpu_seconds();
    let began = Instant::now();
    let sending = {
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || {
            feed.send(&progress, pace);
            feed
        })
    };
    let received = listening.receive_all(&progress);
    let took = began.elapsed().as_secs_f64();
    let used = server.cpu_seconds() - cpu;
    drop(sending.join().expect("the feed"));
    let Received { frames, p99 } = received;
    assert_eq!(
        frames,
        messages * clients as u64,
        "every client has every frame"
    );
    Run {
        frames_per_second: frames as f64 / took,
        cpu_us_per_frame: used * 1e6 / frames as f64,
        p99_ms: p99.as_secs_f64() * 1e3,
    }
}

/// Checks that, if one client never reads, the other clients receive everything and the memory of
/// the server remains bounded.
fn run_frozen(clients: usize) {
    let server = Server::start(Kind::Skyd);
    let mut listening = Clients::connect(&server, clients - 1, None);
    let frozen = Clients::connect(&server, 1, Some(4_096));
    let mut feed = Feed::connect(&server, Kind::Skyd);
    let before = server.resident_bytes();
    let messages = 250_000;
    let progress = Arc::new(Progress::new(messages));
    let began = Instant::now();
    let sending = {
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || {
            feed.send(&progress, Pace::Window(WINDOW));
            feed
        })
    };
    let received = listening.receive_all(&progress);
    let took = began.elapsed().as_secs_f64();
    drop(sending.join().expect("the feed"));
    assert_eq!(received.frames, messages * (clients as u64 - 1));
    let peak = server.peak_bytes();
    println!(
        "frozen: 1 of {clients} never reads; the others have all {} frames, {:.0} k frames/s; \
         resident {} MiB before, {} MiB at its peak",
        received.frames,
        received.frames as f64 / took / 1e3,
        before >> 20,
        peak >> 20,
    );
    drop(frozen);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test` only checks that benchmarks start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if std::env::var_os("SKYD").is_none() {
        println!("fanout: skipped, because SKYD is not set; use `make bench-fanout`");
        return;
    }
    let pairs: usize = setting("FANOUT_PAIRS", "5").parse().expect("FANOUT_PAIRS");
    let counts = setting("FANOUT_CLIENTS", "1,10,100");
    let counts: Vec<usize> = counts
        .split(',')
        .map(|count| count.trim().parse().expect("FANOUT_CLIENTS"))
        .collect();
    let has_peer = std::env::var_os("FANOUT_PEER").is_some();
    println!("text frames of {FRAME} bytes, {pairs} pairs of runs; every client had every frame");
    for clients in counts {
        let messages = (FRAMES / clients as u64).clamp(10_000, 300_000);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            ours.push(run(Kind::Skyd, clients, messages, Pace::Window(WINDOW)));
            if has_peer {
                theirs.push(run(Kind::Peer, clients, messages, Pace::Window(WINDOW)));
            }
        }
        report("skyd", clients, &ours);
        if has_peer {
            report("gorilla/websocket", clients, &theirs);
            let pair = |(a, b): (&Run, &Run)| a.frames_per_second / b.frames_per_second;
            let ratios: Vec<f64> = ours.iter().zip(&theirs).map(pair).collect();
            let (least, most) = ratios
                .iter()
                .fold((f64::MAX, 0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
            let middle = median(ratios);
            println!("  ratio, median of pairs {middle:.2} ({least:.2} to {most:.2})");
        }
        let slowest = ours.iter().chain(&theirs).map(|run| run.frames_per_second);
        let half = slowest.fold(f64::MAX, f64::min) / 2.0 / clients as f64;
        let messages = ((half * 2.0) as u64).clamp(1_000, 300_000);
        let lag = |kind| {
            let runs = (0..pairs.min(3)).map(|_| run(kind, clients, messages, Pace::Rate(half)));
            median(runs.map(|run| run.p99_ms).collect())
        };
        let ours = lag(Kind::Skyd);
        print!("  p99 lag at {half:.0} messages/s, half of the slowest run: skyd {ours:.2} ms");
        if has_peer {
            print!(", gorilla/websocket {:.2} ms", lag(Kind::Peer));
        }
        println!();
    }
    run_frozen(100);
}

fn report(name: &str, clients: usize, runs: &[Run]) {
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    println!(
        "{clients:>4} clients, {name:<17} {:>8.0} k frames/s, {:.2} µs of CPU time per frame",
        of(|run| run.frames_per_second) / 1e3,
        of(|run| run.cpu_us_per_frame),
    );
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Length of the payload of a frame, in bytes.
pub(crate) const FRAME: usize = 1_000;
/// Number of frames delivered in a run.
const FRAMES: u64 = 1_000_000;
/// Maximum number of messages in flight to the slowest client.
const WINDOW: u64 = 8_192;
/// Timeout of each operation, after which the benchmark fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
