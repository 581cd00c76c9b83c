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
  skyd client injection create --src \"G.V('a')\" --pcap packets.pcap";

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

    /// Capture file whose packets are sent, instead of packets described by other options.
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

    /// Number of packets that each interface sends.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// Time to live of the IP packets, in hops.
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    ttl: u8,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the injection.
    fn text(&self) -> anyhow::Result<String> {
        // COMPAT: error texts of Skydive's client, which differ from those of the server.
        if !PACKET_TYPES.contains(&self.packet_type.as_str()) {
            bail!(
                "Type: regular expression mismatch, expected one of {}",
                PACKET_TYPES.join(", ")
            );
        }
        if self.count == 0 {
            bail!("Count: less than min, expected at least 1");
        }
        check_address("Source", &self.src_ip)?;
        check_address("Destination", &self.dst_ip)?;
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
            ("Count", self.count.into()),
            ("ICMPID", self.id.into()),
            ("Interval", self.interval.into()),
            ("Mode", self.mode.as_str().into()),
            ("IncrementPayload", self.increment_payload.into()),
            ("Pcap", self.packets()?),
            ("TTL", self.ttl.into()),
        ]));
        injection.map_err(|error| match error.to_string().split_once("MAC: ") {
            Some(("Src", _)) => mac_error("Source", &self.src_mac),
            Some(("Dst", _)) => mac_error("Destination", &self.dst_mac),
            _ => error,
        })
    }

    /// Returns the capture file in Base64; null without one.
    fn packets(&self) -> anyhow::Result<Value> {
        if self.pcap.is_empty() {
            return Ok(Value::Null);
        }
        let bytes = fs::read(&self.pcap)
            .with_context(|| format!("Failed to open pcap file, err: open {}", self.pcap))?;
        Ok(BASE64.encode(bytes).into())
    }

    /// Returns the time for which the injection exists. COMPAT: computed as in Skydive.
    fn lifetime(&self) -> Duration {
        Duration::from_secs(5).saturating_add(Duration::from_millis(
            self.count.saturating_mul(self.interval),
        ))
    }
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
                let ttl = Some(args.lifetime());
                resource::create(KIND, args.text()?, ttl, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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
        let defaults = args(&["--src", "G.V('a')"]).text().unwrap();
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
        let lifetime = |words: &[&str]| args(words).lifetime();
        assert_eq!(lifetime(&[]), Duration::from_secs(5));
        assert_eq!(
            lifetime(&["--count=3", "--interval", "20"]),
            Duration::from_millis(5_060)
        );
        let longest = u64::MAX.to_string();
        assert!(lifetime(&["--count", &longest, "--interval", &longest]) > Duration::from_secs(5));
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
            let error = format!("{:#}", args(words).text().unwrap_err());
            assert!(error.starts_with(wanted), "{words:?}: {error}");
        }
    }
}
