//! Two agents in network namespaces of their own and an analyzer: captures and flows over both hosts,
//! and recovery after kills and an outage of the link. The measured times are printed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{get, post, query, request};
use crate::daemon::{Daemon, Folder, command, until};

/// Runs a test of this file again in new network and mount namespaces, and returns `false`; returns
/// `true` if it already runs there.
fn in_new_namespaces(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut words = Command::new("unshare");
    words.args(["-nmf", "--propagation", "private", "--kill-child"]);
    words.arg(std::env::current_exe().unwrap());
    words.args([test, "--exact", "--ignored", "--nocapture"]);
    let status = words.env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{test} failed in its namespaces");
    false
}

const INSIDE: &str = "FLEET_INSIDE";

fn sh(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
}

/// Adds a bridge with 10.88.0.1 and two hosts, `ha` (10.88.0.11) and `hb` (10.88.0.12).
fn add_hosts() {
    sh("mkdir -p /run/netns && mount -t tmpfs none /run/netns");
    sh("ip link set lo up && ip link add br0 type bridge && ip link set br0 up");
    sh("ip addr add 10.88.0.1/24 dev br0");
    for (host, address) in [("ha", "10.88.0.11/24"), ("hb", "10.88.0.12/24")] {
        sh(&format!("ip netns add {host}"));
        sh(&format!(
            "ip link add to-{host} type veth peer name eth0 netns {host}"
        ));
        sh(&format!("ip link set to-{host} master br0 up"));
        sh(&format!("ip -n {host} addr add {address} dev eth0"));
        sh(&format!(
            "ip -n {host} link set eth0 up && ip -n {host} link set lo up"
        ));
    }
}

fn analyzer(folder: &Folder, port: u16) -> Daemon {
    let listen = format!("analyzer.listen=0.0.0.0:{port}");
    let settings = [
        "host_id=an",
        &listen,
        "http.ws.pong_timeout=5",
        "flow.update=2",
    ];
    Daemon::in_folder(&folder.0, &settings)
}

/// Starts the agent of a host.
fn agent(folder: &Folder, host: &str, port: u16) -> Daemon {
    let settings = [
        format!("host_id={host}"),
        format!("analyzers=10.88.0.1:{port}"),
        "agent.topology.netns.run_path=".to_owned(),
        "http.ws.pong_timeout=5".to_owned(),
        "flow.update=2".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let plain = command("agent", &folder.0, &settings);
    let mut words = Command::new("ip");
    words.args(["netns", "exec", host]).arg(plain.get_program());
    words.args(plain.get_args());
    words
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Daemon::spawn(words)
}

/// A ping between the hosts that runs until this is dropped.
struct Load(Child);

impl Load {
    fn start() -> Self {
        let mut words = Command::new("ip");
        words.args([
            "netns",
            "exec",
            "ha",
            "ping",
            "-q",
            "-i",
            "0.002",
            "10.88.0.12",
        ]);
        Self(words.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns the number of nodes and edges of a host, and its interfaces named `eth0`.
fn part(analyzer: &Daemon, host: &str) -> Value {
    let of_host = format!("G.V().Has('@Host', '{host}')");
    let nodes = query(analyzer, &format!("{of_host}.Count()"));
    let edges = query(analyzer, &format!("G.E().Has('@Host', '{host}').Count()"));
    let names = query(analyzer, &format!("{of_host}.Has('Name', 'eth0').Count()"));
    json!([nodes, edges, names])
}

fn is_connected(analyzer: &Daemon, host: &str) -> bool {
    get(analyzer, "/api/status").json()["Agents"][host]["IsConnected"] == true
}

/// Waits until the graph of a host is as before, and prints the time from its reconnection.
#[expect(clippy::print_stdout, reason = "the measured times")]
fn recovered(what: &str, analyzer: &Daemon, host: &str, before: &Value, began: Instant) {
    until(what, || is_connected(analyzer, host));
    let connected = Instant::now();
    until(what, || part(analyzer, host) == *before);
    let (total, since) = (began.elapsed(), connected.elapsed());
    println!("{what}: graph right {since:.2?} after the reconnection, {total:.2?} in total");
    assert!(since < Duration::from_secs(5), "{what}: {since:?}");
}

fn active(analyzer: &Daemon, id: &str) -> Value {
    get(analyzer, &format!("/api/capture/{id}")).json()["Count"].clone()
}

#[test]
#[ignore = "needs root: network namespaces"]
fn two_agents_capture_and_recover() {
    if !in_new_namespaces("fleet::two_agents_capture_and_recover") {
        return;
    }
    add_hosts();
    let (folder, of_agents) = (Folder::new(), Folder::new());
    let mut an = analyzer(&folder, 0);
    let port = an.address.port();
    let mut ga = agent(&of_agents, "ha", port);
    let _gb = agent(&of_agents, "hb", port);
    until("both interfaces", || {
        query(&an, "G.V().Has('Name', 'eth0', 'Type', 'veth').Count()") == json!(2)
    });
    let body =
        json!({"GremlinQuery": "G.V().Has('Name', 'eth0', 'Type', 'veth')", "BPFFilter": "icmp"});
    let capture = post(&an, "/api/capture", &body.to_string()).json();
    let id = capture["UUID"].as_str().unwrap().to_owned();
    until("the captures", || active(&an, &id) == 2);
    sh("ip netns exec ha ping -c 4 -i 0.2 10.88.0.12");
    let flows = || query(&an, "G.Flows().Has('Application', 'ICMPv4')");
    until("the flows of both hosts", || {
        flows().as_array().is_some_and(|flows| {
            flows.len() == 2 && flows.iter().all(|flow| flow["Metric"]["BAPackets"] == 4)
        })
    });
    let both = flows();
    assert_eq!(both[0]["TrackingID"], both[1]["TrackingID"]);
    assert_ne!(both[0]["NodeTID"], both[1]["NodeTID"]);
    let hosts = query(
        &an,
        "G.Flows().Has('Application', 'ICMPv4').CaptureNode().Values('@Host')",
    );
    assert_eq!(hosts, json!(["ha", "hb"]));

    let load = Load::start();
    let before = part(&an, "ha");
    an.stop(Signal::KILL);
    std::thread::park_timeout(Duration::from_secs(2));
    let began = Instant::now();
    let an = analyzer(&folder, port);
    recovered("kill of the analyzer", &an, "ha", &before, began);
    until("the captures again", || active(&an, &id) == 2);
    println!(
        "captures known {:.2?} after the start of the analyzer",
        began.elapsed()
    );
    until("flows by datagrams", || {
        get(&an, "/api/status").json()["FlowIngestion"]["Flows"].as_u64() > Some(0)
    });

    ga.stop(Signal::KILL);
    until("the end of its nodes", || part(&an, "ha")[0] == 0);
    let began = Instant::now();
    let _ga = agent(&of_agents, "ha", port);
    recovered("kill of an agent", &an, "ha", &before, began);
    until("its capture again", || active(&an, &id) == 2);
    println!(
        "captures active {:.2?} after the start of the agent",
        began.elapsed()
    );

    sh("ip link set to-ha down");
    let began = Instant::now();
    until("the end of its nodes", || part(&an, "ha")[0] == 0);
    println!("outage: noticed after {:.2?}", began.elapsed());
    std::thread::park_timeout(Duration::from_secs(20).saturating_sub(began.elapsed()));
    let other = query(&an, "G.V().Has('@Host', 'hb', 'Name', 'eth0').Count()");
    assert_eq!(other, json!(1), "the other agent is not affected");
    sh("ip link set to-ha up");
    let began = Instant::now();
    recovered("outage of 20 s", &an, "ha", &before, began);
    drop(load);
    let deleted = request(&an, "DELETE", &format!("/api/capture/{id}"), &[], b"");
    assert_eq!(deleted.status, 200);
    until("the end of the captures", || {
        query(&an, "G.V().HasKey('Captures').Count()") == json!(0)
    });
}
