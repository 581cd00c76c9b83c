//! Uploads of capture files: their flows, errors and limits.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapNgWriter, PcapWriter, Resolution};
use skylib::time::Timestamp;

use crate::client::{Answer, Connection, get, query, request};
use crate::daemon::{Daemon, until};

/// Returns the DNS query of a host, one second after that of the previous host.
fn question(host: u8) -> (Timestamp, Vec<u8>) {
    let mut data = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40];
    data.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 10, 0, 1, 1]);
    data.extend([0x10, 0, 0, 53, 0, 20, 0, 0, 0, 1, 1, 0]);
    data.extend([0; 8]);
    (
        Timestamp::from_ms(1_454_659_514_000 + 1000 * i64::from(host)),
        data,
    )
}

fn packet((timestamp, data): &(Timestamp, Vec<u8>)) -> PacketRef<'_> {
    PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: *timestamp,
        data,
        wire_len: u32::try_from(data.len()).unwrap(),
    }
}

fn trace(packets: u8) -> Vec<u8> {
    let mut file =
        PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds).unwrap();
    for host in 0..packets {
        file.write(&packet(&question(host))).unwrap();
    }
    file.into_inner()
}

pub(crate) fn upload(daemon: &Daemon, file: &[u8]) -> Answer {
    request(daemon, "POST", "/api/pcap", &[], file)
}

/// Returns the number of DNS flows at the time of the trace.
fn dns_flows(daemon: &Daemon) -> Value {
    query(
        daemon,
        "G.At(1454659530, 60).Flows().Has('Application', 'DNS').Count()",
    )
}

#[test]
fn files_of_every_format_become_flows_at_their_time() {
    let plain = trace(3);
    let gzip = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&plain).unwrap();
        out.finish().unwrap()
    };
    let pcapng = {
        let mut file = PcapNgWriter::new(Vec::new()).unwrap();
        for host in 0..3 {
            file.write(&packet(&question(host))).unwrap();
        }
        file.into_inner()
    };
    for (what, file) in [("pcap", &plain), ("gzip", &gzip), ("pcapng", &pcapng)] {
        let daemon = Daemon::start();
        let answer = upload(&daemon, file);
        assert_eq!(answer.status, 202, "{what}");
        let imported: Value = serde_json::from_str(&answer.text()).unwrap();
        let counts = ["Packets", "Flows", "Start", "Last"].map(|key| imported[key].as_i64());
        let times = [1_454_659_514_000, 1_454_659_516_000].map(Some);
        assert_eq!(counts, [Some(3), Some(3), times[0], times[1]], "{what}");
        let shown = imported["GremlinQuery"].as_str().unwrap();
        assert_eq!(shown, "G.At('2016-02-05T08:05:17Z', 3).Flows()");
        assert_eq!(query(&daemon, &format!("{shown}.Count()")), 3, "{what}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json; charset=UTF-8")
        );
        assert_eq!(dns_flows(&daemon), 3, "{what}");
        assert_eq!(
            query(&daemon, "G.Flows().Count()"),
            0,
            "they are not of now"
        );
    }
}

#[test]
fn a_form_with_a_file_is_imported_as_the_file() {
    let daemon = Daemon::start();
    let mut form = b"--cut\r\nContent-Disposition: form-data; name=\"file\"; \
        filename=\"trace.pcap\"\r\n\r\n"
        .to_vec();
    form.extend(trace(3));
    form.extend(b"\r\n--cut--\r\n");
    let headers = [("Content-Type", "multipart/form-data; boundary=cut")];
    let answer = request(&daemon, "POST", "/api/pcap", &headers, &form);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(dns_flows(&daemon), 3);
    let cut = &form[..form.len() - 20];
    let answer = request(&daemon, "POST", "/api/pcap", &headers, cut);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("boundary"), "{}", answer.text());
}

#[test]
fn without_a_store_flows_are_added_to_the_current_ones() {
    let daemon = Daemon::with(&["analyzer.flow.backend=memory"]);
    assert_eq!(upload(&daemon, &trace(3)).status, 202);
    assert_eq!(
        query(&daemon, "G.Flows().Has('Application', 'DNS').Count()"),
        3
    );
}

#[test]
fn an_upload_gives_the_flows_of_the_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../skylib/tests/data/truth");
    let text = |flow: &Value| {
        let names = [
            "UUID",
            "TrackingID",
            "LayersPath",
            "Start",
            "Last",
            "FinishType",
            "Metric",
        ];
        let fields = names.map(|name| format!("{name} {}", flow[name]));
        fields.join(", ")
    };
    let sorted = |flows: &Value| {
        let mut lines: Vec<String> = flows.as_array().unwrap().iter().map(text).collect();
        lines.sort_unstable();
        lines
    };
    for name in [
        "a01-vlan-two-tenants",
        "b03-ping-late-answers",
        "c02-five-connections",
        "d02-silence",
        "e01-one-packet-an-hour-ahead",
    ] {
        let path = folder.join(name).with_extension("pcap");
        let mut skyd = Command::new(env!("CARGO_BIN_EXE_skyd"));
        let output = skyd
            .arg("flows")
            .arg(&path)
            .args(["--format", "json"])
            .output();
        let wanted: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        let daemon = Daemon::start();
        assert_eq!(upload(&daemon, &std::fs::read(&path).unwrap()).status, 202);
        let flows = query(&daemon, "G.At(1700100000, 200000).Flows()");
        assert_eq!(sorted(&flows), sorted(&wanted), "{name}");
    }
}

#[test]
fn an_invalid_or_damaged_file_is_rejected_with_the_position() {
    let daemon = Daemon::start();
    let mut damaged = trace(3);
    damaged[94 + 8..94 + 12].fill(0xff);
    let mut bad_gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bad_gzip.extend([0xff; 50]);
    for (file, wanted) in [
        (&b""[..], "byte 0: the file ends within its header"),
        (b"{}", "byte 2: the file ends within its header"),
        (
            b"no capture at all",
            "byte 0: the file is not a capture file",
        ),
        (&trace(1)[..20], "byte 20: the file ends within its header"),
        (&damaged, "byte 94: record of 4294967295 bytes"),
        (
            &bad_gzip,
            "decompression failed at byte 0 of the decompressed data: gzip data at byte",
        ),
    ] {
        let answer = upload(&daemon, file);
        assert_eq!(answer.status, 400, "{wanted}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(answer.text().starts_with(wanted), "{}", answer.text());
    }
    assert_eq!(
        dns_flows(&daemon),
        1,
        "packets before the damage are counted"
    );
    let cut = trace(5);
    assert_eq!(
        upload(&daemon, &cut[..cut.len() - 1]).status,
        202,
        "a file that is still being written"
    );
    assert_eq!(dns_flows(&daemon), 4);
}

/// Returns the peak resident memory of the daemon, in kibibytes.
fn peak_kilobytes(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_large_file_needs_little_memory() {
    let daemon = Daemon::start();
    assert_eq!(upload(&daemon, &trace(3)).status, 202);
    let before = peak_kilobytes(&daemon);
    // One megabyte of records, 64 times.
    let header = trace(0);
    let mut file =
        PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds).unwrap();
    let (timestamp, mut data) = question(7);
    data.resize(1_000, 0);
    for _ in 0..1_000 {
        file.write(&packet(&(timestamp, data.clone()))).unwrap();
    }
    let records = &file.into_inner()[header.len()..];
    let length = header.len() + 64 * records.len();
    let mut connection = Connection::open(&daemon);
    connection.send(format!(
        "POST /api/pcap HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    ));
    connection.send(&header);
    for _ in 0..64 {
        connection.send(records);
    }
    assert_eq!(connection.answer().unwrap().status, 202);
    let grown = peak_kilobytes(&daemon) - before;
    assert!(grown < 16 << 10, "{grown} kB more for 64 MB");
    let packets = query(
        &daemon,
        "G.At(1454659530, 60).Flows().Has('Network.A', '10.0.0.7').Sum('Metric.ABPackets')",
    );
    assert_eq!(packets, 64_000);
}

#[test]
fn uploads_are_limited_in_number_and_length() {
    let daemon = Daemon::with(&["http.limits.uploads=1", "http.limits.upload_bytes=10000"]);
    let mut first = Connection::open(&daemon);
    first.send("POST /api/pcap HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let status = |name: &str| get(&daemon, "/api/status").json()["Queues"][name].clone();
    until("the first upload runs", || status("Uploads") == 1);
    let answer = upload(&daemon, &trace(1));
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, Some("close"))
    );
    assert!(
        answer.text().contains("http.limits.uploads"),
        "{}",
        answer.text()
    );
    assert_eq!(status("UploadsRefused"), 1);
    // Other requests are not affected.
    assert_eq!(query(&daemon, "G.V().Count()"), 0);
    let file = trace(2);
    first.send(format!("{:x}\r\n", file.len()));
    first.send(&file);
    first.send("\r\n0\r\n\r\n");
    assert_eq!(first.answer().unwrap().status, 202);
    until("the upload slot is released", || status("Uploads") == 0);
    let answer = upload(&daemon, &trace(200));
    assert_eq!(answer.status, 413);
    assert!(
        answer.text().contains("http.limits.upload_bytes"),
        "{}",
        answer.text()
    );
    until("the slot of the rejected upload is released", || {
        status("Uploads") == 0
    });
}

#[test]
fn an_aborted_or_slow_upload_releases_its_slot() {
    let daemon = Daemon::with(&["http.limits.uploads=1", "http.limits.body_timeout=300ms"]);
    let status = |name: &str| get(&daemon, "/api/status").json()["Queues"][name].clone();
    let file = trace(4);
    let mut aborted = Connection::open(&daemon);
    aborted.send("POST /api/pcap HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    aborted.send(&file);
    until("the upload runs", || status("Uploads") == 1);
    drop(aborted);
    until("the upload slot is released", || status("Uploads") == 0);
    assert_eq!(dns_flows(&daemon), 4, "the received packets are counted");
    let mut slow = Connection::open(&daemon);
    slow.send("POST /api/pcap HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    let answer = slow.answer().unwrap();
    assert_eq!(answer.status, 408);
    assert!(
        answer.text().contains("http.limits.body_timeout"),
        "{}",
        answer.text()
    );
    until("the upload slot is released", || status("Uploads") == 0);
}
