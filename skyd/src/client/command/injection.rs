//! `skyd client injection`.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use serde_json::Value;
use skylib::api::{Injection, Resource};
use skylib::inject::{InjectError, MAX_REPLAY_BYTES, MAX_REPLAY_PACKETS};
use skylib::pcap_file::CaptureReader;

use super::super::check::{checked, members};
use super::super::format::OutputArgs;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};

/// Commands about injections.
#[derive(Debug, Subcommand)]
pub(crate) enum InjectionCommand {
    /// Send packets.
    #[command(after_help = EXAMPLES)]
    Create(Box<CreateArgs>),
    /// List all injections.
    List(ListArgs),
    /// Show an injection.
    Get(GetArgs),
    /// Delete injections.
    Delete(DeleteArgs),
}

const EXAMPLES: &str = "Examples:
  skyd client injection create --src \"G.V().Has('Name', 'eth0')\" --dst-ip 192.0.2.1 --count 5
  skyd client injection create --src \"G.V('a')\" --dst \"G.V('b')\" --type tcp4 --dst-port 80
  skyd client injection create --src \"G.V('a')\" --pcap packets.pcap --interval 10";

/// Arguments of `injection create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Gremlin query of the sending interfaces.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    src: String,

    /// Gremlin query of the receiving node.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    dst: String,

    /// Source IP address; the default is the first address of the sending interface.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    src_ip: String,

    /// Destination IP address; the default is the first address of the receiving node.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    dst_ip: String,

    /// Source MAC address; the default is the address of the sending interface.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    src_mac: String,

    /// Destination MAC address; the default is the address of the next hop or, if unknown, of the
    /// receiving node.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    dst_mac: String,

    /// Source port of TCP and UDP packets; 0 means port 1.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    src_port: u16,

    /// Destination port of TCP and UDP packets; 0 means a random port for TCP.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dst_port: u16,

    /// Packet type: icmp4, icmp6, tcp4, tcp6, udp4, or udp6.
    #[arg(long = "type", value_name = "TYPE", default_value = "icmp4")]
    packet_type: String,

    /// Payload of the packets.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    payload: String,

    /// Capture file whose packets are sent, instead of packets described by other options; at most
    /// 1000000 packets and 64 MiB, of the link type of the interfaces.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    pcap: String,

    /// Identifier of ICMP echo requests; 0 means 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    id: u16,

    /// Number of bytes by which the payload of each packet is longer than that of the previous one.
    #[arg(
        long = "inc-payload",
        value_name = "BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    increment_payload: i64,

    /// Interval between packets, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    interval: u64,

    /// Variation of ports and ICMP identifiers between packets: unique or random.
    #[arg(long, value_name = "MODE", default_value = "unique")]
    mode: String,

    /// Number of packets that each interface sends; the default is 1 or, with --pcap, the number of
    /// packets in the file. A shorter file is sent repeatedly.
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Time to live of the IP packets, in hops.
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    ttl: u8,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the injection, and the time for which it exists.
    fn resource(&self) -> anyhow::Result<(String, Duration)> {
        // COMPAT: error texts of Skydive's client, which differ from those of the server.
        if !PACKET_TYPES.contains(&self.packet_type.as_str()) {
            bail!(
                "Type: regular expression mismatch, expected one of {}",
                PACKET_TYPES.join(", ")
            );
        }
        if self.count == Some(0) {
            bail!("Count: less than min, expected at least 1");
        }
        check_address("Source", &self.src_ip)?;
        check_address("Destination", &self.dst_ip)?;
        let file = self.file()?;
        let in_file = file.as_ref().map_or(1, |file| file.packets);
        let count = self.count.unwrap_or(in_file);
        let injection = checked::<Injection>(members([
            ("Src", self.src.as_str().into()),
            ("Dst", self.dst.as_str().into()),
            ("SrcPort", self.src_port.into()),
            ("DstPort", self.dst_port.into()),
            ("SrcIP", self.src_ip.as_str().into()),
            ("DstIP", self.dst_ip.as_str().into()),
            ("SrcMAC", self.src_mac.as_str().into()),
            ("DstMAC", self.dst_mac.as_str().into()),
            ("Type", self.packet_type.as_str().into()),
            ("Payload", self.payload.as_str().into()),
            ("Count", count.into()),
            ("ICMPID", self.id.into()),
            ("Interval", self.interval.into()),
            ("Mode", self.mode.as_str().into()),
            ("IncrementPayload", self.increment_payload.into()),
            ("Pcap", file.map_or(Value::Null, |file| file.base64.into())),
            ("TTL", self.ttl.into()),
        ]));
        let text = injection.map_err(|error| match error.to_string().split_once("MAC: ") {
            Some(("Src", _)) => mac_error("Source", &self.src_mac),
            Some(("Dst", _)) => mac_error("Destination", &self.dst_mac),
            _ => error,
        })?;
        Ok((text, lifetime(count, self.interval)))
    }

    /// Reads the capture file; `None` without one.
    fn file(&self) -> anyhow::Result<Option<CaptureFile>> {
        if self.pcap.is_empty() {
            return Ok(None);
        }
        let bytes = fs::read(&self.pcap)
            .with_context(|| format!("Failed to open pcap file, err: open {}", self.pcap))?;
        let packets =
            count_packets(&bytes).with_context(|| format!("Failed to read {}", self.pcap))?;
        let base64 = BASE64.encode(bytes);
        Ok(Some(CaptureFile { base64, packets }))
    }
}

/// Capture file whose packets are sent.
struct CaptureFile {
    /// Content in Base64.
    base64: String,
    /// Number of packets.
    packets: u64,
}

/// Returns the number of packets of a capture file, which must be within the limits of the server.
fn count_packets(file: &[u8]) -> anyhow::Result<u64> {
    let mut reader = CaptureReader::new(file)?;
    let (mut packets, mut bytes) = (0, 0);
    while let Some(batch) = reader.next_batch()? {
        packets += batch.headers.len();
        bytes += batch.iter().map(|packet| packet.data.len()).sum::<usize>();
    }
    match packets {
        0 => bail!(InjectError::EmptyFile),
        _ if packets > MAX_REPLAY_PACKETS || bytes > MAX_REPLAY_BYTES => bail!(
            "the file has {packets} packets with {bytes} bytes; at most {MAX_REPLAY_PACKETS} packets \
             with {MAX_REPLAY_BYTES} bytes can be sent; split it with: editcap -c \
             {MAX_REPLAY_PACKETS} FILE PART.pcap"
        ),
        _ => Ok(packets as u64),
    }
}

/// Returns the time for which an injection exists. COMPAT: computed as in Skydive.
fn lifetime(count: u64, interval_ms: u64) -> Duration {
    Duration::from_secs(5).saturating_add(Duration::from_millis(count.saturating_mul(interval_ms)))
}

/// Checks an IP address, which may have a prefix length.
fn check_address(end: &str, text: &str) -> anyhow::Result<()> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    if text.is_empty() || address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    bail!("{end} IP parse error, err: {text:?} is not an IP address")
}

fn mac_error(end: &str, text: &str) -> anyhow::Error {
    anyhow::anyhow!("{end} MAC parse error, err: address {text}: invalid MAC address")
}

const PACKET_TYPES: [&str; 6] = ["icmp4", "icmp6", "tcp4", "tcp6", "udp4", "udp6"];

impl InjectionCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = Injection::KIND;
        match self {
            Self::Create(args) => {
                let (text, ttl) = args.resource()?;
                resource::create(KIND, text, Some(ttl), &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;
    use skylib::packet::{LinkType, PacketRef};
    use skylib::pcap_file::{PcapWriter, Resolution};
    use skylib::time::Timestamp;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn args(words: &[&str]) -> CreateArgs {
        Line::try_parse_from([&["create"][..], words].concat())
            .unwrap()
            .args
    }

    #[test]
    fn flags_become_members() {
        let (defaults, ttl) = args(&["--src", "G.V('a')"]).resource().unwrap();
        assert_eq!(ttl, Duration::from_secs(5));
        let wanted = concat!(
            r#"{"UUID":"","Src":"G.V('a')","Dst":"","SrcPort":0,"DstPort":0,"SrcIP":"","DstIP":"","#,
            r#""SrcMAC":"","DstMAC":"","Type":"icmp4","Payload":"","Count":1,"ICMPID":0,"#,
            r#""Interval":0,"Mode":"unique","IncrementPayload":0,"#,
            r#""StartTime":"0001-01-01T00:00:00Z","Pcap":null,"TTL":64}"#
        );
        assert_eq!(defaults, wanted);
    }

    #[test]
    fn the_lifetime_covers_all_packets() {
        let (_, three) = args(&["--count=3", "--interval", "20"]).resource().unwrap();
        assert_eq!(three, Duration::from_millis(5_060));
        assert!(lifetime(u64::MAX, u64::MAX) > Duration::from_secs(5));
    }

    /// Writes a capture file with empty packets, and returns its path.
    fn capture_file(name: &str, packets: usize) -> PathBuf {
        let mut writer =
            PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds).unwrap();
        for _ in 0..packets {
            let packet = PacketRef {
                link_type: LinkType::ETHERNET,
                timestamp: Timestamp::ZERO,
                data: b"",
                wire_len: 0,
            };
            writer.write(&packet).unwrap();
        }
        let path = std::env::temp_dir().join(format!("skyd-{}-{name}", std::process::id()));
        fs::write(&path, writer.into_inner()).unwrap();
        path
    }

    #[test]
    fn all_packets_of_a_file_are_sent_unless_there_is_a_count() {
        let path = capture_file("three.pcap", 3);
        let file = path.to_str().unwrap();
        let resource = |words: &[&str]| {
            let words = [&["--pcap", file, "--interval", "1000"], words].concat();
            let (text, ttl) = args(&words).resource().unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(value["Pcap"].as_str().is_some_and(|text| text.len() > 60));
            (value["Count"].as_u64(), ttl.as_secs())
        };
        assert_eq!(resource(&[]), (Some(3), 8));
        assert_eq!(resource(&["--count", "7"]), (Some(7), 12));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn files_that_cannot_be_sent_are_errors() {
        let error = |packets| {
            let path = capture_file(&format!("{packets}.pcap"), packets);
            let words = ["--pcap", path.to_str().unwrap()];
            let error = format!("{:#}", args(&words).resource().unwrap_err());
            fs::remove_file(path).unwrap();
            error
        };
        assert!(error(0).ends_with("0.pcap: the capture file has no packets"));
        let large = error(MAX_REPLAY_PACKETS + 1);
        assert!(large.contains("has 1000001 packets"), "{large}");
        let text = std::env::temp_dir().join(format!("skyd-{}-text.pcap", std::process::id()));
        fs::write(&text, "no capture").unwrap();
        let words = ["--pcap", text.to_str().unwrap()];
        let other = format!("{:#}", args(&words).resource().unwrap_err());
        fs::remove_file(&text).unwrap();
        assert!(other.contains("text.pcap: "), "{other}");
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for (words, wanted) in [
            (&["--type", "smtp"][..], "Type: regular expression mismatch"),
            (&["--count", "0"], "Count: less than min"),
            (
                &["--src-mac", "1:2"],
                "Source MAC parse error, err: address 1:2",
            ),
            (
                &["--dst-mac", "1:2"],
                "Destination MAC parse error, err: address 1:2",
            ),
            (&["--src-ip", "10.0.0"], "Source IP parse error"),
            (&["--dst-ip", "x"], "Destination IP parse error"),
            (&["--mode", "odd"], "given mode is not supported"),
            (
                &["--pcap", "none.pcap"],
                "Failed to open pcap file, err: open none.pcap: No such file",
            ),
        ] {
            let error = format!("{:#}", args(words).resource().unwrap_err());
            assert!(error.starts_with(wanted), "{words:?}: {error}");
        }
    }
}
