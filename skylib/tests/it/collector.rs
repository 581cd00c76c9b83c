//! A collector of flow exports in an engine: datagrams in, nodes and flows out.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use skylib::engine::{AllowedNetwork, CollectorOptions, Engine, EngineOptions};
use skylib::time::{Clock, SystemClock};

/// Timeout of waits; a test that reaches it has failed.
const TIMEOUT: Duration = Duration::from_secs(20);

struct Lab {
    engine: Engine,
    address: SocketAddr,
    exporter: UdpSocket,
}

impl Lab {
    fn new(change: impl FnOnce(&mut CollectorOptions)) -> Self {
        let mut options = CollectorOptions::new("127.0.0.1:0".parse().unwrap());
        options.receive_buffer = 64 << 10;
        change(&mut options);
        let options = EngineOptions::new("h").with_collectors(vec![options]);
        let engine = Engine::start(options).unwrap();
        let listen = || engine.status().collectors[0].listen.clone();
        wait("the socket", || !listen().ends_with(":0"));
        Self {
            address: listen().parse().unwrap(),
            engine,
            exporter: UdpSocket::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn send(&self, datagram: &[u8]) {
        self.exporter.send_to(datagram, self.address).unwrap();
    }

    fn ask(&self, query: &str) -> String {
        let mut json = Vec::new();
        let answer = self.engine.query(query).unwrap();
        answer.write_json(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    }

    fn wait_for(&self, query: &str, wanted: &str) {
        let mut last = String::new();
        let began = SystemClock.now();
        while last != wanted {
            last = self.ask(query);
            let waited = SystemClock.now().duration_since(began);
            assert!(waited < TIMEOUT, "{query}: {last}, expected {wanted}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

fn wait(what: &str, mut test: impl FnMut() -> bool) {
    let began = SystemClock.now();
    while !test() {
        let waited = SystemClock.now().duration_since(began);
        assert!(waited < TIMEOUT, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns an IPFIX message: a template, an options record with the name of interface 3, and a flow
/// from interface 3 to 4 with its answer.
fn ipfix() -> Vec<u8> {
    let now = (SystemClock.now().as_ms() / 1_000) as u32;
    let mut message = vec![0, 10, 0, 0];
    message.extend(now.to_be_bytes());
    message.extend([0, 0, 0, 0, 0, 0, 0, 7]);
    let mut set = |id: u16, content: &[u8]| {
        message.extend(id.to_be_bytes());
        message.extend((content.len() as u16 + 4).to_be_bytes());
        message.extend(content);
    };
    let words = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
    set(
        2,
        &words(&[
            256, 9, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 2, 4, 1, 4, 10, 4, 14, 4,
        ]),
    );
    set(3, &words(&[257, 2, 1, 10, 4, 82, 8]));
    set(257, b"\0\0\0\x03uplink\0\0");
    let mut records = Vec::new();
    for (src, dst, ports, packets, input, output) in [
        (1_u8, 2_u8, [4_000_u16, 443], 5_u32, 3_u32, 4_u32),
        (2, 1, [443, 4_000], 3, 4, 3),
    ] {
        records.extend([10, 0, 0, src, 10, 0, 0, dst]);
        records.extend(ports.into_iter().flat_map(u16::to_be_bytes));
        records.push(6);
        for number in [packets, packets * 100, input, output] {
            records.extend(number.to_be_bytes());
        }
    }
    set(256, &records);
    let length = (message.len() as u16).to_be_bytes();
    message[2..4].copy_from_slice(&length);
    message
}

#[test]
fn exporters_are_nodes_with_flows() {
    let lab = Lab::new(|options| {
        options
            .names
            .insert("127.0.0.1".parse().unwrap(), "core1".to_owned());
        options.default_rate = Some(100);
    });
    lab.send(&ipfix());
    lab.wait_for(
        "G.V().Has('Type', 'exporter').Values('Name')",
        r#"["core1"]"#,
    );
    let ports = "G.V().Has('Type', 'exporter').Out().Has('Type', 'exporterport')";
    lab.wait_for(
        &format!("{ports}.Has('Name', Within('uplink', 'if4')).Count()"),
        "2",
    );
    let flows = "G.V().Has('Name', 'uplink').Flows()";
    lab.wait_for(&format!("{flows}.Count()"), "1");
    let flow = lab.ask(flows);
    for part in [
        r#""ABPackets":5,"ABBytes":500,"BAPackets":3,"BABytes":300"#,
        r#""LayersPath":"IPv4/TCP""#,
        r#""Export":{"Exporter":"127.0.0.1","Domain":7,"Format":"ipfix","Input":3,"Output":4,"#,
        r#""Rate":100"#,
    ] {
        assert!(flow.contains(part), "{part}: {flow}");
    }
    assert_eq!(lab.ask("G.Flows().Has('Export.Input', 3).Count()"), "1");
    lab.wait_for(
        "G.V().Has('Type', 'exporter', 'Exporter.Format', 'ipfix', 'Exporter.Domain', 7).Count()",
        "1",
    );
    let status = lab.engine.status().collectors.remove(0);
    assert_eq!(
        (status.intake.flow_records, status.intake.option_records),
        (2, 1)
    );
    assert_eq!((status.intake.malformed, status.flows.flows), (0, 1));
}

#[test]
fn datagrams_of_others_are_counted_and_dropped() {
    let lab = Lab::new(|options| {
        let network = AllowedNetwork::V4("192.0.2.0/24".parse().unwrap());
        options.allow = Some(vec![network]);
    });
    lab.send(&ipfix());
    wait("the datagram", || {
        lab.engine.status().collectors[0].not_allowed == 1
    });
    assert_eq!(lab.engine.status().collectors[0].intake.datagrams, 0);
    assert_eq!(lab.ask("G.V().Has('Type', 'exporter').Count()"), "0");
}

#[test]
fn a_socket_that_cannot_be_opened_is_reported_and_opened_later() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut options = CollectorOptions::new(address);
    options.receive_buffer = 64 << 10;
    let engine = Engine::start(EngineOptions::new("h").with_collectors(vec![options])).unwrap();
    wait("the error", || {
        engine.status().collectors[0].error.is_some()
    });
    let error = engine.status().collectors[0].error.clone().unwrap();
    assert!(
        error.starts_with("cannot receive flow exports at 127.0.0.1:"),
        "{error}"
    );
    assert!(engine.status().collectors[0].failures > 0);
    drop(taken);
    wait("the next attempt", || {
        engine.status().collectors[0].error.is_none()
    });
    let exporter = UdpSocket::bind("127.0.0.1:0").unwrap();
    exporter.send_to(&ipfix(), address).unwrap();
    wait("the datagram", || {
        engine.status().collectors[0].intake.datagrams == 1
    });
    engine.stop();
}
