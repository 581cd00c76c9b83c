//! `skyd client injection`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use skylib::api::{Injection, Resource};

use super::super::check::{checked, members};
use super::super::format::OutputArgs;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};
use crate::packet_args::{PacketArgs, mac_error};

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

    #[command(flatten)]
    packets: PacketArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the injection, and the time for which it exists.
    fn resource(&self) -> anyhow::Result<(String, Duration)> {
        let packets = &self.packets;
        packets.check()?;
        let file = packets.file()?;
        let count = packets.count(file.as_ref());
        let injection = checked::<Injection>(members([
            ("Src", self.src.as_str().into()),
            ("Dst", self.dst.as_str().into()),
            ("SrcPort", packets.src_port.into()),
            ("DstPort", packets.dst_port.into()),
            ("SrcIP", packets.src_ip.as_str().into()),
            ("DstIP", packets.dst_ip.as_str().into()),
            ("SrcMAC", packets.src_mac.as_str().into()),
            ("DstMAC", packets.dst_mac.as_str().into()),
            ("Type", packets.packet_type.as_str().into()),
            ("Payload", packets.payload.as_str().into()),
            ("Count", count.into()),
            ("ICMPID", packets.id.into()),
            ("Interval", packets.interval.into()),
            ("Mode", packets.mode.as_str().into()),
            ("IncrementPayload", packets.increment_payload.into()),
            ("Pcap", file.map_or(Value::Null, |file| file.base64.into())),
            ("TTL", packets.ttl.into()),
        ]));
        let text = injection.map_err(|error| match error.to_string().split_once("MAC: ") {
            Some(("Src", _)) => mac_error("Source", &packets.src_mac),
            Some(("Dst", _)) => mac_error("Destination", &packets.dst_mac),
            _ => error,
        })?;
        Ok((text, lifetime(count, packets.interval)))
    }
}

/// Returns the time for which an injection exists. COMPAT: computed as in Skydive.
fn lifetime(count: u64, interval_ms: u64) -> Duration {
    Duration::from_secs(5).saturating_add(Duration::from_millis(count.saturating_mul(interval_ms)))
}

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
    use std::fs;
    use std::path::PathBuf;

    use clap::Parser;
    use skylib::inject::MAX_REPLAY_PACKETS;
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
