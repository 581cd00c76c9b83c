use std::io::Cursor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{CaptureReader, PcapNgWriter};

use super::args::AFTER_HELP;
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: FlowsArgs,
}

/// A capture file in a separate folder, which is deleted with the value.
struct Trace(PathBuf);

impl Trace {
    fn new(bytes: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("skyd-flows-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("trace.pcap"), bytes).unwrap();
        Self(folder)
    }

    /// Returns the standard output and standard error of the command for this file with further arguments.
    fn run(&self, arguments: &[&str]) -> (String, Report, Option<String>) {
        let path = self.0.join("trace.pcap");
        let line = [&["flows", path.to_str().unwrap()], arguments].concat();
        let args = Line::try_parse_from(line).unwrap().args;
        let (mut out, mut report) = (Vec::new(), Report::default());
        let error = work(&args, args.output_format(false), &mut out, &mut report)
            .err()
            .map(|error| format!("{error:#}"));
        (String::from_utf8(out).unwrap(), report, error)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Returns three UDP packets of two flows, an ARP request, and one frame that belongs to no flow.
fn trace() -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let udp = |port: u8| {
        let mut frame = ethernet.to_vec();
        frame.extend([
            8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0x10, port, 0x20, 0, 0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    };
    let arp = [&ethernet[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    for (second, frame) in [udp(1), udp(2), udp(1), arp, vec![1, 2, 3]]
        .iter()
        .enumerate()
    {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [1_600_000_000 + second as u32, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn paths(flows: &[Value]) -> Vec<&str> {
    let mut paths: Vec<_> = flows
        .iter()
        .map(|flow| flow["LayersPath"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn json_is_one_array_and_ndjson_one_object_a_line() {
    let trace = Trace::new(&trace());
    let (out, report, error) = trace.run(&[]);
    assert_eq!(error, None);
    let array: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(
        paths(&array),
        ["Ethernet/ARP", "Ethernet/IPv4/UDP", "Ethernet/IPv4/UDP"]
    );
    assert!(
        report
            .summary
            .starts_with("flows 3 packets 5 peak_rss_bytes "),
        "{}",
        report.summary
    );
    assert!(
        report.summary.ends_with(" without_flow 1 truncated 1"),
        "{}",
        report.summary
    );
    let (out, _, _) = trace.run(&["--format", "ndjson"]);
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let key = |flow: &Value| flow["UUID"].to_string();
    let (mut array, mut lines) = (array, lines);
    array.sort_by_key(key);
    lines.sort_by_key(key);
    assert_eq!(lines, array);
}

#[test]
fn csv_has_a_line_of_names() {
    let (out, _, error) = Trace::new(&trace()).run(&["--format", "csv"]);
    assert_eq!(error, None);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].starts_with("UUID,ParentUUID,LayersPath,"));
    assert!(!lines[0].contains("TCPMetric"));
    let (out, _, _) = Trace::new(&trace()).run(&["--format", "csv", "--extra-tcp-metric"]);
    assert!(
        out.lines()
            .next()
            .unwrap()
            .ends_with(",TCPMetric.BARstStart")
    );
}

#[test]
fn a_query_sees_every_flow_and_prints_only_its_answer() {
    let trace = Trace::new(&trace());
    let answer = |query: &str| {
        let (out, report, error) = trace.run(&["--query", query]);
        assert_eq!(error, None);
        assert!(report.summary.starts_with("flows 3 packets 5 "));
        out
    };
    assert_eq!(answer("G.Flows().Count()"), "3\n");
    assert_eq!(answer("G.Flows().Has('Application', 'ARP').Count()"), "1\n");
    assert_eq!(answer("G.Flows().Sum('Metric.ABPackets')"), "4\n");
    assert_eq!(answer("G.V()"), "[]\n");
    let flows: Vec<Value> = serde_json::from_str(&answer("G.Flows().Sort()")).unwrap();
    assert_eq!(
        flows[0]["FinishType"], 1,
        "as it is printed without a query"
    );
}

#[test]
fn queries_find_the_packets_that_are_kept() {
    let trace = Trace::new(&trace());
    let (out, _, error) = trace.run(&[
        "--raw-packets",
        "1",
        "--query",
        "G.Flows().Has('Application','ARP').RawPackets()",
    ]);
    assert_eq!(error, None);
    assert!(out.contains(r#""LinkType":1"#), "{out}");
}

#[test]
fn the_packets_that_are_kept_can_be_filtered() {
    let trace = Trace::new(&trace());
    let run = |filter: &str| {
        let query = format!("G.Flows().RawPackets().BPF('{filter}')");
        let (out, _, error) = trace.run(&["--raw-packets", "2", "--query", &query]);
        let lists: Value = serde_json::from_str(&out).unwrap_or_default();
        let flows = lists[0]
            .as_object()
            .map(|flows| flows.values().cloned().collect::<Vec<_>>());
        let count = |list: &Value| list.as_array().map(Vec::len);
        let mut counts: Vec<_> = flows.unwrap_or_default().iter().map(count).collect();
        counts.sort_unstable();
        (counts, error)
    };
    assert_eq!(run("arp"), (vec![None, None, Some(1)], None));
    assert_eq!(run("udp port 4097"), (vec![None, None, Some(2)], None));
    assert_eq!(run(""), (vec![Some(1), Some(1), Some(2)], None));
    let (_, error) = run("udp prot 1");
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains("syntax error")),
        "{error:?}"
    );
}

#[test]
fn more_threads_print_the_same_flows() {
    let trace = Trace::new(&trace());
    let sorted = |threads: &str| {
        let (out, report, error) = trace.run(&["--format", "ndjson", "--threads", threads]);
        assert_eq!(error, None);
        assert!(report.summary.starts_with("flows 3 packets 5 "));
        let mut lines: Vec<_> = out.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted("2"), sorted("1"));
    let (out, _, _) = trace.run(&["--threads", "3", "--query", "G.Flows().Count()"]);
    assert_eq!(out, "3\n");
}

#[test]
fn a_filter_keeps_packets_out() {
    let (out, report, error) = Trace::new(&trace()).run(&["--bpf", "udp", "--format", "ndjson"]);
    assert_eq!(error, None);
    assert_eq!(out.lines().count(), 2);
    assert!(
        report.summary.starts_with("flows 2 packets 3 "),
        "{}",
        report.summary
    );
    assert!(
        report.summary.ends_with(" filtered 2"),
        "{}",
        report.summary
    );
}

#[test]
fn flows_before_the_damage_are_printed_and_its_place_is_told() {
    let mut bytes = trace();
    bytes.truncate(bytes.len() - 2);
    let trace = Trace::new(&bytes);
    let (out, report, error) = trace.run(&[]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&out).unwrap().len(), 3);
    assert!(report.summary.starts_with("flows 3 packets 4 "));
    let error = error.unwrap();
    let wanted = format!(
        "cannot read {}: byte {}: ",
        trace.0.join("trace.pcap").display(),
        bytes.len() - 17
    );
    assert!(error.starts_with(&wanted), "{error}");
    let (out, _, error) = trace.run(&["--query", "G.Flows().Count()"]);
    assert_eq!((out.as_str(), error.is_some()), ("3\n", true));
}

/// Returns the same packets as pcapng, from two interfaces: the first with, the second without Ethernet
/// headers.
fn pcapng_trace() -> Vec<u8> {
    let mut reader = CaptureReader::new(Cursor::new(trace())).unwrap();
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let batch = reader.next_batch().unwrap().unwrap();
    writer.write_batch(&batch).unwrap();
    for packet in batch.iter().take(2) {
        writer
            .write(&PacketRef {
                link_type: LinkType::RAW,
                data: &packet.data[14..],
                ..packet
            })
            .unwrap();
    }
    writer.into_inner()
}

#[test]
fn pcapng_is_read_with_all_its_link_types() {
    let trace = Trace::new(&pcapng_trace());
    for arguments in [
        &["--format", "ndjson"][..],
        &["--format", "ndjson", "--bpf", "udp"],
    ] {
        let (out, report, error) = trace.run(arguments);
        assert_eq!(error, None);
        let lines = out.lines().filter(|line| line.contains("UDP"));
        let flows: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            paths(&flows),
            [
                "Ethernet/IPv4/UDP",
                "Ethernet/IPv4/UDP",
                "IPv4/UDP",
                "IPv4/UDP"
            ]
        );
        assert!(report.summary.contains(" packets "), "{}", report.summary);
    }
}

#[test]
fn compressed_files_give_the_same_flows_and_name_their_damage() {
    let plain = trace();
    let count = ["--query", "G.Flows().Count()"];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let trace = Trace::new(&gzip);
    let (out, _, error) = trace.run(&count);
    assert_eq!((out.as_str(), error), ("3\n", None));
    let cut = Trace::new(&gzip[..gzip.len() - 3]);
    let (out, _, error) = cut.run(&count);
    assert_eq!(out, "3\n");
    let wanted = format!(
        "cannot read {}: decompression failed at byte {} of the decompressed data: gzip data at byte {} of the file: ",
        cut.0.join("trace.pcap").display(),
        plain.len(),
        gzip.len() - 3
    );
    let error = error.unwrap();
    assert!(error.starts_with(&wanted), "{error}");
}

#[test]
fn a_table_that_is_too_small_says_how_many_left_early() {
    let mut bytes = trace();
    bytes.extend(&trace()[24..]);
    let (out, report, error) = Trace::new(&bytes).run(&["--max-bytes", "1", "--format", "ndjson"]);
    assert_eq!(error, None);
    assert!(out.lines().count() > 3);
    assert!(report.summary.contains(" evicted "), "{}", report.summary);
    let text = "printed early because the flow table reached 1 bytes";
    assert!(report.warnings.iter().any(|warning| warning.contains(text)));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_read() {
    let trace = Trace::new(b"no capture");
    let error = |arguments: &[&str]| {
        let (out, report, error) = trace.run(arguments);
        assert_eq!((out.as_str(), report.summary.as_str()), ("", ""));
        error.unwrap()
    };
    assert!(error(&["--query", "G.V().Nope()"]).contains("Nope"));
    assert!(error(&["--query", "G", "--format", "csv"]).contains("--format cannot be used"));
    assert!(error(&[]).contains("not a capture file"));
}

#[test]
fn more_of_packets_is_read_if_asked_for() {
    let mut file = trace()[..24].to_vec();
    let ip = |id: u8, more: u8, unit: u8, protocol: u8, payload: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0];
        frame.push(20 + payload.len() as u8);
        frame.extend([
            0, id, more, unit, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend(payload);
        frame
    };
    let mut dns = vec![0x10, 1, 0, 53, 0, 28, 0, 0];
    dns.extend(b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01\0");
    let reset = [
        0x10, 1, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0, 1,
    ];
    let frames = [
        ip(1, 0x20, 0, 17, &dns[..16]),
        ip(1, 0, 2, 17, &dns[16..]),
        ip(2, 0, 0, 6, &reset),
        ip(3, 0x20, 0, 17, &dns[..16]),
    ];
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [1_600_000_000, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    let trace = Trace::new(&file);
    let (out, report, error) = trace.run(&[
        "--extra-layer",
        "dns,VRRP",
        "--ip-defrag",
        "--reassemble-tcp",
    ]);
    assert_eq!(error, None);
    assert!(
        report.summary.ends_with(" fragments_lost 1"),
        "{}",
        report.summary
    );
    let flows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(
        paths(&flows),
        ["Ethernet/IPv4/Fragment/UDP/DNS", "Ethernet/IPv4/TCP"]
    );
    let find = |key: &str| flows.iter().find(|flow| flow.get(key).is_some()).unwrap();
    assert_eq!(find("DNS")["DNS"]["questions"][0]["name"], "a");
    assert_eq!(find("DNS")["IPMetric"]["Fragments"], 1);
    let metric = &find("TCPMetric")["TCPMetric"];
    assert_eq!(
        (&metric["ABBytes"], &metric["ABSawEnd"]),
        (&1.into(), &1.into())
    );
    assert_eq!(metric["ABRstStart"], 0);
}

#[test]
fn the_examples_of_the_help_are_right() {
    let help = Line::try_parse_from(["flows", "--help"])
        .unwrap_err()
        .to_string();
    assert!(help.contains("Examples:"), "{help}");
    let examples = AFTER_HELP
        .lines()
        .filter(|line| line.starts_with("  ") && line.contains("skyd flows"));
    for example in examples {
        let (_, command) = example.split_once("skyd ").unwrap();
        let command = command.split(" > ").next().unwrap();
        let args = Line::try_parse_from(shell_words::split(command).unwrap())
            .unwrap()
            .args;
        if let Some(query) = &args.query {
            Query::parse(query).unwrap();
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &["flows"][..],
        &["flows", "x", "--raw-packets", "11"],
        &["flows", "x", "--layer-key", "L4"],
        &["flows", "x", "--extra-layer", "DNS,HTTP"],
        &["flows", "x", "--format", "xml"],
        &["flows", "x", "--threads", "0"],
        &["flows", "x", "--max-bytes", "-1"],
    ] {
        assert!(Line::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn an_output_that_ends_early_ends_the_work() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let trace = Trace::new(&trace());
    let path = trace.0.join("trace.pcap");
    let args = Line::try_parse_from(["flows", path.to_str().unwrap()])
        .unwrap()
        .args;
    let error = work(&args, Format::Json, &mut Full, &mut Report::default()).unwrap_err();
    assert!(is_broken_pipe(&error), "{error:#}");
}

#[test]
fn several_files_are_read_as_one() {
    let whole = trace();
    let trace = Trace::new(&whole);
    // The first packet ends at byte 24 + 16 + 46.
    let (head, rest) = (&whole[..24], &whole[86..]);
    std::fs::write(trace.0.join("rotated-1.pcap"), [head, rest].concat()).unwrap();
    std::fs::write(trace.0.join("rotated-2.pcap"), &whole[..86]).unwrap();
    let run = |arguments: &[&str]| {
        let line = [&["flows"], arguments, &["--query", "G.Flows().Sort()"]].concat();
        let args = Line::try_parse_from(line).unwrap().args;
        let (mut out, mut report) = (Vec::new(), Report::default());
        work(&args, Format::Json, &mut out, &mut report).unwrap();
        (String::from_utf8(out).unwrap(), report)
    };
    let path = |name: &str| trace.0.join(name).display().to_string();
    let (wanted, _) = run(&[&path("trace.pcap")]);
    for arguments in [
        &[path("rotated-1.pcap"), path("rotated-2.pcap")][..],
        &[path("rotated-*.pcap")],
        &[path("rotated-?.pcap"), "--merge".to_owned()],
        &[path("rotated-?.pcap"), "--threads=2".to_owned()],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (out, report) = run(&arguments);
        assert_eq!(out, wanted, "{arguments:?}");
        assert!(report.summary.starts_with("flows 3 packets 5 "));
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    }
    let (_, report) = run(&[&path("trace.pcap"), &path("rotated-1.pcap")]);
    assert_eq!(
        report.warnings[0],
        "files overlap in time: 1 end after the next one begins (use --merge)"
    );
}

#[test]
fn the_largest_flows_are_a_table_for_people() {
    let trace = Trace::new(&trace());
    let (out, report, error) = trace.run(&["--format", "table", "--top", "1"]);
    assert_eq!(error, None);
    let wanted = "\
A              B              APPLICATION  PACKETS  A TO B  B TO A  RTT  DURATION
10.0.0.1:4097  10.0.0.2:8192  UDP                2    92 B     0 B    -     2.0 s
";
    assert_eq!(out, wanted);
    assert_eq!(
        report.notes,
        ["1 of 3 flows, by bytes (--top and --by select others)"]
    );
    let (out, report, _) = trace.run(&["--format", "table", "--ports", "udp:8192=game"]);
    assert_eq!((out.lines().count(), report.notes.len()), (4, 0));
    assert_eq!(out.matches(" GAME ").count(), 2, "{out}");
    let (out, _, _) = trace.run(&["--top", "2", "--by", "packets", "--format", "ndjson"]);
    let packets: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["Metric"]["ABPackets"].clone())
        .collect();
    assert_eq!(packets, [2, 1]);
    let (out, _, _) = trace.run(&["--by", "retransmissions"]);
    assert_eq!(out, "[]\n");
}

#[test]
fn a_table_is_the_default_on_a_terminal_only() {
    let format = |arguments: &[&str], is_terminal| {
        let line = [&["flows", "x"], arguments].concat();
        let args = Line::try_parse_from(line).unwrap().args;
        args.output_format(is_terminal)
    };
    assert_eq!(format(&[], true), Format::Table);
    assert_eq!(format(&[], false), Format::Json);
    assert_eq!(format(&["--format", "csv"], true), Format::Csv);
    assert_eq!(format(&["--query", "G"], true), Format::Json);
    assert_eq!(format(&["--update", "1s"], true), Format::Json);
}

#[test]
fn active_flows_are_printed_at_each_update() {
    // The first packet of the file, forty times, a second apart. The clock of a file is 15 packets
    // behind: the 16th packet starts the timers, and each further one is followed by an update.
    let bytes = trace();
    let mut file = bytes[..24].to_vec();
    for second in 0..40_u32 {
        file.extend((1_600_000_000 + second).to_le_bytes());
        file.extend(&bytes[28..86]);
    }
    let trace = Trace::new(&file);
    let (out, _, error) = trace.run(&["--format", "ndjson"]);
    assert_eq!((out.lines().count(), error), (1, None));
    let (out, _, error) = trace.run(&["--update", "1s", "--format", "ndjson"]);
    assert_eq!(error, None);
    assert_eq!(out.lines().count(), 24 + 1, "{out}");
    assert!(out.contains("LastUpdateMetric"));
    let (_, _, error) = trace.run(&["--update", "1s", "--top", "3"]);
    assert!(
        error
            .unwrap()
            .contains("--update cannot be used with --top")
    );
}

#[test]
fn a_flow_ends_after_the_silence_that_is_set() {
    let trace = Trace::new(&trace());
    let count = |expire: &str| {
        let (out, _, error) = trace.run(&["--expire", expire, "--query", "G.Flows().Count()"]);
        assert_eq!(error, None);
        out.trim().parse::<u64>().unwrap()
    };
    assert_eq!(count("10m"), 3);
    // Two packets of a flow are 2 s apart.
    assert_eq!(count("60"), 3);
    assert!(Line::try_parse_from(["flows", "x", "--expire", "0s"]).is_err());
    assert!(Line::try_parse_from(["flows", "x", "--expire", "soon"]).is_err());
}

#[test]
fn the_link_type_of_the_file_can_be_replaced() {
    let mut bytes = trace();
    bytes[20] = 147;
    let trace = Trace::new(&bytes);
    let (_, _, error) = trace.run(&[]);
    assert!(error.unwrap().contains("link type 147"));
    for link_type in ["1", "ethernet"] {
        let (out, _, error) =
            trace.run(&["--link-type", link_type, "--query", "G.Flows().Count()"]);
        assert_eq!((out.as_str(), error), ("3\n", None));
    }
}

#[test]
fn the_last_line_has_the_packets_of_each_interface() {
    let trace = Trace::new(&pcapng_trace());
    let (out, report, error) = trace.run(&["--format", "ndjson"]);
    assert_eq!(error, None);
    let summary = report.summary;
    assert!(
        summary.ends_with(" interface_0 5 interface_1 2"),
        "{summary}"
    );
    assert!(out.contains(r#""Interface":"1""#), "{out}");
    let count = ["--interface", "1", "--query", "G.Flows().Count()"];
    let (out, report, _) = trace.run(&count);
    assert_eq!(out, "2\n");
    assert!(
        report.summary.contains(" filtered 5 "),
        "{}",
        report.summary
    );
    let (_, _, error) = trace.run(&["--interface", "eth0"]);
    let error = error.unwrap();
    assert!(error.ends_with("interfaces in the files: 0, 1"), "{error}");
}
